"""Write the segmenter as a file that other programs run (ONNX, torch.export), or masks for other tools.

Reads `segmenter/`, or the checkpoint that `model` names; writes `export/<format>/`: the network, for YOLACT++ its
mask-IoU net, what clients must know beside them (model.json, and in ONNX's metadata), manifest. See docs/EXPORT.md.
With format=coco, yolo or voc it writes photos with the run's pseudo-masks, or with what the segmenter finds in `source`
(export.labels=predictions), to be looked at, corrected and trained on. See docs/LABELS.md.

    python -m eps.export format=onnx  for other programs
    python -m eps.export format=coco data=photos data.root=photos  the run's pseudo-masks, for other tools
    python -m eps.export format=onnx model=yolact_base_54_800000.pth  a released YOLACT
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eps import build
from eps.checkpoints.yolact import Told
from eps.cli import entrypoint
from eps.data.artifacts import as_plain, file_hash, fingerprint_of
from eps.data.manifest import SEGMENTER, Recorder
from eps.engine.checkpoint import load_segmenter
from eps.engine.exported import (
    INPUT,
    IOU,
    MASKS,
    ExportedSegmenter,
    describe,
    largest_difference,
    noise,
    noisy_masks,
)
from eps.engine.onnx_export import check_packages, run_onnx, write_onnx
from eps.engine.progress import announce, console
from eps.engine.torch_export import run_torch, write_torch
from eps.errors import UserError
from eps.label_export import LABEL_FORMATS, export_labels
from eps.models.segmenter import Segmenter
from eps.models.spec import SegmenterSpec
from eps.nn.mask_iou import MaskIoUNet
from eps.schema import Config, Result
from eps.schema.output import ExportBatch, OutputFormat

TOLERANCE = 1e-4
"""Of an output's scale: a file whose outputs differ by more from the model's is not kept."""
SUFFIXES = {OutputFormat.onnx: ".onnx", OutputFormat.torch: ".pt2"}


def run(cfg: Config) -> Result:
    """Export, run what was written, and keep it if it does what the model does; there is no score."""
    if cfg.format in LABEL_FORMATS:
        return export_labels(cfg)
    if cfg.format not in SUFFIXES:
        raise UserError(f"format={cfg.format}: export writes a network, onnx or torch, or masks: coco, yolo or voc")
    checkpoint = build.trained(cfg, "segmenter")
    told = build.told(cfg)
    model, spec = _load(checkpoint, told, semantic=cfg.export.semantic)
    source = file_hash(checkpoint)
    told_of = () if told == Told() else (repr(told),)
    recorder = Recorder(
        cfg.output("export") / cfg.format.value,
        fingerprint=fingerprint_of(cfg.export, cfg.format.value, source, torch.__version__, *told_of),
    )
    if recorder.finished() is None:
        build.accelerator(cfg)  # threads and seeds: exports are made and compared on the CPU
        with recorder.writing() as target:
            differences = _write(cfg, model, spec, target)
            recorder.record(
                target,
                score=math.nan,
                config=as_plain(cfg.export),
                inputs={"model" if cfg.model else SEGMENTER: source},
                format=cfg.format.value,
                differences=differences,
                tolerance=TOLERANCE,
            )
        shown = ", ".join(f"{name} {difference:.1e}" for name, difference in differences.items())
        line = f"largest difference from the model, relative to the output's scale: {shown}"
        console.print(line, highlight=False, soft_wrap=True)
        announce(recorder.folder, math.nan, fresh=True)
    else:
        announce(recorder.folder, math.nan, fresh=False)
    return Result(score=math.nan, path=recorder.folder)


main = entrypoint(run)


def run_where_asked(cfg: Config) -> None:
    """Export where `format` says what: the end of a stage."""
    if cfg.format in (*SUFFIXES, *LABEL_FORMATS):
        run(cfg)


def _load(checkpoint: Path, told: Told, *, semantic: bool) -> tuple[Segmenter, SegmenterSpec]:
    if checkpoint.suffix == ".onnx":
        raise UserError(f"{checkpoint} is an export already: give the checkpoint that it was made of")
    model, spec = load_segmenter(checkpoint, told)
    if not isinstance(model, Segmenter) or not isinstance(spec, SegmenterSpec):
        raise UserError(f"{checkpoint} is a DeepLab, which has no boxes or prototypes: only YOLACT can be exported")
    if semantic and not model.has_semantic:
        raise UserError(f"export.semantic=true: {checkpoint} has no semantic_seg_conv, which makes the semantic map")
    return model, spec


class _Part(NamedTuple):
    """A network to write, what goes in and comes out, and what it is traced with and compared on."""

    network: nn.Module
    stem: str
    takes: str
    gives: Sequence[str]
    traced: Float[Tensor, "b c H W"]
    compared: Float[Tensor, "b2 c H W"]
    dynamic: bool
    deformable: bool = False
    entries: Mapping[str, str] = {}


def _write(cfg: Config, model: Segmenter, spec: SegmenterSpec, target: Path) -> dict[str, float]:
    """Write networks and description; how far each output is from the model's, relative to its scale."""
    if cfg.format is OutputFormat.onnx:
        check_packages()
    exported = ExportedSegmenter(model, squeezed=cfg.export.batch is ExportBatch.squeezed, semantic=cfg.export.semantic)
    dynamic = cfg.export.batch is ExportBatch.dynamic
    traced, compared = (noise(photos, size=spec.image_size) for photos in ((2, 3) if dynamic else (1, 1)))
    with torch.inference_mode():
        raw = model(compared)
    scorer = [] if model.mask_iou is None else [_scorer(model.mask_iou, raw.prototypes)]
    description = describe(
        spec,
        anchors=raw.anchors,
        outputs=exported.outputs,
        batch=cfg.export.batch.value,
        mask_iou=scorer[0].stem + SUFFIXES[cfg.format] if scorer else "",
    )
    (target / "model.json").write_text(description.to_json(), encoding="utf-8")
    network = _Part(
        network=exported,
        stem="model",
        takes=INPUT,
        gives=exported.outputs,
        traced=traced,
        compared=compared,
        dynamic=dynamic,
        deformable=description.deformable,
        entries=description.entries(),
    )
    return {name: value for part in (network, *scorer) for name, value in _write_part(cfg, part, target).items()}


