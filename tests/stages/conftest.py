"""One tiny dataset and one finished run of the three stages, shared by all end-to-end tests."""

import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from eps import build_data, pseudo_masks, train_cls, train_seg
from eps.cli import call, compose
from eps.schema import Config, Result
from stages import stage1, stage2, stage3

ARTIFACTS = ("classifier", "pseudo_masks", "segmenter")

Command = Callable[..., tuple[int, str]]
Run = Callable[..., None]
Contents = dict[str, str]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny railroad set: 12, 4 and 4 scenes of 64 pixels. Not to be changed."""
    root = tmp_path_factory.mktemp("data") / "railroad"
    build_data.dataset(compose("experiment=tiny", f"data.root={root}").data)
    return root


@pytest.fixture(scope="session")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of stages 1 to 3 on it. Not to be changed."""
    run = tmp_path_factory.mktemp("finished") / "run"
    call(all_stages, "experiment=tiny", f"data.root={dataset}", f"run_dir={run}")
    return run


@pytest.fixture
def own_dataset(dataset: Path, tmp_path: Path) -> Path:
    """A copy to change, to be read with data=folder: data=railroad would have its own set there."""
    root = tmp_path / "own data"
    shutil.copytree(dataset, root)
    return root


@pytest.fixture
def own_run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run to change."""
    run = tmp_path / "own run"
    shutil.copytree(finished, run)
    return run


@pytest.fixture(scope="session")
def train() -> Run:
    """Stages 1 to 3 without evaluation and report."""
    return partial(run_on_folder, all_training)


@pytest.fixture(scope="session")
def run_stages() -> Run:
    """Stages 1 to 3."""
    return partial(run_on_folder, all_stages)


def run_on_folder(run: Callable[[Config], Result], root: Path, run_dir: Path, *overrides: str) -> None:
    index = f"data.index={root}.index"
    call(run, "experiment=tiny", "data=folder", f"data.root={root}", index, f"run_dir={run_dir}", *overrides)


def all_training(cfg: Config) -> Result:
    return [verb.run(cfg) for verb in (train_cls, pseudo_masks, train_seg)][-1]


def all_stages(cfg: Config) -> Result:
    return [stage.run(cfg) for stage in (stage1, stage2, stage3)][-1]


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], Contents]:
    """What a run's artifacts hold, byte for byte, but for run.json, which holds seconds."""

    def of(run: Path) -> Contents:
        files = [file for name in ARTIFACTS for file in (run / name).rglob("*") if file.is_file()]
        return {
            str(file.relative_to(run)): sha256(file.read_bytes()).hexdigest()
            for file in files
            if file.name != "run.json"
        }

    return of


class _SmallFeatures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 5, stride=8, padding=2), nn.BatchNorm2d(16), nn.ReLU())

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": self.layers(images)}


def _small_deeplab(*, weights: None, weights_backbone: None, num_classes: int) -> SimpleNamespace:
    return SimpleNamespace(backbone=_SmallFeatures(), classifier=DeepLabHead(16, num_classes))


@pytest.fixture(scope="module")
def quick_deeplab() -> Iterator[None]:
    """In place of DeepLab's ResNet a single convolution; torchvision's head."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eps.models.spec.deeplabv3_resnet50", _small_deeplab)
        yield


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a verb as its command line would, in this process: exit code and what stands on stderr."""
    monkeypatch.chdir(tmp_path)

    def run_main(main: Callable[[], None], *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["verb", *arguments])
        capsys.readouterr()
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run_main
