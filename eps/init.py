"""Make a project of your own photos and a table of tags: `python -m eps.init my_project --photos DIR --tags tags.csv`.

Reads the photos, the table (a line `file,label;label` for each photo) and saliency maps, where there are some; tells
all that is wrong with them at once. Writes my_project/: data/, a dataset folder, and experiment/project.yaml, settings
with sizes that suit the photos. Then it prints the commands that go on from there.
"""

import argparse
import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from eps.cli import mistakes_refused
from eps.data.atomic import replaced_folder
from eps.data.index import write_faults
from eps.data.project import OwnPhotos
from eps.data.tag_table import FIRST_TWO, Columns
from eps.engine.progress import progress_bar, remark, remark_faults
from eps.errors import UserError
from eps.schema import Result

FAULTS = "faults.txt"
MAX_SIDE = 640
_SETTINGS = """\
# @package _global_
# {photos} photos of {classes}; paths are below this project: run eps in its folder
defaults:
  - {base}  # experiment={base}, a start for photographs; what stands here changes it
  - override /data: folder
  - _self_
name: {name}
data:
  root: data
classifier:
  steps: 2000
  augment:
    crop: {side}
    long_side: {long_side}
segmenter:
  steps: 2000
  image_size: [{side}, {side}]
  scales: {scales}
  augment:
    crop: {side}
    long_side: {long_side}
"""
_NEXT = """\
Next, in {project}/:
  eps stage1 --config-dir . experiment=project{maps}
  eps stage2 --config-dir . experiment=project
  eps stage3 --config-dir . experiment=project format=onnx"""
_NO_MAPS = """\
{missing} of {photos} photos have no saliency map. Stage 1 makes them, as written below, with a network that the package
rembg fetches (pip install 'rembg[cpu]'), or with an ONNX file of yours: saliency=u2net saliency.model=FILE, or isnet,
birefnet, onnx in its place. Or give a folder of maps, --saliency DIR; or go without, --tags-only: masks are looser."""


def run(
    project: Path,
    photos: Path,
    tags: Path,
    *,
    classes: Sequence[str] = (),
    saliency: Path | None,
    val_share: float,
    max_side: int = MAX_SIDE,
    tags_only: bool = False,
    columns: Columns = FIRST_TWO,
) -> Result:
    """Check, write the project and say how to go on; there is no score. Raises `UserError` with all faults."""
    if not 0 <= val_share < 1:
        raise UserError(f"--val-share {val_share:g}: must be 0 or more, and less than 1")
    if not all(classes) or len(set(classes)) < len(classes):
        raise UserError(f"--classes {','.join(classes)}: must be names, each of them once")
    if max_side < 0:
        raise UserError(f"--max-side {max_side}: must be a number of pixels, or 0 for no limit")
    if saliency is not None and tags_only:
        raise UserError("--tags-only: goes without saliency maps; leave out --saliency")
    if saliency is not None and not saliency.is_dir():
        raise UserError(f"--saliency {saliency}: no such folder; give the one that holds <photo's name>.png")
    if project.exists() and (not project.is_dir() or {path.name for path in project.iterdir()} - {FAULTS}):
        raise UserError(f"{project}: there is something else already; give a new folder")
    if not photos.is_dir():
        raise UserError(f"--photos {photos}: no such folder; give the one that holds the photos")
    if not tags.is_file():
        raise UserError(f"--tags {tags}: no such file; write a line file,label;label for each photo")
    own = OwnPhotos.open(
        photos, tags, classes=classes, maps=saliency, val_share=val_share, max_side=max_side, columns=columns
    )
    _demand_faultless(own, project / FAULTS)
    with replaced_folder(project) as folder:
        with progress_bar("write photos", total=len(own.ids)) as advance:
            own.write(folder / "data", done=lambda: advance(None))
        (folder / "experiment").mkdir()
        (folder / "experiment" / "project.yaml").write_text(_settings(own, project, tags_only), encoding="utf-8")
    _tell(own, project, tags_only)
    return Result(score=math.nan, path=project)


