"""What the page shows of a photo, without a page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle
from torch import nn
from torch.nn import functional

from eps.app_page.looking import (
    EVERY,
    HEADINGS,
    SIDE,
    Limits,
    Networks,
    Seen,
    instances,
    instances_picture,
    labels_picture,
    map_pictures,
    maps_of,
    of_class,
    pseudo_mask,
    rows,
    see,
    write_files,
)
from eps.app_page.uploads import Upload
from eps.data.artifacts import read_json, read_mask
from eps.engine.instances import Instances
from eps.engine.predictor import Predictor
from eps.models.deeplab import DeepLab
from eps.models.segmenter import SegmenterOutput
from eps.models.spec import DeepLabSpec, SegmenterSpec, build_segmenter
from eps.ops.pseudo_labels import label_map

CLASSES = ("train", "boat")
ALL = Limits(score=0.0, nms_iou=0.5)


def localize(photo: Image.Image, tags: Sequence[int]) -> torch.Tensor:
    """A wedge for each tag, of the other class's from the other side."""
    wedge = torch.linspace(0, 1, photo.width).expand(photo.height, -1)
    maps = torch.stack([wedge, wedge.flip(-1)])
    maps[[c for c in range(2) if c not in tags]] = 0
    return maps


def label(photo: Image.Image, maps: torch.Tensor, threshold: float) -> np.ndarray:
    return label_map(maps, threshold=threshold).numpy()


def visible(found: Instances) -> list[int]:
    """The instances that have pixels."""
    return [number for number, mask in enumerate(found.masks) if mask.any()]


@pytest.fixture(scope="module")
def networks(segmenter_spec: SegmenterSpec) -> Networks:
    torch.manual_seed(0)
    predictor = Predictor(model=build_segmenter(segmenter_spec), spec=segmenter_spec, device=torch.device("cpu"))
    return Networks(classes=CLASSES, predictor=predictor, localize=localize, label=label)


@pytest.fixture(scope="module")
def upload() -> Upload:
    pixels = np.random.default_rng(0).integers(0, 256, size=(40, 60, 3), dtype=np.uint8)
    return Upload("my photo.jpg", Image.fromarray(pixels), (60, 40))


@pytest.fixture(scope="module")
def seen(networks: Networks, upload: Upload) -> Seen:
    return see(networks, upload)


def test_what_is_seen_is_what_the_predictor_finds(networks: Networks, seen: Seen) -> None:
    predictor = networks.predictor
    assert predictor is not None
    found, labels = predictor.predict_all(seen.upload.photo)
    shown = instances(networks, seen, Limits(score=0.05, nms_iou=0.5))
    assert shown is not None
    assert len(found.scores) > 0
    assert all(torch.equal(a, b) for a, b in zip(found, shown, strict=True))
    assert (labels.numpy() == seen.semantic).all()


def test_sliders_leave_the_predictor_as_it_is(networks: Networks, seen: Seen) -> None:
    predictor = networks.predictor
    assert predictor is not None
    before = dict(vars(predictor))
    instances(networks, seen, Limits(score=0.9, nms_iou=0.1, only=1))
    assert vars(predictor) == before


def test_fewer_instances_pass_a_higher_score(networks: Networks, seen: Seen) -> None:
    found = instances(networks, seen, ALL)
    assert found is not None
    middle = float(found.scores.median())
    fewer = instances(networks, seen, ALL._replace(score=middle))
    none = instances(networks, seen, ALL._replace(score=1.0))
    assert fewer is not None
    assert none is not None
    assert 0 < len(fewer.scores) < len(found.scores)
    assert (fewer.scores >= middle).all()
    assert len(none.scores) == 0
    assert rows(none) == []


def test_more_instances_may_overlap_more(networks: Networks, seen: Seen) -> None:
    counts = []
    for overlap in (0.05, 0.5, 0.95):
        found = instances(networks, seen, Limits(score=0.34, nms_iou=overlap))
        assert found is not None
        counts.append(len(found.scores))
    assert counts[0] < counts[1] <= counts[2]


