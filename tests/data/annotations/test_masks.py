import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from eps.data.annotations.masks import mask_of, object_of, outlines_of
from eps.data.annotations.records import AnnotatedObject


@given(arrays(bool, (7, 9)))
@settings(max_examples=30, deadline=None)
def test_masks_come_back(mask: np.ndarray) -> None:
    mask[3, 4] = True
    found = object_of(mask, "train", crowd=True, score=0.12345678)
    np.testing.assert_array_equal(mask_of(found, size=(7, 9)), mask)
    rows, columns = np.nonzero(mask)
    x, y, width, height = found.box
    assert (x, y) == (columns.min(), rows.min())
    assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
    assert (found.label, found.area, found.crowd, found.facts) == ("train", mask.sum(), True, {"score": 0.123457})


def test_a_box_alone_has_no_mask() -> None:
    found = AnnotatedObject(label="train", segmentation=None, box=(1.0, 1.0, 2.0, 2.0), area=4.0)
    assert not mask_of(found, size=(5, 6)).any()
    assert outlines_of(found, size=(5, 6), tolerance=0.5) == []


def test_outlines_have_few_corners_and_no_holes() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[2:12, 3:20] = mask[15:18, 22:28] = True
    mask[5:8, 6:9] = False
    found = object_of(mask, "train")
    assert found.facts == {}
    every, few = (outlines_of(found, size=mask.shape, tolerance=tolerance) for tolerance in (0.0, 0.5))
    assert len(every) == len(few) == 2
    assert sum(map(len, few)) < sum(map(len, every)) / 2
    with pytest.raises(ValueError, match="for a photo of"):
        mask_of(found, size=(30, 20))
