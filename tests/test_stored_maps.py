"""Stage 2's maps of a folder of photos: in groups or alone, with whatever overlaps, they are those of `localize`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from eps import build, build_data, stored_maps
from eps.cli import compose
from eps.data.artifacts import read_scores
from eps.data.layout import DatasetFolder
from eps.data.unfinished import Unfinished
from eps.engine.inference import localize
from eps.memory_demand import MOST_AT_ONCE, photos_at_once
from eps.models.classifier import Classifier
from eps.schema import Config
from eps.stored_maps import score_files, write_missing_scores

pytestmark = pytest.mark.slow

IDS = [f"photo {number}" for number in range(6)]
SIZES = [(40, 30), (30, 40), (40, 30), (33, 47), (40, 30), (30, 40)]
TURNED = IDS[1]
"""Its file has the size of other photos, and EXIF data that turn it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for photo, (width, height) in zip(IDS, SIZES, strict=True):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        if photo == TURNED:
            image = image.transpose(Image.Transpose.ROTATE_90)
            image.getexif()[ExifTags.Base.Orientation] = 6
        image.save(root / f"{photo}.png", exif=image.getexif())
    labels = ["a", "b", "a;b", "", "c", "b;c"]
    rows = [f"{photo}.png,{tags}" for photo, tags in zip(IDS, labels, strict=True)]
    (root / "labels.csv").write_text("\n".join(["file,labels", *rows]) + "\n")
    return root


def composed(root: Path, *overrides: str) -> Config:
    return compose(
        "experiment=tiny",
        "data=photos",
        f"data.root={root}",
        f"data.index={root}.index",
        "data.val_share=0",
        "pseudo_masks.scales=[0.5,1]",
        *overrides,
    )


@pytest.fixture(scope="module")
def made(folder: Path) -> tuple[DatasetFolder, Classifier]:
    cfg = composed(folder)
    opened = build_data.dataset(cfg.data)
    model, _ = build.classifier(cfg, opened.classes)
    with torch.no_grad():
        model.coefficients.normal_(generator=torch.Generator().manual_seed(0))
    return opened, model.eval()


def written(made: tuple[DatasetFolder, Classifier], cfg: Config, target: Path) -> dict[str, np.ndarray]:
    opened, model = made
    files = score_files(cfg, "hash", opened, IDS, Unfinished(target / "pseudo_masks"))
    write_missing_scores(cfg, model, opened, files)
    return {photo: read_scores(path) for photo, path in files.items()}


@pytest.mark.parametrize("batch", [0, 1, 2, 8])
def test_maps_are_those_of_one_photo_at_a_time(
    made: tuple[DatasetFolder, Classifier], folder: Path, tmp_path: Path, batch: int
) -> None:
    opened, model = made
    found = written(made, composed(folder, f"runtime.batch={batch}"), tmp_path)
    assert set(found) == set(IDS)
    for photo, scores in found.items():
        plain = localize(model, opened.photo(photo), opened.tags(photo), scales=[0.5, 1.0], flip=True)
        np.testing.assert_allclose(scores, plain.numpy(), atol=1e-3)  # stored in 16 bits
        assert (scores.any(axis=(1, 2)) == opened.tags(photo)).all()


def test_adjusted_maps_favour_rare_tags(made: tuple[DatasetFolder, Classifier], folder: Path, tmp_path: Path) -> None:
    """Of six photos a is on two, b on three: where they share a pixel, a gains; a photo of one tag stays as it is."""
    cfg = composed(folder, "pseudo_masks.logit_adjustment=1")
    plain, adjusted = written(made, composed(folder), tmp_path), written(made, cfg, tmp_path)
    assert set(map(str, score_files(cfg, "hash", made[0], IDS, Unfinished(tmp_path / "pseudo_masks")).values())) != set(
        map(str, score_files(composed(folder), "hash", made[0], IDS, Unfinished(tmp_path / "pseudo_masks")).values())
    )
    both, alone = IDS[2], IDS[0]
    np.testing.assert_allclose(adjusted[alone], plain[alone], atol=1e-3)
    np.testing.assert_allclose(adjusted[both].sum(axis=0), plain[both].sum(axis=0), atol=2e-3)
    there = (plain[both][:2] > 0.05).all(axis=0)
    assert there.any()
    odds = [scores[both][0][there] / scores[both][1][there] for scores in (plain, adjusted)]
    np.testing.assert_allclose(odds[1] / odds[0], 3 / 2, rtol=0.05)


def test_what_is_seen_together(
    made: tuple[DatasetFolder, Classifier], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = stored_maps.localize_together

    def counted(model: Any, photos: Any, *arguments: Any, **more: Any) -> Any:
        assert len({photo.size for photo in photos}) == 1
        seen.append(len(photos))
        return real(model, photos, *arguments, **more)

    monkeypatch.setattr(stored_maps, "localize_together", counted)
    for batch, expected in ((0, [1] * 6), (2, [1, 1, 2, 2]), (8, [1, 2, 3])):
        written(made, composed(folder, f"runtime.batch={batch}"), tmp_path / str(batch))
        assert sorted(seen) == expected
        seen.clear()


def test_as_many_as_memory_allows(made: tuple[DatasetFolder, Classifier], folder: Path) -> None:
    """Asked of a GPU alone, the rule is the same anywhere."""
    _, model = made
    cpu = torch.device("cpu")

    def most(limit: float, size: tuple[int, int] = (64, 48)) -> int:
        cfg = composed(folder, f"runtime.memory_limit={limit}", "pseudo_masks.scales=[1]")
        return photos_at_once(cfg, model, size, cpu)

    assert most(1e-6) == 1
    assert 1 < most(0.004) < most(0.008) < MOST_AT_ONCE
    assert most(0.004) < most(0.004, (32, 24))
    assert most(1000) == MOST_AT_ONCE
    assert photos_at_once(composed(folder, "runtime.batch=3"), model, (640, 480), cpu) == 3


def test_only_what_is_missing_is_made(
    made: tuple[DatasetFolder, Classifier], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = written(made, composed(folder), tmp_path)
    monkeypatch.setattr(stored_maps, "localize_together", None)
    again = written(made, composed(folder), tmp_path)
    assert all(np.array_equal(first[photo], again[photo]) for photo in IDS)


def test_16_bits_label_almost_the_same(made: tuple[DatasetFolder, Classifier], folder: Path, tmp_path: Path) -> None:
    """Their files are others; labels by a threshold agree in at least 99 % of the pixels."""
    full = written(made, composed(folder), tmp_path)
    half = written(made, composed(folder, "runtime.precision=bf16"), tmp_path)
    assert len(list((tmp_path / "pseudo_masks.resume" / "scores").iterdir())) == 12
    assert any(not np.array_equal(full[photo], half[photo]) for photo in IDS)
    equal = [((full[photo] > 0.5) == (half[photo] > 0.5)).ravel() for photo in IDS]
    assert np.concatenate(equal).mean() >= 0.99
