"""What a segmenter found in a photo, and the forms that other programs take it in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from PIL import Image
from torch import Tensor

from eps.data.prediction_files import coco_category_ids, coco_results
from eps.engine.drawing import draw_instances
from eps.errors import UserError
from eps.ops.polygons import polygons

if TYPE_CHECKING:
    from supervision import Detections


@dataclass(frozen=True, eq=False, kw_only=True)
class Instances:
    """What a segmenter found in one photo, best first. `boxes, scores, classes, masks = instances` unpacks it."""

    boxes: Float[Tensor, "n 4"]
    """Pixels, xyxy."""
    scores: Float[Tensor, " n"]
    classes: Integer[Tensor, " n"]
    """From 0: numbers in `class_names`."""
    masks: Bool[Tensor, "n H W"]
    """At the photo's size."""
    mask_scores: Float[Tensor, " n"]
    """With a mask-IoU net (YOLACT++) the score times the IoU that it predicts of the mask, else the score."""
    class_names: tuple[str, ...] = ()
    """Of every class that the segmenter knows."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.boxes, self.scores, self.classes, self.masks))

    @property
    def names(self) -> tuple[str, ...]:
        """The class name of each instance; its number where names are not known."""
        return tuple(self.class_names[c] if self.class_names else str(c) for c in self.classes.tolist())

    def to_coco(
        self, image_id: int | str = 0, *, category_ids: Sequence[int] | None = None, boxes_only: bool = False
    ) -> list[dict[str, Any]]:
        """Entries of a results file of COCO's: category ids (COCO's own for its 80 classes, else class + 1), RLE masks.

        `category_ids`, one a class, are others. The score is that of the mask; with `boxes_only` there is no mask and
        it is the box's, by which AP of boxes goes (they differ for YOLACT++ alone).
        """
        known = self.class_names or tuple(str(c) for c in range(max(self.classes.tolist(), default=-1) + 1))
        scores = self.scores if boxes_only else self.mask_scores
        boxes, scored, classes = (part.cpu().numpy() for part in (self.boxes, scores, self.classes))
        masks = None if boxes_only else self.masks.cpu().numpy()
        categories = category_ids or coco_category_ids(known)
        return coco_results(image_id, boxes, scored, classes, masks, category_ids=categories)

    def to_polygons(self) -> list[list[Float[np.ndarray, "p 2"]]]:
        """The outlines of each instance's mask, one a part, as corners x, y in pixels; see `eps.ops.polygons`."""
        return [polygons(mask.cpu().numpy()) for mask in self.masks]

    def to_supervision(self) -> "Detections":
        """As `supervision.Detections`, names in `data["class_name"]`. Raises `UserError` where it is not installed."""
        try:
            from supervision import Detections
        except ImportError as error:
            raise UserError("to_supervision() needs the package supervision: pip install supervision") from error
        boxes, scores, classes, masks = (part.cpu().numpy() for part in self)
        names = np.array(self.names, dtype=np.str_)
        return Detections(xyxy=boxes, mask=masks, confidence=scores, class_id=classes, data={"class_name": names})

    def draw(
        self,
        image: Image.Image | UInt8[np.ndarray, "H W 3"],
        *,
        masks: bool = True,
        boxes: bool = True,
        names: bool = True,
        scores: bool = True,
    ) -> Image.Image:
        """The photo under its instances: masks with outlines, boxes, names and scores, each unless it is not wanted.

        The scores are those that thresholds go by, the boxes'; see `mask_scores` for the masks'. Raises `ValueError`
        where the photo has another size than the masks.
        """
        photo = image.convert("RGB") if isinstance(image, Image.Image) else Image.fromarray(image)
        pairs = zip(self.names, self.scores.tolist(), strict=True)
        labels = [" ".join([name] * names + [f"{score:.2f}"] * scores) for name, score in pairs]
        return draw_instances(
            photo,
            boxes=self.boxes.cpu().numpy(),
            classes=self.classes.cpu().numpy(),
            masks=self.masks.cpu().numpy(),
            labels=labels,
            with_masks=masks,
            with_boxes=boxes,
        )


def no_instances(*, size: tuple[int, int], device: torch.device, class_names: tuple[str, ...] = ()) -> Instances:
    """Nothing found in a photo of `size` (height, width)."""
    return Instances(
        boxes=torch.zeros((0, 4), device=device),
        scores=torch.zeros(0, device=device),
        classes=torch.zeros(0, dtype=torch.long, device=device),
        masks=torch.zeros((0, *size), dtype=torch.bool, device=device),
        mask_scores=torch.zeros(0, device=device),
        class_names=class_names,
    )
