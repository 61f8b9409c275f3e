import json
from pathlib import Path
from typing import Any

import pytest

from eps.data.artifacts import write_json
from eps.report_page.parts import Parts
from eps.report_page.rows import Row, Splits, gather_rows, own_segmenter, seconds_of, summary, supervision_ratio

SPLITS = Splits(train="train", val="val", also=("shift",))
ROWS = ["cam", "eps", "eps_crf", "segmenter", "deeplab", "segmenter_truth", "deeplab_truth"]


def scores(miou: float, leakage: float | None = 0.1, ap50: float | None = 30.0) -> dict[str, Any]:
    return {
        "miou": miou,
        "per_class": {"background": 90.0, "train": miou, "boat": None},
        "leakage": None if leakage is None else {"mean": leakage},
        "instances": None if ap50 is None else {"ap50": ap50},
    }


def artifact(folder: Path, seconds: float, **evaluation: Any) -> Path:
    write_json(folder / "run.json", {"seconds": seconds})
    if evaluation:
        write_json(folder.parent / "evaluation" / f"{folder.name}.json", evaluation)
    return folder


def rows_of(**parts: Path) -> dict[str, Row]:
    return {row.name: row for row in gather_rows(Parts(**parts), SPLITS)}


def test_without_artifacts_every_row_is_there_and_knows_nothing() -> None:
    rows = rows_of()
    assert list(rows) == ROWS
    for row in rows.values():
        assert not row.made
        assert row.miou == {"train": None, "val": None, "shift": None}
        assert row.per_class == {}
        assert row.leakage is row.ap50 is row.seconds is None


def test_a_row_has_the_scores_of_its_own_split(tmp_path: Path) -> None:
    segmenter = artifact(
        tmp_path / "segmenter", 7, splits={"val": scores(61.0, 0.02, 44.0), "shift": scores(52.0, 0.9, 5.0)}
    )
    row = rows_of(segmenter=segmenter)["segmenter"]
    assert row.miou == {"train": None, "val": 61.0, "shift": 52.0}
    assert (row.split, row.leakage, row.ap50, row.seconds) == ("val", 0.02, 44.0, 7)
    assert row.per_class == {"background": 90.0, "train": 61.0, "boat": None}


def test_cam_is_scored_at_its_best_threshold_and_says_so(tmp_path: Path) -> None:
    best = {**scores(31.0, 0.4, None), "threshold": 0.3, "curve": {"0.3": 31.0}}
    masks = artifact(tmp_path / "cam" / "pseudo_masks", 2, splits={"train": scores(12.0)}, best_threshold=best)
    row = rows_of(cam_pseudo_masks=masks)["cam"]
    assert (row.label, row.miou["train"], row.leakage) == ("CAM (best threshold)", 31.0, 0.4)
    assert row.ap50 is None, "instances were split at another threshold"


def test_cam_without_an_oracle_is_scored_as_it_was_labelled(tmp_path: Path) -> None:
    masks = artifact(tmp_path / "cam" / "pseudo_masks", 2, splits={"train": scores(12.0)})
    row = rows_of(cam_pseudo_masks=masks)["cam"]
    assert (row.label, row.miou["train"], row.ap50) == ("CAM", 12.0, 30.0)


def test_seconds_of_a_row_leave_out_what_it_shares(tmp_path: Path) -> None:
    classifier = artifact(tmp_path / "classifier", 100)
    masks, refined = artifact(tmp_path / "pseudo_masks", 10), artifact(tmp_path / "crf" / "pseudo_masks", 30)
    both = rows_of(classifier=classifier, pseudo_masks=masks, crf_pseudo_masks=refined)
    assert (both["eps"].seconds, both["eps_crf"].seconds) == (110, 30)
    alone = rows_of(classifier=classifier, crf_pseudo_masks=refined)
    assert (alone["eps"].seconds, alone["eps_crf"].seconds) == (None, 130)


