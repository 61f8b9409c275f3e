"""`eps.convert`: labelme's files and XML like VOC's become a dataset that is checked, trained on and scored."""

import base64
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from eps import convert, evaluate, prepare, train_cls, train_seg
from eps.cli import call
from eps.data.artifacts import read_json, write_mask
from eps.errors import UserError

pytestmark = pytest.mark.slow

Command = Callable[..., tuple[int, str]]
WIDTH, HEIGHT = 48, 40
SMALL = ("experiment=tiny", "segmenter.warm_start=false", "segmenter.supervision=truth", "classifier=cam")


def picture(number: int = 0) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, form: str = "JPEG") -> str:
    held = BytesIO()
    image.save(held, format=form)
    return base64.b64encode(held.getvalue()).decode()


def shape(label: str, points: list[list[float]], **facts: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": "polygon", "flags": {}, **facts}


def square(label: str, x: float, y: float, side: float = 10, **facts: Any) -> dict[str, Any]:
    return shape(label, [[x, y], [x + side, y], [x + side, y + side], [x, y + side]], **facts)


def write_labelme(root: Path, name: str, *shapes: dict[str, Any], photo: bool = True, **facts: Any) -> None:
    path = root / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imageHeight": HEIGHT, "imageWidth": WIDTH}
    content = plain | {"imagePath": f"{path.stem}.jpg", "imageData": None} | facts
    path.write_text(json.dumps(content), encoding="utf-8")
    if photo:
        picture(len(name)).save(path.with_suffix(".jpg"))


def voc_object(name: str, *corners: float, **marks: int) -> str:
    sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    said = "".join(f"<{mark}>{value}</{mark}>" for mark, value in marks.items())
    return f"<object><name>{name}</name>{said}<bndbox>{sides}</bndbox></object>"


def write_voc(root: Path, name: str, *objects: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    (root / "JPEGImages").mkdir(exist_ok=True)
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    text = f"<annotation><filename>{name}.jpg</filename>{sides}{''.join(objects)}</annotation>"
    (root / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
    picture(len(name)).save(root / "JPEGImages" / f"{name}.jpg")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


@pytest.fixture
def made(tmp_path: Path, source: Path) -> Callable[..., Path]:
    """Converts the source and gives the folder."""

    def run(*overrides: str) -> Path:
        return call(convert.run, f"source={source}", f"run_dir={tmp_path / 'run'}", *overrides).path

    return run


def masks_of(folder: Path) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Label and mask of every object, as pycocotools reads them."""
    coco = COCO(folder / "instances.json")
    names = {category["id"]: category["name"] for category in coco.dataset["categories"]}
    found: dict[str, list[tuple[str, np.ndarray]]] = {image["file_name"]: [] for image in coco.dataset["images"]}
    for annotation in coco.dataset["annotations"]:
        image = coco.imgs[annotation["image_id"]]["file_name"]
        found[image].append((names[annotation["category_id"]], coco.annToMask(annotation)))
    return found


def test_every_kind_of_shape(source: Path, made: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    bitmap = np.zeros((5, 6), dtype=np.uint8)
    bitmap[1:4, 2:6] = 255
    write_labelme(
        source,
        "a",
        square("cat", 2, 3),
        shape("cat", [[30, 5], [20, 15]], shape_type="rectangle"),  # from the other corner
        shape("dog", [[20, 28], [26, 28]], shape_type="circle"),
        shape("dog", [[30, 30], [35, 34]], shape_type="mask", mask=encoded(Image.fromarray(bitmap), "PNG")),
        shape("rope", [[1, 1], [9, 9], [3, 9]], shape_type="linestrip"),
        shape("rope", [[1, 1]], shape_type="point"),
        square("__ignore__", 0, 0),
        square("cat", 3, 3, side=0),
    )
    found = masks_of(made())["a.jpg"]
    assert [label for label, _ in found] == ["cat", "cat", "dog", "dog"]
    areas = [int(mask.sum()) for _, mask in found]
    assert areas[:2] == [100, 100]
    assert areas[2] == pytest.approx(np.pi * 6**2, rel=0.04)
    assert areas[3] == 12
    assert found[0][1][3:13, 2:12].all()
    assert found[1][1][5:15, 20:30].all()
    assert found[3][1][31:34, 32:36].all()
    told = capsys.readouterr().err
    assert "1 shapes of the kind linestrip, which has no area, are left out" in told
    assert "1 shapes of the kind point, which has no area, are left out" in told
    assert "1 shapes called __ignore__ are left out" in told
    assert "1 objects without a pixel in the photo are left out" in told


def test_shapes_of_a_group_are_one_object(source: Path, made: Callable[..., Path]) -> None:
    """Also of a polygon and a bitmap; not of another label."""
    bitmap = encoded(Image.fromarray(np.full((3, 3), 255, dtype=np.uint8)), "PNG")
    write_labelme(
        source,
        "a",
        square("cat", 0, 0, group_id=1),
        square("cat", 20, 20, group_id=1),
        square("dog", 20, 0, group_id=1),
        square("cat", 36, 0),
        square("dog", 0, 20, group_id=2),
        shape("dog", [[40, 30], [42, 32]], shape_type="mask", mask=bitmap, group_id=2),
    )
    folder = made()
    found = [(label, int(mask.sum())) for label, mask in masks_of(folder)["a.jpg"]]
    assert found == [("cat", 200), ("dog", 100), ("cat", 100), ("dog", 109)]
    first = read_json(folder / "instances.json")["annotations"][0]
    assert (len(first["segmentation"]), first["bbox"], first["area"]) == (2, [0, 0, 30, 30], 200)


def test_a_photo_that_is_only_in_the_file_is_written(source: Path, made: Callable[..., Path]) -> None:
    image = picture(5)
    write_labelme(source, "sub/a", square("cat", 0, 0), photo=False, imageData=encoded(image, "PNG"))
    write_labelme(
        source, "b", square("cat", 0, 0), photo=False, imageData=encoded(image, "BMP"), imagePath="C:\\me\\b.bmp"
    )
    folder = made()
    for name in ("sub/a.png", "b.png"):
        assert np.array_equal(np.asarray(Image.open(folder / "JPEGImages" / name)), np.asarray(image))


def test_a_photo_that_lies_turned(source: Path, made: Callable[..., Path]) -> None:
    """Its EXIF data turn it: labelme's pixels are those of the upright photo."""
    write_labelme(source, "a", square("cat", 0, 30), photo=False, imageHeight=WIDTH, imageWidth=HEIGHT)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(source / "a.jpg", exif=exif)
    assert masks_of(made())["a.jpg"][0][1].shape == (WIDTH, HEIGHT)


def test_names_in_any_script(source: Path, made: Callable[..., Path]) -> None:
    """However their accents are composed: 'é' in one character or in two."""
    write_labelme(source, "фото 1", square("café", 0, 0))
    write_labelme(source, "漢字", square("cafe\u0301", 0, 0))
    folder = made()
    assert read_json(folder / "image_labels.json") == {
        "classes": ["café"],
        "labels": {"фото 1": ["café"], "漢字": ["café"]},
    }
    assert {path.name for path in (folder / "JPEGImages").iterdir()} == {"фото 1.jpg", "漢字.jpg"}


def test_chosen_classes(source: Path, made: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    write_labelme(source, "a", square("cat", 0, 0), square("dog", 20, 0), flags={"night": True, "day": False})
    write_labelme(source, "b", square("bird", 0, 0))
    folder = made("convert.classes=[night,dog]")
    content = read_json(folder / "instances.json")
    assert [category["name"] for category in content["categories"]] == ["night", "dog"]
    assert [(a["image_id"], a["category_id"]) for a in content["annotations"]] == [(1, 2)]
    assert read_json(folder / "image_labels.json")["labels"] == {"a": ["night", "dog"], "b": []}
    assert "1 objects or tags 'bird' are not in convert.classes and are left out" in capsys.readouterr().err


def test_all_faults_at_once(source: Path, tmp_path: Path, command: Command) -> None:
    """One line each, on stderr and in a file; nothing is written."""
    write_labelme(source, "a", square("cat", 0, 0), imageHeight=WIDTH, imageWidth=HEIGHT)
    write_labelme(source, "b", shape("cat", [[1, 1], [2, 2]]), square("", 0, 0), shape("x", [[1]], shape_type="cone"))
    write_labelme(source, "c", square("cat", 0, 0), photo=False)
    write_labelme(source, "d", square("cat", 0, 0), photo=False, imagePath="../../d.jpg")
    write_labelme(source, "e", square("background", 0, 0), photo=False, imageData="abc")
    write_labelme(source, "f", square("cat", 0, 0), imagePath="a.jpg")
    write_labelme(source, "g", shape("cat", [[0, float("nan")], [1, 2], [3, 3]]), {"points": []})
    (source / "h.json").write_text("{" + "[" * 50_000)
    (source / "i.json").write_bytes(b"\xff\xfe")
    code, told = command(convert.main, f"source={source}", f"run_dir={tmp_path / 'run'}")
    assert code == 2
    lines = told.strip().splitlines()
    for name, reason in {
        "a.json": "imageWidth and imageHeight are 40 and 48, its photo is 48x40; they are swapped",
        "b.json shape 1": "a polygon needs three points or more",
        "b.json shape 2": "the label '' is no text",
        "b.json shape 3": "of the unknown kind 'cone'; known are polygon, rectangle",
        "c.json": "its photo 'c.jpg' is missing, and it has no imageData",
        "d.json": "its photo '../../d.jpg' lies outside of the source: give the folder that holds both",
        "e.json": "imageData cannot be read",
        "f.json": "photo 'a' has annotations in",
        "g.json shape 1": "its points are not pairs of numbers",
        "g.json shape 2": "the label None is no text",
        "h.json": "is not JSON",
        "i.json": "is not JSON",
    }.items():
        assert [line for line in lines if f"{name}" in line and reason in line], (name, reason, told)
    faults = (tmp_path / "run" / "convert_faults.txt").read_text().splitlines()
    assert lines[-1].startswith(f"error: source={source}: {len(faults)} faults, nothing is written; all are in ")
    assert faults == [line for line in lines if line.startswith(str(source))]
    assert not (tmp_path / "run" / "converted").exists()


def test_boxes_of_voc(source: Path, made: Callable[..., Path]) -> None:
    """Pixels count from 1 there; what is difficult is a crowd."""
    write_voc(source, "p1", voc_object("cat", 1, 1, 10, 5), voc_object("dog", 11, 21, 20, 30, difficult=1, truncated=1))
    write_voc(source, "p2", voc_object("cat", 0, 0, WIDTH, HEIGHT))
    folder = made("convert=voc_xml")
    annotations = read_json(folder / "instances.json")["annotations"]
    assert [(a["bbox"], a["area"], a["iscrowd"], a["segmentation"]) for a in annotations] == [
        ([0, 0, 10, 5], 50, 0, []),
        ([10, 20, 10, 10], 100, 1, []),
        ([0, 0, WIDTH, HEIGHT], WIDTH * HEIGHT, 0, []),
    ]
    assert annotations[1] | {"difficult": 1, "truncated": 1} == annotations[1]
    assert read_json(folder / "image_labels.json")["labels"] == {"p1": ["cat", "dog"], "p2": ["cat"]}
    kept = read_json(made("convert=voc_xml", "convert.difficult=true") / "instances.json")
    assert [a["iscrowd"] for a in kept["annotations"]] == [0, 0, 0]


def test_boxes_that_count_from_0_are_told(
    source: Path, made: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """And what boxes alone are good for, and need."""
    write_voc(source, "p1", voc_object("cat", 1, 1, 10, 5), voc_object("cat", 5, 0, 20, 30))
    folder = made("convert=voc_xml")
    told = capsys.readouterr().err
    assert "1 boxes begin at 0, where VOC counts pixels from 1" in told
    assert "p1.xml object 2" in told
    assert f"{folder / 'SALImages'}/<id>.png; saliency=u2net saliency.model=FILE makes them" in told


def test_names_that_are_nearly_the_same_are_told(
    source: Path, made: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_labelme(source, "a", square("Cat", 0, 0), square("cat ", 20, 20), square("dog", 5, 5))
    write_labelme(source, "b", square("cat", 0, 0), square("fire-truck", 20, 20), square("fire truck", 5, 5))
    folder = made()
    told = capsys.readouterr().err
    assert "classes 'Cat' (1 times) and 'cat' (2 times) differ in case, spaces or signs alone" in told
    assert "classes 'fire truck' (1 times) and 'fire-truck' (1 times) differ" in told
    assert "'dog'" not in told
    assert "SALImages" not in told
    categories = read_json(folder / "instances.json")["categories"]
    assert [category["name"] for category in categories] == ["Cat", "cat", "dog", "fire truck", "fire-truck"]


def test_masks_of_voc(source: Path, made: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The k-th colour is the k-th object; a mask that does not fit its box, or none, leaves the box."""
    write_voc(source, "p1", voc_object("cat", 1, 1, 10, 10), voc_object("dog", 21, 21, 30, 30))
    write_voc(source, "p2", voc_object("cat", 1, 1, 10, 10))
    labels = np.full((HEIGHT, WIDTH), 0, dtype=np.uint8)
    labels[0:10, 0:10], labels[2:4, 2:4], labels[5:8, 40:45] = 1, 255, 2
    write_mask(source / "SegmentationObject" / "p1.png", labels)
    folder = made("convert=voc_xml", "convert.masks=SegmentationObject")
    annotations = read_json(folder / "instances.json")["annotations"]
    assert [(a["area"], bool(a["segmentation"])) for a in annotations] == [(96, True), (100, False), (100, False)]
    told = capsys.readouterr().err
    assert "1 objects have no mask that fits their box: the box alone is used" in told
    assert "1 photos have no PNG of masks: boxes alone are used" in told


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><annotation><filename>&b;</filename></annotation>'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotation><object>", "is no VOC annotation: no element found"),
        (BOMB, "is no VOC annotation: it has a document type, which could declare entities"),
        ("<html></html>", "is no VOC annotation: its root is <html>"),
        ("<annotation><filename>../../../etc/p1.jpg</filename></annotation>", "paths with .. are not followed"),
        ("<annotation><filename>nowhere.jpg</filename></annotation>", "its photo 'nowhere.jpg' is missing"),
        ("<annotation><filename>p1.jpg</filename><object></object></annotation>", "the label None is no text"),
        ("{cat 1 2 x 4}", "needs the numbers xmin, ymin, xmax and ymax"),
        ("{cat 10 2 5 4}", "has no area"),
        ("{cat nan 2 5 4}", "has no area"),
        ("{cat 1 1 500 10}", "sticks out of its photo of 48x40"),
        ("{cat 49 1 50 10}", "has no pixel in its photo of 48x40"),
        ("<annotation><filename>p1.jpg</filename><size><height>9</height><width>9</width></size></annotation>", "9x9"),
    ],
)
def test_faults_of_xml(source: Path, made: Callable[..., Path], text: str, reason: str) -> None:
    write_voc(source, "p1", voc_object("cat", 1, 1, 9, 9))
    if text.startswith("{"):
        name, *corners = text.strip("{}").split()
        node = voc_object(name, *corners)  # type: ignore[arg-type]
        text = f"<annotation><filename>p1.jpg</filename>{node}</annotation>"
    (source / "Annotations" / "q.xml").write_text(text)
    with pytest.raises(UserError, match="fault"):
        made("convert=voc_xml")
    told = (source.parent / "run" / "convert_faults.txt").read_text().splitlines()
    assert reason in told[0]
    assert told[0].startswith(f"{source}/Annotations/q.xml")


def test_the_same_again_is_not_written_again(
    source: Path, made: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_labelme(source, "a", square("cat", 0, 0))
    stamp = (made() / "instances.json").stat().st_mtime_ns
    assert "up to date" not in capsys.readouterr().err
    assert (made() / "instances.json").stat().st_mtime_ns == stamp
    assert "up to date" in capsys.readouterr().err
    write_labelme(source, "a", square("dog", 0, 0))
    assert read_json(made() / "image_labels.json")["classes"] == ["dog"]


def test_photos_without_annotations_are_left_out(
    source: Path, made: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_labelme(source, "a", square("cat", 0, 0))
    (source / "coco.json").write_text('{"images": []}')
    picture().save(source / "z.png")
    assert [path.name for path in (made() / "JPEGImages").iterdir()] == ["a.jpg"]
    told = capsys.readouterr().err
    assert "1 photos or other images of the source have no annotations and are left out" in told
    assert "1 json files are not labelme's and are left out" in told


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["source=nowhere"], "source=nowhere: no such folder"),
        ([], "source=split:val: no such folder"),
        (["source={source}", "convert=voc_xml"], r"there is no \.xml file in it for convert=voc_xml"),
        (["source={source}", "convert.out={source}"], "must lie outside of source"),
        (["source={source}", "convert.out={source}/.."], "must lie outside of source"),
        (["source={source}", "convert.out={source}/new"], "must lie outside of source"),
        (["source={source}", "convert.out={source}/../other"], "there is something else already"),
        (["source={source}", "convert.classes=[bird]"], "1 fault"),
        (["source={source}", "convert.masks=here"], "only convert=voc_xml has use for it"),
        (["source={source}", "convert.difficult=true"], "only convert=voc_xml has use for it"),
        (["source={source}", "convert.val_share=1"], r"convert\.val_share=1"),
    ],
)
def test_mistakes(source: Path, tmp_path: Path, overrides: list[str], reason: str) -> None:
    write_labelme(source, "a", square("cat", 0, 0))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "holiday.jpg").touch()
    settings = [override.format(source=source) for override in overrides]
    with pytest.raises(UserError, match=reason):
        call(convert.run, f"run_dir={tmp_path / 'run'}", *settings)
    assert (tmp_path / "other" / "holiday.jpg").exists()


def test_what_is_converted_can_be_trained_on(source: Path, made: Callable[..., Path], tmp_path: Path) -> None:
    """labelme's masks as data=coco, checked, learnt and scored; its tags as data=folder."""
    for number in range(12):
        write_labelme(source, f"p{number}", square("cat", number, 3, 14), square("dog", 30, 20, 14))
    folder = made()
    settings = (*SMALL, "data=coco", f"data.root={folder}", "data.tags=instances.json", "data.check_truth=true")
    places = (f"run_dir={tmp_path / 'run'}", f"data.index={tmp_path / 'index'}")
    call(prepare.run, *settings, *places)
    call(train_seg.run, *settings, *places)
    scores = read_json(call(evaluate.run, *settings, *places, "evaluate=segmenter").path)["splits"]["val"]
    assert scores["instances"] is not None
    splits = {path.stem: path.read_text().split() for path in (folder / "ImageSets" / "Segmentation").iterdir()}
    assert splits.keys() == {"train", "val"}
    result = call(
        train_cls.run, "experiment=tiny", "classifier=cam", "data=folder", f"data.root={folder}", places[0],
        "classifier.steps=1", "classifier.batch=2",
    )  # fmt: skip
    assert (result.path / "model.safetensors").is_file()
