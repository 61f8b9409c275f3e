import pytest

from eps.data.class_names import COCO, COCO_CATEGORIES, VOC, class_names
from eps.errors import UserError


def test_known_lists() -> None:
    assert (len(VOC), list(VOC)) == (20, sorted(VOC))
    assert class_names("voc") == VOC
    assert class_names("coco") == COCO
    assert (len(COCO), COCO[0], COCO[-1]) == (80, "person", "toothbrush")


def test_ids_of_coco_leave_ten_gaps() -> None:
    """Those of the 91 classes that the paper names and the data lack."""
    gaps = set(range(1, 91)) - set(COCO_CATEGORIES)
    assert gaps == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert list(COCO_CATEGORIES) == sorted(COCO_CATEGORIES)


def test_lists_and_numbers() -> None:
    assert class_names(["train", "boat"]) == ("train", "boat")
    assert class_names(3) == ("1", "2", "3")
    assert len(class_names(254)) == 254


@pytest.mark.parametrize("given", ["vco", "", None, [], 0, -1, True, 255, ["a", "a"], ["background"], {"a": 1}])
def test_refusals(given: object) -> None:
    with pytest.raises(UserError, match=r"^classes"):
        class_names(given)
