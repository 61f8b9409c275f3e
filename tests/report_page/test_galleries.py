from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eps.data.artifacts import write_json, write_mask, write_scores
from eps.data.layout import DatasetFolder
from eps.data.truth import TruthFolder
from eps.engine.instances import Instances, no_instances
from eps.errors import UserError
from eps.report_page.galleries import CHIPS, Found, spread, stored_maps, training_cards, validation_cards
from eps.report_page.parts import Parts
from eps.report_page.ranking import Chosen, Measure

A = Chosen("a", 62.5, ("best",))
NOTHING = Found({}, {}, {})


def no_maps(photo: str) -> None:
    return None


@pytest.fixture
def folder(tmp_path: Path) -> DatasetFolder:
    """One photo `a`, tagged `cat`, without saliency or truth."""
    (tmp_path / "JPEGImages").mkdir()
    Image.new("RGB", (40, 30), (90, 120, 60)).save(tmp_path / "JPEGImages" / "a.png")
    return DatasetFolder(tmp_path, ("cat", "dog"), {"a": ("cat",)})


def tagged(**tags: str) -> DatasetFolder:
    return DatasetFolder(Path(), ("cat", "dog"), {photo: tuple(names.split()) for photo, names in tags.items()})


def test_photos_are_spread_over_classes_in_the_order_of_the_split() -> None:
    folder = tagged(a="cat", b="cat", c="cat", d="cat dog", e="dog", f="")
    assert spread(folder, list("abcdef"), 2) == ["a", "d"]
    assert spread(folder, list("abcdef"), 4) == ["a", "b", "d", "e"]


def test_photos_without_tags_fill_up() -> None:
    folder = tagged(a="", b="dog", c="", d="")
    assert spread(folder, list("abcd"), 3) == ["a", "b", "c"]
    assert spread(folder, list("abcd"), 9) == list("abcd")


def test_a_photo_alone_makes_a_card(folder: DatasetFolder) -> None:
    [card] = training_cards(Parts(), folder, TruthFolder(folder.root), [A], maps=no_maps, found=NOTHING)
    assert [picture.caption for picture in card.pictures] == ["photo"]
    assert (card.photo, [chip.text for chip in card.tags]) == ("a", ["cat"])


def test_a_card_has_all_that_there_is(folder: DatasetFolder, tmp_path: Path) -> None:
    labels = np.zeros((30, 40), dtype=np.uint8)
    labels[:10] = 2
    for place in ("run/cam", "run", "run/crf"):
        write_mask(tmp_path / place / "pseudo_masks" / "masks" / "a.png", labels)
    write_mask(folder.root / "SegmentationClass" / "a.png", labels)
    (folder.root / "SALImages").mkdir()
    Image.new("L", (40, 30), 99).save(folder.saliency_path("a"))
    parts = Parts(
        cam_pseudo_masks=tmp_path / "run/cam/pseudo_masks",
        pseudo_masks=tmp_path / "run/pseudo_masks",
        crf_pseudo_masks=tmp_path / "run/crf/pseudo_masks",
    )
    [card] = training_cards(parts, folder, TruthFolder(folder.root), [A], maps=no_maps, found=NOTHING)
    assert [p.caption for p in card.pictures] == ["photo", "saliency", "CAM", "EPS", "EPS + CRF", "truth"]
    assert card.pictures[-1].alt == "truth, labels of a: dog"
    assert (card.score, card.ranks, card.classes, card.measure) == (62.5, ("best",), ("cat",), Measure.miou)


def test_a_card_shows_the_maps_of_its_tags_and_what_segmenters_find(folder: DatasetFolder) -> None:
    labels = np.full((30, 40), 2, dtype=np.uint8)
    none = no_instances(size=(30, 40), device=torch.device("cpu"))
    found = Found({"a": none}, {"a": labels}, {})
    maps = np.zeros((2, 30, 40), dtype=np.float32)
    [card] = training_cards(Parts(), folder, TruthFolder(folder.root), [A], maps=lambda photo: maps, found=found)
    captions = [picture.caption for picture in card.pictures]
    assert captions == ["photo", "map: cat", "segmenter: nothing", "semantic map"]
    assert card.pictures[1].alt == "localization map of cat in a"
    assert card.pictures[1].size == (320, 240)


def test_maps_that_were_kept_are_read(tmp_path: Path) -> None:
    maps = np.stack([np.full((30, 40), 0.5), np.zeros((30, 40))]).astype(np.float32)
    write_scores(tmp_path / "scores" / "a.npz", maps)
    np.testing.assert_allclose(stored_maps(tmp_path, "a"), maps, atol=0.01)
    assert stored_maps(tmp_path, "b") is None
    assert stored_maps(None, "a") is None


