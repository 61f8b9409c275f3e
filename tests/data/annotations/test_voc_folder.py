from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from eps.data.annotations.masks import object_of
from eps.data.annotations.records import AnnotatedObject, AnnotatedPhoto, Report
from eps.data.annotations.source import SourcePhotos
from eps.data.annotations.voc_folder import write_voc
from eps.data.annotations.voc_xml import read_voc_xml
from eps.data.artifacts import read_mask, write_mask
from eps.data.files import files_by_id

SIZE = (12, 16)


def box(label: str, x: int, y: int, side: int, *, crowd: bool = False) -> AnnotatedObject:
    mask = np.zeros(SIZE, dtype=bool)
    mask[y : y + side, x : x + side] = True
    return object_of(mask, label, crowd=crowd)


@pytest.fixture
def photo(tmp_path: Path) -> AnnotatedPhoto:
    """Two objects that overlap, the surer one first, and an uncertain one."""
    file = tmp_path / "one.jpg"
    Image.new("RGB", SIZE[::-1]).save(file)
    objects = (box("boat & co <1>", 1, 1, 6), box("train", 4, 4, 6), box("train", 12, 0, 3, crowd=True))
    return AnnotatedPhoto(id="a/one", size=SIZE, image=file, format="JPEG", file=file, objects=objects)


def test_what_is_written_is_read_again(photo: AnnotatedPhoto, tmp_path: Path) -> None:
    out, classes = tmp_path / "out", ["train", "boat & co <1>"]
    write_voc(out, [photo], classes=classes, val_share=0.0, semantic={})
    report = Report()
    read = read_voc_xml(
        out / "Annotations/a/one.xml",
        SourcePhotos(out),
        report,
        difficult=False,
        masks=files_by_id(out / "SegmentationObject", (".png",)),
    )
    assert read is not None
    assert report.faults == []
    assert [(found.label, found.box, found.crowd) for found in read.objects] == [
        (found.label, found.box, found.crowd) for found in photo.objects
    ]
    assert read.objects[0].segmentation == photo.objects[0].segmentation
    assert (out / "JPEGImages/a/one.jpg").is_file()
    assert (out / "ImageSets/Segmentation/train.txt").read_text() == "a/one\n"


def test_the_first_lies_on_top(photo: AnnotatedPhoto, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_voc(out, [photo], classes=["train", "boat & co <1>"], val_share=0.0, semantic={})
    objects, classes = (read_mask(out / name / "a/one.png") for name in ("SegmentationObject", "SegmentationClass"))
    assert (objects[5, 5], classes[5, 5]) == (1, 2)
    assert (objects[8, 8], classes[8, 8]) == (2, 1)
    assert (objects[1, 13], classes[1, 13]) == (3, 1)
    assert np.array_equal(objects > 0, classes > 0)
    node = ElementTree.parse(out / "Annotations/a/one.xml").getroot()
    assert [one.findtext("difficult") for one in node.findall("object")] == ["0", "0", "1"]
    assert (node.findtext("size/width"), node.findtext("size/height")) == ("16", "12")


def test_masks_that_are_there_are_kept(photo: AnnotatedPhoto, tmp_path: Path) -> None:
    labels = np.full(SIZE, 255, dtype=np.uint8)
    write_mask(tmp_path / "mine.png", labels)
    semantic = {"a/one": tmp_path / "mine.png"}
    write_voc(tmp_path / "out", [photo], classes=["train", "boat & co <1>"], val_share=0.0, semantic=semantic)
    copied = tmp_path / "out/SegmentationClass/a/one.png"
    np.testing.assert_array_equal(read_mask(copied), labels)
    assert not copied.samefile(tmp_path / "mine.png")  # who corrects it does not change the run


def test_objects_beyond_what_a_png_can_tell(photo: AnnotatedPhoto, tmp_path: Path) -> None:
    many = AnnotatedPhoto(
        id="many",
        size=SIZE,
        image=photo.image,
        format="JPEG",
        file=photo.file,
        objects=(*[box("train", 0, 0, 2)] * 254, box("train", 8, 8, 2)),
    )
    write_voc(tmp_path / "out", [many], classes=["train"], val_share=0.0, semantic={})
    assert read_mask(tmp_path / "out/SegmentationObject/many.png")[9, 9] == 0
    assert read_mask(tmp_path / "out/SegmentationClass/many.png")[9, 9] == 1
