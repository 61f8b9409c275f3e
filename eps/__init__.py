"""From image tags to instance masks: weakly supervised segmentation (EPS) feeding a real-time segmenter (YOLACT)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from eps.engine.predictor import Predictor

__version__ = "0.1.0"

for _reporter in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_reporter, "1")  # onnxruntime would report to its maker what it runs, from its import on


def load(
    path: str | Path,
    *,
    name: str | None = None,
    classes: Sequence[str] = (),
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    compiled: bool = False,
    calibrate: bool = True,
) -> "Predictor":
    """A `Predictor` from a segmenter checkpoint, from the folder that stage 3 or `eps.export` wrote, or from a file.

    A file `*.onnx` is one of `eps.export`; one named `<model>_<epoch>_<iteration>.pth` is a released YOLACT or
    YOLACT++. A `.pth` that their code trained on other data may be called anything: `name` is then the network, such
    as `yolact_base`, and `classes` are the names of what it knows. Raises `eps.errors.UserError` where there is none.

    The network may run in `precision`, and `compiled` by torch.compile; with `calibrate` in the quickest form that
    these allow, found out with the first photo.
    """
    from eps.engine.predictor import load as load_predictor  # torch is slow to import: only whoever predicts pays

    return load_predictor(path, name=name, classes=classes, precision=precision, compiled=compiled, calibrate=calibrate)
