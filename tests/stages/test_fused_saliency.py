"""Stage 2 with `pseudo_masks.saliency=trusted`: what is thresholded are maps and saliency together."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from eps import build_data, pseudo_masks
from eps.cli import call, compose
from eps.data.artifacts import read_mask, read_scores
from eps.data.datasets import read_saliency
from eps.mask_labels import Mapped
from eps.ops.fusion import fuse_saliency
from eps.ops.pseudo_labels import label_map

pytestmark = pytest.mark.slow


def test_masks_are_those_of_the_fused_maps(dataset: Path, own_run: Path) -> None:
    def label(*overrides: str) -> None:
        at = (f"data.root={dataset}", f"run_dir={own_run}")
        node = ("pseudo_masks.threshold=0.3", "pseudo_masks.save_scores=true")
        call(pseudo_masks.run, "experiment=tiny", *at, *node, *overrides)

    made = own_run / "pseudo_masks"
    label()
    plain = {path.stem: read_scores(path) for path in (made / "scores").iterdir()}
    label("pseudo_masks.saliency=trusted")
    folder = build_data.dataset(compose("experiment=tiny", f"data.root={dataset}").data)
    changed = 0
    for photo, scores in plain.items():
        saliency = read_saliency(folder, photo, size=scores.shape[1:])
        expected = fuse_saliency(torch.from_numpy(scores), saliency)
        stored = read_scores(made / "scores" / f"{photo}.npz")
        assert np.allclose(stored, expected, atol=2e-3)  # scores are stored in half precision
        assert np.array_equal(
            read_mask(made / "masks" / f"{photo}.png"), label_map(torch.from_numpy(stored), threshold=0.3)
        )
        changed += not np.allclose(stored, scores, atol=0.05)
    assert changed


def test_photos_whose_mask_is_empty_are_told(
    dataset: Path, own_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(node: object, mapped: Iterable[Mapped], **others: object) -> Iterator[torch.Tensor]:
        return (torch.zeros(scores.shape[1:], dtype=torch.uint8) for _, scores in mapped)

    monkeypatch.setattr(pseudo_masks, "labelled", nothing)
    at = ("experiment=tiny", f"data.root={dataset}", f"run_dir={own_run}")
    call(pseudo_masks.run, *at, "pseudo_masks.threshold=0.31")
    folder = build_data.dataset(compose(*at).data)
    ids = folder.ids("train")
    tagged = [photo for photo in ids if folder.tags(photo).any()]
    told = "".join(capsys.readouterr())
    assert f"{len(tagged)} of {len(ids)} photos have tags and an empty mask (lower pseudo_masks.threshold" in told
    assert ", ".join(tagged[:5]) in told
