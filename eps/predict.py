"""Show what the segmenter finds in photos, videos or a camera, or write it as masks or for VOC's and COCO's servers.

Reads `source` and the segmenter that `model` names, or the run's own; writes `predictions/<format>/`. With --benchmark
(predict.benchmark=200) it writes how long a photo takes instead. See docs/PREDICT.md.

    python -m eps.predict source=photo.jpg  or a folder, a video, a camera's number
    python -m eps.predict source=split:val format=coco  a dataset's split, as results for COCO's server
    python -m eps.predict source=photos --benchmark  how long a photo takes
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from eps import build, build_data
from eps.checkpoints.yolact import Told
from eps.cli import entrypoint
from eps.data.artifacts import as_plain, file_hash, fingerprint_of, write_json, write_mask
from eps.data.atomic import replaced
from eps.data.class_names import VOC
from eps.data.files import names_below, passed_over
from eps.data.manifest import SEGMENTER, Recorder
from eps.data.prediction_files import CocoIds, voc_folder
from eps.data.sources import Footage, Frame, Photos
from eps.data.video import VideoWriter
from eps.engine import ranks
from eps.engine.latency import measure
from eps.engine.overlap import ahead
from eps.engine.predicted import found_in, own_share, remark_skipped, unreadable, with_rate, write_all, write_coco
from eps.engine.predictor import Predictor
from eps.engine.progress import announce, remark
from eps.errors import UserError
from eps.ops.crf import dense_crf
from eps.report_page.combination import every_plane, take_apart
from eps.report_page.sheet import Section, sheet
from eps.schema import Config, Result
from eps.schema.crf import CRFBackend
from eps.schema.output import Drawn, OutputFormat

DRAWN = (OutputFormat.picture, OutputFormat.video)
SEMANTIC = (OutputFormat.png, OutputFormat.voc)
BENCHMARK_PHOTOS = 16
"""A benchmark takes so many photos in turn: they are read before the clock runs."""


def run(cfg: Config) -> Result:
    """Predict every photo, in the format asked for; there is no score, as nothing is compared with anything.

    Several processes share the photos, batch by batch.
    """
    ranks.join(device=cfg.runtime.device)
    if cfg.format in (OutputFormat.onnx, OutputFormat.torch, OutputFormat.yolo):
        told = "; eps.export export.labels=predictions writes it" if cfg.format is OutputFormat.yolo else ""
        raise UserError(f"format={cfg.format}: predict writes auto, picture, video, prototypes, png, voc or coco{told}")
    source, place = build_data.source(cfg), build.trained(cfg, "segmenter")
    predictor = build.predictor(cfg, place, wanted=cfg.predict.classes)
    form = _format(cfg, source, predictor)
    if form in DRAWN:
        predictor = build.drawing(cfg, predictor)
    if cfg.predict.benchmark:
        return _benchmark(cfg, predictor, source, place)
    recorder = Recorder(cfg.output("predictions") / form.value, fingerprint=_fingerprint(cfg, form, place, source))
    if ranks.on_main(recorder.finished) is not None:
        announce(recorder.folder, math.nan, fresh=False)
        return Result(score=math.nan, path=recorder.folder)
    _remark_others(cfg.source)
    skipped = ranks.on_main(lambda: unreadable(source, name=cfg.source, skip=cfg.data.on_error == "skip"))
    source = source.without(skipped) if isinstance(source, Photos) else source
    with ranks.shared(recorder.writing) as target:
        count = sum(ranks.gathered(_WRITERS[form](cfg, predictor, source, target)))  # all have written now
        if not count:
            raise UserError("there is no picture in the source")
        if ranks.rank() == 0:
            recorder.record(
                target,
                score=math.nan,
                config=as_plain(cfg.predict),
                inputs={"model" if cfg.model else SEGMENTER: file_hash(place)},
                skipped=skipped,
                format=form.value,
                classes=list(predictor.classes),
                photos=count,
            )
    remark_skipped(skipped)
    announce(recorder.folder, math.nan, fresh=True)
    if form is OutputFormat.voc:
        _explain(predictor, recorder.folder)
    return Result(score=math.nan, path=recorder.folder)


main = entrypoint(run, many=True, flags={"--benchmark": "predict.benchmark=200"})


def _format(cfg: Config, source: Photos | Footage, predictor: Predictor) -> OutputFormat:
    """The format asked for, or the one that suits source and segmenter. Raises `UserError` where it does not."""
    form, footage = cfg.format, isinstance(source, Footage)
    refined = cfg.predict.crf is not CRFBackend.none
    if form is OutputFormat.auto:
        if refined or not predictor.has_instances or build_data.split_of(cfg) is not None:
            form = OutputFormat.png
        else:
            form = OutputFormat.video if footage else OutputFormat.picture
    if form not in SEMANTIC and not predictor.has_instances:
        raise UserError(f"format={form}: this segmenter gives semantic masks alone; choose format=png or format=voc")
    if form is OutputFormat.video and not footage:
        raise UserError(f"format=video: source={cfg.source} is no video or camera; choose format=picture")
    if form is OutputFormat.voc and footage:
        raise UserError(f"format=voc: the server knows no videos such as source={cfg.source}; choose format=png")
    return form


def _fingerprint(cfg: Config, form: OutputFormat, network: Path, source: Photos | Footage) -> str:
    """What the result depends on; a camera or stream is never the same again."""
    node = cfg.segmenter
    limits = (node.score_threshold, node.nms_iou, node.max_detections, node.cross_class)
    ids = _coco_ids(cfg) if form is OutputFormat.coco else None
    settings: tuple[object, ...] = (
        form,
        build_data.split_of(cfg),
        ids,
        *limits,
        node.deeplab.test_scales,
        node.deeplab.test_flip,
    )
    settings += () if (told := build.told(cfg)) == Told() else (told,)
    settings += ("skip",) if cfg.data.on_error == "skip" else ()
    settings += (*build.precision_settings(cfg),)
    if isinstance(source, Photos):
        files = [f"{photo} {file_hash(path) if path.is_file() else None}" for photo, path in source.files.items()]
    else:
        files = [file_hash(source.path) if source.path else str(time.time_ns())]
    return fingerprint_of(cfg.predict, *map(str, settings), file_hash(network), *files)


def _write_pictures(cfg: Config, predictor: Predictor, source: Photos | Footage, target: Path) -> int:
    return write_all(source, _drawn(cfg, predictor, source), lambda frame: _save(target / f"{frame.id}.jpg", frame))


def _write_video(cfg: Config, predictor: Predictor, source: Photos | Footage, target: Path) -> int:
    assert isinstance(source, Footage)
    with VideoWriter(target / f"{source.name}.mp4", rate=source.video.rate) as writer:
        return write_all(source, _drawn(cfg, predictor, source), lambda frame: writer.write(frame.image))


def _write_instances(cfg: Config, predictor: Predictor, source: Photos | Footage, target: Path) -> int:
    return write_coco(source, predictor, target, ids=_coco_ids(cfg), batch=cfg.predict.batch)


def _coco_ids(cfg: Config) -> CocoIds:
    return CocoIds() if build_data.split_of(cfg) is None else build_data.coco_ids(cfg.data)


def _write_masks(cfg: Config, predictor: Predictor, source: Photos | Footage, target: Path) -> int:
    labels = _refined(cfg, predictor) if cfg.predict.crf is not CRFBackend.none else _plain(predictor)
    below = voc_folder(build_data.split_of(cfg) or "test") if cfg.format is OutputFormat.voc else Path()
    made = ahead(
        (frame.id, _only(predictor, labels(frame.image))) for frame in ahead(own_share(source, batch=cfg.predict.batch))
    )
    return write_all(source, made, lambda entry: write_mask(target / below / f"{entry[0]}.png", entry[1]))


def _write_prototypes(cfg: Config, predictor: Predictor, source: Photos | Footage, target: Path) -> int:
    made = ahead(
        Frame(frame.id, _sheet(cfg, predictor, frame)) for frame in ahead(own_share(source, batch=cfg.predict.batch))
    )
    return write_all(source, made, lambda frame: _save(target / f"{frame.id}.png", frame))


_Writer = Callable[[Config, Predictor, Photos | Footage, Path], int]
_WRITERS: dict[OutputFormat, _Writer] = {
    OutputFormat.picture: _write_pictures,
    OutputFormat.video: _write_video,
    OutputFormat.prototypes: _write_prototypes,
    OutputFormat.coco: _write_instances,
    OutputFormat.png: _write_masks,
    OutputFormat.voc: _write_masks,
}


def _drawn(cfg: Config, predictor: Predictor, source: Photos | Footage) -> Iterator[Frame]:
    """Every photo with what is found drawn in; reading, the network and drawing overlap."""
    found = ahead(found_in(source, predictor, batch=cfg.predict.batch), depth=1)  # masks of large photos are large
    shown = {part.value: part in cfg.predict.draw for part in Drawn if part is not Drawn.fps}
    drawn = ahead(Frame(frame.id, instances.draw(frame.image, **shown)) for frame, instances in found)
    return with_rate(drawn) if Drawn.fps in cfg.predict.draw else drawn


def _save(path: Path, frame: Frame) -> None:
    with replaced(path) as temporary:
        frame.image.save(temporary, quality=92)


def _plain(predictor: Predictor) -> Callable[[Image.Image], UInt8[np.ndarray, "H W"]]:
    return lambda image: predictor.predict_all(image)[1].cpu().numpy()


def _refined(cfg: Config, predictor: Predictor) -> Callable[[Image.Image], UInt8[np.ndarray, "H W"]]:
    parameters, backend = asdict(cfg.predict.crf_parameters), cfg.predict.crf.value

    def labels(image: Image.Image) -> UInt8[np.ndarray, "H W"]:
        refined = dense_crf(np.asarray(image), predictor.probabilities(image), **parameters, backend=backend)
        return refined.argmax(dim=0).to(torch.uint8).cpu().numpy()

    return labels


def _only(predictor: Predictor, labels: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Labels of the wanted classes; of others there is none."""
    if predictor.wanted is None:
        return labels
    return np.where(np.isin(labels, np.array(predictor.wanted) + 1), labels, 0).astype(np.uint8)


