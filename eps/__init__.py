"""From image tags to instance masks: weakly supervised segmentation (EPS) feeding a real-time segmenter (YOLACT)."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eps.engine.predictor import Predictor

__version__ = "0.1.0"


def load(path: str | Path) -> "Predictor":
    """A `Predictor` from a segmenter checkpoint, from the folder that stage 3 or `eps.export` wrote, or from a file.

    A file `*.onnx` is one of `eps.export`; one named `<model>_<epoch>_<iteration>.pth` is a released YOLACT or
    YOLACT++. Raises `eps.errors.UserError` where there is none.
    """
    from eps.engine.predictor import load as load_predictor  # torch is slow to import: only whoever predicts pays

    return load_predictor(path)
