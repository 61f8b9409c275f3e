"""A segmenter as other programs run it: named outputs, and what those programs must know beside them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eps.models.segmenter import Segmenter
from eps.models.spec import SegmenterSpec

FORMAT = "eps.export.1"
INPUT = "image"
OUTPUTS = ("loc", "conf", "mask", "proto")
SEMANTIC = "semantic"
MASKS, IOU = "masks", "iou"
"""Of YOLACT++'s mask-IoU net, which is a file of its own: masks are its input, and chosen from the outputs first."""


class ExportedSegmenter(nn.Module):
    """Normalised RGB `image` -> `loc`, `conf`, `mask`, `proto` and, where asked for, `semantic`, in this order.

    `loc` (anchors x 4) are the offsets as the network gives them; `conf` (anchors x C + 1) probabilities, background
    first; `mask` (anchors x k) coefficients after tanh; `proto` (h x w x k) planes after ReLU; `semantic`
    (h x w x C + 1) the logits of the semantic map, background first. `squeezed` leaves out the batch dimension of 1.
    """

    def __init__(self, segmenter: Segmenter, *, squeezed: bool, semantic: bool) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.squeezed = squeezed
        self.semantic = semantic
        self.eval()

    @property
    def outputs(self) -> list[str]:
        """The outputs' names in order."""
        return [*OUTPUTS, *([SEMANTIC] if self.semantic else [])]

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> tuple[Tensor, ...]:
        found = self.segmenter(image)
        made = [found.offsets, found.logits.softmax(dim=-1), found.coefficients, found.prototypes.permute(0, 2, 3, 1)]
        if self.semantic:
            background_first = torch.cat([found.semantic[:, -1:], found.semantic[:, :-1]], dim=1)
            made.append(background_first.permute(0, 2, 3, 1))
        return tuple(part[0] if self.squeezed else part for part in made)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a client must know beside the outputs: how to make the input, and how to read boxes and classes."""

    format: str
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    """Height and width that photos are resized to, their aspect ratio ignored."""
    antialias: bool
    """Whether they are smoothed where they shrink; bilinear either way."""
    mean: tuple[float, float, float]
    """Of RGB in 0..1: the input is (rgb / 255 - mean) / std."""
    std: tuple[float, float, float]
    variances: tuple[float, float]
    """centre = anchor centre + loc * variances[0] * anchor size; size = anchor size * exp(loc * variances[1])."""
    scales: tuple[tuple[float, ...], ...]
    """Anchor sizes of each level in pixels of the input."""
    ratios: tuple[float, ...]
    square_anchors: bool
    """Whether anchors are as high as they are wide; `anchors` has it in already."""
    anchors: list[list[float]]
    """Centre x, centre y, width, height of each anchor, relative to the photo."""
    outputs: list[str]
    batch: str
    """squeezed: no batch dimension in the outputs; kept: one of 1; dynamic: of any size, in the input as well."""
    deformable: bool
    """Whether there are deformable convolutions, which not every runtime has."""
    mask_iou: str
    """The file beside it that says how well masks fit (YOLACT++): cropped masks n x 1 x h x w -> IoU n x classes. Empty
    where there is none."""
    whole_pixels: bool = False
    """Whether boxes are to be cut down to whole pixels of the photo, as the released YOLACT gives them."""

    def entries(self) -> dict[str, str]:
        """Each field as JSON."""
        return {name: json.dumps(value) for name, value in asdict(self).items()}

    def to_json(self) -> str:
        """One JSON object, a field a line."""
        return "{\n" + ",\n".join(f' "{name}": {text}' for name, text in self.entries().items()) + "\n}\n"


def describe(
    spec: SegmenterSpec, *, anchors: Float[Tensor, "n 4"], outputs: Sequence[str], batch: str, mask_iou: str = ""
) -> Description:
    """The description of an exported segmenter; `anchors` are those of its own output."""
    return Description(
        format=FORMAT,
        classes=spec.classes,
        image_size=spec.image_size,
        antialias=spec.antialias,
        mean=spec.trunk.mean,
        std=spec.trunk.std,
        variances=(0.1, 0.2),
        scales=spec.scales,
        ratios=spec.ratios,
        square_anchors=spec.square_anchors,
        anchors=[[float(f"{value:.9g}") for value in row] for row in anchors.tolist()],  # 9 digits: float32, exactly
        outputs=list(outputs),
        batch=batch,
        deformable=spec.trunk.deformable_every > 0,
        mask_iou=mask_iou,
        whole_pixels=spec.design == "released",
    )


def noise(photos: int, *, size: tuple[int, int]) -> Float[Tensor, "photos 3 H W"]:
    """Input to trace and to compare with, the same every time; `size` is (height, width)."""
    return torch.randn((photos, 3, *size), generator=torch.Generator().manual_seed(0))


def noisy_masks(count: int, *, size: tuple[int, int]) -> Float[Tensor, "count 1 h w"]:
    """Masks in 0..1 to trace and to compare with, the same every time; `size` is (height, width)."""
    return torch.rand((count, 1, *size), generator=torch.Generator().manual_seed(0))


def largest_difference(expected: Tensor, found: Float[np.ndarray, "..."]) -> float:
    """The largest difference of two tensors relative to the scale of the first, its largest absolute value.

    Infinite where the shapes differ or there is anything that is not a number.
    """
    reference = expected.detach().numpy().astype(np.float64)
    if reference.shape != found.shape:
        return np.inf
    difference = float(np.abs(reference - found).max() / max(float(np.abs(reference).max()), np.finfo(np.float32).tiny))
    return difference if np.isfinite(difference) else np.inf
