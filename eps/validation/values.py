"""What each value must be like by itself: `RULES`, one table."""

import re
from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from operator import attrgetter
from typing import Any, NamedTuple

from eps.errors import UserError
from eps.schema import Config


class _Rule(NamedTuple):
    demand: str
    holds: Callable[[Any], bool]
    keys: Sequence[str]


def validate_values(cfg: Config) -> None:
    """Raise `UserError` for the first value that no run can do with."""
    for rule in RULES:
        for key in rule.keys:
            value = attrgetter(key)(cfg)
            if not rule.holds(value):
                raise UserError(f"{key}={shown(value)}: {rule.demand}")


def shown(value: object) -> str:
    """A value as it is typed on a command line."""
    return value if isinstance(value, str) else str(value).replace(" ", "")


def _all(holds: Callable[[Any], bool], *, count: int | None = None) -> Callable[[Any], bool]:
    """For lists: every item passes, and there are `count` of them, or at least one."""
    return lambda items: (len(items) == count if count else len(items) > 0) and all(holds(item) for item in items)


def _both(prefixes: Sequence[str], *keys: str) -> list[str]:
    return [f"{prefix}.{key}" for prefix in prefixes for key in keys]


def _is_threshold(value: float | str) -> bool:
    return value == "auto" if isinstance(value, str) else 0 < value < 1


def _is_source(*words: str, kinds: str) -> Callable[[str], bool]:
    """One of these words, or `kind:` with something behind it."""
    return lambda value: value in words or re.match(rf"({kinds}):.", value) is not None


def _is_name(value: str) -> bool:
    return re.fullmatch(r"[\w.-]+(/[\w.-]+)*", value) is not None and ".." not in value.split("/")


def _are_anchor_scales(levels: list[list[float]]) -> bool:
    equal = len({len(level) for level in levels}) == 1
    return len(levels) >= 3 and equal and len(levels[0]) > 0 and all(scale > 0 for scale in chain(*levels))


_TRAINERS = ("classifier", "segmenter")
_OPTIMS = ("classifier.optim", "segmenter.optim")
_AUGMENTS = ("classifier.augment", "segmenter.augment")
_CRFS = ("pseudo_masks.crf_parameters", "predict.crf_parameters")

