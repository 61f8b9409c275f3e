"""What the released YOLACT and YOLACT++ models are, as descriptions from which ours are built."""

from dataclasses import replace

from eps.data.class_names import COCO, VOC
from eps.models.spec import SegmenterSpec, TrunkSpec

Scales = tuple[tuple[float, ...], ...]


def _levels(*scales: int) -> Scales:
    return tuple((float(scale),) for scale in scales)


def _thirds(scales: Scales) -> Scales:
    """Each scale, and a third and two thirds of the way to its double (YOLACT++)."""
    return tuple(tuple(scale * 2 ** (third / 3) for third in range(3)) for (scale,) in scales)


_RESNET50 = TrunkSpec(
    backbone="resnet50",
    frozen_norm=True,
    fpn_channels=256,
    head_channels=256,
    head_depth=3,
    prototypes=32,
    finest_stride=8,
    mean=(123.68 / 255, 116.78 / 255, 103.94 / 255),
    std=(58.40 / 255, 57.12 / 255, 57.38 / 255),
)
_RESNET101 = replace(_RESNET50, backbone="resnet101")
_DARKNET53 = replace(_RESNET50, backbone="yolact_darknet53", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

_BASE = SegmenterSpec(
    trunk=_RESNET101,
    classes=COCO,
    image_size=(550, 550),
    scales=_levels(24, 48, 96, 192, 384),
    ratios=(1.0, 0.5, 2.0),
    square_anchors=True,
    antialias=False,
    design="released",
)
_PLUS = replace(_BASE, scales=_thirds(_BASE.scales), square_anchors=False, mask_iou=True)

SPECS = {
    "yolact_base": _BASE,
    "yolact_resnet50": replace(_BASE, trunk=_RESNET50),
    "yolact_darknet53": replace(_BASE, trunk=_DARKNET53),
    "yolact_im400": replace(_BASE, image_size=(400, 400), scales=_levels(17, 34, 69, 139, 279)),
    "yolact_im700": replace(_BASE, image_size=(700, 700), scales=_levels(30, 61, 122, 244, 488)),
    "yolact_resnet50_pascal": replace(
        _BASE, trunk=_RESNET50, classes=VOC, scales=_levels(32, 64, 128, 256, 512), square_anchors=False
    ),
    "yolact_plus_base": replace(_PLUS, trunk=replace(_RESNET101, deformable_every=3)),
    "yolact_plus_resnet50": replace(_PLUS, trunk=replace(_RESNET50, deformable_every=1)),
}
"""By the names that the released code gives them."""
