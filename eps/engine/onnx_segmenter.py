"""A segmenter that `eps.export` wrote as an ONNX file, with the output of the model that it was made of."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eps.engine.exported import FORMAT, INPUT, IOU, MASKS, OUTPUTS, SEMANTIC, Description
from eps.engine.onnx_export import session_options
from eps.engine.progress import remark
from eps.errors import UserError, one_line
from eps.models.segmenter import SegmenterOutput
from eps.nn.normalization import Normalization

if TYPE_CHECKING:
    import onnxruntime

CUDA = "CUDAExecutionProvider"


class OnnxSegmenter(nn.Module):
    """An exported network in onnxruntime: called as a `Segmenter` is, tensors in and out on the CPU.

    Where the file has no output `semantic`, that of the result has neither height nor width. `has_semantic` says so.
    `scorer` is the mask-IoU net of YOLACT++, if there is one.
    """

    def __init__(
        self,
        *,
        session: "onnxruntime.InferenceSession",
        description: Description,
        scorer: "onnxruntime.InferenceSession | None" = None,
    ) -> None:
        super().__init__()
        self.session = session
        self.description = description
        self.mask_iou: Callable[[Tensor], Tensor] | None = None if scorer is None else partial(_ious, scorer)
        self.has_semantic = SEMANTIC in description.outputs
        self.normalize = Normalization(mean=torch.tensor(description.mean), std=torch.tensor(description.std))
        self._anchors = torch.tensor(description.anchors)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> SegmenterOutput:
        pixels = images.contiguous().numpy()
        single = self.description.batch != "dynamic"
        runs = [self._run(part) for part in (np.split(pixels, len(pixels)) if single else [pixels])]
        found = {name: torch.cat([run[name] for run in runs]) for name in self.description.outputs}
        return SegmenterOutput(
            offsets=found["loc"],
            logits=found["conf"].clamp(min=torch.finfo(torch.float32).tiny).log(),  # their softmax is `conf` again
            coefficients=found["mask"],
            prototypes=found["proto"].permute(0, 3, 1, 2),
            semantic=self._semantic(found),
            anchors=self._anchors,
        )

    def _run(self, pixels: Float[np.ndarray, "b 3 H W"]) -> dict[str, Tensor]:
        names, squeezed = self.description.outputs, self.description.batch == "squeezed"
        found = [torch.from_numpy(part) for part in self.session.run(names, {INPUT: pixels})]
        return {name: part[None] if squeezed else part for name, part in zip(names, found, strict=True)}

    def _semantic(self, found: Mapping[str, Tensor]) -> Tensor:
        if not self.has_semantic:
            return found["conf"].new_zeros((len(found["conf"]), len(self.description.classes) + 1, 0, 0))
        return found[SEMANTIC].permute(0, 3, 1, 2).roll(-1, dims=1)


def _ious(scorer: "onnxruntime.InferenceSession", masks: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n classes"]:
    """How well masks (cropped, in 0..1) fit, a class each."""
    if not len(masks):  # which not every runtime takes
        return masks.new_zeros((0, scorer.get_outputs()[0].shape[1]))
    (found,) = scorer.run([IOU], {MASKS: masks.contiguous().numpy()})
    return torch.from_numpy(found)


def load_onnx(path: Path, *, threads: int = 0) -> OnnxSegmenter:
    """Open a file of `eps.export format=onnx` in onnxruntime, on a GPU where it can; 0 `threads` for one a core.

    A YOLACT++ comes with its mask-IoU net in a file beside it; without that, masks have their boxes' scores. Raises
    `UserError` where onnxruntime is not installed, cannot run the file, or the file is not ours.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: python -m eps.export format=onnx writes one")
    if find_spec("onnxruntime") is None:
        raise UserError(f"{path} needs onnxruntime: pip install 'eps-seg[export]'")
    session = _session(path, threads=threads)
    description = read_description(session.get_modelmeta().custom_metadata_map, source=str(path))
    beside = path.with_name(Path(description.mask_iou).name) if description.mask_iou else None
    if beside is not None and not beside.is_file():
        remark(f"{beside} is not there: masks have the scores of their boxes; eps.export writes it beside the network")
        beside = None
    scorer = None if beside is None else _session(beside, threads=threads)
    return OnnxSegmenter(session=session, description=description, scorer=scorer)


def _session(path: Path, *, threads: int) -> "onnxruntime.InferenceSession":
    import onnxruntime

    wanted = [name for name in (CUDA, "CPUExecutionProvider") if name in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(str(path), session_options(threads), providers=wanted)
    except Exception as error:  # onnxruntime's errors have no class in common
        told = f"{path} cannot be run by onnxruntime {onnxruntime.__version__}: {one_line(error)}"
        raise UserError(told) from error


def read_description(entries: Mapping[str, str], *, source: str) -> Description:
    """The description in a file's metadata. Raises `UserError` where `eps.export` has not written it."""
    try:
        fields: dict[str, Any] = {
            field.name: json.loads(entries[field.name])
            for field in dataclasses.fields(Description)
            if field.name in entries or field.default is dataclasses.MISSING  # older exports lack what has a default
        }
        for name in ("classes", "image_size", "mean", "std", "variances", "ratios"):
            fields[name] = tuple(fields[name])
        fields["scales"] = tuple(tuple(level) for level in fields["scales"])
        description = Description(**fields)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{source} is not of eps.export (its metadata lack {error}): export the segmenter") from error
    if description.format != FORMAT or not {*OUTPUTS} <= {*description.outputs}:
        raise UserError(f"{source} is of the format {description.format}, not {FORMAT}: export the segmenter again")
    return description
