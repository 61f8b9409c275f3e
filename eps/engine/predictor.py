"""One interface to a trained segmenter, whatever file it comes from: a photo in, instances and a semantic map out."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from eps.checkpoints.yolact import Told
from eps.data.class_names import class_names
from eps.engine.checkpoint import load_segmenter, network_file, refuse_told
from eps.engine.exported import Description
from eps.engine.forms import Form, Forward, Precision, in_form, quickest
from eps.engine.given import Photo, batches, opened
from eps.engine.inference import (
    as_tensor,
    detections_of,
    instances_of,
    semantic_labels,
    semantic_probabilities,
)
from eps.engine.instances import Instances, no_instances
from eps.engine.onnx_segmenter import OnnxSegmenter, load_onnx
from eps.errors import UserError
from eps.models.deeplab import DeepLab, DeepLabOutput
from eps.models.segmenter import Segmenter, SegmenterOutput
from eps.models.spec import DeepLabSpec, SegmenterSpec
from eps.ops.nms import Detections

Network = Segmenter | DeepLab | OnnxSegmenter

NO_INSTANCES = "a DeepLab segmenter finds no instances: ask for predict_all (semantic map) or probabilities"
NO_SEMANTIC = (
    "this file has no semantic map (an ONNX file has one by export.semantic=true, a .pth by its semantic_seg_conv): "
    "ask for instances (predict, or format=picture, video or coco)"
)


class Seen(NamedTuple):
    """All that a segmenter says of one photo, at the photo's size."""

    instances: Instances
    semantic: UInt8[Tensor, "H W"]
    """Class + 1, 0 background."""
    tags: Float[Tensor, " c"] | None
    """Of each class, how likely the photo shows it (logits); None without a tag head."""


