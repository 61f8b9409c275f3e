"""Show what the segmenter finds in photos, videos or a camera, or write it as masks or for VOC's and COCO's servers.

Reads `source` and the segmenter that `model` names, or the run's own; writes `predictions/<format>/`. See
docs/PREDICT.md.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from eps import build
from eps.cli import entrypoint
from eps.data.artifacts import as_plain, file_hash, replaced, write_json, write_mask
from eps.data.class_names import VOC
from eps.data.manifest import Recorder
from eps.data.prediction_files import coco_category_ids, coco_image_id, voc_folder
from eps.data.sources import Footage, Frame, Photos, open_source
from eps.data.video import VideoWriter
from eps.engine.instances import Instances
from eps.engine.latency import measure
from eps.engine.overlap import ahead
from eps.engine.predictor import Predictor, network_file
from eps.engine.progress import announce, progress_bar, remark
from eps.errors import UserError
from eps.ops.crf import dense_crf
from eps.report_page.combination import every_plane, take_apart
from eps.report_page.sheet import Section, sheet
from eps.schema import Config, CRFBackend, OutputFormat, Result

SPLIT = "split:"
DRAWN = (OutputFormat.picture, OutputFormat.video)
SEMANTIC = (OutputFormat.png, OutputFormat.voc)
BENCHMARK_PHOTOS = 16
"""A benchmark takes so many photos in turn: they are read before the clock runs."""


def run(cfg: Config) -> Result:
    """Predict every photo, in the format asked for; there is no score, as nothing is compared with anything."""
    if cfg.format in (OutputFormat.onnx, OutputFormat.torch):
        raise UserError(f"format={cfg.format}: predict writes auto, picture, video, prototypes, png, voc or coco")
    source, place = _source(cfg), _network(cfg)
    predictor = build.predictor(cfg, place, wanted=cfg.predict.classes)
    form = _format(cfg, source, predictor)
    if form in DRAWN:
        predictor = build.predictor(cfg, place, wanted=cfg.predict.classes, drawn=True)
    if cfg.predict.benchmark:
        return _benchmark(cfg, predictor, source)
    recorder = Recorder(cfg.output("predictions") / form.value, fingerprint=_fingerprint(cfg, form, place, source))
    if recorder.finished() is not None:
        announce(recorder.folder, math.nan, fresh=False)
        return Result(score=math.nan, path=recorder.folder)
    with recorder.writing() as target:
        count = _WRITERS[form](cfg, predictor, source, target)
        facts = {"classes": list(predictor.classes), "photos": count}
        recorder.record(target, score=math.nan, config=as_plain(cfg.predict), format=form.value, **facts)
    announce(recorder.folder, math.nan, fresh=True)
    if form is OutputFormat.voc:
        _explain(predictor, recorder.folder)
    return Result(score=math.nan, path=recorder.folder)


main = entrypoint(run)


def _source(cfg: Config) -> Photos | Footage:
    """What to look at. A dataset is opened for a split alone."""
    split = _split(cfg)
    if split is None:
        return open_source(cfg.source, most=cfg.predict.frames)
    folder = build.dataset(cfg.data)
    return Photos(files={photo: folder.photo_path(photo) for photo in folder.listed(split)})


def _split(cfg: Config) -> str | None:
    return cfg.source.removeprefix(SPLIT) if cfg.source.startswith(SPLIT) else None


def _network(cfg: Config) -> Path:
    return network_file(Path(cfg.model) if cfg.model else cfg.input("segmenter"))


def _format(cfg: Config, source: Photos | Footage, predictor: Predictor) -> OutputFormat:
    """The format asked for, or the one that suits source and segmenter. Raises `UserError` where it does not."""
    form, footage = cfg.format, isinstance(source, Footage)
    refined = cfg.predict.crf is not CRFBackend.none
    if form is OutputFormat.auto:
        if refined or not predictor.has_instances or _split(cfg) is not None:
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
    settings = (form, _split(cfg), *limits, node.deeplab.test_scales, node.deeplab.test_flip)
    if isinstance(source, Photos):
        files = [f"{photo} {file_hash(path)}" for photo, path in source.files.items()]
    else:
        files = [file_hash(source.path) if source.path else str(time.time_ns())]
    return build.fingerprint(cfg.predict, *map(str, settings), file_hash(network), *files)


def _total(source: Photos | Footage) -> int | None:
    return len(source) if isinstance(source, Photos) else source.total


def _write_pictures(cfg: Config, predictor: Predictor, source: Photos | Footage, target: Path) -> int:
    return _consumed(source, _drawn(cfg, predictor, source), lambda frame: _save(target / f"{frame.id}.jpg", frame))


def _write_video(cfg: Config, predictor: Predictor, source: Photos | Footage, target: Path) -> int:
    assert isinstance(source, Footage)
    with VideoWriter(target / f"{source.name}.mp4", rate=source.video.rate) as writer:
        return _consumed(source, _drawn(cfg, predictor, source), lambda frame: writer.write(frame.image))


def _write_instances(cfg: Config, predictor: Predictor, source: Photos | Footage, target: Path) -> int:
    results: list[dict[str, Any]] = []
    entries = ((frame.id, found.to_coco(coco_image_id(frame.id))) for frame, found in _found(cfg, predictor, source))
    count = _consumed(source, ahead(entries), lambda entry: results.extend(entry[1]))
    write_json(target / "results.json", results)
    pairs = zip(coco_category_ids(predictor.classes), predictor.classes, strict=True)
    write_json(target / "categories.json", [{"id": number, "name": name} for number, name in pairs])
    return count


def _write_masks(cfg: Config, predictor: Predictor, source: Photos | Footage, target: Path) -> int:
    labels = _refined(cfg, predictor) if cfg.predict.crf is not CRFBackend.none else _plain(predictor)
    below = voc_folder(_split(cfg) or "test") if cfg.format is OutputFormat.voc else Path()
    made = ahead((frame.id, _only(predictor, labels(frame.image))) for frame in ahead(source))
    return _consumed(source, made, lambda entry: write_mask(target / below / f"{entry[0]}.png", entry[1]))


def _write_prototypes(cfg: Config, predictor: Predictor, source: Photos | Footage, target: Path) -> int:
    made = ahead(Frame(frame.id, _sheet(cfg, predictor, frame)) for frame in ahead(source))
    return _consumed(source, made, lambda frame: _save(target / f"{frame.id}.png", frame))


_Writer = Callable[[Config, Predictor, Photos | Footage, Path], int]
_WRITERS: dict[OutputFormat, _Writer] = {
    OutputFormat.picture: _write_pictures,
    OutputFormat.video: _write_video,
    OutputFormat.prototypes: _write_prototypes,
    OutputFormat.coco: _write_instances,
    OutputFormat.png: _write_masks,
    OutputFormat.voc: _write_masks,
}


def _consumed(source: Photos | Footage, made: Iterator[Any], write: Callable[[Any], None]) -> int:
    """Write what comes, say how fast, and how many it was. Ctrl-C ends a camera's recording, which is kept."""
    count, began = 0, time.monotonic()
    with progress_bar("predict", total=_total(source)) as advance:
        try:
            for item in made:
                write(item)
                count += 1
                advance(None)
        except KeyboardInterrupt:
            if isinstance(source, Photos) or source.path is not None or not count:
                raise
    if not count:
        raise UserError("there is no picture in the source")
    seconds, photos = time.monotonic() - began, "photo" if count == 1 else "photos"
    remark(f"{count} {photos} in {seconds:.1f} s: {count / seconds:.1f} fps, reading and writing included")
    return count


