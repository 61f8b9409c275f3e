"""The numbers of a run, one row a method."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from eps.data.manifest import recorded
from eps.report_page.parts import Parts, read_evaluation, read_seconds


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One method's scores; None for what is not known. IoU and AP in percent, leakage and agreement in 0..1."""

    name: str
    label: str
    made: bool
    """Whether the run has this method at all."""
    split: str
    """What `per_class`, `leakage` and `ap50` were measured on."""
    miou: Mapping[str, float | None]
    """By split."""
    per_class: Mapping[str, float | None]
    leakage: float | None
    ap50: float | None
    agreement: float | None = None
    """Of its labels of training photos with saliency maps and tags: the score that a run has without truth."""
    instances: Mapping[str, Any] = field(default_factory=dict)
    """All that is known of their AP: see `eps.metrics.scorecard.Scorecard`."""
    tag_ap: Mapping[str, float | None] = field(default_factory=dict)
    """AP of each class as a tag of photos."""
    seconds: float | None
    """To make this row, what it shares with rows above left out."""
    from_tags_alone: bool = False
    """Whether these are pseudo-masks of a run whose own classifier has seen no saliency map."""


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The names of the splits: pseudo-masks are of `train`, segmenters are scored on `val` and `also`."""

    train: str
    val: str
    also: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Every split once, in the order of the table."""
        return tuple(dict.fromkeys((self.train, self.val, *self.also)))


def gather_rows(parts: Parts, splits: Splits) -> list[Row]:
    """The rows of the table: CAM, EPS, EPS with a CRF, the segmenter, DeepLab, and both of these from truth."""
    cam = read_evaluation(parts.cam_pseudo_masks)
    best = cam.get("best_threshold")
    if best is not None:  # at the threshold that truth likes best: instances were not split at that one
        cam = {"splits": {splits.train: {**best, "instances": None}}}
    eps, crf = read_evaluation(parts.pseudo_masks), read_evaluation(parts.crf_pseudo_masks)
    segmenters = (
        ("segmenter", "segmenter", parts.segmenter),
        ("deeplab", "DeepLab", parts.deeplab),
        ("segmenter_truth", "fully supervised segmenter", parts.truth_segmenter),
        ("deeplab_truth", "fully supervised DeepLab", parts.truth_deeplab),
    )
    cam_label = "CAM" if best is None else "CAM (best threshold)"
    crf_made = [parts.crf_pseudo_masks] if parts.pseudo_masks else [parts.classifier, parts.crf_pseudo_masks]
    cam_row = _row("cam", cam_label, cam, splits.train, splits, [parts.cam_classifier, parts.cam_pseudo_masks])
    eps_row = _row("eps", "EPS", eps, splits.train, splits, [parts.classifier, parts.pseudo_masks])
    if parts.classifier is not None and recorded(parts.classifier).get("config", {}).get("kind") == "cam":
        # whose labels agree with nothing but the tags that they were made of
        eps_row = replace(eps_row, label="CAM of this run", agreement=None, from_tags_alone=True)
    return [
        cam_row if best is None else replace(cam_row, agreement=None),  # which was taken at stage 2's threshold
        eps_row,
        _row("eps_crf", "EPS + CRF", crf, splits.train, splits, crf_made),
        *(_segmenter_row(name, label, folder, splits) for name, label, folder in segmenters),
    ]


def own_segmenter(rows: Sequence[Row]) -> Row:
    """The row of the segmenter from tags that has a score: ours, or else DeepLab."""
    by_name = {row.name: row for row in rows}
    scored = [row for row in (by_name["segmenter"], by_name["deeplab"]) if row.miou[row.split] is not None]
    return scored[0] if scored else by_name["segmenter"]


def supervision_ratio(rows: Sequence[Row]) -> float | None:
    """mIoU of the segmenter from tags over that of the same segmenter from true masks, on the validation split."""
    own = own_segmenter(rows)
    [truth] = [row for row in rows if row.name == f"{own.name}_truth"]
    ours, full = own.miou[own.split], truth.miou[truth.split]
    return None if ours is None or not full else ours / full


def seconds_of(parts: Parts) -> dict[str, float]:
    """The recorded seconds of each artifact, and of their evaluations together."""
    recorded = {name: read_seconds(folder) for name, folder in vars(parts).items()}
    recorded["evaluation"] = sum(read_evaluation(folder).get("seconds", 0.0) for folder in vars(parts).values())
    return {name: round(seconds, 2) for name, seconds in recorded.items() if seconds}


def summary(rows: Sequence[Row], *, seconds: Mapping[str, float], peak_rss_mb: float) -> dict[str, Any]:
    """What `summary.json` holds."""
    return {
        "rows": {row.name: _plain(row) for row in rows},
        "supervision_ratio": supervision_ratio(rows),
        "seconds": {**seconds, "total": sum(seconds.values())},
        "peak_rss_mb": peak_rss_mb,
    }


def _plain(row: Row) -> dict[str, Any]:
    content = asdict(row)
    scores = {f"miou_{split}": value for split, value in row.miou.items()}
    return scores | {key: content[key] for key in ("per_class", "leakage", "ap50", "agreement")}


def _segmenter_row(name: str, label: str, folder: Path | None, splits: Splits) -> Row:
    return _row(name, label, read_evaluation(folder), splits.val, splits, [folder])


def _row(
    name: str, label: str, evaluation: dict[str, Any], split: str, splits: Splits, made: Sequence[Path | None]
) -> Row:
    found: dict[str, Any] = evaluation.get("splits", {})
    main = found.get(split, {})
    times = [seconds for folder in made if (seconds := read_seconds(folder)) is not None]
    return Row(
        name=name,
        label=label,
        made=made[-1] is not None,
        split=split,
        miou={each: _finite(found.get(each, {}).get("miou")) for each in splits.all},
        per_class=_background_first(main.get("per_class", {})),
        leakage=_finite((main.get("leakage") or {}).get("mean")),
        ap50=_finite((main.get("instances") or {}).get("ap50")),
        agreement=None if made[-1] is None else _finite(recorded(made[-1]).get("score")),
        instances=main.get("instances") or {},
        tag_ap=(main.get("tags") or {}).get("ap_per_class") or {},
        seconds=sum(times) if times and made[-1] is not None else None,
    )


def _background_first(scores: Mapping[str, float | None]) -> dict[str, float | None]:
    names = sorted(scores, key=lambda name: name != "background")
    return {name: _finite(scores[name]) for name in names}


def _finite(value: float | None) -> float | None:
    """A number that JSON can hold."""
    return value if value is not None and math.isfinite(value) else None
