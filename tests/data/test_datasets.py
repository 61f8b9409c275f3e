import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from eps.data.datasets import (
    InstanceDataset,
    SemanticDataset,
    TaggedDataset,
    join_labelled,
    join_tagged,
    read_saliency,
)
from eps.data.layout import DatasetFolder
from eps.data.loading import load_batches
from eps.data.samples import MaskSource, PhotoMasks, TaggedPhotos
from eps.data.sampling import Draw, TrainingDraws
from eps.data.transforms import semantic_transform, training_transform, yolact_transform
from eps.errors import UserError

IDS = ["a", "b"]
SIZES = {"a": (65, 97), "b": (20, 30)}  # the second is smaller than the crop
KEEP = v2.ToDtype(torch.float32, scale=True)


@pytest.fixture
def folder(tmp_path: Path) -> DatasetFolder:
    generator = np.random.default_rng(0)
    for name in ("JPEGImages", "SALImages"):
        (tmp_path / name).mkdir()
    for photo, size in SIZES.items():
        coarse = Image.fromarray(generator.integers(0, 256, size=(4, 6), dtype=np.uint8))
        pixels = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC))
        Image.fromarray(pixels).save(tmp_path / "SALImages" / f"{photo}.png")
        Image.fromarray(pixels).save(tmp_path / "JPEGImages" / f"{photo}.png")  # grey, and its own saliency
    content = {"classes": ["train", "boat", "car"], "labels": {"a": ["car", "train"], "b": []}}
    (tmp_path / "image_labels.json").write_text(json.dumps(content))
    return DatasetFolder.open(tmp_path)


def crops(side: int = 48, *, long_side: tuple[int, int] = (38, 72)) -> v2.Compose:
    return training_transform(crop=side, long_side=long_side, flip=0.5, jitter=(0.0,) * 4)


def test_tagged_photo(folder: DatasetFolder) -> None:
    data = TaggedDataset(folder=folder, ids=IDS, transform=KEEP, with_saliency=True)
    sample = data[Draw(0, 0)]
    assert len(data) == 2
    assert sample.photos.shape == (1, 3, 65, 97)
    np.testing.assert_allclose(sample.photos[0].numpy().transpose(1, 2, 0) * 255, np.asarray(folder.photo("a")))
    np.testing.assert_array_equal(sample.saliency[0, 0].numpy(), folder.saliency("a", size=(65, 97)))
    assert sample.tags.tolist() == [[1, 0, 1]]
    assert data[Draw(1, 0)].tags.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("position", [0, 1])
def test_saliency_is_transformed_with_its_photo(folder: DatasetFolder, position: int) -> None:
    data = TaggedDataset(folder=folder, ids=IDS, transform=crops(), with_saliency=True)
    mirrored_alike = []
    for seed in range(6):
        sample = data[Draw(position, seed)]
        assert sample.photos.shape == (1, 4, 48, 48)
        assert sample.saliency.shape == (1, 1, 48, 48)
        pair = torch.stack([sample.photos[0, 0].flatten(), sample.saliency.flatten()]).float()
        mirrored = torch.stack([sample.photos[0, 0].flip(-1).flatten(), sample.saliency.flatten()]).float()
        assert torch.corrcoef(pair)[0, 1] > 0.95
        mirrored_alike.append(float(torch.corrcoef(mirrored)[0, 1]))
    assert min(mirrored_alike) < 0.8


def test_saliency_is_not_even_opened_where_it_is_not_asked_for(folder: DatasetFolder) -> None:
    (folder.root / "SALImages/a.png").unlink()
    sample = TaggedDataset(folder=folder, ids=IDS, transform=KEEP, with_saliency=False)[Draw(0, 0)]
    assert sample.saliency.shape == (1, 1, 65, 97)
    assert not sample.saliency.any()
    with pytest.raises(UserError, match=r"a\.png is missing"):
        TaggedDataset(folder=folder, ids=IDS, transform=KEEP, with_saliency=True)[Draw(0, 0)]


def test_batches(folder: DatasetFolder) -> None:
    draws = TrainingDraws(photos=2, batch=3, steps=2, seed=0)
    data = TaggedDataset(folder=folder, ids=IDS, transform=crops(), with_saliency=True)
    batches = list(DataLoader(data, batch_sampler=draws, collate_fn=join_tagged))
    assert [tuple(batch.photos.shape) for batch in batches] == [(3, 4, 48, 48)] * 2
    expected = [data[draw] for draw in next(iter(draws))]
    for part, parts in zip(batches[0], zip(*expected, strict=True), strict=True):
        assert torch.equal(part, torch.cat(parts))
    assert type(batches[0]) is TaggedPhotos


