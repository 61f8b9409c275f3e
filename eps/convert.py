"""Make annotations of other tools, labelme's json or XML like VOC's, into a dataset in COCO's format.

Reads `source=DIR`, photos and annotations; writes `converted/` (or `convert.out`): JPEGImages/, instances.json for
data=coco, image_labels.json and lists of splits for data=folder. See docs/CONVERT.md.

    python -m eps.convert source=my_photos  labelme's json files in and below it
    python -m eps.convert source=VOC2007 convert=voc_xml convert.masks=SegmentationObject
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from eps.cli import entrypoint
from eps.data.annotations.labelme import read_labelme
from eps.data.annotations.records import AnnotatedObject, AnnotatedPhoto, Report
from eps.data.annotations.source import SourcePhotos
from eps.data.annotations.voc_xml import read_voc_xml
from eps.data.annotations.writer import ANNOTATIONS, write_annotations, write_photo
from eps.data.artifacts import as_plain, file_hash, fingerprint_of
from eps.data.files import files_by_id, names_below
from eps.data.index import files_signature, write_faults
from eps.data.manifest import MANIFEST, Recorder
from eps.engine.progress import announce, progress_bar, remark, remark_faults
from eps.errors import UserError
from eps.schema import Config, Result
from eps.schema.convert import AnnotationTool, ConvertConfig

FAULTS = "convert_faults.txt"
SUFFIXES = {AnnotationTool.labelme: ".json", AnnotationTool.voc_xml: ".xml"}

Reader = Callable[[Path, SourcePhotos, Report], AnnotatedPhoto | None]


def run(cfg: Config) -> Result:
    """Read all annotations, tell all faults at once, or write the dataset; there is no score."""
    source, out = Path(cfg.source), Path(cfg.convert.out)
    files = _annotations(source, cfg.convert)
    _refuse_foreign(out, source)
    recorder = Recorder(out, fingerprint=fingerprint_of(cfg.convert, _signature(source, cfg.convert)))
    if recorder.finished() is not None:
        announce(out, math.nan, fresh=False)
        return Result(score=math.nan, path=out)
    report, photos = Report(), SourcePhotos(source)
    found = _read(files, photos, _reader(cfg.convert, source), report)
    classes = _classes(found, cfg.convert, report)
    _demand_faultless(report, source, cfg.output(FAULTS))
    _remark_left_out(report, found, photos)
    found = [_restricted(photo, classes) for photo in found]
    with recorder.writing() as target:
        _write(target, found, classes, cfg.convert)
        inputs, config = {"annotations": fingerprint_of(*map(file_hash, files))}, as_plain(cfg.convert)
        recorder.record(target, score=math.nan, config=config, inputs=inputs, classes=classes, photos=len(found))
    announce(out, math.nan, fresh=True)
    _remark_use(out, [item for photo in found for item in photo.objects], classes)
    return Result(score=math.nan, path=out)


main = entrypoint(run)


def _annotations(source: Path, node: ConvertConfig) -> list[Path]:
    """The files to read. Raises `UserError` where there are none."""
    if not source.is_dir():
        raise UserError(f"source={source}: no such folder; give the one that holds photos and annotations")
    suffix = SUFFIXES[node.tool]
    files = [source / name for name in sorted(names_below(source)) if name.lower().endswith(suffix)]
    if not files:
        raise UserError(f"source={source}: there is no {suffix} file in it for convert={node.tool}")
    return files


def _signature(source: Path, node: ConvertConfig) -> str:
    """Names, sizes and times of all that may be read."""
    folders = [source, *([source / node.masks] if node.masks else [])]
    return files_signature(folder.resolve() / name for folder in folders for name in sorted(names_below(folder)))


def _refuse_foreign(out: Path, source: Path) -> None:
    """What is written replaces all that lies in its folder, so that must be an earlier conversion's, or nothing."""
    inner, outer = out.resolve(), source.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise UserError(f"convert.out={out}: must lie outside of source={source}, and not around it")
    if out.exists() and not (out / MANIFEST).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"convert.out={out}: there is something else already; give a new folder")


def _reader(node: ConvertConfig, source: Path) -> Reader:
    if node.tool is AnnotationTool.labelme:
        return read_labelme
    folder = source / node.masks
    if node.masks and not folder.is_dir():
        raise UserError(f"convert.masks={node.masks}: there is no folder {folder}")
    masks = files_by_id(folder, (".png",)) if node.masks else None
    return lambda path, photos, report: read_voc_xml(path, photos, report, difficult=node.difficult, masks=masks)


