import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eps import build, report
from eps.cli import compose
from eps.data import railroad
from eps.data.artifacts import write_json, write_mask, write_saliency
from eps.data.layout import DatasetFolder
from eps.engine.agreement import THRESHOLDS
from eps.engine.checkpoint import save_model
from eps.errors import UserError
from eps.schema import Config

SIZES = {"train": 3, "val": 2, "shift": 2}


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    railroad.write(tmp_path / "data", sizes=SIZES, size=64)
    sizes = ",".join(f"{split}:{size}" for split, size in SIZES.items())
    return compose(
        "experiment=tiny",
        f"data.root={tmp_path / 'data'}",
        f"data.sizes={{{sizes}}}",
        f"run_dir={tmp_path / 'run'}",
        "runtime.device=cpu",
    )


def scores(miou: float) -> dict[str, Any]:
    return {
        "miou": miou,
        "per_class": {"background": 90.0, "train": miou},
        "leakage": {"mean": 0.25},
        "instances": {"ap50": 33.0},
    }


def trained(folder: Path, **config: Any) -> None:
    write_json(folder / "manifest.json", {"config": config, "history": [{"loss": 2.0}, {"loss": 1.0}]})
    write_json(folder / "run.json", {"seconds": 2.0})


def labelled(folder: Path, photos: list[str], backend: str, *, threshold: float | str = "auto") -> None:
    for photo in photos:
        write_mask(folder / "masks" / f"{photo}.png", np.full((64, 64), 2, dtype=np.uint8))
    content = {
        "config": {"crf": backend, "threshold": threshold},
        "threshold": 0.4,
        "threshold_curve": [0.5] * len(THRESHOLDS),
        "score": 0.625,
    }
    write_json(folder / "manifest.json", content)
    write_json(folder / "run.json", {"seconds": 1.0})


def segmenter(cfg: Config, folder: Path, supervision: str, mious: dict[str, float]) -> None:
    torch.manual_seed(0)
    model, spec = build.segmenter(cfg, railroad.CLASSES)
    save_model(folder / "model.safetensors", model, spec)
    trained(folder, supervision=supervision)
    splits = {split: scores(miou) for split, miou in mious.items()}
    write_json(folder.parent / "evaluation" / "segmenter.json", {"splits": splits})


def make_everything(cfg: Config) -> None:
    run = Path(cfg.run_dir)
    photos = DatasetFolder.open(Path(cfg.data.root)).ids("train")
    best = {**scores(31.0), "threshold": 0.3, "curve": {str(threshold): 31.0 for threshold in THRESHOLDS}}
    for place, miou in (("cam", 20.0), (".", 70.0), ("crf", 72.0)):
        labelled(run / place / "pseudo_masks", photos, "pydensecrf" if place == "crf" else "none")
        content = {"splits": {"train": scores(miou)}} | ({"best_threshold": best} if place == "cam" else {})
        write_json(run / place / "evaluation" / "pseudo_masks.json", content)
    trained(run / "classifier")
    trained(run / "cam" / "classifier")
    segmenter(cfg, run / "segmenter", "pseudo", {"val": 60.0, "shift": 50.0})
    segmenter(cfg, run / "truth" / "segmenter", "truth", {"val": 80.0, "shift": 70.0})


