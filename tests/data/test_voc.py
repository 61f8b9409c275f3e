import tarfile
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from eps.data import voc
from eps.data.class_names import VOC
from eps.data.layout import DatasetFolder
from eps.data.listing import Places
from eps.data.voc import download, locate, read_xml, voc_form
from eps.errors import UserError

XML = Places(tags="Annotations")
OBJECT = "<object><name>{}</name><part><name>head</name></part><difficult>{:d}</difficult></object>"


def annotate(path: Path, *objects: str, difficult: Sequence[str] = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    found = "".join(OBJECT.format(name, name in difficult) for name in objects)
    path.write_text(f"<annotation><filename>{path.stem}.jpg</filename>{found}</annotation>")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A devkit with three photos."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    lists = root / "ImageSets" / "Segmentation"
    for folder in (root / "JPEGImages", lists):
        folder.mkdir(parents=True)
    for photo in ("2007_000032", "2007_000039", "2011_003276"):
        Image.new("RGB", (6, 4)).save(root / "JPEGImages" / f"{photo}.jpg")
    annotate(root / "Annotations/2007_000032.xml", "person", "aeroplane", "person")
    annotate(root / "Annotations/2007_000039.xml", "tvmonitor", "chair", difficult=["chair"])
    annotate(root / "Annotations/2011_003276.xml")
    (lists / "train.txt").write_text("2007_000032\n")
    (lists / "val.txt").write_text("2007_000039\n")
    (lists / "trainval.txt").write_text("2007_000032\n2007_000039\n")
    return tmp_path


def opened(root: Path, *, tags: str = "Annotations", difficult: bool = True) -> DatasetFolder:
    form = voc_form(root, Places(tags=tags), difficult=difficult)
    return DatasetFolder.of(form, form.read())


def test_tags_from_xml(root: Path) -> None:
    folder = opened(root)
    assert folder.classes == VOC
    assert len(VOC) == 20
    assert folder.root == root / "VOCdevkit" / "VOC2012"
    assert folder.labels["2007_000032"] == ("aeroplane", "person")  # in VOC's order, and never the parts
    assert np.flatnonzero(folder.tags("2007_000039")).tolist() == [8, 19]
    assert folder.ids("trainval") == ["2007_000032", "2007_000039"]
    assert folder.photo("2007_000032").size == (6, 4)


def test_sizes_from_xml(root: Path) -> None:
    """(height, width), where it is stated: some tools write 0, or nothing."""
    for photo, size in (
        ("2007_000032", "<size><width> 500 </width><height>281</height><depth>3</depth></size>"),
        ("2007_000039", "<size><width>0</width><height>0</height></size>"),
        ("2011_003276", "<size><width>6</width><height>four</height></size>"),
    ):
        path = root / "VOCdevkit/VOC2012/Annotations" / f"{photo}.xml"
        path.write_text(f"<annotation>{size}</annotation>")
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/all.txt").write_text("2007_000032\n2007_000039\n2011_003276\n")
    assert opened(root).sizes == {"2007_000032": (281, 500)}


def test_difficult_objects_may_be_left_out(root: Path) -> None:
    assert opened(root, difficult=False).labels["2007_000039"] == ("tvmonitor",)


@pytest.mark.parametrize("below", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_the_folder_is_found(root: Path, below: str) -> None:
    assert locate(root / below).samefile(root / "VOCdevkit" / "VOC2012")


def test_no_voc(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root=.*there is no JPEGImages/ in it, nor in VOCdevkit/VOC2012/"):
        locate(tmp_path)
    with pytest.raises(UserError, match=r"nowhere: no such folder; .* set data\.download=true"):
        locate(tmp_path / "nowhere")


def test_no_annotations(root: Path) -> None:
    with pytest.raises(UserError, match=r"tags is missing: data\.tags names the folder of the xml files, or EPS's"):
        opened(root, tags="tags")


def test_tags_from_cls_labels(root: Path) -> None:
    voc = root / "VOCdevkit" / "VOC2012"
    table = {"2007_000032": np.eye(20, dtype=np.float32)[7], "2007_000039": np.zeros(20, dtype=np.float32)}
    np.save(voc / "cls_labels.npy", table)  # type: ignore[arg-type]
    folder = opened(root, tags="cls_labels.npy")
    assert folder.labels == {"2007_000032": ("cat",), "2007_000039": ()}
    assert opened(root, tags=str(voc / "cls_labels.npy")).labels == folder.labels


def test_photo_that_cls_labels_does_not_know(root: Path) -> None:
    np.save(root / "VOCdevkit/VOC2012/cls_labels.npy", {"2007_000032": np.zeros(20)})  # type: ignore[arg-type]
    folder = opened(root, tags="cls_labels.npy")
    assert folder.ids("train") == ["2007_000032"]
    with pytest.raises(UserError, match=r"val\.txt: photo '2007_000039' has no entry in cls_labels\.npy"):
        folder.ids("val")


def test_missing_train_aug_says_how_to_get_it(root: Path) -> None:
    with pytest.raises(UserError) as refusal:
        opened(root).ids("train_aug")
    assert "train_aug.txt is missing (SBD's list" in str(refusal.value)
    assert "data.train=train" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "line",
    ["2011_003276", "/JPEGImages/2011_003276.jpg /SegmentationClassAug/2011_003276.png", "JPEGImages/2011_003276.jpg"],
)
def test_train_aug_with_and_without_paths(root: Path, line: str) -> None:
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/train_aug.txt").write_text(f"{line}\n2007_000032\n")
    folder = opened(root)
    assert folder.ids("train_aug") == ["2011_003276", "2007_000032"]
    assert folder.labels["2011_003276"] == ()


@pytest.mark.parametrize("line", ["../2007_000032", "/etc/passwd", "/JPEGImages/../../x.jpg"])
def test_ids_that_lead_elsewhere(root: Path, line: str) -> None:
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt").write_text(f"{line}\n")
    with pytest.raises(UserError, match=r"train\.txt: .* is no id"):
        opened(root).ids("train")


def test_every_faulty_annotation_is_told(root: Path) -> None:
    annotations = root / "VOCdevkit/VOC2012/Annotations"
    (annotations / "2007_000032.xml").unlink()
    annotate(annotations / "2007_000039.xml", "unicorn")
    folder = opened(root)
    faults = folder.faults_of(folder.listed("trainval"), "trainval")
    assert list(faults) == ["2007_000032", "2007_000039"]
    assert "2007_000032.xml is missing: it holds the tags" in faults["2007_000032"]
    assert "2007_000039.xml has the unknown tag 'unicorn'; known are aeroplane," in faults["2007_000039"]
    with pytest.raises(UserError, match=r"2007_000032\.xml is missing"):
        folder.ids("train")


BOMB = (
    '<!DOCTYPE a [<!ENTITY x "train"><!ENTITY y "&x;&x;">]><annotation><object><name>&y;</name></object></annotation>'
)
OUTSIDE = '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>'


@pytest.mark.parametrize("content", [BOMB.encode(), OUTSIDE.encode(), BOMB.encode("utf-16")])
def test_document_types_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.xml is no VOC annotation: it has a document type"):
        read_xml(tmp_path / "a.xml", difficult=True)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"<annotation>", b"<a/><b/>", b'<?xml version="1.0" encoding="x"?><a/>']
)
def test_no_xml(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.xml is no VOC annotation"):
        read_xml(tmp_path / "a.xml", difficult=True)


def test_large_annotation(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(b"<a>" * 400_000)
    with pytest.raises(UserError, match=r"a\.xml is larger than 1 MiB"):
        read_xml(tmp_path / "a.xml", difficult=True)


def test_deep_annotation(tmp_path: Path) -> None:
    """As deep as its size allows."""
    depth = 140_000
    (tmp_path / "a.xml").write_bytes(b"<a>" * depth + b"</a>" * depth)
    assert read_xml(tmp_path / "a.xml", difficult=True) == ((), None)


WHOLE = "<annotation>" + OBJECT.format("train", 0) + OBJECT.format("cat", 1) + "</annotation>"
PIECES = st.sampled_from(
    ["<object>", "</object>", "<name>", "</name>", "cat", "<!DOCTYPE", "&x;", "<![CDATA[", "\0", "é"]
)


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE)), PIECES), max_size=4), st.integers(0, len(WHOLE)) | st.none())
def test_fuzz(tmp_path: Path, inserted: list[tuple[int, str]], length: int | None) -> None:
    text = WHOLE
    for place, piece in inserted:
        text = text[:place] + piece + text[place:]
    (tmp_path / "a.xml").write_text(text[:length])
    try:
        tags, _ = read_xml(tmp_path / "a.xml", difficult=True)
    except UserError as error:
        told = str(error)
    else:
        told = ""
        assert set(tags) <= set(VOC)
    assert "\n" not in told


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def fetch(url: str, target: Path, **_: object) -> None:
        fetched.append(url)
        lists = target / "ImageSets/Segmentation"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("a\n")
        (target / "JPEGImages").mkdir()

    monkeypatch.setattr(voc, "fetch_folder", fetch)
    download(tmp_path / "new")
    assert locate(tmp_path / "new") == tmp_path / "new/VOCdevkit/VOC2012"
    download(tmp_path / "new")  # it is there
    assert len(fetched) == 1
    assert "VOCtrainval_11-May-2012.tar" in fetched[0]


@pytest.mark.parametrize(
    "error",
    [URLError("no route"), RuntimeError("File not found\nor corrupted."), tarfile.ReadError("short"), TimeoutError()],
)
def test_failed_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(voc, "fetch_folder", fail)
    with pytest.raises(
        UserError, match=r"^data\.download=true: VOC 2012 cannot be fetched .*: unpack VOCtrainval"
    ) as refusal:
        download(tmp_path)
    assert "\n" not in str(refusal.value)
