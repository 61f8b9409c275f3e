"""What training and inference draw from a dataset folder.

Each dataset keeps up to `cache_mb` MiB of what its files hold (see `SharedCache`), which changes no sample.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from eps.data.cache import Record, SharedCache
from eps.data.copy_paste import paste
from eps.data.layout import DatasetFolder
from eps.data.samples import LabelledPhotos, MaskSource, PhotoInstances, TaggedPhotos
from eps.data.sampling import Draw
from eps.data.transforms import seeded
from eps.errors import UserError
from eps.ops.pseudo_labels import IGNORE


class TaggedDataset(Dataset[TaggedPhotos]):
    """Augmented photos with tags and, if asked for, saliency."""

    def __init__(
        self,
        *,
        folder: DatasetFolder,
        ids: Sequence[str],
        transform: v2.Transform,
        with_saliency: bool,
        cache_mb: int = 0,
    ) -> None:
        self.folder, self.ids, self.transform, self.with_saliency = folder, ids, transform, with_saliency
        self._cache = SharedCache(records=len(ids), megabytes=cache_mb)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, draw: Draw) -> TaggedPhotos:
        pixels, *maps = self._cache.recall(draw.position, self._read)
        stored = maps[0] if maps else np.zeros(pixels.shape[:2], dtype=np.uint8)
        image, saliency = seeded(
            self.transform, draw.seed, _image(pixels), tv_tensors.Mask(torch.from_numpy(stored)[None])
        )
        tags = torch.from_numpy(self.folder.tags(self.ids[draw.position])).float()
        return TaggedPhotos(image[None], saliency[None], tags[None])

    def _read(self, position: int) -> Record:
        photo = self.ids[position]
        pixels = np.array(self.folder.photo(photo))
        if not self.with_saliency:
            return (pixels,)
        height, width = pixels.shape[:2]
        return pixels, self.folder.saliency(photo, size=(height, width)).copy()  # torch takes what can be written to


def join_tagged(samples: Sequence[TaggedPhotos]) -> TaggedPhotos:
    """One batch of many."""
    return TaggedPhotos(*(torch.cat(parts) for parts in zip(*samples, strict=True)))


def read_saliency(folder: DatasetFolder, photo: str, *, size: tuple[int, int]) -> Float[Tensor, "H W"]:
    """The saliency map of a photo in 0..1; `size` is the photo's (height, width)."""
    return torch.from_numpy(folder.saliency(photo, size=size).copy()).float() / 255


class SemanticDataset(Dataset[LabelledPhotos]):
    """Augmented photos with their label maps."""

    def __init__(
        self,
        *,
        folder: DatasetFolder,
        ids: Sequence[str],
        masks: MaskSource,
        transform: v2.Transform,
        cache_mb: int = 0,
    ) -> None:
        self.folder, self.ids, self.masks, self.transform = folder, ids, masks, transform
        self._cache = SharedCache(records=len(ids), megabytes=cache_mb)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, draw: Draw) -> LabelledPhotos:
        pixels, truth = self._cache.recall(draw.position, self._read)
        image, labels = seeded(
            self.transform, draw.seed, _image(pixels), tv_tensors.Mask(torch.from_numpy(truth)[None])
        )
        return LabelledPhotos(image[None], labels)

    def sources(self, draw: Draw) -> list[str]:
        """The id of the photo that a draw is made of."""
        return [self.ids[draw.position]]

    def _read(self, position: int) -> Record:
        photo = self.ids[position]
        pixels, truth = np.array(self.folder.photo(photo)), self.masks.semantic(photo)
        _check(photo, pixels, truth, classes=len(self.folder.classes))
        return pixels, truth


def join_labelled(samples: Sequence[LabelledPhotos]) -> LabelledPhotos:
    """One batch of many."""
    return LabelledPhotos(*(torch.cat(parts) for parts in zip(*samples, strict=True)))


