"""The numbers of a finished recipe, as `docs/results.json` holds them.

`python -m benchmarks.results runs/voc_mini docs/results.json --command "..."` reads the evaluations that `stages.demo`
left in a run: its own, that of the CAM baseline in `cam/` (at the threshold that truth finds best, which flatters it)
and that of the fully supervised segmenter in `truth/`. Nothing is measured here.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def collect(run: Path, *, command: str) -> dict[str, Any]:
    """mIoU in percent, to a tenth; the ratio is that of the unrounded ones."""
    made = _read(run / "evaluation" / "pseudo_masks.json")
    scored = [_read(run / part / "evaluation" / "segmenter.json") for part in (".", "truth")]
    segmenter, truth = (_miou(evaluation, "val") for evaluation in scored)
    cam = _read(run / "cam" / "evaluation" / "pseudo_masks.json")["best_threshold"]["miou"]
    own, supervised = (_read(run / part / "segmenter" / "manifest.json") for part in (".", "truth"))
    masks = (own["config"]["supervision"], supervised["config"]["supervision"])
    if masks != ("pseudo", "truth"):
        raise SystemExit(f"{run}/segmenter and {run}/truth learnt from {masks[0]} and {masks[1]}, not pseudo and truth")
    for evaluation, manifest in zip(scored, (own, supervised), strict=True):
        if evaluation["fingerprint"] != manifest["fingerprint"]:
            raise SystemExit(f"{run}: segmenter.json scores another segmenter than lies there: evaluate again")
    if not _alike(own, supervised):
        raise SystemExit(
            f"{run}/truth was trained by another recipe than {run}/segmenter: no ratio of these means much"
        )
    hardware = made["made_by"]["hardware"]
    return {
        "pseudo_miou_train": round(_miou(made, "train"), 1),
        "segmenter_miou_val": round(segmenter, 1),
        "segmenter_truth_miou_val": round(truth, 1),
        "supervision_ratio": round(segmenter / truth, 3),
        "cam_miou_train": round(cam, 1),
        "command": command,
        "machine": ", ".join([hardware["processor"], f"{hardware['cores']} cores", *hardware["devices"]]),
        "seed": own["seed"],
    }


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the masks alone differ between two segmenters; a setting that one did not have yet is passed over."""
    shared = (one["config"].keys() & other["config"].keys()) - {"supervision"}
    same = all(one["config"][key] == other["config"][key] for key in shared)
    begun = [[run["inputs"].get(name) for name in ("classifier/model.safetensors", "data")] for run in (one, other)]
    return same and begun[0] == begun[1] and (one["seed"], one["trunk"]) == (other["seed"], other["trunk"])


def _miou(evaluation: dict[str, Any], split: str) -> float:
    return float(evaluation["splits"][split]["miou"])


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SystemExit(f"{path} is missing: see docs/RESULTS.md for the commands that make it")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def main(arguments: Sequence[str] | None = None) -> None:
    """Put the numbers of one run into the file, under the run's name; other names stay."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--command", required=True, help="what made the run")
    options = parser.parse_args(arguments)
    known = _read(options.out) if options.out.is_file() else {}
    known[options.run.name] = collect(options.run, command=options.command)
    options.out.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    print(json.dumps(known[options.run.name], indent=1))


if __name__ == "__main__":
    main()