def test_of_many_instances_some_are_named(folder: DatasetFolder) -> None:
    count = CHIPS + 3
    found = Instances(
        boxes=torch.tensor([[0.0, 0, 20, 20]]).repeat(count, 1),
        scores=torch.full((count,), 0.5),
        classes=torch.zeros(count, dtype=torch.long),
        masks=torch.zeros(count, 30, 40, dtype=torch.bool),
        mask_scores=torch.full((count,), 0.5),
    )
    [card] = validation_cards(folder, TruthFolder(folder.root), [A], Found({"a": found}, {}, {}))
    assert [chip.text for chip in card.pictures[1].chips] == ["cat 0.50"] * CHIPS + ["and 3 more"]


def test_cam_is_drawn_at_its_best_threshold_where_its_maps_were_kept(folder: DatasetFolder, tmp_path: Path) -> None:
    masks = tmp_path / "cam" / "pseudo_masks"
    write_mask(masks / "masks" / "a.png", np.zeros((30, 40), dtype=np.uint8))
    write_scores(masks / "scores" / "a.npz", np.stack([np.full((30, 40), 0.5), np.zeros((30, 40))]).astype(np.float32))
    parts = Parts(cam_pseudo_masks=masks)
    for threshold, seen in ((0.4, "cat"), (0.6, "background alone")):
        write_json(tmp_path / "cam/evaluation/pseudo_masks.json", {"best_threshold": {"threshold": threshold}})
        [card] = training_cards(parts, folder, TruthFolder(folder.root), [A], maps=no_maps, found=NOTHING)
        assert card.pictures[-1].alt == f"CAM, labels of a: {seen}"


def test_found_instances_are_named_with_scores_but_not_the_weak_ones(folder: DatasetFolder) -> None:
    found = Instances(
        boxes=torch.tensor([[0.0, 0, 20, 20], [5, 5, 30, 30]]),
        scores=torch.tensor([0.91, 0.1]),
        classes=torch.tensor([1, 0]),
        masks=torch.zeros(2, 30, 40, dtype=torch.bool),
        mask_scores=torch.tensor([0.91, 0.1]),
    )
    [card] = validation_cards(folder, TruthFolder(folder.root), [A], Found({"a": found}, {}, {}))
    photo, drawn = card.pictures
    assert (photo.caption, drawn.caption) == ("photo", "segmenter")
    assert [chip.text for chip in drawn.chips] == ["dog 0.91"]
    assert drawn.alt == "instances that the segmenter finds in a: dog 0.91"


def test_nothing_found_is_said_and_truth_is_counted(folder: DatasetFolder) -> None:
    semantic = np.zeros((30, 40), dtype=np.uint8)
    semantic[:5, :5] = semantic[20:25, 20:25] = semantic[0:5, 30:35] = 1
    semantic[10:15, 10:15] = 2
    write_mask(folder.root / "SegmentationClass" / "a.png", semantic)
    none = no_instances(size=(30, 40), device=torch.device("cpu"))
    [card] = validation_cards(folder, TruthFolder(folder.root), [A], Found({"a": none}, {}, {}))
    assert card.pictures[1].caption == "segmenter: nothing"
    assert card.pictures[1].alt == "instances that the segmenter finds in a: none"
    assert [chip.text for chip in card.pictures[2].chips] == ["cat (3)", "dog"]


def test_labels_of_deeplab_are_drawn_beside_instances_or_alone(folder: DatasetFolder) -> None:
    none = no_instances(size=(30, 40), device=torch.device("cpu"))
    labels = np.zeros((30, 40), dtype=np.uint8)
    labels[:5] = 2
    truth = TruthFolder(folder.root)
    [both] = validation_cards(folder, truth, [A], Found({"a": none}, {}, {"a": labels}))
    assert [picture.caption for picture in both.pictures] == ["photo", "segmenter: nothing", "DeepLab"]
    assert both.pictures[2].alt == "DeepLab, labels of a: dog"
    [alone] = validation_cards(folder, truth, [A], Found({}, {}, {"a": labels}))
    assert [picture.caption for picture in alone.pictures] == ["photo", "DeepLab"]


def test_maps_of_another_size_are_told(folder: DatasetFolder) -> None:
    truth = TruthFolder(folder.root)
    with pytest.raises(UserError, match=r"the stored maps of photo 'a' are \(2, 30, 41\), wanted are \(2, 30, 40\)"):
        training_cards(Parts(), folder, truth, [A], maps=lambda photo: np.zeros((2, 30, 41), np.float32), found=NOTHING)
