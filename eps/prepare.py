"""Check a dataset once, before anything is trained on it; the embedded benchmark is generated here.

Reads the dataset folder; reports every fault of it together.
"""

from eps import build
from eps.cli import entrypoint
from eps.data.checks import faults
from eps.errors import UserError
from eps.schema import ClassifierKind, Config, Result


def run(cfg: Config) -> Result:
    """Open every photo and saliency map of the training split. Raises `UserError` that lists all faults."""
    folder = build.dataset(cfg.data)
    ids = folder.ids(cfg.data.train)
    found = faults(folder, ids, with_saliency=cfg.classifier.kind is ClassifierKind.eps)
    if found:
        shown = "; ".join(found[:20]) + (f"; and {len(found) - 20} more" if len(found) > 20 else "")
        raise UserError(f"{folder.root}: {len(found)} faults: {shown}")
    return Result(score=1.0, path=folder.root)


main = entrypoint(run)

if __name__ == "__main__":
    main()
