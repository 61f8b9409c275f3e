"""Segmenter inference: a photo in, boxes and masks out; `python -m benchmarks.segmenter`.

The plain form is what the papers' released code does: float32, eager, contiguous, Fast NMS over every class, masks of
the photo's size as floats. Ours is `eps.engine.predictor.Predictor` in the form that `--precision` and `--compile` name
(norms folded, channels last), or the quickest that they allow (`--calibrate`). Peers are torchvision's Mask R-CNN on a
ResNet-50 and, where it is installed, an Ultralytics segmentation model of like size, with random weights: they find
other things and have no part in the agreement.

Weights are random, of the released design on a ResNet-50, fitted to the photo so that activations have the size that
they have in a trained network; or those of `--model`. The agreement is of the 100 anchors that the plain network is
surest of: the share of equal mask pixels within their boxes, and how far the boxes have moved.
"""

import argparse
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import OURS, PLAIN, Call, Comparison, arguments, interleave, prepare, show
from benchmarks.stand_ins import fit_norms, noise, photos_in
from eps.engine.forms import Form, allowed_forms
from eps.engine.inference import as_tensor
from eps.engine.predictor import Predictor, load_network
from eps.models.segmenter import Segmenter, SegmenterOutput
from eps.models.spec import SegmenterSpec, TrunkSpec, build_segmenter
from eps.nn.normalization import IMAGENET_MEAN, IMAGENET_STD
from eps.ops.boxes import decode
from eps.ops.masks import instance_masks
from eps.ops.nms import Detections, fast_nms

MOST = 100
CLASSES = tuple(f"class {number}" for number in range(80))


class Agreement(NamedTuple):
    pixels: float
    """Share of equal mask pixels."""
    moved: float
    """Pixels of the photo that an edge of a box has moved at most."""
    moved_mostly: float
    """In the 99th percentile."""


def main() -> None:
    """Compare and print."""
    options = _options()
    device = prepare(options)
    photos = _photos(options)
    model, spec = _segmenter(options, photos)
    whole = model.to(device).eval()
    form = Form(options.precision, options.compile)
    predictor = Predictor(model=whole, spec=spec, device=device, form=form, calibrate=options.calibrate)
    whole.to(memory_format=torch.contiguous_format)
    calls: dict[str, Call] = {
        PLAIN: lambda: [plain(whole, photo, spec, device) for photo in photos],
        OURS: lambda: list(predictor.predict_many(photos, batch=len(photos))),
    }
    network: dict[str, Call] = {
        f"{PLAIN}, network": lambda: [plain_output(whole, photo, spec, device) for photo in photos],
        f"{OURS}, network": lambda: predictor._run(photos),
    }
    agreement = agreement_of(plain_output(whole, photos[0], spec, device), predictor.run(photos[0]), photos[0])
    peers = {} if options.no_peers else _peers(photos, device, options)
    times = interleave(calls | network | peers, rounds=options.rounds, warmup=options.warmup, device=device)
    per_second = len(photos) / (float(np.median(times[OURS])) / 1000)
    settings = {name: getattr(options, name) for name in ("batch", "size", "precision", "compile", "calibrate")}
    settings |= {"photo": f"{photos[0].width}x{photos[0].height}", "model": options.model or "random weights"}
    found = Comparison(
        benchmark="segmenter",
        times=times,
        agreement=agreement.pixels,
        device=device,
        settings=settings,
        more={"boxes_moved": agreement._asdict(), "images_per_second": per_second},
    )
    notes = [
        f"{per_second:.1f} photos a second; boxes moved by {agreement.moved:.3f} pixels at most, "
        f"99 % by less than {agreement.moved_mostly:.3f}",
        f"forms allowed: {', '.join(map(str, allowed_forms(form)))}",
        *(f"no {name}: it is not installed" for name in ("ultralytics",) if find_spec(name) is None),
    ]
    show(found, as_json=options.json, notes=notes)


@torch.inference_mode()
def plain_output(model: Segmenter, photo: Image.Image, spec: SegmenterSpec, device: torch.device) -> SegmenterOutput:
    """The network as it is on one photo."""
    output: SegmenterOutput = model(model.normalize(_resized(photo, spec).to(device)))
    return output


@torch.inference_mode()
def plain(model: Segmenter, photo: Image.Image, spec: SegmenterSpec, device: torch.device) -> Tensor:
    """Every step on everything."""
    output = plain_output(model, photo, spec, device)
    found: Detections = fast_nms(
        decode(output.offsets[0], output.anchors), output.logits[0].softmax(dim=-1)[:, 1:].T, output.coefficients[0]
    )
    return instance_masks(output.prototypes[0], found.coefficients, found.boxes, size=(photo.height, photo.width))