def test_a_whole_run_is_summed_up(cfg: Config, capsys: pytest.CaptureFixture[str]) -> None:
    make_everything(cfg)
    result = report.run(cfg)
    assert (result.score, result.path) == (60.0, Path(cfg.run_dir) / "report" / "index.html")
    summary = json.loads((result.path.parent / "summary.json").read_text())
    rows = summary["rows"]
    assert [rows[name]["miou_train"] for name in ("cam", "eps", "eps_crf")] == [31.0, 70.0, 72.0]
    assert [rows[name]["miou_shift"] for name in ("segmenter", "segmenter_truth")] == [50.0, 70.0]
    assert rows["eps"]["per_class"] == {"background": 90.0, "train": 70.0}
    assert summary["supervision_ratio"] == 0.75
    assert summary["seconds"]["total"] == pytest.approx(11.0 + summary["seconds"]["report"])
    assert summary["peak_rss_mb"] > 10

    page = result.path.read_text(encoding="utf-8")
    # photo, saliency, CAM, EPS, EPS + CRF, instances, semantic map, truth; photo, both, truth; planes and steps
    assert page.count("<img ") == 3 * 8 + 2 * 4 + 10
    assert len(page) < 5_000_000
    printed = capsys.readouterr().out
    assert "supervision ratio 0.750" in printed
    assert str(result.path) in printed
    *table, _, _ = printed.rstrip().splitlines()
    assert max(map(len, table)) <= 80
    for label in ("CAM (best threshold)", "EPS", "EPS + CRF", "segmenter", "fully supervised segmenter"):
        assert any(line.strip().startswith(label) for line in table), label


def test_photos_without_truth_and_baselines_make_a_report_too(cfg: Config, capsys: pytest.CaptureFixture[str]) -> None:
    root, run = Path(cfg.data.root), Path(cfg.run_dir)
    for kind in ("Class", "Object", "Context"):
        shutil.rmtree(root / f"Segmentation{kind}")
    photos = DatasetFolder.open(root).ids("train")
    labelled(run / "pseudo_masks", photos, "none", threshold=0.4)
    for photo, rows in zip(photos, (16, 64, 32), strict=True):  # the masks cover everything
        saliency = np.zeros((64, 64), dtype=np.uint8)
        saliency[:rows] = 255
        write_saliency(root / "SALImages" / f"{photo}.png", saliency)
    result = report.run(cfg)
    assert math.isnan(result.score)
    summary = json.loads((result.path.parent / "summary.json").read_text())
    assert summary["supervision_ratio"] is None
    assert summary["rows"]["eps"]["miou_train"] is None
    assert summary["seconds"]["pseudo_masks"] == 1.0
    assert summary["rows"]["eps"]["agreement"] == 0.625
    page = result.path.read_text(encoding="utf-8")
    cards = re.findall(
        r"<h3><code>(\w+)</code>.*?IoU with saliency ([\d.]+)</span>.* <span class=\"rank\">(\w+)<", page
    )
    assert [card[:2] for card in cards] == [(photos[1], "1.00"), (photos[2], "0.50"), (photos[0], "0.25")]
    assert cards[2][2] == "worst"
    assert "not by truth: the best, the middle and the worst" in page
    assert not [words for words in ("caption>truth", "True masks", "mIoU", "leakage", "AP50") if words in page]
    assert "<h3>Threshold, set</h3>" in page
    printed = capsys.readouterr().out
    assert "EPS" in printed
    assert "CAM" not in printed
    assert "0.625" in printed
    assert printed.split()[:2] == ["agreement", "0..1"]
    assert "mIoU" not in printed
    assert "ratio" not in printed


def test_a_job_reports_on_its_own_parts_and_on_the_runs_for_the_rest(cfg: Config, tmp_path: Path) -> None:
    make_everything(cfg)
    cfg.out_dir = str(tmp_path / "job")
    segmenter(cfg, tmp_path / "job" / "segmenter", "pseudo", {"val": 40.0})
    result = report.run(cfg)
    assert (result.score, result.path) == (40.0, tmp_path / "job" / "report" / "index.html")
    rows = json.loads((result.path.parent / "summary.json").read_text())["rows"]
    assert (rows["segmenter"]["miou_shift"], rows["eps"]["miou_train"]) == (None, 70.0)
    assert not (Path(cfg.run_dir) / "report").exists()


def test_a_run_with_nothing_in_it_is_refused(cfg: Config) -> None:
    with pytest.raises(UserError, match="nothing to report on: run the stages first"):
        report.run(cfg)
    assert not Path(cfg.run_dir).exists()
