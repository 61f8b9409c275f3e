"""One instance's mask, step by step: prototype planes, their coefficients, and the sum."""

from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from eps.engine.predictor import Predictor
from eps.models.segmenter import SegmenterOutput
from eps.ops.masks import crop, instance_masks
from eps.ops.nms import Detections
from eps.ops.prototypes import assemble
from eps.report_page.pictures import Picture, paint_instances, paint_logits, paint_plane, show

PLANES = 6


class Panel(NamedTuple):
    """An image, with what it shows for those who do not see it."""

    image: Image.Image
    alt: str
    caption: str


class Dissection(NamedTuple):
    """The planes that matter most to one instance, and the way from them to its mask."""

    instance: str
    total: int
    """How many planes there are."""
    planes: list[Panel]
    steps: list[Panel]


class Combination(NamedTuple):
    """A `Dissection` as the page shows it."""

    instance: str
    total: int
    planes: list[Picture]
    steps: list[Picture]


def combine(predictor: Predictor, photo: Image.Image) -> Combination | None:
    """Take apart the mask of the best instance in a photo; None where the segmenter finds none."""
    found = take_apart(predictor, photo, predictor.run(photo))
    if found is None:
        return None
    planes, steps = (
        [show(panel.image, alt=panel.alt, caption=panel.caption) for panel in panels]
        for panels in (found.planes, found.steps)
    )
    return Combination(found.instance, found.total, planes, steps)


@torch.inference_mode()
def take_apart(
    predictor: Predictor, photo: Image.Image, output: SegmenterOutput, *, rank: int = 0
) -> Dissection | None:
    """Take apart the mask of a photo's instance `rank` (0: the best); `output` is the network's for this photo.

    None where the segmenter does not find so many.
    """
    found = predictor.detections(output, most=rank + 1)[0]
    if len(found.scores) <= rank:
        return None
    found = Detections(*(part[rank:] for part in found))
    name = predictor.classes[int(found.classes[0])]
    prototypes = output.prototypes[0]
    planes, partial = _most_used(prototypes, found)
    steps = [partial, *_sums(prototypes, found), _mask(prototypes, found, photo, name)]
    return Dissection(f"{name}, score {float(found.scores[0]):.2f}", len(prototypes), planes, steps)


def every_plane(output: SegmenterOutput) -> list[Panel]:
    """All prototype planes of a photo; a batch's first."""
    planes = output.prototypes[0].cpu().numpy()
    return [Panel(paint_plane(plane), f"prototype plane {k}", f"plane {k}") for k, plane in enumerate(planes)]


def _most_used(prototypes: Tensor, found: Detections) -> tuple[list[Panel], Panel]:
    """The planes that add most inside the instance's box, either way, and the sum of these alone."""
    inside = crop(prototypes, found.boxes.expand(len(prototypes), -1))
    weight = (found.coefficients[0] * inside.mean(dim=(1, 2))).abs()
    chosen = weight.argsort(descending=True, stable=True)[:PLANES]
    panels = []
    for k in chosen.tolist():
        caption = f"plane {k}: {float(found.coefficients[0, k]):+.2f}".replace("-", "\N{MINUS SIGN}")
        panels.append(Panel(paint_plane(prototypes[k].cpu().numpy()), f"prototype {caption}", caption))
    some = assemble(prototypes[None, chosen], found.coefficients[:, chosen])[0, 0]
    caption = f"sum of these {len(chosen)}"
    return panels, Panel(paint_logits(some.cpu().numpy()), caption, caption)


def _sums(prototypes: Tensor, found: Detections) -> list[Panel]:
    full = assemble(prototypes[None], found.coefficients)[0]
    cropped = crop(full.sigmoid(), found.boxes)[0]
    total, cut = paint_logits(full[0].cpu().numpy()), paint_plane(cropped.cpu().numpy())
    return [
        Panel(total, "weighted sum of all planes", f"sum of all {len(prototypes)}"),
        Panel(cut, "sigmoid of the sum, zero outside the box", "sigmoid, cut to the box"),
    ]


def _mask(prototypes: Tensor, found: Detections, photo: Image.Image, name: str) -> Panel:
    masks = instance_masks(prototypes, found.coefficients, found.boxes, size=(photo.height, photo.width))
    edges = found.boxes.new_tensor([photo.width, photo.height, photo.width, photo.height])
    boxes = found.boxes.clamp(0, 1) * edges
    painted = paint_instances(photo, masks.cpu().numpy(), found.classes.cpu().numpy(), boxes.cpu().numpy())
    return Panel(painted, f"the mask on the photo: {name}", "above 0.5: the mask")
