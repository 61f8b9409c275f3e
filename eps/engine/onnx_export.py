"""A network of one input as an ONNX file."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import Dim

from eps.errors import UserError

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
"""The oldest that torch writes: OpenCV 4 reads it."""
OPSET_DEFORMABLE = 19
"""The first that has deformable convolutions."""
SILENT = 4
"""onnxruntime's severity `fatal`: what goes wrong comes as an exception, not as lines of its own."""


def check_packages() -> None:
    """Raise `UserError` where a package that ONNX export needs is not installed."""
    if missing := [package for package in PACKAGES if find_spec(package) is None]:
        raise UserError(f"format=onnx: not installed: {', '.join(missing)}; pip install 'eps-seg[export]'")


def write_onnx(
    model: nn.Module,
    example: Float[Tensor, "b c H W"],
    path: Path,
    *,
    takes: str,
    gives: Sequence[str],
    dynamic: bool,
    deformable: bool,
    entries: Mapping[str, str],
) -> None:
    """Write a model as an ONNX file of its own, weights included; `entries` become its metadata.

    `takes` and `gives` are the names of its input and outputs, `dynamic` leaves the batch open, `deformable` says that
    there are deformable convolutions. Raises `UserError` where those cannot be written.
    """
    try:
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            input_names=[takes],
            output_names=list(gives),
            opset_version=OPSET_DEFORMABLE if deformable else OPSET,
            dynamic_shapes=({0: Dim("batch", min=1)},) if dynamic else None,
            custom_translation_table={torch.ops.aten.tanh.default: _bounded_tanh},
            external_data=False,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        if not deformable:
            raise
        raise UserError(
            "format=onnx: this onnxscript cannot write deformable convolutions (DeformConv): install a newer one, or "
            "choose format=torch"
        ) from error
    assert program is not None
    _forget_sources(program.model)
    program.model.metadata_props.update(entries)
    program.save(path, external_data=False)


def run_onnx(
    path: Path, images: Float[np.ndarray, "b c H W"], *, threads: int, deformable: bool
) -> list[Float[np.ndarray, "..."]]:
    """The outputs of an ONNX file in onnxruntime on the CPU; 0 `threads` for one a core.

    Raises `UserError` where this onnxruntime has no deformable convolutions and the file needs them.
    """
    import onnxruntime

    options = session_options(threads)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no class in common
        if not deformable or "DeformConv" not in str(error):
            raise
        raise UserError(
            f"format=onnx: onnxruntime {version('onnxruntime')} does not support deformable convolutions (DeformConv), "
            "which this segmenter has: install a newer one, or choose format=torch"
        ) from error
    outputs: list[np.ndarray] = session.run(None, {session.get_inputs()[0].name: images})
    return outputs


def session_options(threads: int) -> Any:
    """How onnxruntime runs a file: on so many threads (0: one a core), and without lines of its own."""
    from onnxruntime import SessionOptions

    options = SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = threads
    return options


def _bounded_tanh(values: Any) -> Any:
    """The same function, as float32 has it 1 from 9.1 on: OpenCV 5.0 gives nan where exp(2x) overflows."""
    from onnxscript import opset18

    return opset18.Tanh(opset18.Clip(values, -20.0, 20.0))


def _forget_sources(model: Any) -> None:
    """Take off what the exporter notes of our source files, paths on this machine included."""
    model.graph.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
