"""One instance's mask, step by step: prototype planes, their coefficients, and the sum."""

from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from eps.engine.inference import detections_of
from eps.engine.predictor import Predictor
from eps.ops.masks import crop, instance_masks
from eps.ops.nms import Detections
from eps.ops.prototypes import assemble
from eps.report_page.pictures import Picture, paint_instances, paint_logits, paint_plane, show

PLANES = 6


class Combination(NamedTuple):
    """The planes that matter most to one instance, and the way from them to its mask."""

    instance: str
    total: int
    """How many planes there are."""
    planes: list[Picture]
    steps: list[Picture]


@torch.inference_mode()
def combine(predictor: Predictor, photo: Image.Image) -> Combination | None:
    """Take apart the mask of the best instance in a photo; None where the segmenter finds none."""
    output = predictor.run(photo)
    found = detections_of(
        output,
        0,
        score_threshold=predictor.score_threshold,
        iou_threshold=predictor.iou_threshold,
        max_detections=1,
    )
    if not len(found.scores):
        return None
    name = predictor.classes[int(found.classes[0])]
    prototypes = output.prototypes[0]
    planes, partial = _most_used(prototypes, found)
    steps = [partial, *_sums(prototypes, found), _mask(prototypes, found, photo, name)]
    return Combination(f"{name}, score {float(found.scores[0]):.2f}", len(prototypes), planes, steps)


def _most_used(prototypes: Tensor, found: Detections) -> tuple[list[Picture], Picture]:
    """The planes that add most inside the instance's box, either way, and the sum of these alone."""
    inside = crop(prototypes, found.boxes.expand(len(prototypes), -1))
    weight = (found.coefficients[0] * inside.mean(dim=(1, 2))).abs()
    chosen = weight.argsort(descending=True, stable=True)[:PLANES]
    pictures = []
    for k in chosen.tolist():
        caption = f"plane {k}: {float(found.coefficients[0, k]):+.2f}".replace("-", "\N{MINUS SIGN}")
        pictures.append(show(paint_plane(prototypes[k].cpu().numpy()), alt=f"prototype {caption}", caption=caption))
    some = assemble(prototypes[None, chosen], found.coefficients[:, chosen])[0, 0]
    caption = f"sum of these {len(chosen)}"
    return pictures, show(paint_logits(some.cpu().numpy()), alt=caption, caption=caption)


def _sums(prototypes: Tensor, found: Detections) -> list[Picture]:
    full = assemble(prototypes[None], found.coefficients)[0]
    cropped = crop(full.sigmoid(), found.boxes)[0]
    return [
        show(
            paint_logits(full[0].cpu().numpy()),
            alt="weighted sum of all planes",
            caption=f"sum of all {len(prototypes)}",
        ),
        show(
            paint_plane(cropped.cpu().numpy()),
            alt="sigmoid of the sum, zero outside the box",
            caption="sigmoid, cut to the box",
        ),
    ]


def _mask(prototypes: Tensor, found: Detections, photo: Image.Image, name: str) -> Picture:
    masks = instance_masks(prototypes, found.coefficients, found.boxes, size=(photo.height, photo.width))
    edges = found.boxes.new_tensor([photo.width, photo.height, photo.width, photo.height])
    boxes = found.boxes.clamp(0, 1) * edges
    painted = paint_instances(photo, masks.cpu().numpy(), found.classes.cpu().numpy(), boxes.cpu().numpy())
    return show(painted, alt=f"the mask on the photo: {name}", caption="above 0.5: the mask")
