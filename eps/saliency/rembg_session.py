"""Saliency by the package rembg, which brings networks of its own and fetches their weights itself."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from eps.errors import UserError


def import_rembg() -> Any:
    """The package. Raises `UserError` where it is missing, or what runs its networks is: then it ends the process."""
    try:
        with redirect_stdout(StringIO()):
            import rembg
    except (ImportError, SystemExit) as error:
        raise UserError(
            "saliency=rembg: the package rembg is not installed: pip install 'rembg[cpu]', or use another "
            "network's file with saliency=onnx saliency.model=FILE"
        ) from error
    return rembg


class RembgSession:
    """One of rembg's networks, by the name that rembg gives it. Raises `UserError` where there is none."""

    provider = "rembg"
    batch = 1

    def __init__(self, name: str, *, device: str) -> None:
        rembg = import_rembg()
        cpu = {"providers": ["CPUExecutionProvider"]} if device == "cpu" else {}
        try:
            self._session: Any = rembg.new_session(name, **cpu)
        except ValueError as error:
            raise UserError(f"saliency.session={name}: rembg has no such session: {error}") from error
        self._remove: Any = rembg.remove

    def __call__(self, photos: Sequence[Image.Image]) -> list[UInt8[np.ndarray, "_ _"]]:
        """Saliency maps of RGB photos, each of its photo's size."""
        return [np.asarray(self._remove(photo, session=self._session, only_mask=True).convert("L")) for photo in photos]
