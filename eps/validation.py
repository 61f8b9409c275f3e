"""What no run can do with: values of the right type that make no sense, refused by name before anything starts."""

import re
from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from operator import attrgetter
from typing import Any, NamedTuple

from eps.errors import UserError
from eps.schema import Config, DataKind


class _Rule(NamedTuple):
    demand: str
    holds: Callable[[Any], bool]
    keys: Sequence[str]


def validate(cfg: Config) -> None:
    """Raise `UserError`, one line that names the key, for the first value that makes no sense."""
    for rule in RULES:
        for key in rule.keys:
            value = attrgetter(key)(cfg)
            if not rule.holds(value):
                raise UserError(f"{key}={_shown(value)}: {rule.demand}")
    _validate_splits(cfg)


def _validate_splits(cfg: Config) -> None:
    """The embedded benchmark is generated: every split that is asked for must have a size."""
    if cfg.data.kind is not DataKind.railroad:
        return
    if cfg.data.size < 32:
        raise UserError(f"data.size={cfg.data.size}: the scenes of data=railroad need a side of 32 pixels or more")
    asked = {
        "data.train": [cfg.data.train],
        "data.val": [cfg.data.val],
        "data.also": cfg.data.also,
        "evaluate.splits": cfg.evaluate.splits,
    }
    for key, splits in asked.items():
        for split in splits:
            if split not in cfg.data.sizes:
                known = ", ".join(cfg.data.sizes)
                raise UserError(f"{key}: data.sizes has no split {split!r}; choose one of {known}, or give it a size")


def _shown(value: object) -> str:
    return str(value).replace(" ", "")


def _all(holds: Callable[[Any], bool], *, count: int | None = None) -> Callable[[Any], bool]:
    """For lists: every item passes, and there are `count` of them, or at least one."""
    return lambda items: (len(items) == count if count else len(items) > 0) and all(holds(item) for item in items)


def _both(prefixes: Sequence[str], *keys: str) -> list[str]:
    return [f"{prefix}.{key}" for prefix in prefixes for key in keys]


def _is_threshold(value: float | str) -> bool:
    return value == "auto" if isinstance(value, str) else 0 < value < 1


def _is_weights(value: str) -> bool:
    return value in ("imagenet", "none") or re.match(r"(package|file):.", value) is not None


def _is_name(value: str) -> bool:
    return re.fullmatch(r"[\w.-]+(/[\w.-]+)*", value) is not None and ".." not in value.split("/")


def _are_anchor_scales(levels: list[list[float]]) -> bool:
    equal = len({len(level) for level in levels}) == 1
    return len(levels) >= 3 and equal and len(levels[0]) > 0 and all(scale > 0 for scale in chain(*levels))


_TRAINERS = ("classifier", "segmenter")
_OPTIMS = ("classifier.optim", "segmenter.optim")
_AUGMENTS = ("classifier.augment", "segmenter.augment")

RULES = (
    _Rule("must be a folder name: letters, digits, _ . - and /", _is_name, ["name"]),
    _Rule("must not be empty", bool, ["run_dir", "out_dir", "data.root", "data.train", "data.val", "trunk.backbone"]),
    _Rule("must not be empty", _all(bool), ["evaluate.splits"]),
    _Rule("must be imagenet, package:NAME, file:PATH or none", _is_weights, ["trunk.weights"]),
    _Rule("must be auto, or a number between 0 and 1 (both excluded)", _is_threshold, ["pseudo_masks.threshold"]),
    _Rule(
        "must be 1 or more",
        lambda value: value >= 1,
        [
            *_both(_TRAINERS, "steps", "batch"),
            *_both(_AUGMENTS, "crop"),
            *_both(["trunk"], "fpn_channels", "head_channels", "prototypes"),
            "pseudo_masks.crf_parameters.iterations",
            "segmenter.max_detections",
        ],
    ),
    _Rule("must be between 0 and 4294967295", lambda seed: 0 <= seed < 2**32, ["seed"]),
    _Rule(
        "must be 0 or more",
        lambda value: value >= 0,
        [
            "trunk.head_depth",
            "classifier.tag_weight",
            "pseudo_masks.min_area",
            *_both(_OPTIMS, "weight_decay", "bias_scale", "last_scale", "power", "warmup", "clip"),
            *_both(["segmenter"], "box_weight", "class_weight", "mask_weight", "semantic_weight"),
            *_both(["runtime"], "workers", "threads", "checkpoint_every"),
            *_both(["pseudo_masks.crf_parameters"], "gaussian_compat", "bilateral_compat"),
        ],
    ),
    _Rule(
        "must be more than 0",
        lambda value: value > 0,
        [
            *_both(_OPTIMS, "lr"),
            "classifier.pooling_floor",
            *_both(["pseudo_masks.crf_parameters"], "gaussian_sxy", "bilateral_sxy", "bilateral_srgb"),
        ],
    ),
    _Rule(
        "must be between 0 and 1",
        lambda value: 0 <= value <= 1,
        [
            *_both(["classifier"], "tau", "lam", "select_all"),
            *_both(_AUGMENTS, "flip"),
            "pseudo_masks.ignore_band",
            "segmenter.paste",
            "segmenter.score_threshold",
            "segmenter.nms_iou",
        ],
    ),
    _Rule("must be 0 or more, and less than 1", lambda value: 0 <= value < 1, _both(_OPTIMS, "momentum")),
    _Rule(
        "must be shares of the run between 0 and 1, in ascending order",
        lambda drops: all(0 < drop < 1 for drop in drops) and all(a < b for a, b in pairwise(drops)),
        _both(_OPTIMS, "drops"),
    ),
    _Rule(
        "must be two numbers above 0, [smallest,largest]",
        lambda scale: _all(lambda side: side > 0, count=2)(scale) and scale[0] <= scale[1],
        _both(_AUGMENTS, "scale"),
    ),
    _Rule(
        "must be four numbers, [brightness,contrast,saturation,hue], 0 or more and the hue at most 0.5",
        lambda jitter: _all(lambda value: value >= 0, count=4)(jitter) and jitter[3] <= 0.5,
        _both(_AUGMENTS, "jitter"),
    ),
    _Rule("must be three numbers", _all(lambda value: True, count=3), ["trunk.mean"]),
    _Rule("must be three numbers above 0", _all(lambda value: value > 0, count=3), ["trunk.std"]),
    _Rule(
        "must be one number above 0 or more, [a,b,...]",
        _all(lambda value: value > 0),
        ["pseudo_masks.scales", "segmenter.ratios"],
    ),
    _Rule(
        "must be [height,width], each 32 pixels or more",
        _all(lambda side: side >= 32, count=2),
        ["segmenter.image_size"],
    ),
    _Rule(
        "must be one list of sizes a level, three levels or more from P3, as many sizes above 0 in each",
        _are_anchor_scales,
        ["segmenter.scales"],
    ),
    _Rule("every size must be 1 or more", lambda sizes: all(size >= 1 for size in sizes.values()), ["data.sizes"]),
)
