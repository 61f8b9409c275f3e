"""EPS as published, end to end on four photos in VOC's folders: WideResNet-38, trained and as released."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eps import pseudo_masks, train_cls, train_seg
from eps.data.artifacts import file_hash, read_json
from eps.data.class_names import VOC

pytestmark = pytest.mark.slow

Command = Callable[..., tuple[int, str]]
LAYOUT = Path(__file__).parents[1] / "golden" / "resnet38_eps_state_dict.json"
IDS = [f"2012_00000{i}" for i in range(4)]
SMALL = (
    "classifier.steps=1",
    "classifier.batch=2",
    "classifier.augment.crop=48",
    "classifier.augment.long_side=[32,64]",
    "trunk.weights=none",
    "runtime.device=cpu",
    "runtime.workers=0",
    "runtime.checkpoint_every=0",
)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Photos of 40 x 32 with annotations, saliency maps and one list."""
    root, generator = tmp_path / "VOC2012", np.random.default_rng(0)
    for name in ("JPEGImages", "SALImages", "Annotations", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    for photo, label in zip(IDS, ("train", "boat", "train", "cat"), strict=True):
        pixels = generator.integers(0, 256, size=(32, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{photo}.jpg")
        Image.fromarray(pixels[..., 0]).save(root / "SALImages" / f"{photo}.png")
        text = f"<annotation><object><name>{label}</name><difficult>0</difficult></object></annotation>"
        (root / "Annotations" / f"{photo}.xml").write_text(text)
    for split in ("train_aug", "val"):
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{photo}\n" for photo in IDS))
    return root


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A file with EPS's key layout, small since its tensors are stored once a value."""
    shapes = json.loads(LAYOUT.read_text())
    state = {f"module.{key}": torch.tensor(0.01).expand(shape) for key, shape in shapes.items()}
    rows = torch.linspace(-1e-3, 1e-3, 21)[:, None, None, None].expand(21, 4096, 1, 1)
    torch.save(state | {"module.fc8.weight": rows}, tmp_path / "res38_eps.pth")
    return tmp_path / "res38_eps.pth"


def test_one_step_and_its_masks(command: Command, voc: Path, tmp_path: Path) -> None:
    settings = ("experiment=voc12_paper", f"data.root={voc}", f"run_dir={tmp_path / 'run'}", *SMALL)
    code, text = command(train_cls.main, *settings)
    assert code == 0, text
    history = read_json(tmp_path / "run" / "classifier" / "manifest.json")["history"]
    assert [sorted(terms) for terms in history] == [["saliency", "tags"]]
    code, text = command(pseudo_masks.main, *settings, "pseudo_masks.scales=[0.5,1]")
    assert code == 0, text
    manifest = read_json(tmp_path / "run" / "pseudo_masks" / "manifest.json")
    assert manifest["threshold"] == 0.2
    assert sorted(path.stem for path in (tmp_path / "run" / "pseudo_masks" / "masks").iterdir()) == IDS


def test_masks_from_a_released_checkpoint(command: Command, voc: Path, released: Path, tmp_path: Path) -> None:
    settings = ("experiment=voc12_paper", f"data.root={voc}", f"run_dir={tmp_path / 'run'}", *SMALL)
    chosen = (*settings, "pseudo_masks.scales=[1]", f"model={released}")
    code, text = command(pseudo_masks.main, *chosen)
    assert code == 0, text
    manifest = read_json(tmp_path / "run" / "pseudo_masks" / "manifest.json")
    assert manifest["classifier"] == file_hash(released)
    tags = {photo: VOC.index(label) + 1 for photo, label in zip(IDS, ("train", "boat", "train", "cat"), strict=True)}
    for photo, label in tags.items():
        with Image.open(tmp_path / "run" / "pseudo_masks" / "masks" / f"{photo}.png") as mask:
            assert set(np.unique(np.asarray(mask))) <= {0, label}
    moved = released.rename(tmp_path / "moved.pth")
    code, text = command(pseudo_masks.main, *chosen[:-1], f"model={moved}")
    assert (code, "is up to date" in text) == (0, True), "where the file lies is no matter"


def test_a_released_checkpoint_for_other_classes(
    command: Command, dataset: Path, released: Path, tmp_path: Path
) -> None:
    settings = ("experiment=tiny", "data=folder", f"data.root={dataset}", f"run_dir={tmp_path / 'run'}")
    code, text = command(pseudo_masks.main, *settings, f"model={released}")
    assert code == 2
    assert re.search(r"error: .*res38_eps\.pth has 21 maps; the dataset's 5 classes take 5 \(CAM\) or 6 \(EPS\)", text)


def test_yolact_needs_another_trunk(command: Command, own_dataset: Path, own_run: Path) -> None:
    settings = ("experiment=tiny", "data=folder", f"data.root={own_dataset}", f"run_dir={own_run}")
    code, text = command(train_seg.main, *settings, "trunk.head=identity", "trunk.output_stride=8")
    assert code == 2
    assert "error: trunk.head=identity has no pyramid" in text
    assert "segmenter.warm_start=false" in text


def test_identity_prototypes_on_a_timm_network(command: Command, dataset: Path, tmp_path: Path) -> None:
    settings = ("experiment=tiny", "data=folder", f"data.root={dataset}", f"run_dir={tmp_path / 'run'}")
    trunk = ("trunk.head=identity", "trunk.output_stride=8", "trunk.frozen_stages=1", "trunk.frozen_norm=true")
    for verb in (train_cls, pseudo_masks):
        code, text = command(verb.main, *settings, *trunk, "classifier=eps_paper", "pseudo_masks.threshold=0.3")
        assert code == 0, text
