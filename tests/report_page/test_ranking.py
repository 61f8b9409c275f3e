from pathlib import Path

import numpy as np
import pytest

from eps.data.artifacts import write_json, write_mask, write_saliency
from eps.data.layout import DatasetFolder
from eps.report_page.ranking import EACH, MOST, RANKS, Measure, choose, photo_agreements, photo_scores

SCORES = {f"p{number:02}": float(number) for number in range(20)}


def test_the_best_the_middle_and_the_worst_come_best_first() -> None:
    chosen = choose(SCORES, dict.fromkeys(SCORES, ()), [])
    numbers = {rank: [int(one.photo[1:]) for one in chosen if rank in one.ranks] for rank in RANKS}
    assert numbers == {"best": [19, 18, 17, 16], "median": [11, 10, 9, 8], "worst": [3, 2, 1, 0]}
    assert [one.score for one in chosen] == sorted((one.score or 0.0 for one in chosen), reverse=True)
    assert {one.measure for one in chosen} == {Measure.miou}


def test_each_class_adds_its_own() -> None:
    tags = {photo: ("cat",) if photo in ("p05", "p06", "p07", "p19") else () for photo in SCORES}
    ranks = {one.photo: one.ranks for one in choose(SCORES, tags, ["cat", "never"])}
    assert ranks["p19"] == ("best",)
    assert ranks["p07"] == ("median",)
    assert ranks["p05"] == ("worst",)
    assert "p06" not in ranks


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 11])
def test_few_photos_have_one_rank_each(count: int) -> None:
    chosen = choose(dict(list(SCORES.items())[:count]), dict.fromkeys(SCORES, ()), [])
    assert all(len(one.ranks) == 1 for one in chosen)
    assert len(chosen) == min(count, 3 * max(1, count // 3))


def test_many_classes_stay_within_the_limit() -> None:
    scores = {str(number): float(number) for number in range(2000)}
    tags = {photo: (f"class {int(photo) % 200}",) for photo in scores}
    chosen = choose(scores, tags, [f"class {number}" for number in range(200)])
    assert len(chosen) <= 3 * EACH + MOST


def test_scores_are_read_of_one_split_and_only_while_they_are_of_this_artifact(tmp_path: Path) -> None:
    artifact = tmp_path / "segmenter"
    write_json(artifact / "manifest.json", {"fingerprint": "new"})
    place = tmp_path / "evaluation"
    write_json(place / "segmenter.json", {"fingerprint": "new", "splits": {}})
    assert photo_scores(artifact, "val") == {}
    place.joinpath("segmenter_photos.csv").write_text("split,photo,miou\nval,a,12.5\nval,b,\nshift,c,3\n")
    assert photo_scores(artifact, "val") == {"a": 12.5}
    write_json(artifact / "manifest.json", {"fingerprint": "newer"})
    assert photo_scores(artifact, "val") == {}
    assert photo_scores(None, "val") == {}


def test_agreement_is_of_masks_and_saliency_maps_that_have_anything_in_them(tmp_path: Path) -> None:
    left, nothing = np.zeros((6, 8), dtype=np.uint8), np.zeros((6, 8), dtype=np.uint8)
    left[:, :4] = 1
    half = left.copy()
    half[:3] = 0
    masks = {"same": left, "half": half, "other": 1 - left, "failed": nothing, "nothing": nothing, "unsaid": left}
    saliency = dict.fromkeys(masks, left) | {"failed": nothing, "nothing": nothing, "unlabelled": left}
    for photo, mask in masks.items():
        write_mask(tmp_path / "pseudo_masks" / "masks" / f"{photo}.png", mask)
    for photo, values in saliency.items():
        if photo != "unsaid":
            write_saliency(tmp_path / "SALImages" / f"{photo}.png", values * 255)
    labels = {photo: ["cat"] for photo in (*masks, "unlabelled")} | {"nothing": []}
    write_json(tmp_path / "image_labels.json", {"classes": ["cat"], "labels": labels})
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    folder = DatasetFolder.open(tmp_path)
    found = photo_agreements(tmp_path / "pseudo_masks", folder, list(labels))
    assert found == {"same": 1.0, "half": 0.5, "other": 0.0, "failed": 0.0}
    [best, *_] = choose(found, labels, [], measure=Measure.agreement)
    assert best == ("same", 1.0, ("best",), Measure.agreement)