def _sheet(cfg: Config, predictor: Predictor, frame: Frame) -> Image.Image:
    output = predictor.run(frame.image)
    found = take_apart(predictor, frame.image, output, rank=cfg.predict.instance)
    sections = [Section(f"{output.prototypes.shape[1]} prototype planes of {frame.id}", every_plane(output))]
    if found is None:
        limit = f"scores above segmenter.score_threshold={predictor.score_threshold:g}"
        remark(f"{frame.id}: no instance {cfg.predict.instance} is found that {limit}: only the planes are shown")
    else:
        used = f"{found.instance}: the planes that add most to it, with their coefficients"
        sections = [Section(used, found.planes), Section("From the planes to the mask", found.steps), *sections]
    return sheet(sections)


def _benchmark(cfg: Config, predictor: Predictor, source: Photos | Footage, network: Path) -> Result:
    """Time photos that are in memory already: all that `predict` does, and the network's part of it."""
    if ranks.count() > 1:
        raise UserError("predict.benchmark: several processes share photos alone; start one, without a launcher")
    photos = [frame.image for frame, _ in zip(source, range(BENCHMARK_PHOTOS), strict=False)]
    if not photos:
        raise UserError("there is no picture in the source")
    whole, raw = (predictor.predict, predictor.run) if predictor.has_instances else (predictor.probabilities,) * 2
    measured = {
        name: asdict(measure(part, photos, runs=cfg.predict.benchmark, device=predictor.device))
        for name, part in {"predict": whole, "network": raw}.items()
    }
    for name, found in measured.items():
        times = ", ".join(f"{key} {found[key]:.1f}" for key in ("p50", "p90", "p99"))
        remark(f"{name}: {times} ms a photo, {found['per_second']:.1f} photos a second")
    facts = {"runs": cfg.predict.benchmark, "device": str(predictor.device), "threads": torch.get_num_threads()}
    path = cfg.output("predictions") / "benchmark.json"
    write_json(path, {"milliseconds": measured, **facts, "photos": len(photos), "model": str(network)})
    announce(path, math.nan, fresh=True)
    return Result(score=math.nan, path=path)


def _remark_others(source: str) -> None:
    """Name the pictures of a folder that are no photos to us."""
    if source and Path(source).is_dir():
        for told in passed_over(list(names_below(Path(source)))):
            remark(f"source={source}: {told}")


def _explain(predictor: Predictor, folder: Path) -> None:
    """How to send it in, and whether the server would know the classes."""
    remark(f"for the server: tar -czf results.tgz -C {folder} results")
    if predictor.classes != VOC:
        remark("note: these classes are not VOC's 20 in their order, which the server takes for granted")


if __name__ == "__main__":
    main()
