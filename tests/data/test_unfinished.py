import os
from pathlib import Path

import pytest

from eps.data.unfinished import Unfinished, keep


def test_another_key_is_another_file(tmp_path: Path) -> None:
    made = Unfinished(tmp_path / "pseudo_masks")
    one, other = (made.file("masks", "a/1", key=letter * 64, suffix=".png") for letter in "fe")
    assert one == tmp_path / "pseudo_masks.resume" / "masks" / "a" / f"1.{'f' * 16}.png"
    assert one != other


def test_discard(tmp_path: Path) -> None:
    made = Unfinished(tmp_path / "pseudo_masks")
    made.discard()
    path = made.file("masks", "1", key="f", suffix=".png")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mask")
    made.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_keep(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: Path) -> None:
        raise OSError("this disk has no links")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    source, target = tmp_path / "source", tmp_path / "new" / "target"
    source.write_bytes(b"mask")
    keep(source, target)
    assert source.read_bytes() == target.read_bytes() == b"mask"
    source.unlink()
    assert target.read_bytes() == b"mask"
