import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eps.data.layout import DatasetFolder
from eps.errors import UserError
from eps.saliency.maps import MapSummary, advice, make_maps, summarise

IDS = ["a", "b", "c", "d", "e"]


@pytest.fixture
def folder(tmp_path: Path) -> DatasetFolder:
    (tmp_path / "JPEGImages").mkdir()
    for number, photo in enumerate(IDS):
        Image.new("RGB", (9 + number, 6), (40 * number, 0, 0)).save(tmp_path / "JPEGImages" / f"{photo}.png")
    content = {"classes": ["train"], "labels": {photo: [] for photo in IDS}}
    (tmp_path / "image_labels.json").write_text(json.dumps(content))
    return DatasetFolder.open(tmp_path)


class Red:
    """A network that finds red things salient, and remembers how many photos it was given."""

    def __init__(self) -> None:
        self.given: list[int] = []

    def __call__(self, photos: Sequence[Image.Image]) -> list[np.ndarray]:
        self.given.append(len(photos))
        return [np.asarray(photo.getchannel("R")) for photo in photos]


def test_maps_are_written_as_grey_pngs(folder: DatasetFolder) -> None:
    network = Red()
    assert list(make_maps(folder, IDS, network, batch=2)) == IDS
    assert network.given == [2, 2, 1]
    for number, photo in enumerate(IDS):
        with Image.open(folder.saliency_path(photo)) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "L", (9 + number, 6))
        saliency = folder.saliency(photo, size=(6, 9 + number))
        assert (saliency == 40 * number).all()
    assert sorted(path.name for path in (folder.root / "SALImages").iterdir()) == [f"{photo}.png" for photo in IDS]


def test_missing_maps(folder: DatasetFolder) -> None:
    assert folder.without_saliency(IDS) == IDS
    list(make_maps(folder, ["b", "d"], Red(), batch=4))
    assert folder.without_saliency(IDS) == ["a", "c", "e"]
    line = advice(folder, ["a", "c", "e"], of=5)
    assert line.startswith(f"3 of 5 photos have no saliency map in {folder.root / 'SALImages'} (a.png is missing): ")
    for word in ("saliency=u2net saliency.model=FILE", "eps-seg[saliency]", "saliency=rembg", "classifier=cam"):
        assert word in line
    assert "\n" not in line


def test_what_is_done_stays_done(folder: DatasetFolder) -> None:
    """An unreadable photo is named; the batches before it are on disk."""
    (folder.root / "JPEGImages" / "d.png").write_bytes(b"half")
    done: list[str] = []
    with pytest.raises(UserError, match=r"JPEGImages/d.png cannot be read as an image"):
        done.extend(make_maps(folder, IDS, Red(), batch=2))
    assert done == ["a", "b"]
    assert folder.without_saliency(IDS) == ["c", "d", "e"]


def write(folder: DatasetFolder, **maps: np.ndarray) -> None:
    (folder.root / "SALImages").mkdir(exist_ok=True)
    for photo, values in maps.items():
        Image.fromarray(values.astype(np.uint8)).save(folder.saliency_path(photo))


def test_summary_worked_out_by_hand(folder: DatasetFolder) -> None:
    half = np.zeros((4, 4))
    half[:2] = 255
    some = np.array([[255, 128, 128, 0]])  # two of four are decided, the mean is 511 / (4 * 255)
    write(folder, a=np.zeros((4, 4)), b=np.full((4, 4), 255), c=half, d=np.full((4, 4), 102), e=some)
    found = summarise(folder, IDS)
    assert found.coverage == pytest.approx((0 + 1 + 0.5 + 0.4 + 511 / 1020) / 5)
    assert found.blank == pytest.approx(2 / 5)
    assert found.decided == pytest.approx((0 + 0 + 1 + 0 + 0.5) / 5)


def test_summary_of_an_unreadable_map(folder: DatasetFolder) -> None:
    write(folder, a=np.zeros((4, 4)))
    folder.saliency_path("b").write_bytes(b"")
    with pytest.raises(UserError, match=r"b\.png cannot be read .*; delete it, or .*saliency\.overwrite=true"):
        summarise(folder, ["a", "b"])


def test_summary_is_a_mean(folder: DatasetFolder) -> None:
    random = np.random.default_rng(0)
    write(folder, **{photo: random.integers(0, 256, size=(6, 7)) for photo in IDS})
    singles = np.array([summarise(folder, [photo]) for photo in IDS])
    np.testing.assert_allclose(summarise(folder, IDS), singles.mean(axis=0))


def test_inverse_maps_are_as_decided(folder: DatasetFolder) -> None:
    values = np.random.default_rng(1).integers(0, 256, size=(6, 7))
    write(folder, a=values, b=255 - values)
    one, other = summarise(folder, ["a"]), summarise(folder, ["b"])
    assert one.decided == other.decided
    assert one.coverage == pytest.approx(1 - other.coverage)
    assert isinstance(one, MapSummary)