def _found(cfg: Config, predictor: Predictor, source: Photos | Footage) -> Iterator[tuple[Frame, Instances]]:
    """Every photo with what is found in it; the next ones are read meanwhile."""
    waiting: deque[Frame] = deque()

    def images() -> Iterator[Image.Image]:
        for frame in ahead(source):
            waiting.append(frame)
            yield frame.image

    for instances in predictor.predict_many(images(), batch=cfg.predict.batch):
        yield waiting.popleft(), instances


def _drawn(cfg: Config, predictor: Predictor, source: Photos | Footage) -> Iterator[Frame]:
    """Every photo with what is found drawn in; reading, the network and drawing overlap."""
    found = ahead(_found(cfg, predictor, source), depth=1)  # masks of large photos are large
    return ahead(Frame(frame.id, instances.draw(frame.image)) for frame, instances in found)


def _save(path: Path, frame: Frame) -> None:
    with replaced(path) as temporary:
        frame.image.save(temporary, quality=92)


def _plain(predictor: Predictor) -> Callable[[Image.Image], UInt8[np.ndarray, "H W"]]:
    return lambda image: predictor.predict_all(image)[1].cpu().numpy()


def _refined(cfg: Config, predictor: Predictor) -> Callable[[Image.Image], UInt8[np.ndarray, "H W"]]:
    parameters = asdict(cfg.predict.crf_parameters)

    def labels(image: Image.Image) -> UInt8[np.ndarray, "H W"]:
        refined = dense_crf(np.asarray(image), predictor.probabilities(image), **parameters)
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
        remark(f"{frame.id}: no instance {cfg.predict.instance} is found, only the planes are shown")
    else:
        used = f"{found.instance}: the planes that add most to it, with their coefficients"
        sections = [Section(used, found.planes), Section("From the planes to the mask", found.steps), *sections]
    return sheet(sections)


def _benchmark(cfg: Config, predictor: Predictor, source: Photos | Footage) -> Result:
    """Time photos that are in memory already: all that `predict` does, and the network's part of it."""
    photos = [frame.image for frame, _ in zip(source, range(BENCHMARK_PHOTOS), strict=False)]
    if not photos:
        raise UserError("there is no picture in the source")
    call = predictor.predict if predictor.has_instances else predictor.probabilities
    network = predictor.run if predictor.has_instances else predictor.probabilities
    parts = {"predict": call, "network": network}
    measured = {
        name: asdict(measure(part, photos, runs=cfg.predict.benchmark, device=predictor.device))
        for name, part in parts.items()
    }
    for name, found in measured.items():
        times = ", ".join(f"{key} {found[key]:.1f}" for key in ("p50", "p90", "p99"))
        remark(f"{name}: {times} ms a photo, {found['per_second']:.1f} photos a second")
    facts = {"runs": cfg.predict.benchmark, "device": str(predictor.device), "threads": torch.get_num_threads()}
    path = cfg.output("predictions") / "benchmark.json"
    write_json(path, {"milliseconds": measured, **facts, "photos": len(photos), "model": str(_network(cfg))})
    announce(path, math.nan, fresh=True)
    return Result(score=math.nan, path=path)


def _explain(predictor: Predictor, folder: Path) -> None:
    """How to send it in, and whether the server would know the classes."""
    remark(f"for the server: tar -czf results.tgz -C {folder} results")
    if predictor.classes != VOC:
        remark("note: these classes are not VOC's 20 in their order, which the server takes for granted")


if __name__ == "__main__":
    main()