@torch.inference_mode()
def agreement_of(plain: SegmenterOutput, ours: SegmenterOutput, photo: Image.Image) -> Agreement:
    """Of the anchors that the plain network is surest of, whatever NMS would make of small differences."""
    surest = plain.logits[0].softmax(dim=-1)[:, 1:].amax(dim=1).topk(MOST).indices
    size = (photo.height, photo.width)
    boxes = [decode(output.offsets[0], output.anchors)[surest] for output in (plain, ours)]
    edges = boxes[0].new_tensor([photo.width, photo.height] * 2)
    moved = ((boxes[0].clamp(0, 1) - boxes[1].clamp(0, 1)).abs() * edges).amax(dim=1)
    # within the same boxes: a box that has moved counts as such
    masks = [
        instance_masks(output.prototypes[0], output.coefficients[0, surest], boxes[0], size=size)
        for output in (plain, ours)
    ]
    inside = _inside(boxes[0], size)
    equal = (masks[0] == masks[1])[inside].double().mean()
    return Agreement(float(equal), float(moved.max()), float(moved.quantile(0.99)))


def _inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Which pixels lie in each box: all others agree whatever the network says."""
    rows = (torch.arange(size[0], device=boxes.device) + 0.5) / size[0]
    columns = (torch.arange(size[1], device=boxes.device) + 0.5) / size[1]
    left, top, right, bottom = (edge[:, None] for edge in boxes.unbind(dim=1))
    return ((rows > top) & (rows < bottom))[:, :, None] & ((columns > left) & (columns < right))[:, None, :]


def _segmenter(options: argparse.Namespace, photos: list[Image.Image]) -> tuple[Segmenter, SegmenterSpec]:
    if options.model:
        model, spec = load_network(Path(options.model))
        if not isinstance(model, Segmenter) or not isinstance(spec, SegmenterSpec):
            sys.exit(f"{options.model} is no YOLACT")
        return model, spec
    spec = SegmenterSpec(
        trunk=TrunkSpec(
            backbone=options.backbone,
            frozen_norm=True,
            fpn_channels=256,
            head_channels=256,
            head_depth=3,
            prototypes=32,
            finest_stride=8,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        classes=CLASSES,
        image_size=(options.size, options.size),
        scales=tuple((24.0 * 2**level,) for level in range(5)),
        ratios=(1.0, 0.5, 2.0),
        design="released",
    )
    model = build_segmenter(spec)
    _fit(model, model.normalize(_resized(photos[0], spec)))
    return model, spec


@torch.no_grad()
def _fit(model: Segmenter, images: Tensor) -> None:
    """Norms, then outputs of the size that they have once trained."""
    fit_norms(model, images)
    output: SegmenterOutput = model(images)
    head = model.box_head
    raw_coefficients = output.coefficients.clamp(-0.999, 0.999).atanh()
    for convolution, made, wanted in (
        (head.boxes, output.offsets, 1.0),
        (head.classes, output.logits, 2.0),
        (head.coefficients, raw_coefficients, 1.0),
        (model.trunk.head.planes, output.prototypes, 1.0),
    ):
        scale = wanted / max(float(made.std()), 1e-6)
        convolution.weight.mul_(scale)
        convolution.bias.mul_(scale)


def _resized(photo: Image.Image, spec: SegmenterSpec) -> Tensor:
    size, pixels = spec.image_size, as_tensor(photo)[None]
    return F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=spec.antialias)


def _photos(options: argparse.Namespace) -> list[Image.Image]:
    """Those of a folder, in turn, or noise of many scales."""
    if options.photos:
        files = photos_in(options.photos)
        return [Image.open(files[number % len(files)]).convert("RGB") for number in range(options.batch)]
    return [noise(options.photo, sides=(4, 16, 64)) for _ in range(options.batch)]


def _peers(photos: list[Image.Image], device: torch.device, options: argparse.Namespace) -> dict[str, Call]:
    """Of like size, with random weights, on the same photos."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    side = options.size
    network = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=side, max_size=side, num_classes=81)
    network = network.to(device).eval()
    peers: dict[str, Call] = {
        "torchvision Mask R-CNN": _no_grad(lambda: network([as_tensor(photo).to(device) for photo in photos]))
    }
    if find_spec("ultralytics") is not None:
        from ultralytics import YOLO

        other: Any = YOLO("yolov8m-seg.yaml")
        peers["Ultralytics"] = lambda: other.predict(photos, imgsz=side, device=str(device), verbose=False)
        peers["Ultralytics"]()
        torch.set_num_threads(options.threads)  # its import and its first call change them for all
    return peers


def _no_grad(call: Callable[[], object]) -> Call:
    return torch.inference_mode()(call)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("--batch", type=int, default=1, help="photos at once; the plain form takes one at a time")
    parser.add_argument("--size", type=int, default=550, help="side that the network sees (default: 550)")
    parser.add_argument("--photo", type=int, nargs=2, default=[480, 640], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="bf16")
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile")
    parser.add_argument("--calibrate", action="store_true", help="ours in the quickest form that these allow")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--model", help="a trained segmenter's folder or file in place of random weights")
    parser.add_argument("--photos", help="a folder of photos in place of noise")
    parser.add_argument("--no-peers", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