def test_one_class_alone(networks: Networks, seen: Seen) -> None:
    found = instances(networks, seen, ALL._replace(only=1))
    assert found is not None
    assert set(found.names) == {"boat"}
    labels = np.array([[0, 1, 2, 255]], dtype=np.uint8)
    assert of_class(labels, EVERY).tolist() == [[0, 1, 2, 255]]
    assert of_class(labels, 1).tolist() == [[0, 0, 2, 255]]


def test_pictures_are_of_the_pages_size(networks: Networks, seen: Seen) -> None:
    drawn = instances_picture(networks, seen, ALL, found=instances(networks, seen, ALL))
    labelled = labels_picture(seen, seen.semantic)
    assert drawn is not None
    assert labelled is not None
    assert drawn.size == labelled.size == (SIDE, round(SIDE * 40 / 60))
    none = ALL._replace(score=1.0)
    bare = instances_picture(networks, seen, none, found=instances(networks, seen, none))
    assert bare is not None
    assert bare.tobytes() != drawn.tobytes()


def test_the_table_is_in_pixels_of_the_photo(networks: Networks, seen: Seen) -> None:
    found = instances(networks, seen, ALL)
    assert found is not None
    table = rows(found)
    assert len(table) == len(visible(found))
    assert len(table[0]) == len(HEADINGS)
    name, score, box, pixels = table[0]
    x, y, width, height = (int(number) for number in box.split(", "))
    first = visible(found)[0]
    assert (name, score) == (found.names[first], round(float(found.scores[first]), 3))
    assert x + width <= 60
    assert y + height <= 40
    assert pixels == int(found.masks[first].sum()) > 0


