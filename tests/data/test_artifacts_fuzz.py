"""Artifacts that somebody or something has changed: read, or refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eps.data.artifacts import (
    LabelledInstance,
    read_instances,
    read_json,
    read_mask,
    read_scores,
    write_instances,
    write_mask,
    write_scores,
)
from eps.errors import UserError

FUZZ = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CUT, INSERTED = st.integers(0, 12), st.binary(max_size=6)
PLACE = st.floats(0, 1)
NUMBERS = np.random.default_rng(0)


def reads(reader: Callable[[Path], object], path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        reader(path)
    except UserError as error:
        told = str(error)
    else:
        told = ""
    assert "\n" not in told


def changed(content: bytes, place: float, cut: int, inserted: bytes) -> bytes:
    start = int(place * len(content))
    return content[:start] + inserted + content[start + cut :]


@FUZZ
@given(PLACE, CUT, INSERTED)
def test_masks(tmp_path: Path, place: float, cut: int, inserted: bytes) -> None:
    write_mask(tmp_path / "whole.png", NUMBERS.choice(np.array([0, 1, 255], dtype=np.uint8), size=(9, 13)))
    whole = (tmp_path / "whole.png").read_bytes()
    reads(read_mask, tmp_path / "mask.png", changed(whole, place, cut, inserted))


@FUZZ
@given(PLACE, CUT, INSERTED)
def test_scores(tmp_path: Path, place: float, cut: int, inserted: bytes) -> None:
    write_scores(tmp_path / "whole.npz", NUMBERS.uniform(size=(2, 5, 7)))
    whole = (tmp_path / "whole.npz").read_bytes()
    reads(read_scores, tmp_path / "scores.npz", changed(whole, place, cut, inserted))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 10**6) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["size", "counts", "a"]), inner),
    max_leaves=4,
)


@FUZZ
@given(st.sampled_from(["images", "annotations"]), st.integers(0, 9), VALUES, st.binary(max_size=30))
def test_instances(tmp_path: Path, rows: str, key: int, value: object, noise: bytes) -> None:
    instance = LabelledInstance(class_index=1, mask=np.eye(4, 6, dtype=bool), uncertain=False)
    write_instances(tmp_path / "whole.json", {"a": [instance]}, sizes={"a": (4, 6)}, classes=["x", "y"])
    assert read_instances(tmp_path / "whole.json")["a"][0].mask.sum() == 4
    content = read_json(tmp_path / "whole.json")
    row = content[rows][0]
    row[sorted(row)[key % len(row)]] = value
    reads(read_instances, tmp_path / "instances.json", json.dumps(content).encode())
    content[rows] = value
    reads(read_instances, tmp_path / "instances.json", json.dumps(content).encode())
    reads(read_instances, tmp_path / "instances.json", noise)


@FUZZ
@given(
    st.text(alphabet=[chr(code) for code in range(48, 112)], max_size=8), st.integers(0, 10**6), st.integers(0, 10**6)
)
def test_run_lengths(tmp_path: Path, counts: str, height: int, width: int) -> None:
    """pycocotools itself believes any: it shows what was in memory, or sets gigabytes aside."""
    image = {"id": 1, "file_name": "a", "height": height, "width": width}
    segmentation = {"size": [height, width], "counts": counts}
    annotation = {"image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": segmentation}
    content = {"images": [image], "annotations": [annotation], "categories": []}
    reads(read_instances, tmp_path / "instances.json", json.dumps(content).encode())