def _scorer(net: MaskIoUNet, prototypes: Float[Tensor, "b k h w"]) -> _Part:
    """YOLACT++'s mask-IoU net, for any number of masks."""
    height, width = prototypes.shape[-2:]
    traced, compared = (noisy_masks(count, size=(height, width)) for count in (2, 3))
    return _Part(net, "mask_iou", MASKS, [IOU], traced, compared, dynamic=True)


def _write_part(cfg: Config, part: _Part, target: Path) -> dict[str, float]:
    """Write one network and run what was written; how far each output is from the model's."""
    path = target / f"{part.stem}{SUFFIXES[cfg.format]}"
    with torch.inference_mode():
        expected = part.network(part.compared)
    if cfg.format is OutputFormat.onnx:
        write_onnx(
            part.network,
            part.traced,
            path,
            takes=part.takes,
            gives=part.gives,
            dynamic=part.dynamic,
            deformable=part.deformable,
            entries=part.entries,
        )
        found = run_onnx(path, part.compared.numpy(), threads=cfg.runtime.threads, deformable=part.deformable)
    else:
        write_torch(part.network, part.traced, path, dynamic=part.dynamic)
        found = run_torch(path, part.compared)
    return _differences(part.gives, expected if isinstance(expected, tuple) else (expected,), found)


def _differences(
    names: Sequence[str], expected: Sequence[Tensor], found: Sequence[Float[np.ndarray, "..."]]
) -> dict[str, float]:
    pairs = zip(names, expected, found, strict=True)
    differences = {name: largest_difference(one, other) for name, one, other in pairs}
    _check(differences)
    return differences


def _check(differences: Mapping[str, float]) -> None:
    name, difference = max(differences.items(), key=lambda item: item[1])
    if difference > TOLERANCE:
        raise UserError(
            f"the exported {name} is off by {difference:.1e} of its scale, over {TOLERANCE:.0e}, "
            "so nothing is kept: update onnxscript and onnxruntime, or choose the other format"
        )


if __name__ == "__main__":
    main()