class Predictor:
    """A segmenter ready to use; class names are in `classes`.

    `wanted` are the names of those whose instances are asked for, all where it is empty. An anchor that passes
    `score_threshold` with one class stands for every class (Fast NMS), so that scores may be lower; none is lower than
    `least_score`. Probabilities are averaged over `scales` and, with `flip`, over the photo and its mirror image, and
    so are DeepLab's semantic maps (its test-time augmentation; Chen et al., 2017). Instances are of the photo as it is.

    The network runs in `form` (see `eps.engine.forms`), with `calibrate` in the quickest that it allows, found out with
    the first photo; as it is, in float32, where `form` is None; an ONNX file as it was exported. Raises `UserError` for
    a wanted class that there is not.
    """

    def __init__(
        self,
        *,
        model: Network,
        spec: SegmenterSpec | DeepLabSpec | Description,
        device: torch.device | None = None,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        max_detections: int = 100,
        cross_class: bool = False,
        least_score: float = 0.0,
        wanted: Sequence[str] = (),
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        form: Form | None = None,
        calibrate: bool = False,
    ) -> None:
        self.device = _device(model, device)
        self.model = model.to(self.device).to(memory_format=torch.channels_last).eval()
        self.classes = spec.classes
        self.image_size = None if isinstance(spec, DeepLabSpec) else spec.image_size
        """Height and width that photos are resized to; None where they are taken at their own size."""
        self.antialias = isinstance(spec, DeepLabSpec) or spec.antialias
        """Whether what shrinks is smoothed; the released YOLACT models have learnt without."""
        self.whole_pixels = spec.whole_pixels if isinstance(spec, Description) else _is_released(spec)
        """Whether boxes are cut down to whole pixels of the photo, as the released YOLACT gives them."""
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.max_detections = max_detections
        self.cross_class = cross_class
        self.least_score = least_score
        self.wanted = _numbers(wanted, spec.classes)
        self.scales = scales
        self.flip = flip
        self.form = form
        self.calibrate = calibrate
        self._forward: Forward | None = None

    @property
    def has_instances(self) -> bool:
        """Whether this segmenter finds instances, or gives a semantic map alone."""
        return not isinstance(self.model, DeepLab)

    @property
    def has_semantic(self) -> bool:
        """Whether this segmenter gives a semantic map; ONNX files do where they were exported with it."""
        return isinstance(self.model, DeepLab) or self.model.has_semantic

    @property
    def rates_masks(self) -> bool:
        """Whether masks have scores of their own (YOLACT++), or those of their boxes."""
        return not isinstance(self.model, DeepLab) and self.model.mask_iou is not None

    def predict(self, image: Photo) -> Instances:
        """Instances of one photo at its own size.

        Raises `UserError` where a path cannot be read as an image, for what is no `Photo`, and for DeepLab, which finds
        none.
        """
        return next(self.predict_many([image]))

    def predict_all(self, image: Photo) -> tuple[Instances, UInt8[Tensor, "H W"]]:
        """Instances and the semantic map (class + 1, 0 background) of one photo at its own size; DeepLab's are none.

        Raises `UserError` where the segmenter gives no semantic map.
        """
        return self.see(image)[:2]

    @torch.no_grad()
    def see(self, image: Photo) -> Seen:
        """What `predict_all` gives, and what a tag head says. Raises `UserError` as that does."""
        photo = opened(image)
        size = (photo.height, photo.width)
        if not self.has_instances:
            labels = self.probabilities(photo).argmax(dim=0).to(torch.uint8)
            return Seen(no_instances(size=size, device=self.device, class_names=self.classes), labels, None)
        self._demand_semantic()
        output = self.run(photo)
        tags = None if output.tags is None else output.tags[0]
        return Seen(self.instances(output, size=size), semantic_labels(output, 0, size=size), tags)

    def predict_many(self, images: Iterable[Photo], *, batch: int = 1) -> Iterator[Instances]:
        """Instances of each of any number of photos, `batch` at a time in the network.

        Masks of one photo are made when it is its turn. A batch ends early where its photos have 2^25 pixels together.
        Raises `UserError` as `predict` does.
        """
        if not self.has_instances:
            raise UserError(NO_INSTANCES)
        return self._predicted(images, batch=batch)

    @torch.inference_mode()
    def probabilities(self, image: Photo) -> Float[Tensor, "c1 H W"]:
        """Of each pixel of a photo being background (FIRST), class 0, class 1, ...: softmax of the semantic maps.

        Raises `UserError` where the segmenter gives none.
        """
        self._demand_semantic()
        photo = opened(image)
        views = [(scale, mirrored) for scale in self.scales for mirrored in ((False, True) if self.flip else (False,))]
        found = (self._view(photo, scale=scale, mirrored=mirrored) for scale, mirrored in views)
        return sum(found, start=torch.zeros((), device=self.device)) / len(views)

    def run(self, photo: Image.Image) -> SegmenterOutput:
        """The network's raw output for one photo, resized to `image_size` first. Raises `UserError` for DeepLab."""
        return self._run([photo])

    @torch.inference_mode()
    def _run(self, photos: Sequence[Image.Image]) -> SegmenterOutput:
        output = self._output(torch.cat([self._pixels(photo, scale=1.0) for photo in photos]))
        if not isinstance(output, SegmenterOutput):
            raise UserError(NO_INSTANCES)
        return output

    def instances(self, output: SegmenterOutput, *, size: tuple[int, int]) -> Instances:
        """What the network's raw output for one photo holds, at `size` (height, width): the photo's, or another."""
        [found] = self.detections(output)
        return self._instances(found, output.prototypes[0], size=size)

    def _predicted(self, images: Iterable[Photo], *, batch: int) -> Iterator[Instances]:
        for photos in batches(map(opened, images), most=batch):
            output = self._run(photos)
            for photo, found, planes in zip(photos, self.detections(output), output.prototypes, strict=True):
                yield self._instances(found, planes, size=(photo.height, photo.width))

    @torch.no_grad()
    def detections(self, output: SegmenterOutput, *, most: int | None = None) -> list[Detections]:
        """The detections of each photo of a batch, without their masks: at most `most`, `max_detections` where None."""
        return detections_of(
            output,
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
            max_detections=self.max_detections if most is None else most,
            cross_class=self.cross_class,
            least_score=self.least_score,
            classes=self.wanted,
        )

    @torch.no_grad()
    def _instances(self, found: Detections, prototypes: Tensor, *, size: tuple[int, int]) -> Instances:
        """Not in inference mode: whoever asked may change what they get in place."""
        assert not isinstance(self.model, DeepLab)
        return instances_of(
            found,
            prototypes,
            size=size,
            class_names=self.classes,
            mask_scorer=self.model.mask_iou,
            whole_pixels=self.whole_pixels,
        )

    def _demand_semantic(self) -> None:
        if not self.has_semantic:
            raise UserError(NO_SEMANTIC)

    def _view(self, photo: Image.Image, *, scale: float, mirrored: bool) -> Float[Tensor, "c1 H W"]:
        pixels = self._pixels(photo, scale=scale)
        maps = self._output(pixels.flip(-1) if mirrored else pixels).semantic
        found = semantic_probabilities(maps, size=(photo.height, photo.width))[0]
        return found.flip(-1) if mirrored else found

    def _pixels(self, photo: Image.Image, *, scale: float) -> Float[Tensor, "1 3 h w"]:
        pixels = as_tensor(photo)[None].to(self.device)
        height, width = self.image_size or (photo.height, photo.width)
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        if pixels.shape[-2:] == size:
            return pixels
        return F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=self.antialias)

    def _output(self, pixels: Float[Tensor, "b 3 h w"]) -> SegmenterOutput | DeepLabOutput:
        images = self.model.normalize(pixels.contiguous(memory_format=torch.channels_last))
        if self._forward is None:
            self._forward = self._formed(images)
        output: SegmenterOutput | DeepLabOutput = self._forward(images)
        return output

    def _formed(self, images: Float[Tensor, "b 3 h w"]) -> Forward:
        if self.form is None or isinstance(self.model, OnnxSegmenter):
            return self.model
        return quickest(self.model, self.form, images) if self.calibrate else in_form(self.model, self.form)


