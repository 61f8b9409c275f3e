"""docs/MOVING.md tells of every flag of YOLACT's, and every setting that it names exists."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from eps.cli import compose

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "MOVING.md").read_text(encoding="utf-8")
TRAIN = (
    *("batch_size", "resume", "start_iter", "num_workers", "cuda", "lr", "momentum", "decay", "gamma", "save_folder"),
    *("log_folder", "config", "save_interval", "validation_size", "validation_epoch", "keep_latest"),
    *("keep_latest_interval", "dataset", "no_log", "log_gpu", "no_interrupt", "batch_alloc", "no_autoscale"),
)
EVAL = (
    *("trained_model", "top_k", "cuda", "fast_nms", "cross_class_nms", "display_masks", "display_bboxes"),
    *("display_text", "display_scores", "display", "shuffle", "ap_data_file", "resume", "max_images"),
    *("output_coco_json", "bbox_det_file", "mask_det_file", "config", "output_web_json", "web_det_path", "no_bar"),
    *("display_lincomb", "benchmark", "no_sort", "seed", "mask_proto_debug", "no_crop", "image", "images", "video"),
    *("video_multiframe", "score_threshold", "dataset", "detect", "display_fps", "emulate_playback"),
)
CONFIGS = ("base", "im400", "im700", "darknet53", "resnet50", "resnet50_pascal", "plus_base", "plus_resnet50")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def snippets(name: str) -> list[str]:
    """What stands in backticks to the right of a table's first column, or in running text, or as a command."""
    found = []
    text = (DOCS / name).read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("    "):
            found.append(line.split(" #")[0].strip())
        elif line.startswith("| "):
            found += re.findall(r"`([^`]+)`", line.split("|", 2)[2])
    prose = "\n".join(line for line in text.splitlines() if not line.startswith(("|", "    ")))
    return [" ".join(code.split()) for code in (*found, *re.findall(r"`([^`]+)`", prose))]


def settings(name: str) -> list[str]:
    return sorted({code for code in snippets(name) if "=" in code and "..." not in code})


@pytest.mark.parametrize(("table", "flags"), [("train.py", TRAIN), ("eval.py", EVAL)])
def test_every_flag_has_a_row(table: str, flags: tuple[str, ...]) -> None:
    told = [flag for row in rows(table) for flag in re.findall(r"`--(\w+)`", row[0])]
    assert sorted(told) == sorted(flags)
    for flag, here, *_ in rows(table):
        assert "=" in here or here in ("not needed", "not there", "the same command again"), flag


def test_every_config_has_a_row() -> None:
    told = {row[0]: row[1] for row in rows("Configs")}
    assert {f"`yolact_{name}_config`" for name in CONFIGS} <= told.keys()


def overrides(code: str) -> dict[str, str]:
    """By key the settings of a snippet, and what it needs beside them."""
    words = shlex.split(code.removeprefix("torchrun --nproc_per_node=2 ").removeprefix("python "))
    if words[0] == "-m":
        assert find_spec(words[1]) is not None, code
        words = words[2:]
    needed = {"experiment": "yolact_coco", "data.root": "photos"}
    for start, key, value in (
        ("segmenter.start=", "segmenter.weights", "released:yolact_base_10_32100.pth"),
        ("data.val_share=", "data", "coco"),
        ("released=", "model", "mine_10_2000.pth"),
        ("classes=[cat", "model", "mine_10_2000.pth"),
        ("convert.masks=", "convert", "voc_xml"),
        ("convert.difficult=", "convert", "voc_xml"),
    ):
        if start in code:
            needed[key] = value
    return needed | dict(word.split("=", 1) for word in words)


def packed() -> list[list[str]]:
    """All snippets of the documents in as few commands as can be: to compose one takes a while."""
    packs: list[dict[str, str]] = []
    for code in (*settings("MOVING.md"), *settings("CONVERT.md")):
        given = overrides(code)
        fits = (pack for pack in packs if all(pack.get(key, value) == value for key, value in given.items()))
        pack = next(fits, None)
        if pack is None:
            packs.append(pack := {})
        pack |= given
    return [[f"{key}={value}" for key, value in pack.items()] for pack in packs]


@pytest.mark.parametrize("words", packed())
def test_every_setting_composes(words: list[str]) -> None:
    compose(*words)


def test_a_setting_that_is_not_there_would_be_found() -> None:
    assert "runtime.workers=4" in settings("MOVING.md")
    assert "predict.draw=[masks,boxes,names]" in settings("MOVING.md")
    assert len(settings("MOVING.md")) > 60
