"""Write the segmenter as a file that other programs run: ONNX, or a program of torch.export.

Reads `segmenter/`, or the checkpoint that `export.checkpoint` names; writes `export/<format>/`: the network, what
clients must know beside it (model.json, and in ONNX's metadata), manifest. See docs/EXPORT.md.
"""

import math
from pathlib import Path

import torch

from eps import build
from eps.cli import entrypoint
from eps.data.artifacts import as_plain, file_hash
from eps.data.manifest import Recorder
from eps.engine.checkpoint import load_segmenter
from eps.engine.exported import ExportedSegmenter, describe, largest_difference, noise
from eps.engine.onnx_export import check_packages, run_onnx, write_onnx
from eps.engine.progress import announce, console
from eps.engine.torch_export import run_torch, write_torch
from eps.errors import UserError
from eps.models.segmenter import Segmenter
from eps.models.spec import SegmenterSpec
from eps.schema import Config, ExportBatch, OutputFormat, Result

TOLERANCE = 1e-4
"""Of an output's scale: a file whose outputs differ by more from the model's is not kept."""


def run(cfg: Config) -> Result:
    """Export, run what was written, and keep it if it does what the model does; there is no score."""
    if cfg.format not in (OutputFormat.onnx, OutputFormat.torch):
        raise UserError(f"format={cfg.format}: export writes format=onnx or format=torch")
    checkpoint = _checkpoint(cfg)
    model, spec = _load(checkpoint)
    recorder = Recorder(
        cfg.output("export") / cfg.format.value,
        fingerprint=build.fingerprint(cfg.export, cfg.format.value, file_hash(checkpoint), torch.__version__),
    )
    if recorder.finished() is None:
        build.accelerator(cfg)  # threads and seeds: exports are made and compared on the CPU
        with recorder.writing() as target:
            differences = _write(cfg, model, spec, target)
            facts = {"format": cfg.format.value, "differences": differences, "tolerance": TOLERANCE}
            recorder.record(target, score=math.nan, config=as_plain(cfg.export), **facts)
        shown = ", ".join(f"{name} {difference:.1e}" for name, difference in differences.items())
        line = f"largest difference from the model, relative to the output's scale: {shown}"
        console.print(line, highlight=False, soft_wrap=True)
        announce(recorder.folder, math.nan, fresh=True)
    else:
        announce(recorder.folder, math.nan, fresh=False)
    return Result(score=math.nan, path=recorder.folder)


main = entrypoint(run)


def _checkpoint(cfg: Config) -> Path:
    given = Path(cfg.export.checkpoint) if cfg.export.checkpoint else cfg.input("segmenter")
    return given / "model.safetensors" if given.is_dir() or not cfg.export.checkpoint else given


def _load(checkpoint: Path) -> tuple[Segmenter, SegmenterSpec]:
    model, spec = load_segmenter(checkpoint)
    if not isinstance(model, Segmenter) or not isinstance(spec, SegmenterSpec):
        raise UserError(f"{checkpoint} is a DeepLab, which has no boxes or prototypes: only YOLACT can be exported")
    return model, spec


def _write(cfg: Config, model: Segmenter, spec: SegmenterSpec, target: Path) -> dict[str, float]:
    """Write network and description; how far each output is from the model's, relative to its scale."""
    dynamic = cfg.export.batch is ExportBatch.dynamic
    exported = ExportedSegmenter(model, squeezed=cfg.export.batch is ExportBatch.squeezed, semantic=cfg.export.semantic)
    traced, compared = (noise(photos, size=spec.image_size) for photos in ((2, 3) if dynamic else (1, 1)))
    with torch.inference_mode():
        expected, anchors = exported(compared), model(compared).anchors
    description = describe(spec, anchors=anchors, outputs=exported.outputs, batch=cfg.export.batch.value)
    (target / "model.json").write_text(description.to_json(), encoding="utf-8")
    if cfg.format is OutputFormat.onnx:
        check_packages()
        path = target / "model.onnx"
        write_onnx(
            exported,
            traced,
            path,
            dynamic=dynamic,
            deformable=description.deformable,
            entries=description.entries(),
        )
        found = run_onnx(path, compared.numpy(), threads=cfg.runtime.threads, deformable=description.deformable)
    else:
        path = target / "model.pt2"
        write_torch(exported, traced, path, dynamic=dynamic)
        found = run_torch(path, compared)
    pairs = zip(exported.outputs, expected, found, strict=True)
    differences = {name: largest_difference(one, other) for name, one, other in pairs}
    _check(differences)
    return differences


def _check(differences: dict[str, float]) -> None:
    name, difference = max(differences.items(), key=lambda item: item[1])
    if difference > TOLERANCE:
        raise UserError(
            f"the exported {name} is off by {difference:.1e} of its scale, over {TOLERANCE:.0e}, "
            "so nothing is kept: update onnxscript and onnxruntime, or choose the other format"
        )


if __name__ == "__main__":
    main()
