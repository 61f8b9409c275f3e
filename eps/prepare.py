"""Check a dataset once, before anything is trained on it; the embedded benchmark is generated here.

Reads the dataset folder; reports every fault of it together.
"""

from eps import build
from eps.cli import entrypoint
from eps.data.checks import faults
from eps.data.layout import DatasetFolder
from eps.errors import UserError
from eps.schema import ClassifierKind, Config, Result


def run(cfg: Config) -> Result:
    """Open the photos of all configured splits, and the saliency maps of the first. Raises `UserError`: all faults."""
    folder = build.dataset(cfg.data)
    found = _faults(folder, cfg.data.train, with_saliency=cfg.classifier.kind is ClassifierKind.eps)
    for split in (cfg.data.val, *cfg.data.also):
        if folder.has_split(split):
            found += _faults(folder, split, with_saliency=False)
    found = list(dict.fromkeys(found))  # splits may share photos
    if found:
        shown = "; ".join(found[:20]) + (f"; and {len(found) - 20} more" if len(found) > 20 else "")
        raise UserError(f"{folder.root}: {len(found)} fault{'s' * (len(found) > 1)}: {shown}")
    return Result(score=1.0, path=folder.root)


main = entrypoint(run)


def _faults(folder: DatasetFolder, split: str, *, with_saliency: bool) -> list[str]:
    try:
        ids = folder.ids(split)
    except UserError as error:
        return [str(error)]
    return faults(folder, ids, with_saliency=with_saliency)


if __name__ == "__main__":
    main()
