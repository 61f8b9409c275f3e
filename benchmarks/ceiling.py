"""What saliency alone, and maps at a coarse stride, can reach on the embedded benchmark's training scenes.

`python -m benchmarks.ceiling` prints the mIoU of (a) saliency over a threshold, each salient pixel given the class of
the nearest true object, and (b) the truth itself, brought down to a stride and back. Both read the truth: they are
ceilings to compare with, not methods.
"""

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy import ndimage
from torch.nn import functional as F

from eps import build_data
from eps.cli import entrypoint
from eps.data.layout import DatasetFolder
from eps.metrics.scorecard import Scorecard
from eps.schema import Config, Result


def run(cfg: Config) -> Result:
    """Print the ceilings; the score is the best that saliency alone reaches."""
    folder = build_data.dataset(cfg.data)
    truth = build_data.truth(cfg.data)
    cards: dict[str, Scorecard] = {}
    for photo in folder.ids(cfg.data.train):
        semantic = truth.semantic(photo)
        for name, labels in {**_salient(folder, photo, semantic), **_strided(semantic, len(folder.classes))}.items():
            card = cards.setdefault(name, Scorecard(classes=folder.classes))
            card.add_labels(labels, semantic, None)
    table = Table("ceiling", "mIoU")
    for name, card in cards.items():
        table.add_row(name, f"{card.miou():.1f}")
    Console().print(table)
    return Result(score=max(card.miou() for name, card in cards.items() if "saliency" in name), path=folder.root)


def _salient(folder: DatasetFolder, photo: str, semantic: np.ndarray) -> dict[str, np.ndarray]:
    height, width = semantic.shape
    saliency = folder.saliency(photo, size=(height, width)) / 255
    nearest = ndimage.distance_transform_edt(semantic == 0, return_indices=True, return_distances=False)
    classes = semantic[tuple(nearest)]
    return {f"saliency > {t}": np.where(saliency > t, classes, 0).astype(np.uint8) for t in (0.3, 0.4, 0.5, 0.6)}


def _strided(semantic: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    planes = F.one_hot(torch.from_numpy(semantic).long(), classes + 1).permute(2, 0, 1)[None].float()
    height, width = semantic.shape
    found = {}
    for stride in (2, 4, 8):
        coarse = {
            "area": F.avg_pool2d(planes, stride),
            "nearest": planes[:, :, stride // 2 :: stride, stride // 2 :: stride],
        }
        for way, small in coarse.items():
            back = F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
            found[f"truth at stride {stride}, {way}"] = back[0].argmax(dim=0).to(torch.uint8).numpy()
    return found


main = entrypoint(run)

if __name__ == "__main__":
    main()
