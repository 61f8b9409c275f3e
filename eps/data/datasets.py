"""What training and inference draw from a dataset folder."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vf

from eps.data.copy_paste import paste
from eps.data.layout import DatasetFolder
from eps.data.samples import MaskSource, PhotoInstances, TaggedPhotos
from eps.data.sampling import Draw
from eps.data.transforms import seeded


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
        return TaggedPhotos(image[None] / 255, saliency[None] / 255, tags[None])


def join_tagged(samples: Sequence[TaggedPhotos]) -> TaggedPhotos:
    """One batch of many."""
    return TaggedPhotos(*(torch.cat(parts) for parts in zip(*samples, strict=True)))


def read_saliency(folder: DatasetFolder, photo: str, *, size: tuple[int, int]) -> Float[Tensor, "H W"]:
    """The saliency map of a photo in 0..1; `size` is the photo's (height, width)."""
    return torch.from_numpy(folder.saliency(photo, size=size).copy()).float() / 255


class InstanceDataset(Dataset[PhotoInstances]):
    """Augmented photos with their instance masks; what the crop cuts down below `min_area` pixels is dropped.

    With probability `paste` a photo is given instances of another one, each with probability one half; uncertain ones
    stay where they are.
    """

    def __init__(
        self,
        *,
        folder: DatasetFolder,
        ids: Sequence[str],
        masks: MaskSource,
        transform: v2.Transform,
        min_area: int,
        paste: float,
    ) -> None:
        self.folder, self.ids, self.masks, self.transform, self.min_area = folder, ids, masks, transform, min_area
        self.paste = paste

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, draw: Draw) -> PhotoInstances:
        sample = self._augmented(draw)
        generator = torch.Generator().manual_seed(draw.seed)
        if torch.rand((), generator=generator) >= self.paste:
            return sample
        other = int(torch.randint(len(self.ids), (), generator=generator))
        source = self._augmented(Draw(other, draw.seed))
        chosen = (torch.rand(len(source.classes), generator=generator) < 0.5) & ~source.uncertain
        return paste(sample, source, chosen, min_area=self.min_area)

    def _augmented(self, draw: Draw) -> PhotoInstances:
        photo = self.ids[draw.position]
        truth = self.masks(photo)
        image, semantic, masks = seeded(
            self.transform,
            draw.seed,
            tv_tensors.Image(vf.pil_to_tensor(self.folder.photo(photo))),
            tv_tensors.Mask(torch.from_numpy(truth.semantic)[None]),
            tv_tensors.Mask(torch.from_numpy(truth.masks)),
        )
        kept = masks.flatten(1).sum(dim=1) >= self.min_area
        return PhotoInstances(
            image / 255,
            semantic[0],
            masks[kept],
            torch.from_numpy(truth.classes)[kept],
            torch.from_numpy(truth.uncertain)[kept],
        )
