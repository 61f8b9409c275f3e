import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from eps.data.index import Index, files_signature
from eps.data.listing import Form, Listing, Places

LISTING = Listing(
    classes=("cat", "dog"),
    labels={"a": ("cat",), "b/été": ()},
    splits={"train": ("b/été", "a", "c"), "val": ()},
    sizes={"a": (6, 8)},
    faults={"c": "it has none"},
    notes=("so what",),
)


class Source:
    """Counts how often it is read."""

    def __init__(self, path: Path, *, indexed: bool = True, settings: Sequence[str] = ()) -> None:
        self.path, self.reads = path, 0
        self.form = Form(
            kind="voc12",
            root=path.parent,
            places=Places(),
            sources=lambda: [path],
            read=self.read,
            settings=tuple(settings),
            indexed=indexed,
        )

    def read(self) -> Listing:
        self.reads += 1
        return LISTING


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "train.txt").write_text("a\n")
    return Source(tmp_path / "train.txt")


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index")


def test_kept_listing_is_the_same(source: Source, index: Index) -> None:
    assert index.listing(source.form) == LISTING
    assert not index.folder.exists()
    index.listing(source.form, keep=True)
    assert source.reads == 2
    assert index.listing(source.form) == LISTING == index.listing(source.form, keep=True)
    assert source.reads == 2


def test_a_stale_index_is_not_used(source: Source, index: Index) -> None:
    index.listing(source.form, keep=True)
    source.path.write_text("b\n")
    os.utime(source.path, ns=(0, 0))
    index.listing(source.form)
    assert source.reads == 2
    index.listing(source.form, keep=True)
    index.listing(source.form)
    assert source.reads == 3
    source.path.unlink()
    index.listing(source.form)
    assert source.reads == 4


def test_an_index_of_other_settings_is_not_used(source: Source, index: Index) -> None:
    index.listing(source.form, keep=True)
    other = Source(source.path, settings=["difficult=False"])
    index.listing(other.form)
    assert other.reads == 1


def test_forms_that_are_read_fast_have_none(source: Source, index: Index) -> None:
    fast = Source(source.path, indexed=False)
    for _ in range(2):
        index.listing(fast.form, keep=True)
    assert fast.reads == 2
    assert not index.folder.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', "\0"])
def test_a_broken_index_is_not_used(source: Source, index: Index, content: str) -> None:
    index.listing(source.form, keep=True)
    (index.folder / "index.json").write_text(content)
    assert index.listing(source.form) == LISTING
    assert source.reads == 2


BROKEN = ({"labels": []}, {"classes": 7}, {"splits": None}, {"format": 1}, {"faults": None}, {"sizes": {"a": 6}})


@pytest.mark.parametrize("change", BROKEN)
def test_an_index_of_another_form_is_not_used(source: Source, index: Index, change: dict[str, Any]) -> None:
    index.listing(source.form, keep=True)
    path = index.folder / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert index.listing(source.form) == LISTING
    assert source.reads == 2


def test_signature_is_of_sizes_and_times(tmp_path: Path) -> None:
    path = tmp_path / "a"
    signatures = [files_signature([path])]
    for content, time in [("x", 0), ("xy", 0), ("xy", 1)]:
        path.write_text(content)
        os.utime(path, ns=(time, time))
        signatures.append(files_signature([path]))
    assert len({*signatures, files_signature([path], "setting"), files_signature([path, path])}) == 6
    assert signatures[-1] == files_signature([path])


def test_records_that_are_broken_are_made_anew(index: Index) -> None:
    for content in ("[" * 100_000, "null", ""):
        for name in ("checked.json", "skipped.json"):
            index.folder.mkdir(exist_ok=True)
            (index.folder / name).write_text(content)
        assert index.checked("train") is None
        assert index.skipped("train", signature="a") is None
    index.record_check("train", signature="a")
    index.record_skipped("train", {"p": "odd"}, signature="a")
    assert index.checked("train") == "a"
    assert index.skipped("train", signature="a") == {"p": "odd"}


def test_checks(index: Index) -> None:
    assert index.checked("train") is None
    index.record_check("train", signature="x")
    index.record_check("val", signature="y")
    assert (index.checked("train"), index.checked("val")) == ("x", "y")
    (index.folder / "checked.json").write_text("{")
    assert index.checked("train") is None


def test_faults_are_those_of_the_last_check(index: Index) -> None:
    index.record_faults([])
    assert not index.folder.exists()
    index.record_faults(["one: is missing", "two: is missing"])
    assert index.faults_path.read_text() == "one: is missing\ntwo: is missing\n"
    index.record_faults([])
    assert not index.faults_path.exists()
