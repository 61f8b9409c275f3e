"""Photos as people have them, grey, untagged, of odd sizes, smaller than the crop, and sets of one class or none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eps
from eps.data.artifacts import read_instances, read_json, read_mask, write_json
from eps.data.railroad import CLASSES

pytestmark = pytest.mark.slow

GREY, ODD, SMALL, UNTAGGED, ALPHA = (f"train_{number:05d}" for number in range(5))
SIZES = {ODD: (65, 97), SMALL: (20, 11)}
MASKS = ("SALImages", "SegmentationClass", "SegmentationObject", "SegmentationContext")


def resized(path: Path, size: tuple[int, int]) -> None:
    with Image.open(path) as image:
        image.resize(size[::-1], Image.Resampling.NEAREST).save(path)


def tags(root: Path, change: Callable[[list[str]], list[str]], *, classes: tuple[str, ...] = CLASSES) -> None:
    content = read_json(root / "image_labels.json")
    labels = {photo: change(found) for photo, found in content["labels"].items()}
    write_json(root / "image_labels.json", {"classes": classes, "labels": labels})


@pytest.fixture
def unusual(own_dataset: Path) -> Path:
    photos = own_dataset / "JPEGImages"
    with Image.open(photos / f"{GREY}.jpg") as image:
        image.convert("L").save(photos / f"{GREY}.jpg")
    with Image.open(photos / f"{ALPHA}.jpg") as image:
        image.convert("RGBA").save(photos / f"{ALPHA}.png")
    (photos / f"{ALPHA}.jpg").unlink()
    for photo, size in SIZES.items():
        resized(photos / f"{photo}.jpg", size)
        for folder in MASKS:
            resized(own_dataset / folder / f"{photo}.png", size)
    content = read_json(own_dataset / "image_labels.json")
    content["labels"][UNTAGGED] = []
    write_json(own_dataset / "image_labels.json", content)
    return own_dataset


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["classifier.saliency_loss=likelihood", "classifier.pooling=salient"],
        [
            "classifier.saliency_loss=square",
            "classifier.pooling=average",
            "pseudo_masks=crf",
            "pseudo_masks.scales=[0.5,1.5]",
        ],
        ["classifier=cam", "segmenter.warm_start=false", "pseudo_masks.ignore_band=0.1"],
    ],
    ids=["likelihood", "square_crf", "cam"],
)
def test_through_all_stages(
    unusual: Path, tmp_path: Path, run_stages: Callable[..., None], overrides: list[str]
) -> None:
    run = tmp_path / "run"
    run_stages(unusual, run, *overrides)
    instances = read_instances(run / "pseudo_masks" / "instances.json")
    for photo in (GREY, ODD, SMALL, UNTAGGED, ALPHA):
        labels = read_mask(run / "pseudo_masks" / "masks" / f"{photo}.png")
        assert labels.shape == SIZES.get(photo, (64, 64))
        assert all(one.mask.shape == labels.shape for one in instances[photo])
    assert not read_mask(run / "pseudo_masks" / "masks" / f"{UNTAGGED}.png").any()
    assert instances[UNTAGGED] == []
    scores = read_json(run / "evaluation" / "pseudo_masks.json")["splits"]["train"]
    assert 0 < scores["miou"] < 100
    history = read_json(run / "segmenter" / "manifest.json")["history"]
    assert np.isfinite([list(terms.values()) for terms in history]).all()
    predictor = eps.load(run / "segmenter")
    for photo, size in SIZES.items():
        assert predictor.predict(unusual / "JPEGImages" / f"{photo}.jpg").masks.shape[1:] == size


def test_one_class(own_dataset: Path, tmp_path: Path, train: Callable[..., None]) -> None:
    tags(own_dataset, lambda found: ["thing"] if found else [], classes=("thing",))
    train(own_dataset, tmp_path / "run")
    assert eps.load(tmp_path / "run" / "segmenter").classes == ("thing",)
    masks = [read_mask(path) for path in (tmp_path / "run" / "pseudo_masks" / "masks").iterdir()]
    assert set(np.unique(masks)) <= {0, 1}


def test_no_photo_has_a_tag(own_dataset: Path, tmp_path: Path, train: Callable[..., None]) -> None:
    """Nothing can be learnt, but nothing breaks either: there is no instance anywhere."""
    tags(own_dataset, lambda found: [])
    train(own_dataset, tmp_path / "run", "pseudo_masks.threshold=0.3")
    instances = read_json(tmp_path / "run" / "pseudo_masks" / "instances.json")
    assert instances["annotations"] == []
    assert len(instances["images"]) == 12
    history = read_json(tmp_path / "run" / "segmenter" / "manifest.json")["history"]
    assert np.isfinite([list(terms.values()) for terms in history]).all()
    assert history[-1]["mask"] == history[-1]["box"] == 0


def test_no_saliency_at_all(own_dataset: Path, tmp_path: Path, train: Callable[..., None]) -> None:
    """The baseline needs none, given a threshold; a second run finds its score, which is none, again."""
    for path in (own_dataset / "SALImages").iterdir():
        path.unlink()
    run = tmp_path / "run"
    overrides = ("classifier=cam", "pseudo_masks.threshold=0.3", "segmenter.warm_start=false")
    train(own_dataset, run, *overrides)
    before = (run / "classifier" / "manifest.json").stat().st_mtime_ns
    assert read_json(run / "classifier" / "manifest.json")["score"] is None
    assert 0 < read_json(run / "pseudo_masks" / "manifest.json")["score"] <= 1
    train(own_dataset, run, *overrides)
    assert (run / "classifier" / "manifest.json").stat().st_mtime_ns == before


def test_class_without_photos_and_batch_larger_than_the_set(
    own_dataset: Path, tmp_path: Path, train: Callable[..., None]
) -> None:
    """A class that no photo is tagged with, and a batch larger than the set."""
    tags(own_dataset, lambda found: found, classes=(*CLASSES, "unicorn"))
    train(own_dataset, tmp_path / "run", "classifier.batch=16", "segmenter.batch=16")
    assert eps.load(tmp_path / "run" / "segmenter").classes[-1] == "unicorn"
