"""Augmentation of a photo together with its maps and masks (torchvision.transforms.v2)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vf

from eps.ops.pseudo_labels import IGNORE


class RandomLongSide(v2.Transform):
    """Resize so that the long side is drawn uniformly from low..high pixels, aspect ratio kept.

    Photos bicubic, maps and masks by nearest neighbour (EPS, training details).
    """

    def __init__(self, *, low: int, high: int) -> None:
        super().__init__()
        self.low, self.high = low, high

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = vf.get_size(flat_inputs[0])
        side = int(torch.randint(self.low, self.high + 1, ()))
        scale = side / max(height, width)
        return {"size": [max(1, round(height * scale)), max(1, round(width * scale))]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        # torchvision resizes a Mask by the nearest neighbour, whatever is asked for
        return vf.resize(inpt, params["size"], interpolation=v2.InterpolationMode.BICUBIC, antialias=True)


class RandomScale(v2.Transform):
    """Resize to a size drawn uniformly from low..high times the photo's own (DeepLab-v2, section 4.1.2).

    Photos bilinear, maps and masks by nearest neighbour.
    """

    def __init__(self, *, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = vf.get_size(flat_inputs[0])
        scale = self.low + (self.high - self.low) * float(torch.rand(()))
        return {"size": [max(1, round(height * scale)), max(1, round(width * scale))]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return vf.resize(inpt, params["size"], interpolation=v2.InterpolationMode.BILINEAR, antialias=True)


class Opaque(v2.Transform):
    """Photos get a fourth channel of 255: what pads them afterwards is 0 in it, and no colour."""

    _transformed_types = (tv_tensors.Image,)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return tv_tensors.wrap(torch.cat([inpt, torch.full_like(inpt[:1], 255)]), like=inpt)


def training_transform(*, crop: int, long_side: Sequence[int], flip: float, jitter: Sequence[float]) -> v2.Compose:
    """Random size, flip, colour jitter, crop, in that order (EPS, training details).

    Photos are bytes, RGB going in and RGBA coming out: where a photo is smaller than the crop it is padded with what is
    transparent, which normalisation makes zero, and masks with 0.
    """
    resize = RandomLongSide(low=long_side[0], high=long_side[1])
    return _augmentation(resize, crop=crop, flip=flip, jitter=jitter, outside=0)


def semantic_transform(*, crop: int, scale: Sequence[float], flip: float, jitter: Sequence[float]) -> v2.Compose:
    """Random scale, flip, colour jitter, crop, in that order (DeepLab-v2, section 4.1.2); `scale` is of the photo.

    As `training_transform`, but what pads a label map is ignored.
    """
    resize = RandomScale(low=scale[0], high=scale[1])
    return _augmentation(resize, crop=crop, flip=flip, jitter=jitter, outside=IGNORE)


def _augmentation(resize: v2.Transform, *, crop: int, flip: float, jitter: Sequence[float], outside: int) -> v2.Compose:
    fill: dict[Any, Any] = {tv_tensors.Image: 0, tv_tensors.Mask: outside}
    return v2.Compose(
        [
            resize,
            v2.RandomHorizontalFlip(flip),
            v2.ColorJitter(*jitter),
            Opaque(),
            v2.RandomCrop(crop, pad_if_needed=True, fill=fill),
        ]
    )


class SampledCrop(v2.RandomIoUCrop):
    """Keep the photo, or cut out a patch of 0.3 to 1 of its sides, ratio 1/2 to 2, with the centre of an object in it.

    What has its centre elsewhere is marked by a box without area. With `overlap` the patch and an object must have an
    IoU of at least 0, 0.1, 0.3, 0.7 or 0.9, whichever was drawn (SSD section 2.2), else any patch will do. A photo
    without objects, or of a few pixels, is kept.
    """

    def __init__(self, *, overlap: bool) -> None:
        patches = [0.0, 0.1, 0.3, 0.7, 0.9]
        super().__init__(sampler_options=[1.0, *(patches if overlap else [0.0] * len(patches))])  # 1: the whole photo

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        boxes = next(one for one in flat_inputs if isinstance(one, tv_tensors.BoundingBoxes))
        if len(boxes) == 0 or min(vf.get_size(flat_inputs[0])) < 4:
            return {}
        params: dict[str, Any] = super().make_params(flat_inputs)
        return params


def yolact_transform(
    *,
    size: Sequence[int],
    flip: float,
    jitter: Sequence[float],
    expand: float,
    overlap: bool,
    mean: Sequence[float],
    antialias: bool = True,
) -> v2.Compose:
    """Colour, expansion, sampled crop, flip, resize to `size` (height, width), in that order (the released YOLACT).

    Photos are uint8 going in and floats in 0..1 coming out; boxes must go in with them. Expansion is on the mean
    colour; `antialias` smooths what shrinks, which the released code does not. As torchvision has it, brightness is a
    factor and contrast turns about the mean grey, where the released code adds and multiplies; masks are resized by the
    nearest pixel.
    """
    names = ("brightness", "contrast", "saturation", "hue")
    colours = [v2.ColorJitter(**{name: value}) for name, value in zip(names, jitter, strict=True)]
    fill: dict[Any, Any] = {tv_tensors.Image: list(mean), tv_tensors.Mask: 0}
    return v2.Compose(
        [
            *(v2.RandomApply([colour], p=0.5) for colour in colours),
            v2.ToDtype(torch.float32, scale=True),  # of photos alone; in bytes the mean could not be padded exactly
            v2.RandomZoomOut(fill=fill, side_range=(1.0, expand), p=0.5),
            SampledCrop(overlap=overlap),
            v2.RandomHorizontalFlip(flip),
            v2.Resize(list(size), antialias=antialias),
        ]
    )


def seeded(transform: v2.Transform, seed: int, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Apply a random transform as a function of `seed` alone, whatever ran before; inputs are tv_tensors."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone: a GPU's draws must not depend on who loads photos
        outputs: Sequence[Tensor] = transform(*inputs)
    return tuple(output.as_subclass(Tensor) for output in outputs)