def test_what_has_no_pixel_of_the_photo_is_not_shown(
    networks: Networks, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = instances(networks, seen, ALL)
    assert found is not None
    whole, first = instances_picture(networks, seen, ALL, found=found), visible(found)[0]
    find = Predictor.instances

    def without_first(self: Predictor, output: SegmenterOutput, *, size: tuple[int, int]) -> Instances:
        made = find(self, output, size=size)
        if size == (40, 60):  # at the page's size it has some
            made.masks[first] = False
        return made

    monkeypatch.setattr(Predictor, "instances", without_first)
    fewer = instances(networks, seen, ALL)
    assert fewer is not None
    assert rows(fewer) == rows(found)[1:]
    drawn = instances_picture(networks, seen, ALL, found=fewer)
    assert whole is not None
    assert drawn is not None
    assert drawn.tobytes() != whole.tobytes()
    files = write_files(tmp_path, networks, seen, limits=ALL, maps=None, threshold=0.5)
    assert files.coco is not None
    assert len(read_json(files.coco)["annotations"]) == len(visible(found)) - 1


def test_maps_and_pseudo_mask_are_those_of_the_tags(networks: Networks, seen: Seen) -> None:
    maps = maps_of(networks, seen, [0, 1])
    both = map_pictures(networks, seen, maps)
    assert [name for _, name in both] == ["train", "boat"]
    assert [name for _, name in map_pictures(networks, seen, maps, only=1)] == ["boat"]
    assert [name for _, name in map_pictures(networks, seen, maps_of(networks, seen, [0]))] == ["train"]
    light = np.asarray(both[0][0]).astype(int)
    assert light[:, -1, 0].mean() > light[:, 0, 0].mean() + 30, "the wedge rises to the right, from violet to yellow"
    mask = pseudo_mask(networks, seen, maps, threshold=0.75)
    assert mask is not None
    assert (mask[0, 0], mask[0, 30], mask[0, -1]) == (2, 0, 1)
    more = pseudo_mask(networks, seen, maps, threshold=0.5)
    assert more is not None
    assert (more > 0).sum() > (mask > 0).sum()


def test_without_tags_there_is_no_pseudo_mask(networks: Networks, seen: Seen) -> None:
    assert pseudo_mask(networks, seen, None, threshold=0.5) is None
    assert pseudo_mask(networks, seen, maps_of(networks, seen, []), threshold=0.5) is None
    assert map_pictures(networks, seen, None) == []


def test_files_say_what_is_shown(networks: Networks, seen: Seen, tmp_path: Path) -> None:
    limits = ALL._replace(only=1)
    files = write_files(tmp_path, networks, seen, limits=limits, maps=maps_of(networks, seen, [0, 1]), threshold=0.75)
    assert [path and path.name for path in files] == [
        "my photo_instances.json",
        "my photo_semantic.png",
        "my photo_pseudo_mask.png",
    ]
    found = instances(networks, seen, limits)
    assert found is not None
    assert files.coco is not None
    assert files.semantic is not None
    assert files.pseudo_mask is not None
    coco = read_json(files.coco)
    assert coco["images"] == [{"id": 1, "file_name": "my photo.jpg", "width": 60, "height": 40}]
    assert coco["categories"] == [{"id": 1, "name": "train"}, {"id": 2, "name": "boat"}]
    assert {annotation["category_id"] for annotation in coco["annotations"]} == {2}
    masks = [rle.decode(annotation["segmentation"]) for annotation in coco["annotations"]]
    assert (np.array(masks) == found.masks[visible(found)].numpy()).all()
    scores = [annotation["score"] for annotation in coco["annotations"]]
    assert scores == found.mask_scores[visible(found)].tolist()
    assert seen.semantic is not None
    assert (read_mask(files.semantic) == of_class(seen.semantic, 1)).all()
    assert set(np.unique(read_mask(files.pseudo_mask))) == {0, 2}


def test_a_classifier_alone(upload: Upload, tmp_path: Path) -> None:
    networks = Networks(classes=CLASSES, localize=localize, label=label)
    seen = see(networks, upload)
    assert (seen.output, seen.semantic) == (None, None)
    assert instances_picture(networks, seen, ALL, found=None) is labels_picture(seen, seen.semantic) is None
    assert rows(instances(networks, seen, ALL)) == []
    files = write_files(tmp_path, networks, seen, limits=ALL, maps=maps_of(networks, seen, [1]), threshold=0.3)
    assert (files.coco, files.semantic) == (None, None)
    assert files.pseudo_mask is not None


def test_a_segmenter_alone(networks: Networks, upload: Upload, tmp_path: Path) -> None:
    alone = Networks(classes=CLASSES, predictor=networks.predictor)
    seen = see(alone, upload)
    assert maps_of(alone, seen, [0]) is None
    files = write_files(tmp_path, alone, seen, limits=ALL, maps=None, threshold=0.3)
    assert files.coco is not None
    assert files.pseudo_mask is None


class Colours(nn.Module):
    """DeepLab's maps: red for class 0, green for class 1, blue for the background."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": functional.avg_pool2d(images, 4)}


def test_deeplab_has_a_semantic_map_and_no_instances(tmp_path: Path) -> None:
    mean, std = torch.zeros(3), torch.full((3,), 0.1)
    model = DeepLab(backbone=Colours(), head=nn.Identity(), frozen_norm=False, mean=mean, std=std)
    spec = DeepLabSpec(backbone="resnet50", classes=CLASSES, frozen_norm=False, mean=(0.0,) * 3, std=(0.1,) * 3)
    networks = Networks(classes=CLASSES, predictor=Predictor(model=model, spec=spec, device=torch.device("cpu")))
    seen = see(networks, Upload("green.png", Image.new("RGB", (60, 40), (0, 250, 0)), (60, 40)))
    assert instances_picture(networks, seen, ALL, found=instances(networks, seen, ALL)) is None
    assert seen.semantic is not None
    assert (seen.semantic == 2).all()
    files = write_files(tmp_path, networks, seen, limits=ALL, maps=None, threshold=0.3)
    assert (files.coco, files.pseudo_mask) == (None, None)
    assert files.semantic is not None
