"""Check a dataset once, before anything is trained on it; the embedded benchmark is generated here.

Reads the dataset, in whatever form it comes; writes what it has found out to `data.index`: an index that other verbs
read faster than the sources, and all faults, if there are any. What has not changed since is not checked again.

    python -m eps.prepare data=photos data.root=photos  photos with a labels.csv
    python -m eps.prepare data=voc12 data.root=VOC2012 classifier=cam  no saliency maps are asked for
"""

from pathlib import Path

from eps.cli import entrypoint
from eps.data import voc
from eps.data.layout import DatasetFolder
from eps.dataset_check import check_dataset
from eps.engine.progress import remark
from eps.errors import UserError
from eps.schema import Config, Result

SHOWN = 20
"""Names of classes that are told."""


def run(cfg: Config) -> Result:
    """Open the photos of all configured splits, and the saliency maps of the first.

    Raises `UserError` with all faults; with `data.on_error=skip` they are only told.
    """
    if cfg.data.download:
        voc.download(Path(cfg.data.root))
    checked = check_dataset(cfg)
    folder = checked.folder
    if checked.faults and cfg.data.on_error != "skip":
        raise UserError(checked.tell())
    if checked.faults:
        left = len(folder.ids(cfg.data.train))  # there must be some
        remark(f"{checked.tell()}; data.on_error=skip leaves {left} photos of {cfg.data.train}")
    for note in folder.notes:
        remark(note)
    if not checked.faults:
        remark(_summary(folder))
    return Result(score=1.0, path=folder.root)


def _summary(folder: DatasetFolder) -> str:
    photos = ", ".join(f"{len(ids)} in {split}" for split, ids in folder.splits.items())
    names = ", ".join(folder.classes[:SHOWN]) + (", ..." if len(folder.classes) > SHOWN else "")
    count = len(folder.classes)
    return f"{folder.root}: photos: {photos}; {count} class{'es' * (count != 1)}: {names}; no faults"


main = entrypoint(run)

if __name__ == "__main__":
    main()
