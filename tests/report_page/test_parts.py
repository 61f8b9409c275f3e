from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eps.data.artifacts import write_json
from eps.errors import UserError
from eps.report_page.parts import find_parts, read_evaluation, read_manifest, read_seconds

MASKS = {"config": {"crf": "none"}}
REFINED = {"config": {"crf": "pydensecrf"}}
FROM_TAGS = {"config": {"supervision": "pseudo"}}
FROM_TRUTH = {"config": {"kind": "yolact", "supervision": "truth"}}
DEEPLAB = {"config": {"kind": "deeplab", "supervision": "pseudo"}}
DEEPLAB_FROM_TRUTH = {"config": {"kind": "deeplab", "supervision": "truth"}}


def locate_in(run: Path, **manifests: Any) -> Callable[[str], Path]:
    for artifact, manifest in manifests.items():
        write_json(run / artifact.replace("__", "/") / "manifest.json", manifest)
    return lambda artifact: run / artifact


def test_an_empty_run_has_no_parts(tmp_path: Path) -> None:
    assert not any(vars(find_parts(locate_in(tmp_path))).values())


def test_every_part_is_found_in_its_place(tmp_path: Path) -> None:
    locate = locate_in(
        tmp_path,
        cam__classifier={},
        cam__pseudo_masks=MASKS,
        classifier={},
        pseudo_masks=MASKS,
        crf__pseudo_masks=REFINED,
        segmenter=FROM_TAGS,
        deeplab__segmenter=DEEPLAB,
        truth__segmenter=FROM_TRUTH,
    )
    parts = vars(find_parts(locate))
    assert parts.pop("truth_deeplab") is None
    found = {name: folder.relative_to(tmp_path).as_posix() for name, folder in parts.items()}
    assert found == {
        "cam_classifier": "cam/classifier",
        "cam_pseudo_masks": "cam/pseudo_masks",
        "classifier": "classifier",
        "pseudo_masks": "pseudo_masks",
        "crf_pseudo_masks": "crf/pseudo_masks",
        "segmenter": "segmenter",
        "deeplab": "deeplab/segmenter",
        "truth_segmenter": "truth/segmenter",
    }


def test_a_run_of_its_own_with_crf_and_truth_is_not_taken_for_the_plain_one(tmp_path: Path) -> None:
    locate = locate_in(
        tmp_path, pseudo_masks=REFINED, segmenter=FROM_TRUTH, crf__pseudo_masks=REFINED, truth__segmenter=FROM_TRUTH
    )
    parts = find_parts(locate)
    assert (parts.pseudo_masks, parts.segmenter) == (None, None)
    assert (parts.crf_pseudo_masks, parts.truth_segmenter) == (tmp_path / "pseudo_masks", tmp_path / "segmenter")


def test_a_deeplab_is_not_taken_for_ours_wherever_it_lies(tmp_path: Path) -> None:
    parts = find_parts(locate_in(tmp_path, segmenter=DEEPLAB, truth__segmenter=DEEPLAB_FROM_TRUTH))
    assert (parts.segmenter, parts.truth_segmenter) == (None, None)
    assert (parts.deeplab, parts.truth_deeplab) == (tmp_path / "segmenter", tmp_path / "truth/segmenter")


def test_a_folder_without_manifest_is_not_finished(tmp_path: Path) -> None:
    (tmp_path / "classifier").mkdir()
    assert find_parts(lambda artifact: tmp_path / artifact).classifier is None


def test_a_broken_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json is not JSON"):
        read_manifest(tmp_path)


def test_scores_and_seconds_lie_beside_and_in_an_artifact(tmp_path: Path) -> None:
    write_json(tmp_path / "evaluation" / "segmenter.json", {"splits": {}})
    write_json(tmp_path / "segmenter" / "run.json", {"seconds": 2.5})
    assert read_evaluation(tmp_path / "segmenter") == {"splits": {}}
    assert read_seconds(tmp_path / "segmenter") == 2.5
    assert read_evaluation(tmp_path / "pseudo_masks") == read_evaluation(None) == {}
    assert read_seconds(tmp_path / "pseudo_masks") is read_seconds(None) is None
