"""Masks for other tools: what `export` does with format=coco, yolo and voc."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from eps import build, build_data
from eps.data.annotations.masks import object_of, outlines_of
from eps.data.annotations.records import AnnotatedObject, AnnotatedPhoto
from eps.data.annotations.voc_folder import write_voc
from eps.data.annotations.writer import ANNOTATIONS, write_annotations, write_photo
from eps.data.annotations.yolo import DATA, write_yolo
from eps.data.artifacts import as_plain, file_hash, fingerprint_of
from eps.data.images import read_header
from eps.data.manifest import SEGMENTER, Recorder, foreign_files
from eps.data.mask_sources import PseudoMasks
from eps.data.sources import Photos, is_footage
from eps.engine.overlap import ahead
from eps.engine.predicted import found_in, remark_skipped, unreadable
from eps.engine.progress import announce, progress_bar, remark
from eps.errors import UserError, some
from eps.schema import Config, Result
from eps.schema.output import ExportConfig, ExportedLabels, Outlines, OutputFormat

CACHE = ".cache"
"""Of files that Ultralytics writes beside labels and can make again."""
_TRUTH = "segmenter.supervision=truth"
LABEL_FORMATS = (OutputFormat.coco, OutputFormat.yolo, OutputFormat.voc)


class _Labels(NamedTuple):
    """Photos with masks, made when they are asked for, and what they depend on."""

    classes: tuple[str, ...]
    made: Iterator[AnnotatedPhoto]
    total: int
    inputs: Mapping[str, str]
    """Each as a hash."""
    settings: tuple[str, ...] = ()
    """What else they depend on."""
    semantic: Mapping[str, Path] = {}
    """PNGs of classes that are there already, by photo."""
    skipped: Mapping[str, str] = {}


def export_labels(cfg: Config) -> Result:
    """Write photos with the masks that `export.labels` names, in the form that `format` names; there is no score."""
    labels = _SOURCES[cfg.export.labels](cfg)
    recorder = Recorder(
        cfg.output("export") / cfg.format.value,
        fingerprint=fingerprint_of(cfg.export, cfg.format.value, *labels.inputs.values(), *labels.settings),
    )
    if recorder.finished() is None:
        _spare_corrections(recorder.folder)
        with progress_bar("masks", total=labels.total) as advance:
            photos = []
            for photo in labels.made:
                photos.append(photo)
                advance(None)
        with recorder.writing() as target:
            _WRITERS[cfg.format](target, photos, labels, cfg.export)
            recorder.record(
                target,
                score=math.nan,
                config=as_plain(cfg.export),
                inputs=labels.inputs,
                skipped=labels.skipped,
                format=cfg.format.value,
                classes=list(labels.classes),
                photos=len(photos),
                objects=sum(len(photo.objects) for photo in photos),
            )
        remark_skipped(labels.skipped)
        announce(recorder.folder, math.nan, fresh=True)
    else:
        announce(recorder.folder, math.nan, fresh=False)
    remark(_USES[cfg.format](recorder.folder))
    return Result(score=math.nan, path=recorder.folder)


def _spare_corrections(folder: Path) -> None:
    """Raises `UserError` where somebody has worked in the folder: a new export takes its place."""
    theirs = [name for name in foreign_files(folder) if not name.endswith(CACHE)]
    if theirs:
        advice = "move it away, or export to another place, out_dir=..."
        raise UserError(
            f"{folder} would be replaced, but has files that are new or changed: {some(theirs, most=3)}; {advice}"
        )


def _pseudo_masks(cfg: Config) -> _Labels:
    """Those of the training split. Raises `UserError` where stage 2 has not been run on it."""
    folder = build_data.dataset(cfg.data)
    ids, masks = folder.ids(cfg.data.train), PseudoMasks(cfg.input("pseudo_masks"))
    inputs = {"data": folder.fingerprint(ids, with_saliency=False), "masks": masks.fingerprint(ids)}

    def photo(name: str) -> AnnotatedPhoto:
        found = masks(name)
        objects = [
            object_of(mask, folder.classes[index], crowd=bool(uncertain))
            for mask, index, uncertain in zip(found.masks, found.classes, found.uncertain, strict=True)
        ]
        tags = tuple(folder.labels[name])
        return _annotated(name, folder.photo_path(name), objects, tags=tags, file=masks.folder / "instances.json")

    return _Labels(
        classes=folder.classes,
        made=map(photo, ids),
        total=len(ids),
        inputs=inputs,
        semantic={name: masks.path(name) for name in ids},
        skipped=folder.skipped(cfg.data.train),
    )


def _predictions(cfg: Config) -> _Labels:
    """What the segmenter finds in the photos of `source`, less what is too unsure to be drawn."""
    if is_footage(cfg.source):
        raise UserError(f"source={cfg.source}: format={cfg.format} is of photos; eps.predict writes those of a video")
    source, place = build_data.source(cfg), build.trained(cfg, "segmenter")
    assert isinstance(source, Photos)
    skipped = unreadable(source, name=cfg.source, skip=cfg.data.on_error == "skip")
    source = source.without(skipped)
    predictor = build.drawing(cfg, build.predictor(cfg, place, wanted=cfg.predict.classes))
    if not predictor.has_instances:
        raise UserError(f"format={cfg.format}: {place} gives semantic masks alone; eps.predict writes them, format=png")
    node = cfg.segmenter
    limits = map(str, (node.nms_iou, node.cross_class, cfg.predict, build.told(cfg), *build.precision_settings(cfg)))
    photos = fingerprint_of(*(f"{photo} {file_hash(path)}" for photo, path in source.files.items()))

    def annotated() -> Iterator[AnnotatedPhoto]:
        for frame, found in ahead(found_in(source, predictor, batch=cfg.predict.batch), depth=1):
            _, scores, _, masks = (part.cpu().numpy() for part in found)
            objects = _objects(masks, found.names, scores.tolist())
            yield _annotated(frame.id, source.files[frame.id], objects, tags=(), file=place)

    return _Labels(
        classes=tuple(predictor.classes),
        made=annotated(),
        total=len(source),
        inputs={"model" if cfg.model else SEGMENTER: file_hash(place), "photos": photos},
        settings=tuple(limits),
        skipped=skipped,
    )


def _objects(masks: Bool[np.ndarray, "n H W"], names: Sequence[str], scores: Sequence[float]) -> list[AnnotatedObject]:
    """Best first; what has no pixel is nothing."""
    found = zip(masks, names, scores, strict=True)
    return [object_of(mask, name, score=score) for mask, name, score in found if mask.any()]


def _annotated(
    name: str, image: Path, objects: Sequence[AnnotatedObject], *, tags: tuple[str, ...], file: Path
) -> AnnotatedPhoto:
    header = read_header(image, name=str(image))
    return AnnotatedPhoto(
        id=name, size=header.size, image=image, format=header.format, file=file, objects=tuple(objects), tags=tags
    )


def _write_coco(target: Path, photos: Sequence[AnnotatedPhoto], labels: _Labels, node: ExportConfig) -> None:
    if node.outlines is Outlines.polygons:
        photos = [_with_polygons(photo, node.tolerance) for photo in photos]
    for photo in photos:
        write_photo(target, photo)
    write_annotations(target, photos, classes=labels.classes, val_share=node.val_share)


def _with_polygons(photo: AnnotatedPhoto, tolerance: float) -> AnnotatedPhoto:
    """COCO outlines crowds by run lengths alone."""

    def outlined(found: AnnotatedObject) -> AnnotatedObject:
        if found.crowd:
            return found
        outlines = outlines_of(found, size=photo.size, tolerance=tolerance)
        return replace(found, segmentation=[outline.ravel().round(2).tolist() for outline in outlines])

    return replace(photo, objects=tuple(map(outlined, photo.objects)))


def _write_yolo(target: Path, photos: Sequence[AnnotatedPhoto], labels: _Labels, node: ExportConfig) -> None:
    write_yolo(target, photos, classes=labels.classes, val_share=node.val_share, tolerance=node.tolerance)


def _write_voc(target: Path, photos: Sequence[AnnotatedPhoto], labels: _Labels, node: ExportConfig) -> None:
    write_voc(target, photos, classes=labels.classes, val_share=node.val_share, semantic=labels.semantic)


_SOURCES: Mapping[ExportedLabels, Callable[[Config], _Labels]] = {
    ExportedLabels.pseudo_masks: _pseudo_masks,
    ExportedLabels.predictions: _predictions,
}
_WRITERS: Mapping[OutputFormat, Callable[[Path, Sequence[AnnotatedPhoto], _Labels, ExportConfig], None]] = {
    OutputFormat.coco: _write_coco,
    OutputFormat.yolo: _write_yolo,
    OutputFormat.voc: _write_voc,
}
_USES: Mapping[OutputFormat, Callable[[Path], str]] = {
    OutputFormat.coco: lambda out: (
        f"to train on it: {_TRUTH} data=coco {quote(f'data.root={out}')} data.tags={ANNOTATIONS}"
    ),
    OutputFormat.yolo: lambda out: f"for Ultralytics: {quote(f'data={out.resolve() / DATA}')}",
    OutputFormat.voc: lambda out: f"to train on it: data=folder {quote(f'data.root={out}')} {_TRUTH}",
}
"""What to do with the folder, as words for a shell."""
