"""What training and inference draw from a dataset folder."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vf

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
        self, *, folder: DatasetFolder, ids: Sequence[str], transform: v2.Transform, with_saliency: bool
    ) -> None:
        self.folder, self.ids, self.transform, self.with_saliency = folder, ids, transform, with_saliency

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, draw: Draw) -> TaggedPhotos:
        photo = self.ids[draw.position]
        image = vf.pil_to_tensor(self.folder.photo(photo))
        height, width = image.shape[-2:]
        if self.with_saliency:
            saliency = torch.from_numpy(self.folder.saliency(photo, size=(height, width)).copy())[None]
        else:
            saliency = torch.zeros((1, height, width), dtype=torch.uint8)
        image, saliency = seeded(self.transform, draw.seed, tv_tensors.Image(image), tv_tensors.Mask(saliency))
        tags = torch.from_numpy(self.folder.tags(photo)).float()
        return TaggedPhotos(image[None], saliency[None] / 255, tags[None])


def join_tagged(samples: Sequence[TaggedPhotos]) -> TaggedPhotos:
    """One batch of many."""
    return TaggedPhotos(*(torch.cat(parts) for parts in zip(*samples, strict=True)))


def read_saliency(folder: DatasetFolder, photo: str, *, size: tuple[int, int]) -> Float[Tensor, "H W"]:
    """The saliency map of a photo in 0..1; `size` is the photo's (height, width)."""
    return torch.from_numpy(folder.saliency(photo, size=size).copy()).float() / 255


class SemanticDataset(Dataset[LabelledPhotos]):
    """Augmented photos with their label maps."""

    def __init__(
        self, *, folder: DatasetFolder, ids: Sequence[str], masks: MaskSource, transform: v2.Transform
    ) -> None:
        self.folder, self.ids, self.masks, self.transform = folder, ids, masks, transform

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, draw: Draw) -> LabelledPhotos:
        photo = self.ids[draw.position]
        pixels, truth = vf.pil_to_tensor(self.folder.photo(photo)), self.masks.semantic(photo)
        _same_size(photo, pixels, truth)
        _refuse_unknown(photo, truth, classes=len(self.folder.classes))
        image, labels = seeded(
            self.transform,
            draw.seed,
            tv_tensors.Image(pixels),
            tv_tensors.Mask(torch.from_numpy(truth)[None]),
        )
        return LabelledPhotos(image[None], labels)

    def sources(self, draw: Draw) -> list[str]:
        """The id of the photo that a draw is made of."""
        return [self.ids[draw.position]]


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
    ) -> None:
        self.folder, self.ids, self.masks, self.transform = folder, ids, masks, transform
        self.min_area, self.min_side, self.paste = min_area, min_side, paste

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
        photo = self.ids[draw.position]
        truth = self.masks(photo)
        pixels = vf.pil_to_tensor(self.folder.photo(photo))
        size = _same_size(photo, pixels, truth.semantic)
        _refuse_unknown(photo, truth.semantic, classes=len(self.folder.classes))
        image, semantic, masks, boxes = seeded(
            self.transform,
            draw.seed,
            tv_tensors.Image(pixels),
            tv_tensors.Mask(torch.from_numpy(truth.semantic)[None]),
            tv_tensors.Mask(torch.from_numpy(truth.masks)),
            tv_tensors.BoundingBoxes(_boxes(torch.from_numpy(truth.masks)), format="XYXY", canvas_size=size),
        )
        uncertain = torch.from_numpy(truth.uncertain)
        kept = ((boxes[:, 2:] > boxes[:, :2]).all(dim=1) | uncertain) & self._large_enough(masks)
        return PhotoInstances(
            photo=image,
            semantic=semantic[0],
            masks=masks[kept],
            classes=torch.from_numpy(truth.classes)[kept],
            uncertain=uncertain[kept],
            tags=torch.from_numpy(self.folder.tags(photo)).float(),
        )

    def _large_enough(self, masks: Bool[Tensor, "n H W"]) -> Bool[Tensor, " n"]:
        boxes = _boxes(masks)
        sides = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1)
        return (masks.flatten(1).sum(dim=1) >= self.min_area) & (sides >= self.min_side)


def _same_size(photo: str, pixels: Tensor, mask: np.ndarray) -> tuple[int, int]:
    """The size that a photo and its mask share. Raises `UserError` where they do not."""
    height, width = pixels.shape[-2:]
    if mask.shape != (height, width):
        raise UserError(f"photo {photo!r}: its mask is {mask.shape}, the photo {(height, width)}; mend one")
    return height, width


def _refuse_unknown(photo: str, mask: np.ndarray, *, classes: int) -> None:
    """Raises `UserError` where a label map has labels of no class."""
    odd = mask[(mask > classes) & (mask != IGNORE)]
    if odd.size:
        raise UserError(f"photo {photo!r}: its mask has the label {odd[0]}, neither in 0..{classes} nor {IGNORE}")


def _boxes(masks: Bool[Tensor, "n H W"]) -> Float[Tensor, "n 4"]:
    """Corners in pixels, the last pixel's far edge included; an empty mask has a box without area."""
    boxes = torch.zeros((len(masks), 4))
    filled = masks.flatten(1).any(dim=1)
    boxes[filled] = masks_to_boxes(masks[filled]) + torch.tensor([0.0, 0.0, 1.0, 1.0])
    return boxes
