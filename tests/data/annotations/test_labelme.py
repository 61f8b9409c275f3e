"""Whatever stands in a file of labelme's, it is read or a fault is told: nothing is raised."""

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from eps.data.annotations.labelme import read_labelme
from eps.data.annotations.records import AnnotatedPhoto, Report
from eps.data.annotations.source import SourcePhotos
from eps.data.coco_segmentation import checked_segmentation

SIZE = (30, 40)
POLYGON = {"label": "cat", "points": [[1, 1], [9, 1], [9, 9]], "group_id": None, "shape_type": "polygon", "flags": {}}
PHOTO = {"shapes": [POLYGON], "imagePath": "a.png", "imageData": None, "imageHeight": 30, "imageWidth": 40, "flags": {}}
ODD = (
    *(None, True, 5, -1.5, 10**400, float("nan"), float("inf"), "", "x", "\ud800", "\x00", "../../x.jpg", "AAAA"),
    *([], [None], [[]], [[1]], [[1, 2]], [["a", "b"]], [[1, 2], [3]], [[1e300, 1], [2, 2], [3, 4]], {}, {"x": True}),
)


def read(root: Path, content: Any) -> tuple[AnnotatedPhoto | None, Report]:
    Image.new("RGB", SIZE[::-1]).save(root / "a.png")
    (root / "a.json").write_text(json.dumps(content))
    report = Report()
    return read_labelme(root / "a.json", SourcePhotos(root), report), report


@pytest.mark.parametrize("value", ODD, ids=str)
def test_odd_values(tmp_path: Path, value: Any) -> None:
    """In any place of the file: the photo comes back, or a fault or a note says why not."""
    kinds = ("polygon", "rectangle", "circle", "mask")
    shapes = [POLYGON | {key: value} for key in POLYGON]
    shapes += [POLYGON | {"shape_type": kind, "points": value, "mask": value} for kind in kinds]
    shapes.append(POLYGON | {"shape_type": "mask", "points": [[1, 1], [2, 2]], "mask": value})
    contents = [PHOTO | {key: value} for key in PHOTO] + [PHOTO | {"shapes": [shape]} for shape in shapes]
    for content in (*contents, value, PHOTO | {"imagePath": "nowhere.png", "imageData": value}):
        found, report = read(tmp_path, content)
        assert found is not None or report.faults or report.left_out
        if found is not None:
            assert found.objects or report.faults or report.left_out or content["shapes"] == []
            for made in found.objects:
                assert made.area > 0


@pytest.mark.parametrize("radius", [0.4, 1, 5, 14])
def test_a_circle_is_round(tmp_path: Path, radius: float) -> None:
    """Against its own inequality, pixel by pixel."""
    shape = POLYGON | {"shape_type": "circle", "points": [[18.5, 15], [18.5, 15 + radius]]}
    found, report = read(tmp_path, PHOTO | {"shapes": [shape]})
    assert found is not None
    assert report.faults == []
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    distance = np.hypot(x - 18.5, y - 15)
    if not found.objects:
        assert radius < 0.5
        return
    mask = coco_mask.decode(checked_segmentation(found.objects[0].segmentation, height=SIZE[0], width=SIZE[1])) > 0
    assert mask[distance < radius - 0.8].all()
    assert not mask[distance > radius + 0.8].any()


def test_a_bitmap_is_put_in_its_place(tmp_path: Path) -> None:
    """One of another size than its box, or that sticks out, is a fault."""
    bitmap = np.random.default_rng(0).integers(0, 2, (4, 5), dtype=np.uint8) * 255
    held = BytesIO()
    Image.fromarray(bitmap).save(held, format="PNG")
    text = base64.b64encode(held.getvalue()).decode()

    def of(*points: list[float]) -> tuple[AnnotatedPhoto | None, Report]:
        shape = POLYGON | {"shape_type": "mask", "points": points, "mask": text}
        return read(tmp_path, PHOTO | {"shapes": [shape]})

    found, _ = of([10.2, 20.4], [14, 23])
    assert found is not None
    expected = np.zeros(SIZE, dtype=bool)
    expected[20:24, 10:15] = bitmap > 0
    assert np.array_equal(coco_mask.decode(found.objects[0].segmentation) > 0, expected)
    assert of([10, 20], [15, 23])[1].faults[0].endswith("shape 1: its mask is 5x4, its box 6x4")
    assert of([38, 20], [42, 23])[1].faults[0].endswith("shape 1: its mask sticks out of the photo")
    assert of([10, 20])[1].faults[0].endswith("shape 1: it needs two points, two corners, not 1")
