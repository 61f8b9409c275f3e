"""Saliency by an ONNX network of the user's: any with one input of photos and an output of maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from eps.errors import UserError, one_line
from eps.saliency.recipe import Recipe, network_input, saliency_map

DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
SILENT = 4
"""onnxruntime's severity `fatal`: what goes wrong comes as an exception, not as lines of its own."""


class OnnxNetwork:
    """A network that marks what is salient in batches of photos.

    `output` is the name or the number of the output to read; `batch` is how many photos it takes at once where the
    file leaves that open; `device` is `auto`, `cpu` or `cuda`. Raises `UserError` where the file is no such network,
    or does not fit the recipe.
    """

    def __init__(self, file: Path, *, recipe: Recipe, output: str, batch: int, device: str, threads: int) -> None:
        self._file, self._recipe = file, recipe
        self._session = _open(file, device=device, threads=threads)
        self.provider: str = self._session.get_providers()[0]
        entry = self._one_input()
        self._input, self._dtype = entry.name, DTYPES[entry.type]
        self._fixed_batch = self._check_shape(list(entry.shape))
        self.batch = self._fixed_batch or batch
        self._output = self._choose_output(output)

    def __call__(self, photos: Sequence[Image.Image]) -> list[UInt8[np.ndarray, "_ _"]]:
        """Saliency maps of at most `batch` RGB photos, each of its photo's size."""
        fed = np.stack([network_input(photo, self._recipe) for photo in photos]).astype(self._dtype)
        missing = (self._fixed_batch or 0) - len(photos)
        if missing > 0:  # a fixed batch is filled up with what is there already
            fed = np.concatenate([fed, np.repeat(fed[-1:], missing, axis=0)])
        values = self._run(fed)[: len(photos)]
        try:
            return [
                saliency_map(value, activation=self._recipe.activation, size=(photo.height, photo.width))
                for value, photo in zip(values, photos, strict=True)
            ]
        except UserError as error:
            raise UserError(f"{self._file}: {error}") from error

    def _run(self, fed: Float[np.ndarray, "n x y z"]) -> Float[np.ndarray, "n h w"]:
        try:
            values = np.asarray(self._session.run([self._output], {self._input: fed})[0])
        except Exception as error:  # onnxruntime's errors have no class in common
            raise UserError(
                f"{self._file} cannot be run on {fed.shape}; if it takes one photo at a time, set saliency.batch=1: "
                f"{one_line(error)[:300]}"
            ) from error
        maps = _as_maps(values, photos=len(fed)) if np.issubdtype(values.dtype, np.floating) else None
        if maps is None:
            raise UserError(
                f"{self._file}: the output {self._output!r} is {values.dtype} of shape {values.shape}, not one map of "
                f"numbers for each of {len(fed)} photos; choose another with saliency.output"
            )
        return maps

    def _one_input(self) -> Any:
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(entry.name for entry in inputs)
            raise UserError(
                f"{self._file} has {len(inputs)} inputs ({names}): a network with one, the photo, is needed"
            )
        if inputs[0].type not in DTYPES:
            raise UserError(f"{self._file} takes {inputs[0].type}: a network that takes floating point is needed")
        return inputs[0]

    def _check_shape(self, shape: list[Any]) -> int | None:
        """The batch that the file prescribes. Open sizes are no numbers there."""
        wanted = [3, *self._recipe.size] if self._recipe.layout == "nchw" else [*self._recipe.size, 3]
        if len(shape) != 4:
            raise UserError(f"{self._file} takes input of shape {shape}: photos have four dimensions")
        if any(isinstance(has, int) and has != want for has, want in zip(shape[1:], wanted, strict=True)):
            raise UserError(
                f"{self._file} takes input of shape {shape}, the settings make {wanted} of a photo: set "
                "saliency.layout=nchw or nhwc and saliency.size=[height,width] to fit"
            )
        return shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None

    def _choose_output(self, wanted: str) -> str:
        names: list[str] = [entry.name for entry in self._session.get_outputs()]
        if wanted in names:  # before the number: exporters name outputs 1959
            return wanted
        if wanted.isdecimal() and int(wanted) < len(names):
            return names[int(wanted)]
        raise UserError(
            f"saliency.output={wanted}: {self._file} has {', '.join(names)}; give a name, or a number from 0"
        )


def _open(file: Path, *, device: str, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"saliency.model={file}: onnxruntime is not installed: pip install 'eps-seg[saliency]'"
        ) from error
    if not file.is_file():
        raise UserError(f"saliency.model={file}: no such file; give the ONNX file of a salient-object network")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = threads
    cuda = device != "cpu" and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    providers = ["CUDAExecutionProvider"] * cuda + ["CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # onnxruntime's errors have no class in common
        raise UserError(f"{file} cannot be opened as an ONNX network: {one_line(error)[:300]}") from error
    if device == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise UserError(
            "runtime.device=cuda: this onnxruntime cannot use CUDA; install onnxruntime-gpu in its place, or set "
            "runtime.device=auto"
        )
    return session


def _as_maps(values: Float[np.ndarray, "..."], *, photos: int) -> Float[np.ndarray, "n h w"] | None:
    """One map a photo, whatever axis of length 1 goes with it; None where there is none."""
    if values.ndim == 2 and photos == 1:
        values = values[np.newaxis]
    if values.ndim == 4 and 1 in (values.shape[1], values.shape[3]):
        values = values[:, 0] if values.shape[1] == 1 else values[..., 0]
    return values if values.ndim == 3 and len(values) == photos and min(values.shape[1:]) > 1 else None
