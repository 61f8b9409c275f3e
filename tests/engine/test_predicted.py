"""Photos come back in their order with what was found, in batches that do not depend on who else works."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops

from eps.data.artifacts import read_json
from eps.data.prediction_files import CocoIds
from eps.data.sources import Footage, Frame, Photos
from eps.data.video import Video
from eps.engine import predicted, ranks
from eps.engine.instances import Instances, no_instances
from eps.engine.predicted import found_in, own_share, remark_skipped, unreadable, with_rate, write_all, write_coco
from eps.engine.predictor import Predictor
from eps.errors import UserError


class Counting(Predictor):
    """Finds nothing, and notes how many photos it is given at once."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict_many(self, images: Iterable[Any], *, batch: int = 1) -> Iterator[Instances]:
        given = list(images)
        self.batches.append(len(given))
        for image in given:
            yield no_instances(size=(image.height, image.width), device=torch.device("cpu"))


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    """Seven, photo n is n + 1 pixels wide."""
    for number in range(7):
        Image.new("RGB", (number + 1, 2)).save(tmp_path / f"{number}.png")
    return Photos(files={str(number): tmp_path / f"{number}.png" for number in range(7)})


@pytest.fixture
def camera() -> Footage:
    video = Video.__new__(Video)  # none is opened
    video.source, video.rate, video.count = "0", 25.0, None
    return Footage(video=video, most=0)


@pytest.mark.parametrize(("batch", "batches"), [(1, [1] * 7), (3, [3, 3, 1]), (9, [7])])
def test_every_photo_comes_with_what_is_found_in_it(photos: Photos, batch: int, batches: list[int]) -> None:
    predictor = Counting()
    found = list(found_in(photos, predictor, batch=batch))
    assert [frame.id for frame, _ in found] == list(photos.files)
    assert all(frame.image.width == instances.masks.shape[2] for frame, instances in found)
    assert predictor.batches == batches


def test_processes_take_whole_batches_in_turn(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_share(photos, batch=2) is photos
    shares = []
    for rank in range(2):
        monkeypatch.setattr(ranks, "count", lambda: 2)
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        share = own_share(photos, batch=2)
        assert isinstance(share, Photos)
        shares.append(list(share.files))
    assert shares == [["0", "1", "4", "5"], ["2", "3", "6"]]


def test_footage_is_not_shared(camera: Footage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_share(camera, batch=2) is camera
    monkeypatch.setattr(ranks, "count", lambda: 2)
    with pytest.raises(UserError, match=r"^source=0: several processes share photos alone"):
        own_share(camera, batch=2)


def interrupted(made: int) -> Iterator[int]:
    yield from range(made)
    raise KeyboardInterrupt


def test_ctrl_c_keeps_what_a_camera_gave(camera: Footage, photos: Photos, capsys: pytest.CaptureFixture[str]) -> None:
    written: list[int] = []
    assert write_all(camera, interrupted(3), written.append) == 3
    assert written == [0, 1, 2]
    assert "3 photos in" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        write_all(photos, interrupted(3), written.append)
    with pytest.raises(KeyboardInterrupt):
        write_all(camera, interrupted(0), written.append)


class Rating(Predictor):
    """Finds one thing in every photo, whose mask it may rate."""

    rates_masks = False

    def __init__(self) -> None:
        self.classes = ("train",)

    def predict_many(self, images: Iterable[Any], *, batch: int = 1) -> Iterator[Instances]:
        for image in images:
            yield Instances(
                boxes=torch.tensor([[0.0, 0.0, 1.0, 2.0]]),
                scores=torch.tensor([0.5]),
                classes=torch.tensor([0]),
                masks=torch.ones(1, image.height, image.width, dtype=torch.bool),
                mask_scores=torch.tensor([0.25 if self.rates_masks else 0.5]),
                class_names=self.classes,
            )


@pytest.mark.parametrize("rating", [False, True])
def test_rated_masks_and_their_boxes_have_a_results_file_each(photos: Photos, tmp_path: Path, rating: bool) -> None:
    """COCO's AP of boxes goes by the boxes' scores, that of masks by the masks'."""
    predictor = Rating()
    predictor.rates_masks = rating
    assert write_coco(photos, predictor, tmp_path, ids=CocoIds(), batch=2) == 7
    masks = read_json(tmp_path / "results.json")
    score = 0.25 if rating else 0.5
    assert [(entry["image_id"], entry["score"]) for entry in masks] == [(n, score) for n in photos.files]
    assert all("segmentation" in entry for entry in masks)
    assert (tmp_path / "results_bbox.json").is_file() == rating
    if rating:
        boxes = read_json(tmp_path / "results_bbox.json")
        assert [(entry["image_id"], entry["score"]) for entry in boxes] == [(n, 0.5) for n in photos.files]
        assert not any("segmentation" in entry for entry in boxes)
    assert read_json(tmp_path / "categories.json") == [{"id": 1, "name": "train"}]


def test_the_rate_that_is_drawn_is_that_of_the_last_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten at 0.1 s, then forty at 0.5 s: in the end thirty have taken fifteen seconds."""
    clock = iter([0.0, *(0.1 * n for n in range(1, 11)), *(1 + 0.5 * n for n in range(1, 41))])
    monkeypatch.setattr(predicted.time, "monotonic", lambda: next(clock))
    told: list[float] = []
    draw = predicted.draw_rate
    monkeypatch.setattr(predicted, "draw_rate", lambda image, rate: told.append(rate) or draw(image, rate))
    grey = Image.new("RGB", (200, 100), (90, 90, 90))
    made = list(with_rate(Frame(f"{n}", grey) for n in range(50)))
    assert [frame.id for frame in made] == [f"{n}" for n in range(50)]
    assert (told[9], told[-1]) == (pytest.approx(10), pytest.approx(2))
    changed = ImageChops.difference(made[-1].image, grey).getbbox()
    assert changed is not None
    assert max(changed[2] - 100, changed[3] - 50) < 0, "the upper left corner"
    assert grey.getcolors() == [(20000, (90, 90, 90))]


def test_photos_that_cannot_be_read_are_told_all_at_once(photos: Photos, capsys: pytest.CaptureFixture[str]) -> None:
    assert unreadable(photos, name="there", skip=False) == {}
    first, second, *_ = photos.files
    for photo in (first, second):
        photos.files[photo].write_text("no photo")
    with pytest.raises(UserError, match=r"source=there: 2 of 7 photos cannot be read: .* data\.on_error=skip"):
        unreadable(photos, name="there", skip=False)
    told = capsys.readouterr().err
    assert told.count("cannot be read as an image") == 2
    skipped = unreadable(photos, name="there", skip=True)
    assert list(skipped) == [first, second]
    assert len(photos.without(skipped)) == 5
    remark_skipped(skipped)
    assert capsys.readouterr().err.count("\n") == 3
    for path in photos.files.values():
        path.write_text("no photo")
    with pytest.raises(UserError, match=r"7 of 7 photos cannot be read: mend or remove them$"):
        unreadable(photos, name="there", skip=True)
    one = Photos(files={first: photos.files[first]})
    with pytest.raises(UserError, match="cannot be read as an image"):
        unreadable(one, name="there", skip=True)