def load(
    path: str | Path,
    *,
    name: str | None = None,
    classes: Sequence[str] = (),
    precision: Precision = "fp32",
    compiled: bool = False,
    calibrate: bool = True,
) -> Predictor:
    """A `Predictor` from a segmenter of any kind that `load_network` knows. Raises `UserError` where there is none.

    A `.pth` of the released YOLACT code may be called anything where `name` says which of its networks it is, and
    `classes` what it knows. `precision` (fp32, bf16, fp16) and `compiled` are what the network may run in; with
    `calibrate` it is the quickest of what they allow.
    """
    names = class_names(classes) if len(classes) else ()
    model, spec = load_network(Path(path), told=Told(network=name, classes=names))
    return Predictor(model=model, spec=spec, form=Form(precision, compiled), calibrate=calibrate)


def load_network(
    path: Path, *, threads: int = 0, told: Told | None = None
) -> tuple[Network, SegmenterSpec | DeepLabSpec | Description]:
    """The segmenter of a checkpoint, of the folder that stage 3 or `eps.export` wrote, or of a file.

    A file `*.onnx` is one of `eps.export`, and runs on `threads` CPU threads (0: one a core); a `.pth` is one of the
    released YOLACT code, by its name (`<model>_<epoch>_<iteration>.pth`) or by what is `told`. Raises `UserError` for
    anything else.
    """
    path = network_file(path)
    if path.suffix == ".onnx":
        refuse_told(path, told)
        exported = load_onnx(path, threads=threads)
        return exported, exported.description
    return load_segmenter(path, told)


def _is_released(spec: SegmenterSpec | DeepLabSpec) -> bool:
    return isinstance(spec, SegmenterSpec) and spec.design == "released"


def _device(model: Network, wanted: torch.device | None) -> torch.device:
    if isinstance(model, OnnxSegmenter):  # onnxruntime takes its own
        return torch.device("cpu")
    return wanted or torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _numbers(names: Collection[str], known: Sequence[str]) -> list[int] | None:
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"no class {unknown[0]!r}: this segmenter knows {', '.join(known)}")
    return [known.index(name) for name in names] or None