def test_read_saliency(folder: DatasetFolder) -> None:
    saliency = read_saliency(folder, "b", size=(20, 30))
    np.testing.assert_allclose(saliency.numpy() * 255, folder.saliency("b", size=(20, 30)), rtol=1e-6)
    assert saliency.max() <= 1


class Masks:
    """Two instances in photo a, its upper left quarter and its lower right corner, and a strip of ignored pixels."""

    def __call__(self, photo: str) -> PhotoMasks:
        height, width = SIZES[photo]
        semantic = np.zeros((height, width), dtype=np.uint8)
        if photo == "b":
            nothing = np.zeros((0, height, width), dtype=bool)
            return PhotoMasks(semantic, nothing, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool))
        masks = np.zeros((2, height, width), dtype=bool)
        masks[0, : height // 2, : width // 2] = True
        masks[1, -10:, -10:] = True
        semantic[masks[0]], semantic[masks[1]], semantic[:, -8:-4] = 3, 1, 255
        return PhotoMasks(semantic, masks, np.array([2, 0]), np.array([True, False]))

    def semantic(self, photo: str) -> np.ndarray:
        return self(photo).semantic


def instances(
    folder: DatasetFolder, *, transform: v2.Transform = KEEP, min_area: int = 1, paste: float = 0.0
) -> InstanceDataset:
    return InstanceDataset(folder=folder, ids=IDS, masks=Masks(), transform=transform, min_area=min_area, paste=paste)


def test_instances(folder: DatasetFolder) -> None:
    sample, truth = instances(folder)[Draw(0, 0)], Masks()("a")
    np.testing.assert_allclose(sample.photo.numpy().transpose(1, 2, 0) * 255, np.asarray(folder.photo("a")))
    np.testing.assert_array_equal(sample.semantic.numpy(), truth.semantic)
    np.testing.assert_array_equal(sample.masks.numpy(), truth.masks)
    assert sample.classes.tolist() == [2, 0]
    assert sample.uncertain.tolist() == [True, False]


def test_what_is_cut_down_is_dropped(folder: DatasetFolder) -> None:
    sample = instances(folder, min_area=101)[Draw(0, 0)]
    assert sample.classes.tolist() == [2]
    assert sample.uncertain.tolist() == [True]
    assert len(sample.masks) == 1
    data = instances(folder, transform=crops(16, long_side=(32, 64)), min_area=16)
    kept = [data[Draw(0, seed)] for seed in range(30)]
    assert 0 < sum(len(sample.classes) for sample in kept) < 30
    assert all((sample.masks.flatten(1).sum(dim=1) >= 16).all() for sample in kept)


@pytest.mark.parametrize("position", [0, 1])
def test_instances_are_transformed_with_their_photo(folder: DatasetFolder, position: int) -> None:
    for seed in range(4):
        sample = instances(folder, transform=crops())[Draw(position, seed)]
        assert sample.photo.shape == (4, 48, 48)
        assert sample.semantic.shape == (48, 48)
        assert sample.masks.shape == (len(sample.classes), 48, 48)
        for mask, c in zip(sample.masks, sample.classes, strict=True):
            assert set(sample.semantic[mask].tolist()) <= {c.item() + 1, 255}


def test_label_maps_go_with_their_photos(folder: DatasetFolder) -> None:
    transform = semantic_transform(crop=48, scale=(0.8, 1.5), flip=0.5, jitter=(0.0,) * 4)
    data = SemanticDataset(folder=folder, ids=IDS, masks=Masks(), transform=transform)
    assert len(data) == len(IDS)
    samples = [data[Draw(place, 3)] for place in (0, 1)]
    batch = join_labelled(samples)
    assert batch.photos.shape == (2, 4, 48, 48)
    assert batch.labels.shape == (2, 48, 48)
    assert torch.equal(batch.labels[1], samples[1].labels[0])
    assert set(batch.labels[0].flatten().tolist()) <= {0, 1, 3, 255}
    plain = SemanticDataset(folder=folder, ids=IDS, masks=Masks(), transform=KEEP)[Draw(0, 0)]
    np.testing.assert_allclose(plain.photos[0].numpy().transpose(1, 2, 0) * 255, np.asarray(folder.photo("a")))
    np.testing.assert_array_equal(plain.labels[0].numpy(), Masks().semantic("a"))


class Thin:
    """Truth of photo a: a speck of 3 x 20, a block of 20 x 20, a crowd in the corner."""

    def __call__(self, photo: str) -> PhotoMasks:
        height, width = SIZES[photo]
        masks = np.zeros((3, height, width), dtype=bool)
        masks[0, :20, :3] = masks[1, 30:50, 40:60] = masks[2, -8:, -8:] = True
        semantic = np.zeros((height, width), dtype=np.uint8)
        return PhotoMasks(semantic, masks, np.array([0, 1, 2]), np.array([False, False, True]))

    def semantic(self, photo: str) -> np.ndarray:
        return self(photo).semantic


def test_boxes_below_min_side_are_dropped_in_the_networks_pixels(folder: DatasetFolder) -> None:
    """By the side that is left after augmentation, not by the share of the photo."""
    size, wide = SIZES["a"], (SIZES["a"][0], 2 * SIZES["a"][1])
    for shape, expected in ((size, [1, 2]), (wide, [0, 1, 2])):
        data = InstanceDataset(
            folder=folder,
            ids=IDS,
            masks=Thin(),
            transform=v2.Compose([KEEP, v2.Resize(list(shape))]),
            min_area=1,
            min_side=4.0,
            paste=0.0,
        )
        assert data[Draw(0, 0)].classes.tolist() == expected


def test_what_a_sampled_crop_leaves_out_is_dropped_but_for_crowds(folder: DatasetFolder) -> None:
    transform = yolact_transform(size=(48, 48), flip=0.5, jitter=(0.0,) * 4, expand=2.0, overlap=False, mean=(0.0,) * 3)
    data = InstanceDataset(folder=folder, ids=IDS, masks=Thin(), transform=transform, min_area=4, paste=0.0)
    kept = [data[Draw(0, seed)] for seed in range(60)]
    assert all(len(sample.classes) > 0 for sample in kept)
    assert all((sample.masks.flatten(1).sum(dim=1) >= 4).all() for sample in kept)
    assert any(0 not in sample.classes for sample in kept)
    assert any(1 not in sample.classes for sample in kept)
    assert all(sample.uncertain.tolist() == [c == 2 for c in sample.classes.tolist()] for sample in kept)


class Askew(Masks):
    def __call__(self, photo: str) -> PhotoMasks:
        found = super().__call__(photo)
        return PhotoMasks(found.semantic[1:], found.masks[:, 1:], found.classes, found.uncertain)


@pytest.mark.parametrize("kind", [InstanceDataset, SemanticDataset])
def test_masks_of_another_size_are_told(folder: DatasetFolder, kind: type) -> None:
    more = {"min_area": 1, "paste": 0.0} if kind is InstanceDataset else {}
    data = kind(folder=folder, ids=IDS, masks=Askew(), transform=KEEP, **more)
    with pytest.raises(UserError, match=r"photo 'a': its mask is \(64, 97\), the photo \(65, 97\)"):
        data[Draw(0, 0)]


class Unknown(Masks):
    def __call__(self, photo: str) -> PhotoMasks:
        return super().__call__(photo)._replace(semantic=np.full(SIZES[photo], 4, dtype=np.uint8))


@pytest.mark.parametrize("kind", [InstanceDataset, SemanticDataset])
def test_labels_of_no_class_are_told(folder: DatasetFolder, kind: type) -> None:
    """255 is none, but means something."""
    more = {"min_area": 1, "paste": 0.0} if kind is InstanceDataset else {}
    data = kind(folder=folder, ids=IDS, masks=Unknown(), transform=KEEP, **more)
    with pytest.raises(UserError, match=r"photo 'a': its mask has the label 4, neither in 0\.\.3 nor 255"):
        data[Draw(0, 0)]


def test_the_photos_that_a_draw_is_made_of(folder: DatasetFolder) -> None:
    """Pasted ones, too: whose loss is not a number has to be found."""
    assert instances(folder).sources(Draw(1, 5)) == ["b"]
    pasting = instances(folder, transform=crops(), paste=1.0)
    assert {tuple(pasting.sources(Draw(0, seed))) for seed in range(12)} == {("a", "a"), ("a", "b")}
    for seed in range(6):
        given = pasting.sources(Draw(1, seed))[1]  # photo b has no instances of its own
        assert given == "a" or len(pasting[Draw(1, seed)].classes) == 0
    assert any(len(pasting[Draw(1, seed)].classes) for seed in range(6))
    data = SemanticDataset(folder=folder, ids=IDS, masks=Masks(), transform=KEEP)
    assert data.sources(Draw(1, 0)) == ["b"]


def test_photo_without_instances(folder: DatasetFolder) -> None:
    sample = instances(folder, transform=crops())[Draw(1, 0)]
    assert sample.masks.shape == (0, 48, 48)
    assert sample.classes.dtype == torch.int64
    assert sample.uncertain.dtype == torch.bool
    assert not sample.semantic.any()


def test_masks_come_from_anything_that_gives_them() -> None:
    assert isinstance(Masks(), MaskSource)


def test_pasting_is_a_function_of_the_draw(folder: DatasetFolder) -> None:
    """Only the certain instance of photo a, its corner, may be pasted."""
    data = instances(folder, transform=crops(), paste=1.0)
    plain = instances(folder, transform=crops())
    given = 0
    for seed in range(40):
        sample, again, alone = data[Draw(1, seed)], data[Draw(1, seed)], plain[Draw(1, seed)]
        for one, other in zip(sample, again, strict=True):
            assert torch.equal(one, other)
        assert set(sample.classes.tolist()) <= {0}
        pasted = sample.masks.any(dim=0)
        assert torch.equal(sample.photo[:, ~pasted], alone.photo[:, ~pasted])
        given += len(sample.classes)
    assert 0 < given < 40


def test_no_pasting_unless_asked(folder: DatasetFolder) -> None:
    data = instances(folder, transform=crops(), paste=0.0)
    assert all(len(data[Draw(1, seed)].classes) == 0 for seed in range(10))


def all_kinds(folder: DatasetFolder, *, cache_mb: int) -> list[Dataset[Any]]:
    common: dict[str, Any] = {"folder": folder, "ids": IDS, "transform": crops(), "cache_mb": cache_mb}
    tagged = [TaggedDataset(**common, with_saliency=with_saliency) for with_saliency in (True, False)]
    instances = InstanceDataset(**common, masks=Masks(), min_area=1, paste=0.5)
    return [*tagged, SemanticDataset(**common, masks=Masks()), instances]


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return all(
        a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b) for a, b in zip(one, other, strict=True)
    )