class InstanceDataset(Dataset[PhotoInstances]):
    """Augmented photos with their instance masks.

    Instances of which less than `min_area` pixels are left, or a box narrower or lower than `min_side`, are dropped; so
    are those that the transform has marked by a box without area, unless they are uncertain. With probability `paste` a
    photo is given instances of another one, each with probability one half; uncertain ones stay where they are.
    """

    def __init__(
        self,
        *,
        folder: DatasetFolder,
        ids: Sequence[str],
        masks: MaskSource,
        transform: v2.Transform,
        min_area: int,
        min_side: float = 1.0,
        paste: float,
        cache_mb: int = 0,
    ) -> None:
        self.folder, self.ids, self.masks, self.transform = folder, ids, masks, transform
        self.min_area, self.min_side, self.paste = min_area, min_side, paste
        self._cache = SharedCache(records=len(ids), megabytes=cache_mb)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, draw: Draw) -> PhotoInstances:
        sample = self._augmented(draw)
        generator = torch.Generator().manual_seed(draw.seed)
        other = self._other(generator)
        if other is None:
            return sample
        source = self._augmented(Draw(other, draw.seed))
        chosen = (torch.rand(len(source.classes), generator=generator) < 0.5) & ~source.uncertain
        return paste(sample, source, chosen, min_area=self.min_area)

    def sources(self, draw: Draw) -> list[str]:
        """The ids of the photos that a draw is made of."""
        other = self._other(torch.Generator().manual_seed(draw.seed))
        return [self.ids[position] for position in (draw.position, other) if position is not None]

    def _other(self, generator: torch.Generator) -> int | None:
        """Whose instances are to be pasted, if any."""
        if torch.rand((), generator=generator) >= self.paste:
            return None
        return int(torch.randint(len(self.ids), (), generator=generator))

    def _augmented(self, draw: Draw) -> PhotoInstances:
        pixels, truth, instances, classes, vague = self._cache.recall(draw.position, self._read)
        outlines = torch.from_numpy(instances)
        size = pixels.shape[:2]
        image, semantic, masks, boxes = seeded(
            self.transform,
            draw.seed,
            _image(pixels),
            tv_tensors.Mask(torch.from_numpy(truth)[None]),
            tv_tensors.Mask(outlines),
            tv_tensors.BoundingBoxes(_boxes(outlines), format="XYXY", canvas_size=size),
        )
        uncertain = torch.from_numpy(vague)
        kept = ((boxes[:, 2:] > boxes[:, :2]).all(dim=1) | uncertain) & self._large_enough(masks)
        return PhotoInstances(
            photo=image,
            semantic=semantic[0],
            masks=masks[kept],
            classes=torch.from_numpy(classes)[kept],
            uncertain=uncertain[kept],
            tags=torch.from_numpy(self.folder.tags(self.ids[draw.position])).float(),
        )

    def _read(self, position: int) -> Record:
        photo = self.ids[position]
        truth, pixels = self.masks(photo), np.array(self.folder.photo(photo))
        _check(photo, pixels, truth.semantic, classes=len(self.folder.classes))
        return pixels, truth.semantic, truth.masks, truth.classes, truth.uncertain

    def _large_enough(self, masks: Bool[Tensor, "n H W"]) -> Bool[Tensor, " n"]:
        boxes = _boxes(masks)
        sides = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1)
        return (masks.flatten(1).sum(dim=1) >= self.min_area) & (sides >= self.min_side)


def _image(pixels: UInt8[np.ndarray, "H W 3"]) -> tv_tensors.Image:
    return tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1))


def _check(photo: str, pixels: np.ndarray, mask: np.ndarray, *, classes: int) -> None:
    """Raises `UserError` where a photo and its label map differ in size, or the map has labels of no class."""
    if mask.shape != pixels.shape[:2]:
        raise UserError(f"photo {photo!r}: its mask is {mask.shape}, the photo {pixels.shape[:2]}; mend one")
    odd = mask[(mask > classes) & (mask != IGNORE)]
    if odd.size:
        raise UserError(f"photo {photo!r}: its mask has the label {odd[0]}, neither in 0..{classes} nor {IGNORE}")


def _boxes(masks: Bool[Tensor, "n H W"]) -> Float[Tensor, "n 4"]:
    """Corners in pixels, the last pixel's far edge included; an empty mask has a box without area."""
    height, width = masks.shape[1:]
    columns, rows = (np.any(masks.numpy(), axis=axis) for axis in (1, 2))  # several times as fast as torch's
    first = [columns.argmax(axis=1), rows.argmax(axis=1)]
    last = [width - columns[:, ::-1].argmax(axis=1), height - rows[:, ::-1].argmax(axis=1)]
    corners = np.stack([*first, *last], axis=1) * np.any(rows, axis=1)[:, None]
    return torch.from_numpy(corners).float()