def main() -> None:
    """Read the flags."""
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser("eps init", description=f"{summary.partition(': `')[0]}.", epilog=rest.strip())
    parser.add_argument("project", type=Path, help="the folder to make")
    parser.add_argument("--photos", type=Path, required=True, help="folder of the photos, also in folders below it")
    parser.add_argument("--tags", type=Path, required=True, help="csv in UTF-8: file,label;label for each photo")
    parser.add_argument("--photo-column", default="", metavar="NAME", help="of the csv, if it is not the first one")
    parser.add_argument("--tags-column", default="", metavar="NAME", help="of the csv, if it is not the one after it")
    parser.add_argument(
        "--classes",
        type=lambda names: [name.strip() for name in names.split(",")],
        default=[],
        help="their names in order, a,b,c: other labels in the csv are faults; else its labels, sorted",
    )
    parser.add_argument("--saliency", type=Path, help="folder of saliency maps, <photo's name>.png, if you have some")
    parser.add_argument("--tags-only", action="store_true", help="learn without saliency maps: looser masks")
    parser.add_argument("--val-share", type=float, default=0.1, help="share of the photos to put aside (0.1)")
    parser.add_argument("--max-side", type=int, default=MAX_SIDE, help=f"larger photos are made smaller ({MAX_SIDE})")
    given = vars(parser.parse_args())
    columns = Columns(given.pop("photo_column"), given.pop("tags_column"))
    with mistakes_refused():
        run(**given, columns=columns)


def side_for(longer: Sequence[int]) -> int:
    """The side to train at for photos with these longer sides: 320 for 450 px as in experiment=photos, 448 at most."""
    return min(max(64, 32 * round(statistics.median(longer) * 320 / 450 / 32)), 448)


def _demand_faultless(own: OwnPhotos, path: Path) -> None:
    """Raises `UserError` where something is wrong, once all of it is told and written down."""
    own.dataset.listed("train")  # there are some
    with progress_bar("check photos", total=len(own.ids)) as advance:
        found: list[str] = []
        for faults in own.faults():
            found += faults
            advance(None)
    told = remark_faults(found)
    write_faults(path, found)
    if found:
        raise UserError(f"{told}, no project is made; all are in {path}")


def _settings(own: OwnPhotos, project: Path, tags_only: bool) -> str:
    """What `project.yaml` says: sizes in the proportions of experiment=photos."""
    side = side_for([max(size) for size in own.sizes.values()])
    return _SETTINGS.format(
        base="photos_cam" if tags_only else "photos",
        name=project.name if re.fullmatch(r"[\w-][\w.-]*", project.name) else "project",
        photos=len(own.ids),
        classes=" ".join(", ".join(own.dataset.classes).split()),
        side=side,
        long_side=[round(side * 0.8), round(side * 1.6)],
        scales=[[float(round(side * share / 320))] for share in (24, 48, 96, 160, 256)],
    )


def _tell(own: OwnPhotos, project: Path, tags_only: bool) -> None:
    train, val = (len(own.dataset.splits.get(split, ())) for split in ("train", "val"))
    remark(f"{project}: {train} photos to learn from, {val} put aside; {_range(list(own.sizes.values()))}")
    for name in own.dataset.classes:
        remark(f"  {name}: on {sum(name in own.dataset.labels[photo] for photo in own.ids)} photos")
    for note in own.notes():
        remark(f"note: {note}")
    missing = [] if tags_only else own.without_map()
    if missing:
        remark(_NO_MAPS.format(missing=len(missing), photos=len(own.ids)))
    maps = " saliency=rembg" if missing else ""
    print(_NEXT.format(project=project, maps=maps), flush=True)


def _range(sizes: Sequence[tuple[int, int]]) -> str:
    """The smallest and the largest photo by their longer sides."""
    least, most = min(sizes, key=max), max(sizes, key=max)
    shown = f"{least[0]}x{least[1]}"
    return shown + ("" if least == most else f" to {most[0]}x{most[1]}") + " px"


if __name__ == "__main__":
    main()
