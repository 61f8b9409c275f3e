"""A json in COCO's format in which something has been put in the place of something else, anything anywhere."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eps.data.coco import read_coco
from eps.data.coco_checks import coco_faults
from eps.data.coco_truth import CocoTruth
from eps.errors import UserError

SCALARS = st.none() | st.booleans() | st.integers(-3, 12) | st.integers() | st.floats() | st.text(max_size=5)
ODD = ("a.jpg", "../a.jpg", "a", "cat", "background", 1e300, 10**30, [[0, 0, 4, 0, 4, 4]], [1, 1, 4, 4])
JSON = st.recursive(
    SCALARS
    | st.sampled_from(
        ["a.jpg", "../a.jpg", "a", "cat", "background", 1e300, 10**30, [[0, 0, 4, 0, 4, 4]], [1, 1, 4, 4]]
    ),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(["id", "name", "size"]), inner),
    max_leaves=8,
)
LARGEST = 10_000
"""Pixels of photos whose masks are drawn here."""


def whole() -> dict[str, Any]:
    """One photo with each form of a segmentation, and one without anything."""
    box: list[float] = [1, 1, 4, 4]
    forms = (
        [[1.0, 1.0, 5.0, 1.0, 5.0, 5.0, 1.0, 5.0]],
        {"size": [6, 8], "counts": [7, 4, 2, 4, 2, 4, 2, 4, 19]},
        {"size": [6, 8], "counts": "74200000a0"},
    )
    common = {"image_id": 1, "category_id": 3, "bbox": box, "area": 16.0}
    return {
        "images": [
            {"id": 1, "file_name": "a.jpg", "height": 6, "width": 8},
            {"id": 2, "file_name": "b.jpg", "height": 6, "width": 8},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {"id": number, "segmentation": form, "iscrowd": int(isinstance(form, dict)), **common}
            for number, form in enumerate(forms, start=1)
        ],
    }


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to everything in it."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from places(value, (*path, key))


PLACES = list(places(whole()))


def changed(place: tuple[Any, ...], value: Any, *, taken_out: bool) -> dict[str, Any]:
    content = whole()
    at: Any = content
    for key in place[:-1]:
        at = at[key]
    if taken_out:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return content


def usable(path: Path) -> str:
    """Read the file, draw all masks; what keeps one from it, in one line."""
    try:
        content = read_coco(path)
        truth = CocoTruth((path,))
        for photo, held in content.photos.items():
            if held.height * held.width <= LARGEST:
                assert truth(photo).semantic.shape == (held.height, held.width)
    except UserError as error:
        return str(error)
    return ""


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), value=JSON, taken_out=st.booleans())
def test_what_no_fault_is_told_of_can_be_used(
    tmp_path: Path, place: tuple[Any, ...], value: Any, taken_out: bool
) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(changed(place, value, taken_out=taken_out)))
    faults = ["no json"]
    with suppress(UserError):
        faults = coco_faults(path).faults
    told = usable(path)
    assert not any("\n" in line for line in (*faults, told))
    assert faults or not told


def test_the_whole_one_is_without_faults(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(whole()))
    assert coco_faults(path).faults == []
    masks = CocoTruth((path,))("a").masks
    assert (masks.shape, masks.sum(axis=(1, 2)).tolist()) == ((3, 6, 8), [16, 16, 16])
