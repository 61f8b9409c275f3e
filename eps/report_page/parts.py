"""Which artifacts a run has: its own, and those of the variants that the demo makes beside them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eps.data.artifacts import read_json
from eps.data.manifest import MANIFEST, recorded


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The folders of a run's artifacts by what they are; None for what was not made."""

    cam_classifier: Path | None = None
    cam_pseudo_masks: Path | None = None
    classifier: Path | None = None
    pseudo_masks: Path | None = None
    crf_pseudo_masks: Path | None = None
    segmenter: Path | None = None
    deeplab: Path | None = None
    """The segmenter of EPS's paper."""
    truth_segmenter: Path | None = None
    """Trained on true masks."""
    truth_deeplab: Path | None = None


def find_parts(locate: Callable[[str], Path]) -> Parts:
    """The parts of a run; `locate` says where an artifact would lie (`pseudo_masks`, `cam/classifier`, ...).

    Pseudo-masks that a CRF refined count as such wherever they lie, and so does a segmenter by its kind and by what it
    was trained on.
    """
    masks = _finished(locate("pseudo_masks"))
    refined = masks is not None and read_manifest(masks)["config"]["crf"] != "none"
    segmenters: dict[str, Path] = {}
    for place in ("segmenter", "deeplab/segmenter", "truth/segmenter"):
        if (folder := _finished(locate(place))) is not None:
            segmenters.setdefault(_kind(folder), folder)
    return Parts(
        cam_classifier=_finished(locate("cam/classifier")),
        cam_pseudo_masks=_finished(locate("cam/pseudo_masks")),
        classifier=_finished(locate("classifier")),
        pseudo_masks=None if refined else masks,
        crf_pseudo_masks=masks if refined else _finished(locate("crf/pseudo_masks")),
        segmenter=segmenters.get("segmenter"),
        deeplab=segmenters.get("deeplab"),
        truth_segmenter=segmenters.get("truth_segmenter"),
        truth_deeplab=segmenters.get("truth_deeplab"),
    )


def read_manifest(artifact: Path) -> dict[str, Any]:
    """What an artifact says of itself. Raises `UserError` where its manifest is broken."""
    manifest: dict[str, Any] = read_json(artifact / MANIFEST)
    return manifest


def read_seconds(artifact: Path | None) -> float | None:
    """How long an artifact took to make, where that is recorded."""
    path = None if artifact is None else artifact / "run.json"
    return float(read_json(path)["seconds"]) if path is not None and path.is_file() else None


def read_evaluation(artifact: Path | None) -> dict[str, Any]:
    """What `evaluate` found of an artifact, in `evaluation/` beside it; empty where it has not, or not anew."""
    path = None if artifact is None else artifact.parent / "evaluation" / f"{artifact.name}.json"
    if artifact is None or path is None or not path.is_file():
        return {}
    content: dict[str, Any] = read_json(path)
    return content if content.get("fingerprint") == recorded(artifact).get("fingerprint") else {}


def _kind(segmenter: Path) -> str:
    """Which part a segmenter is."""
    config = read_manifest(segmenter)["config"]
    name = "deeplab" if config.get("kind") == "deeplab" else "segmenter"  # older ones have no kind
    return f"truth_{name}" if config["supervision"] == "truth" else name


def _finished(folder: Path) -> Path | None:
    return folder if (folder / MANIFEST).is_file() else None