RULES = (
    _Rule("must be a folder name: letters, digits, _ . - and /", _is_name, ["name"]),
    _Rule(
        "must not be empty",
        bool,
        ["run_dir", "out_dir", "data.root", "data.train", "data.scored", "data.val", "trunk.backbone", "source"],
    ),
    _Rule("must not be empty", _all(bool), ["evaluate.splits", "saliency.splits"]),
    _Rule(
        "must be imagenet, package:NAME, file:PATH, mxnet:PATH or none",
        _is_source("imagenet", "none", kinds="package|file|mxnet"),
        ["trunk.weights"],
    ),
    _Rule(
        "must be imagenet, file:PATH or none",
        _is_source("imagenet", "none", kinds="file"),
        ["segmenter.deeplab.weights"],
    ),
    _Rule(
        "must be numbers between 0 and 1 (both excluded), in ascending order",
        lambda values: all(0 < value < 1 for value in values) and all(a < b for a, b in pairwise(values)),
        ["evaluate.thresholds"],
    ),
    _Rule(
        "must be [[target,coincident],...], two different names each",
        lambda pairs: all(len(pair) == 2 and pair[0] != pair[1] for pair in pairs),
        ["evaluate.pairs"],
    ),
    _Rule("must be auto, or a number between 0 and 1 (both excluded)", _is_threshold, ["pseudo_masks.threshold"]),
    _Rule(
        "must be 1 or more",
        lambda value: value >= 1,
        [
            *_both(_TRAINERS, "steps", "batch"),
            *_both(_AUGMENTS, "crop"),
            *_both(_CRFS, "iterations"),
            "segmenter.max_detections",
            "segmenter.masks_per_image",
            *_both(["predict"], "top_k", "batch"),
            "segmenter.augment.expand",
            "saliency.batch",
            "runtime.accumulate",
        ],
    ),
    _Rule("must be between 0 and 4294967295", lambda seed: 0 <= seed < 2**32, ["seed"]),
    _Rule(
        "must be 0 or more",
        lambda value: value >= 0,
        [
            *_both(["trunk"], "frozen_stages", "fpn_channels", "head_channels", "head_depth", "prototypes"),
            "trunk.deformable_every",
            "classifier.tag_weight",
            "pseudo_masks.min_area",
            "evaluate.boundary_tolerance",
            "export.tolerance",
            *_both(_OPTIMS, "weight_decay", "bias_scale", "last_scale", "backbone_scale", "power", "warmup", "clip"),
            *_both(_OPTIMS, "base_batch"),
            "segmenter.augment.min_side",
            "segmenter.start",
            *_both(["segmenter"], "box_weight", "class_weight", "mask_weight", "semantic_weight", "mask_iou_weight"),
            "segmenter.tag_weight",
            "pseudo_masks.logit_adjustment",
            *_both(["runtime"], "workers", "cache_mb", "threads", "batch", "checkpoint_every", "looks"),
            "runtime.max_bad_steps",
            *_both(_CRFS, "gaussian_compat", "bilateral_compat"),
            *_both(["predict"], "frames", "instance", "benchmark"),
            "evaluate.photos",
            "app.max_side",
        ],
    ),
    _Rule(
        "must be more than 0",
        lambda value: value > 0,
        [
            *_both(_OPTIMS, "lr", "drop_factor"),
            *_both(["classifier"], "pooling_floor", "initial_scale"),
            "pseudo_masks.crf_alpha",
            *_both(["app"], "max_upload_mb", "max_megapixels"),
        ],
    ),
    _Rule(
        "must be between 0.01 and 10000",
        lambda width: 0.01 <= width <= 10_000,
        _both(_CRFS, "gaussian_sxy", "bilateral_sxy", "bilateral_srgb"),
    ),
    _Rule(
        "must be between 0 and 1",
        lambda value: 0 <= value <= 1,
        [
            *_both(["classifier"], "tau", "lam", "select_all", "distrust_from"),
            *_both(_AUGMENTS, "flip"),
            "pseudo_masks.ignore_band",
            "segmenter.paste",
            "segmenter.score_threshold",
            "predict.score_threshold",
            "segmenter.nms_iou",
        ],
    ),
    _Rule("must be 8, 16 or 32", lambda stride: stride in (8, 16, 32), ["trunk.output_stride"]),
    _Rule("must be 8 or 16", lambda stride: stride in (8, 16), ["segmenter.deeplab.output_stride"]),
    _Rule("must be true, false or auto", lambda frozen: frozen in (True, False, "auto"), ["trunk.frozen_norm"]),
    _Rule("must be 4 or 8", lambda stride: stride in (4, 8), ["trunk.finest_stride"]),
    _Rule("must be none or released:FILE", _is_source("none", kinds="released"), ["segmenter.weights"]),
    _Rule(
        "must be 0 or more, and less than 1",
        lambda value: 0 <= value < 1,
        [*_both(_OPTIMS, "momentum"), "classifier.dropout", "data.val_share", "convert.val_share", "export.val_share"],
    ),
    _Rule(
        "must be shares of the run between 0 and 1, in ascending order",
        lambda drops: all(0 < drop < 1 for drop in drops) and all(a < b for a, b in pairwise(drops)),
        _both(_OPTIMS, "drops"),
    ),
    _Rule(
        "must be two numbers above 0, [smallest,largest]",
        lambda scale: _all(lambda side: side > 0, count=2)(scale) and scale[0] <= scale[1],
        ["segmenter.deeplab.scale"],
    ),
    _Rule(
        "must be two numbers of pixels above 0, [smallest,largest]",
        lambda sides: _all(lambda side: side > 0, count=2)(sides) and sides[0] <= sides[1],
        _both(_AUGMENTS, "long_side"),
    ),
    _Rule(
        "must be four numbers, [brightness,contrast,saturation,hue], 0 or more and the hue at most 0.5",
        lambda jitter: _all(lambda value: value >= 0, count=4)(jitter) and jitter[3] <= 0.5,
        _both(_AUGMENTS, "jitter"),
    ),
    _Rule("must be three numbers", _all(lambda value: True, count=3), ["trunk.mean", "saliency.mean"]),
    _Rule("must be three numbers above 0", _all(lambda value: value > 0, count=3), ["trunk.std", "saliency.std"]),
    _Rule(
        "must be one number above 0 or more, [a,b,...]",
        _all(lambda value: value > 0),
        ["segmenter.ratios"],
    ),
    _Rule(
        "must be one number or more, [a,b,...], each above 0 and at most 16",
        _all(lambda value: 0 < value <= 16),
        ["pseudo_masks.scales", "segmenter.deeplab.test_scales"],
    ),
    _Rule(
        "must be [height,width], each 32 pixels or more",
        _all(lambda side: side >= 32, count=2),
        ["segmenter.image_size"],
    ),
    _Rule("must be [height,width], each 2 pixels or more", _all(lambda side: side >= 2, count=2), ["saliency.size"]),
    _Rule(
        "must be one list of sizes a level, three levels or more from P3, as many sizes above 0 in each",
        _are_anchor_scales,
        ["segmenter.scales"],
    ),
    _Rule(
        "must be names, each of them once",
        lambda names: all(names) and len(set(names)) == len(names),
        ["data.classes", "predict.classes", "convert.classes"],
    ),
    _Rule("must be some of them, each once", lambda shown: len(set(shown)) == len(shown) > 0, ["predict.draw"]),
    _Rule("must not be empty", bool, ["data.tags", "data.saliency", "data.truth", "data.index"]),
    _Rule("must not be empty", bool, ["convert.out", "app.host"]),
    _Rule("must be 0 or more, or -1", lambda value: value >= 0 or value == -1, ["runtime.memory_limit"]),
    _Rule("must be between 0 and 65535", lambda port: 0 <= port < 2**16, ["app.port"]),
    _Rule("must be raise or skip", lambda value: value in ("raise", "skip"), ["data.on_error"]),
    _Rule("every size must be 1 or more", lambda sizes: all(size >= 1 for size in sizes.values()), ["data.sizes"]),
)