def test_what_is_kept_in_memory_changes_no_sample(folder: DatasetFolder) -> None:
    """Neither values nor memory format, by which kernels choose how to round; and no file is opened twice."""
    draws = [Draw(position, seed) for seed in range(3) for position in (0, 1)]
    expected = [[data[draw] for draw in draws] for data in all_kinds(folder, cache_mb=0)]
    cached = all_kinds(folder, cache_mb=1)
    for data in cached:
        for position in (0, 1):
            _ = data[Draw(position, 99)]
    for name in ("JPEGImages", "SALImages"):
        shutil.rmtree(folder.root / name)
    for data, samples in zip(cached, expected, strict=True):
        assert all(same(data[draw], sample) for draw, sample in zip(draws, samples, strict=True))
    with pytest.raises(UserError, match="cannot be read"):
        _ = all_kinds(folder, cache_mb=0)[0][Draw(0, 0)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # torch, on a machine with one core
def test_workers_fill_one_memory(folder: DatasetFolder) -> None:
    """Each of two workers gets every other batch, of one photo each: what the other has read is there for this one."""
    data = TaggedDataset(folder=folder, ids=IDS, transform=crops(), with_saliency=True, cache_mb=1)
    draws = TrainingDraws(photos=2, batch=1, steps=6, seed=0)
    batches = list(load_batches(data, draws, join=join_tagged, workers=2))
    plain = TaggedDataset(folder=folder, ids=IDS, transform=crops(), with_saliency=True)
    expected = [join_tagged([plain[draw]]) for [draw] in draws]
    assert all(map(same, batches, expected))
    shutil.rmtree(folder.root / "JPEGImages")
    assert all(map(same, [join_tagged([data[draw]]) for [draw] in draws], expected))
