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

    cam_classifier: Path | None
    cam_pseudo_masks: Path | None
    classifier: Path | None
    pseudo_masks: Path | None
    crf_pseudo_masks: Path | None
    segmenter: Path | None
    truth_segmenter: Path | None
    """Trained on true masks."""


def find_parts(locate: Callable[[str], Path]) -> Parts:
    """The parts of a run; `locate` says where an artifact would lie (`pseudo_masks`, `cam/classifier`, ...).

    Pseudo-masks that a CRF refined count as such wherever they lie, and so does a segmenter trained on true masks.
    """
    found = {name: _finished(locate(name)) for name in ("classifier", "pseudo_masks", "segmenter")}
    masks, segmenter = found["pseudo_masks"], found["segmenter"]
    refined = masks is not None and read_manifest(masks)["config"]["crf"] == "pydensecrf"
    supervised = segmenter is not None and read_manifest(segmenter)["config"]["supervision"] == "truth"
    return Parts(
        cam_classifier=_finished(locate("cam/classifier")),
        cam_pseudo_masks=_finished(locate("cam/pseudo_masks")),
        classifier=found["classifier"],
        pseudo_masks=None if refined else masks,
        crf_pseudo_masks=masks if refined else _finished(locate("crf/pseudo_masks")),
        segmenter=None if supervised else segmenter,
        truth_segmenter=segmenter if supervised else _finished(locate("truth/segmenter")),
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


def _finished(folder: Path) -> Path | None:
    return folder if (folder / MANIFEST).is_file() else None