def _read(files: Sequence[Path], photos: SourcePhotos, reader: Reader, report: Report) -> list[AnnotatedPhoto]:
    """Every photo once; two files of one photo are a fault."""
    found: dict[str, AnnotatedPhoto] = {}
    with progress_bar("read annotations", total=len(files)) as advance:
        for path in files:
            photo = reader(path, photos, report)
            if photo is not None:
                earlier = found.setdefault(photo.id, photo)
                if earlier is not photo:
                    report.fault(f"{path}: photo {photo.id!r} has annotations in {earlier.file}, too; keep one of them")
            advance(None)
    if not found and not report.faults:
        report.fault("none of the files is an annotation; see what was left out: " + "; ".join(report.notes()))
    return list(found.values())


def _classes(photos: Sequence[AnnotatedPhoto], node: ConvertConfig, report: Report) -> list[str]:
    """The names asked for, or all that there are."""
    counts = Counter(label for photo in photos for label in _labels(photo))
    if not counts and not report.faults:
        report.fault("there is no object in the annotations")
    _remark_alike(counts)
    for name in (name for name in node.classes if name not in counts):
        report.fault(f"convert.classes: there is no object {name!r}; there are {', '.join(sorted(counts))}")
    if node.classes:
        for photo in photos:
            for label in (label for label in _labels(photo) if label not in node.classes):
                report.note(f"objects or tags {label!r} are not in convert.classes and are left out", str(photo.file))
    return node.classes or sorted(counts)


def _remark_alike(counts: Mapping[str, int]) -> None:
    """Names that people would take for one class are classes of their own all the same."""
    alike: dict[str, list[str]] = {}
    for name in sorted(counts):
        alike.setdefault(re.sub(r"[\W_]+", "", name.casefold()) or name, []).append(name)
    for names in alike.values():
        if len(names) > 1:
            told = " and ".join(f"{name!r} ({counts[name]} times)" for name in names)
            remark(f"classes {told} differ in case, spaces or signs alone: if they are one, rename them at the source")


def _labels(photo: AnnotatedPhoto) -> list[str]:
    return [*(found.label for found in photo.objects), *photo.tags]


def _demand_faultless(report: Report, source: Path, path: Path) -> None:
    """Print the faults, one line each, and keep them all in a file. Raises `UserError` where there are any."""
    told = remark_faults(report.faults)
    write_faults(path, report.faults)
    if report.faults:
        raise UserError(f"source={source}: {told}, nothing is written; all are in {path}")


def _remark_left_out(report: Report, found: Sequence[AnnotatedPhoto], photos: SourcePhotos) -> None:
    for note in report.notes():
        remark(note)
    used = sum(isinstance(photo.image, Path) for photo in found)
    if len(photos) > used:
        remark(f"{len(photos) - used} photos or other images of the source have no annotations and are left out")


def _remark_use(out: Path, objects: Sequence[AnnotatedObject], classes: Sequence[str]) -> None:
    remark(f"{len(objects)} objects of {', '.join(classes)}")
    masks = any(found.segmentation is not None for found in objects)
    way = "true masks: python -m eps.train_seg experiment=yolact_coco" if masks else "tags: eps stage1"
    remark(f"to train on its {way} data=coco data.root={out} data.tags={ANNOTATIONS}")
    if not masks:
        place = out / "SALImages"
        remark(f"stage 1 needs saliency maps, {place}/<id>.png; saliency=u2net saliency.model=FILE makes them")


def _restricted(photo: AnnotatedPhoto, classes: Sequence[str]) -> AnnotatedPhoto:
    kept = tuple(found for found in photo.objects if found.label in classes)
    return replace(photo, objects=kept, tags=tuple(tag for tag in photo.tags if tag in classes))


def _write(target: Path, photos: Sequence[AnnotatedPhoto], classes: Sequence[str], node: ConvertConfig) -> None:
    with progress_bar("write photos", total=len(photos)) as advance:
        for photo in photos:
            write_photo(target, photo)
            advance(None)
    write_annotations(target, photos, classes=classes, val_share=node.val_share)


if __name__ == "__main__":
    main()
