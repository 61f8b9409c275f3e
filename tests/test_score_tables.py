from pathlib import Path

import numpy as np
import pytest

from eps.data.artifacts import file_hash, read_json
from eps.metrics.scorecard import Scorecard
from eps.score_tables import numbers, print_scores, shown, write_scores


def card() -> Scorecard:
    """One background pixel of three is called train, one train pixel of two is found; no boat."""
    made = Scorecard(classes=["train", "boat"], boundary_tolerance=1.5, pairs=[("train", "background")])
    made.add_labels(np.array([[0, 0, 1, 1, 0]], np.uint8), np.array([[0, 0, 0, 1, 1]], np.uint8), None)
    return made


def printed(capsys: pytest.CaptureFixture[str], **more: object) -> list[str]:
    print_scores({"subject": "predictions", "splits": {"val": card().summary()}, **more})
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_scores_and_classes(capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed(capsys)
    assert "predictions, percent val" in rows
    assert "mIoU 41.7" in rows  # background 2 of 4, train 1 of 3, no boat
    assert "pixel accuracy 60.0" in rows
    assert "IoU weighted by frequency 43.3" in rows
    assert "boundary F1, within 1.5 px 100.0" in rows
    assert "confusion ratio, background taken for train 1.000" in rows
    assert "mask AP -" in rows
    assert "box AP small, medium, large -" in rows
    assert "class, percent IoU precision recall" in rows
    assert "train 33.3 50.0 50.0" in rows
    assert "boat - - -" in rows


def test_instances_have_cocos_figures(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"ap": 41.0, "ap50": 60.0, "ap75": 43.0, "ap_small": 12.0, "ap_medium": None, "ap_large": 62.5}
    found = card().summary() | {"instances": {**figures, "boxes": figures | {"ap": 44.4}}}
    print_scores({"subject": "segmenter", "splits": {"val": found}})
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    expected = ["mask AP 41.0", "mask AP50 60.0", "mask AP75 43.0", "mask AP small, medium, large 12.0, -, 62.5"]
    assert [row for row in rows if row.startswith("mask AP")] == expected
    assert "box AP 44.4" in rows


def test_the_best_threshold_is_a_column_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed(capsys, best_threshold={"threshold": 0.35, **card().summary()})
    assert "mIoU 41.7 41.7" in rows
    assert any("by truth: 0.35" in row for row in rows)


def test_numbers() -> None:
    assert [shown(None, 1), shown(float("nan"), 1), shown(1.26, 1)] == ["-", "-", "1.3"]


def test_photos_are_listed_the_worst_first(tmp_path: Path) -> None:
    mious = {"val": {"a": 61.256, "b": 3.0, "c": float("nan")}, "shift": {"d": 1.0}}
    write_scores(tmp_path / "own.json", {"splits": {}}, mious)
    table = tmp_path / "own_photos.csv"
    assert table.read_text() == "split,photo,miou\nval,b,3.0\nval,a,61.26\nval,c,\nshift,d,1.0\n"
    assert read_json(tmp_path / "own.json")["files"] == {table.name: file_hash(table)}


def test_numbers_have_the_path_to_them_as_their_name() -> None:
    found = dict(numbers(card().summary(), "val"))
    assert found["val/miou"] == pytest.approx(125 / 3)
    assert found["val/per_class/train"] == pytest.approx(100 / 3)
    assert not [name for name in found if "confusion_ratio" in name and "pairs" not in name]
    assert "val/instances" not in found
