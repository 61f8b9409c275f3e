"""One interface to a trained segmenter: a photo in, instances out."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from eps.data.images import read_image
from eps.engine.checkpoint import load_segmenter
from eps.engine.inference import Instances, as_tensor, instances_of, semantic_labels
from eps.models.segmenter import Segmenter, SegmenterOutput
from eps.models.spec import SegmenterSpec

Photo = Image.Image | UInt8[np.ndarray, "H W 3"] | str | Path


class Predictor:
    """A segmenter ready to use; class names are in `classes`."""

    def __init__(
        self,
        *,
        model: Segmenter,
        spec: SegmenterSpec,
        device: torch.device | None = None,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device).to(memory_format=torch.channels_last).eval()
        self.classes = spec.classes
        self.image_size = spec.image_size
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.max_detections = max_detections

    def predict(self, image: Photo) -> Instances:
        """Instances of one photo at its own size. Raises `UserError` where a path cannot be read as an image."""
        return self.predict_all(image)[0]

    @torch.inference_mode()
    def predict_all(self, image: Photo) -> tuple[Instances, UInt8[Tensor, "H W"]]:
        """Instances and the semantic map (class + 1, 0 background) of one photo at its own size."""
        photo = _opened(image)
        size = (photo.height, photo.width)
        output = self.run(photo)
        instances = instances_of(
            output,
            0,
            size=size,
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
            max_detections=self.max_detections,
        )
        return instances, semantic_labels(output, 0, size=size)

    @torch.inference_mode()
    def run(self, photo: Image.Image) -> SegmenterOutput:
        """The network's raw output for one photo, which is resized to `image_size` first."""
        pixels = as_tensor(photo)[None].to(self.device)
        if pixels.shape[-2:] != self.image_size:
            pixels = F.interpolate(pixels, size=self.image_size, mode="bilinear", align_corners=False, antialias=True)
        output: SegmenterOutput = self.model(self.model.normalize(pixels.contiguous(memory_format=torch.channels_last)))
        return output


def load(path: str | Path) -> Predictor:
    """A `Predictor` from a segmenter checkpoint, or from the folder that stage 3 wrote it to.

    Raises `UserError` where there is none.
    """
    path = Path(path)
    model, spec = load_segmenter(path / "model.safetensors" if path.is_dir() else path)
    return Predictor(model=model, spec=spec)


def _opened(image: Photo) -> Image.Image:
    if isinstance(image, np.ndarray):
        return Image.fromarray(image)
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    return read_image(Path(image)).convert("RGB")