@pytest.mark.parametrize(("ours", "full", "ratio"), [(60.0, 80.0, 0.75), (60.0, None, None), (60.0, 0.0, None)])
def test_supervision_ratio(tmp_path: Path, ours: float, full: float | None, ratio: float | None) -> None:
    parts = {"segmenter": artifact(tmp_path / "segmenter", 1, splits={"val": scores(ours)})}
    if full is not None:
        parts["truth_segmenter"] = artifact(tmp_path / "truth" / "segmenter", 1, splits={"val": scores(full)})
    assert supervision_ratio(list(rows_of(**parts).values())) == ratio


def test_supervision_ratio_is_of_one_kind_of_segmenter(tmp_path: Path) -> None:
    """Ours where it is scored, else DeepLab's."""
    truth = artifact(tmp_path / "truth" / "segmenter", 1, splits={"val": scores(80.0)})
    deeplab = artifact(tmp_path / "deeplab" / "segmenter", 1, splits={"val": scores(40.0)})
    alone = list(rows_of(deeplab=deeplab, truth_deeplab=truth).values())
    assert supervision_ratio(alone) == 0.5
    assert own_segmenter(alone).label == "DeepLab"
    assert supervision_ratio(list(rows_of(deeplab=deeplab, truth_segmenter=truth).values())) is None
    segmenter = artifact(tmp_path / "segmenter", 1, splits={"val": scores(60.0)})
    both = list(rows_of(segmenter=segmenter, deeplab=deeplab, truth_segmenter=truth).values())
    assert supervision_ratio(both) == 0.75
    assert own_segmenter(both).label == "segmenter"


def test_summary_has_every_key_and_only_numbers_that_json_knows(tmp_path: Path) -> None:
    nan = float("nan")
    masks = artifact(tmp_path / "pseudo_masks", 3.5, splits={"train": scores(70.0, nan, nan)})
    parts = Parts(pseudo_masks=masks)
    content = summary(gather_rows(parts, SPLITS), seconds={**seconds_of(parts), "report": 1.0}, peak_rss_mb=99.0)
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["rows"]["eps"] == {
        "miou_train": 70.0,
        "miou_val": None,
        "miou_shift": None,
        "per_class": {"background": 90.0, "train": 70.0, "boat": None},
        "leakage": None,
        "ap50": None,
        "agreement": None,
    }
    assert set(content["rows"]) == set(ROWS)
    assert content["seconds"] == {"pseudo_masks": 3.5, "report": 1.0, "total": 4.5}
    assert (content["supervision_ratio"], content["peak_rss_mb"]) == (None, 99.0)


def test_a_split_named_twice_is_one_column() -> None:
    assert Splits(train="all", val="all", also=("all", "more")).all == ("all", "more")


def test_agreement_is_what_the_artifact_says_of_itself(tmp_path: Path) -> None:
    masks, segmenter = artifact(tmp_path / "pseudo_masks", 1), artifact(tmp_path / "segmenter", 1)
    write_json(masks / "manifest.json", {"score": 0.625})
    write_json(segmenter / "manifest.json", {"score": None})
    rows = rows_of(pseudo_masks=masks, segmenter=segmenter)
    assert (rows["eps"].agreement, rows["segmenter"].agreement, rows["cam"].agreement) == (0.625, None, None)
    assert summary(list(rows.values()), seconds={}, peak_rss_mb=1.0)["rows"]["eps"]["agreement"] == 0.625


def test_agreement_of_cam_is_left_out_at_the_oracles_threshold(tmp_path: Path) -> None:
    masks = artifact(tmp_path / "cam" / "pseudo_masks", 2, splits={"train": scores(12.0)})
    write_json(masks / "manifest.json", {"score": 0.5})
    assert rows_of(cam_pseudo_masks=masks)["cam"].agreement == 0.5
    best = {**scores(31.0), "threshold": 0.4, "curve": {"0.4": 31.0}}
    artifact(masks, 2, splits={"train": scores(12.0)}, best_threshold=best)
    assert rows_of(cam_pseudo_masks=masks)["cam"].agreement is None
