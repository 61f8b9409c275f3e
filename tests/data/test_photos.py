import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from eps.data.files import CONVERT
from eps.data.layout import DatasetFolder
from eps.data.listing import Places
from eps.data.photos import photos_form
from eps.data.tag_table import Columns, read_rows
from eps.errors import UserError

PLACES = Places(tags="labels.csv", no_photos=("SALImages", "SegmentationClass"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three photos, one of them in a folder of its own, and a saliency map."""
    for name in ("cat.JPG", "dog 1.jpeg", "more/both.png", "SALImages/cat.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (6, 4)).save(path)
    (tmp_path / "labels.csv").write_text("cat.jpg,cat\ndog 1.jpeg,dog\nmore/both.png,dog;cat\n")
    return tmp_path


def opened(root: Path, *, classes: tuple[str, ...] = (), val_share: float = 0.0) -> DatasetFolder:
    form = photos_form(root, PLACES, classes=classes, val_share=val_share)
    return DatasetFolder.of(form, form.read())


def faults(root: Path, **settings: tuple[str, ...]) -> list[str]:
    folder = opened(root, **settings)
    return list(folder.faults_of(folder.listed("train"), "train").values())


def test_what_it_holds(root: Path) -> None:
    folder = opened(root)
    assert folder.classes == ("cat", "dog")
    assert folder.ids("train") == ["cat", "dog 1", "more/both"]
    assert folder.labels == {"cat": ("cat",), "dog 1": ("dog",), "more/both": ("dog", "cat")}
    assert folder.tags("more/both").tolist() == [True, True]
    assert folder.photo("cat").size == (6, 4)
    assert folder.saliency("cat", size=(4, 6)).max() == 0
    assert folder.notes == ()


@pytest.mark.parametrize(
    "text",
    [
        "file,label\ncat.jpg,cat\ndog 1.jpeg,dog\nmore/both.png,dog;cat\n",
        "Image_ID,class\ncat.jpg,cat\ndog 1.jpeg,dog\nmore/both.png,dog;cat\n",
        "\ufefffile,labels\r\ncat.jpg,cat\r\ndog 1.jpeg,dog\r\nmore/both.png,dog;cat",
        '\ufeff"cat.jpg","cat"\n"dog 1.jpeg","dog"\n"more/both.png","dog;cat"\n',
        "\ufeffPhoto;Tags\r\ncat.jpg;cat\r\ndog 1.jpeg;dog\r\nmore/both.png;dog;cat\r\n",
        'file;labels\n"cat.jpg";cat;;\ndog 1.jpeg;dog\nmore/both.png;"dog; cat"\n',
        "file\tlabels\ncat.jpg\tcat\ndog 1.jpeg\tdog\nmore/both.png\tdog;cat\n",
        'Photo name,What is on it\ncat.jpg,cat\ndog 1.jpeg,dog\nmore/both.png,"dog, cat"\n',
        "cat.jpg;cat\ndog 1.jpeg;dog\nmore/both.png;dog, cat\n",
        "\n cat.jpg , cat ;cat;\n\n./dog 1.jpeg,dog,\nmore/both.png,dog; cat\n,\n",
    ],
)
def test_ways_to_write_it(root: Path, text: str) -> None:
    (root / "labels.csv").write_bytes(text.encode())
    assert opened(root).labels == {"cat": ("cat",), "dog 1": ("dog",), "more/both": ("dog", "cat")}
    assert faults(root) == []


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_text_of_spreadsheets(root: Path, code: str) -> None:
    text = "file\tlabels\r\ncat.jpg\tK\u00e4tzchen\r\n"
    (root / "labels.csv").write_bytes(("" if code == "utf-16" else "\ufeff").encode(code) + text.encode(code))
    assert opened(root).labels == {"cat": ("K\u00e4tzchen",)}


def test_photo_without_labels_has_no_tags(root: Path) -> None:
    (root / "labels.csv").write_text("cat.jpg\ndog 1.jpeg,\nmore/both.png,cat\n")
    folder = opened(root)
    assert [folder.labels[photo] for photo in folder.ids("train")] == [(), (), ("cat",)]


def test_classes_of_the_users_order(root: Path) -> None:
    assert opened(root, classes=("dog", "horse", "cat")).tags("cat").tolist() == [False, False, True]
    [fault] = faults(root, classes=("cat",))[:1]
    assert "labels.csv line 2: 'dog 1.jpeg' has the unknown tag 'dog'; known are cat" in fault


def test_photos_that_are_not_listed_are_left_out(root: Path) -> None:
    (root / "labels.csv").write_text("cat.jpg,cat\n")
    folder = opened(root)
    assert folder.ids("train") == ["cat"]
    assert "2 photos of the folder are not in it and are left out" in folder.notes[0]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("cat.jpg,dog", "line 4: 'cat.jpg' has the id of line 1"),
        ("cat.JPG,dog", "line 4: 'cat.JPG' has the id of line 1"),
        ("cow.jpg,dog", "line 4: 'cow.jpg' is not in the folder"),
        ("cow.gif,dog", "line 4: 'cow.gif' is of a kind that is not read: convert to JPEG"),
        ("../cat.jpg,dog", "line 4: '../cat.jpg' is no id"),
        ("/cat.jpg,dog", "line 4: '/cat.jpg' is no id"),
        ("cow.jpg,dog,cat", "line 4: 'cow.jpg' has more than two columns"),
        (",dog", "line 4: '' is no id"),
    ],
)
def test_faults_are_told_with_their_line(root: Path, line: str, fault: str) -> None:
    with (root / "labels.csv").open("a") as file:
        file.write(f"{line}\n")
    assert any(fault in told for told in faults(root))
    with pytest.raises(UserError, match=r"labels\.csv line 4"):
        opened(root).ids("train")


@pytest.mark.parametrize("name", ["cow", "cat", "file"])
def test_a_first_row_without_suffix_is_no_header(root: Path, name: str) -> None:
    """Unless it is called as headers are, and no photo is called so."""
    Image.new("RGB", (6, 4)).save(root / "file.png")
    (root / "labels.csv").write_text(f"{name},cat\nmore/both.png,dog\n")
    [fault] = faults(root)
    assert f"labels.csv line 1: {name!r} is no photo: its name must end in .jpg, .jpeg, .png, " in fault
    assert "(a line of column names begins with file, or give eps init --photo-column)" in fault


def test_classes_that_differ_in_case_alone(root: Path) -> None:
    (root / "labels.csv").write_text("cat.jpg,cat\ndog 1.jpeg,Cat\nmore/both.png,dog\n")
    [note] = opened(root).notes
    assert "'Cat' and 'cat', which differ in case alone, are two classes" in note


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("cat.jpg;table, dining|cat\ndog 1.jpeg;table, dining\n", [("table, dining", "cat"), ("table, dining",)]),
        ("cat.jpg;table, dining;cat\ndog 1.jpeg;table, dining\n", [("table, dining", "cat"), ("table, dining",)]),
        ('cat.jpg,"table, dining|"\ndog 1.jpeg,"cat,dog"\n', [("table, dining",), ("cat", "dog")]),
        ("cat.jpg,cat | dog\ndog 1.jpeg,dog|\n", [("cat", "dog"), ("dog",)]),
        ('cat.jpg,cat;dog\ndog 1.jpeg,"dog, cat"\n', [("cat", "dog"), ("dog", "cat")]),
        ("cat.jpg;table, dining\n", [("table", "dining")]),
    ],
)
def test_commas_in_names_of_classes(root: Path, text: str, labels: list[tuple[str, ...]]) -> None:
    """They are kept where semicolons or bars part labels, in that cell or around the same name in another."""
    (root / "labels.csv").write_text(text)
    assert [row.labels for row in read_rows(root / "labels.csv")] == labels


LISTED = [("cat.jpg", ("cat",)), ("dog 1.jpeg", ("dog", "cat"))]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("Nr;Schlagwörter;Bild\n1;cat;cat.jpg\n2;dog,cat;dog 1.jpeg\n", Columns("bild", "SCHLAGWÖRTER")),
        ("Nr,Bild,Tags,Ort\n1,cat.jpg,cat,Ulm\n2,dog 1.jpeg,dog;cat\n", Columns("Bild", "tags")),
        ("Bild,Ort,Tags\ncat.jpg,Ulm,cat\ndog 1.jpeg,,dog|cat\n", Columns(tags="Tags")),
        ("Tags\tBild\ncat\tcat.jpg\ndog;cat\tdog 1.jpeg\n", Columns(photo="Bild")),
        ("Bild;Tags\ncat.jpg;cat\ndog 1.jpeg;dog;cat\n", Columns("Bild", "Tags")),
        ("sep=;\r\nBild;Tags\r\ncat.jpg;cat\r\ndog 1.jpeg;dog;cat\r\n", Columns("Bild", "Tags")),
    ],
)
def test_columns_by_their_names(root: Path, text: str, columns: Columns) -> None:
    (root / "labels.csv").write_text(text, encoding="utf-8-sig")
    rows = read_rows(root / "labels.csv", columns=columns)
    assert [(row.file, row.labels) for row in rows] == LISTED
    assert not any(row.fault for row in rows)


@pytest.mark.parametrize(
    ("text", "columns", "told"),
    [
        ("Bild;Tags\ncat.jpg;cat\n", Columns("Image", "Tags"), "has no column 'Image': its first line is Bild, Tags"),
        (
            "a,b,c\ncat.jpg,cat,x\n",
            Columns(photo="a"),
            "which of its columns has photos, and which labels? There are a",
        ),
        ("a\ncat.jpg\n", Columns(tags="a"), "which of its columns has photos, and which labels? There are a"),
        ("\n", Columns(tags="a"), "is empty: its first line has the names of its columns"),
    ],
)
def test_columns_that_are_not_there(root: Path, text: str, columns: Columns, told: str) -> None:
    (root / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=re.escape(f"labels.csv {told}") + "|" + re.escape(f"labels.csv: {told}")):
        read_rows(root / "labels.csv", columns=columns)


def test_a_comma_within_a_class_that_is_named_so(root: Path) -> None:
    (root / "labels.csv").write_text("cat.jpg;cat\ndog 1.jpeg;dog\nmore/both.png;dog, cat\n")
    folder = opened(root, classes=("cat", "dog", "dog, cat"))
    assert folder.labels["more/both"] == ("dog, cat",)


def test_pictures_that_are_not_read_are_told(root: Path) -> None:
    for name in ("a.HEIC", "more/b.gif", "notes.txt", "cat.heic"):  # there is a cat.JPG, too
        (root / name).touch()
    [note] = opened(root).notes
    assert note == f"{root}: pictures of kinds that are not read: a.HEIC, more/b.gif; {CONVERT}"


def test_photos_of_every_kind_that_is_read(root: Path) -> None:
    """Upright as a viewer shows them, whatever the kind."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for name in ("web.WebP", "scan.tif", "scan 2.TIFF", "old.bmp"):
        Image.new("RGB", (6, 4), "red").save(root / name, **({} if name == "old.bmp" else {"exif": exif}))
    (root / "labels.csv").write_text("web.webp,cat\nscan.tif,cat\nscan 2.tiff,dog\nold.bmp,dog\n")
    folder = opened(root)
    assert faults(root) == []
    assert [folder.photo(photo).size for photo in folder.ids("train")] == [(4, 6), (4, 6), (4, 6), (6, 4)]


def test_photos_that_share_their_name_are_told(root: Path) -> None:
    Image.new("RGB", (6, 4)).save(root / "cat.webp")
    [note] = opened(root).notes
    assert note.endswith("share their name with another kind's, which is taken, rename them: cat.webp")


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (
            "more\\two.png",
            "is no id: ids are paths below the folder of the photos, without .. and suffix; did you mean",
        ),
        ("/home/me/photos/more/two.png", "is no id"),
        ("photos/more/two.png", "is not in the folder; did you mean"),
        ("TWO.png", "is not in the folder; did you mean"),
        ("more/two", "is no photo: its name must end in .jpg, .jpeg, .png, .webp, .tif, .tiff, .bmp; did you mean"),
        ("more/two.webp", "is not in the folder; did you mean"),
        ("more/two.HEIC", f"is of a kind that is not read: {CONVERT}; did you mean"),
        ("more/two.svg", "is no photo"),
    ],
)
def test_what_may_be_meant(root: Path, file: str, told: str) -> None:
    Image.new("RGB", (6, 4)).save(root / "more/two.png")
    (root / "labels.csv").write_text(f"cat.jpg,cat\n{file},dog\n")
    [fault] = faults(root)
    assert f"line 2: {file!r} {told}" in fault
    assert fault.endswith("did you mean 'more/two.png'?") == (".svg" not in file)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("IMG_1.HEIC", f"is of a kind that is not read: {CONVERT}"),
        ("IMG_1.jpg", f"is not in the folder; 'IMG_1.heic' is of a kind that is not read: {CONVERT}"),
        ("IMG_2.HEIC", f"is of a kind that is not read: {CONVERT}; did you mean 'IMG_2.jpg'?"),
    ],
)
def test_photos_of_a_phone_that_are_not_read(root: Path, file: str, told: str) -> None:
    """Whether they have been converted, in the table or in the folder; such a name is no header."""
    Image.new("RGB", (6, 4)).save(root / "IMG_2.jpg")
    for name in ("IMG_1.heic", "IMG_2.heic"):
        (root / name).touch()
    (root / "labels.csv").write_text(f"{file},cat\n")
    assert faults(root) == [f"{root / 'labels.csv'} line 1: {file!r} {told}"]


def test_nothing_is_guessed_of_two(root: Path) -> None:
    for place in ("more", "less"):
        (root / place).mkdir(exist_ok=True)
        Image.new("RGB", (6, 4)).save(root / place / "two.png")
    (root / "labels.csv").write_text("cat.jpg,cat\ntwo.png,dog\n")
    assert faults(root)[0].endswith("is not in the folder")


def test_accents_that_are_written_otherwise(root: Path) -> None:
    """As macOS and others do: e with an accent as one code point or as two."""
    Image.new("RGB", (6, 4)).save(root / "\u00fc.png")
    (root / "labels.csv").write_text("cat.jpg,cat\nu\u0308.png,dog\n", encoding="utf-8")
    assert faults(root)[0].endswith(
        "is not in the folder by these code points, though it looks the same: copy the name from there"
    )


def test_background_is_no_class(root: Path) -> None:
    (root / "labels.csv").write_text("cat.jpg,background;cat\n")
    with pytest.raises(UserError, match=r"labels\.csv: 'background' is no class: leave it out"):
        opened(root)


def test_two_photos_of_one_name(root: Path) -> None:
    Image.new("RGB", (6, 4)).save(root / "cat.png")
    (root / "labels.csv").write_text("cat.png,cat\n")
    assert "'cat.png' shares its name with cat.JPG: rename one" in faults(root)[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe\0", "decode byte"),
        (b"c\0a\0t\0.\0j\0p\0g\0,\0c\0", "zero bytes"),
        (b'"cat.jpg', "end of data"),
        (b'"a"b,c', "expected after"),
    ],
)
def test_no_csv(root: Path, content: bytes, reason: str) -> None:
    (root / "labels.csv").write_bytes(content)
    with pytest.raises(UserError, match=rf"labels\.csv is no csv in UTF-8 .*{reason}.*file,label;label"):
        opened(root)


@pytest.mark.parametrize("text", ["file;cat;dog\ncat.jpg;1;0\ndog 1.jpeg;0;1\n", "file,cat,dog\ncat.jpg,X,\n"])
def test_a_column_for_each_class(root: Path, text: str) -> None:
    (root / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=r"labels\.csv has a column for each class, .* into one column, file,dog;cat"):
        opened(root)


def test_a_class_may_be_called_x(root: Path) -> None:
    (root / "labels.csv").write_text("cat.jpg,x\n")
    assert read_rows(root / "labels.csv", classes=["x"])[0].labels == ("x",)


@pytest.mark.parametrize("text", ["", "file,label\n", "cat.jpg,\n"])
def test_no_labels_at_all(root: Path, text: str) -> None:
    (root / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=r"labels\.csv has no label: write lines"):
        opened(root)


def test_missing(root: Path) -> None:
    (root / "labels.csv").unlink()
    with pytest.raises(UserError, match=r"labels\.csv is missing: it has a line file,label;label"):
        opened(root)
    with pytest.raises(UserError, match=r"no such folder; give the folder that holds the photos and labels\.csv"):
        opened(root / "nowhere")


def test_photos_put_aside_stay_aside(tmp_path: Path) -> None:
    """By the first 64 bits of the SHA-256 of the id, as a share of all."""
    ids = [f"photo {number}" for number in range(300)]
    (tmp_path / "labels.csv").write_text("".join(f"{photo}.jpg,cat\n" for photo in ids))
    for photo in ids:
        (tmp_path / f"{photo}.jpg").touch()
    folder = opened(tmp_path, val_share=0.2)
    first = [int(hashlib.sha256(photo.encode()).hexdigest()[:16], 16) for photo in ids]
    expected = [photo for photo, number in zip(ids, first, strict=True) if number < 0.2 * 2**64]
    assert folder.ids("val") == expected
    assert 30 < len(expected) < 90
    assert folder.ids("train") == [photo for photo in ids if photo not in expected]
    (tmp_path / "labels.csv").write_text("".join(f"{photo}.jpg,cat\n" for photo in reversed(ids[:100])))
    assert set(opened(tmp_path, val_share=0.2).ids("val")) == set(expected) & set(ids[:100])


def test_no_photos_put_aside(root: Path) -> None:
    folder = opened(root)
    assert not folder.has_split("val")
    with pytest.raises(UserError, match=r"split 'val': .*no photo is put aside for it by data\.val_share=0.*are train"):
        folder.ids("val")


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from([",", ";", '"', "\n", "\r\n", "\0", "cat.jpg", "../x.jpg", "é", "\ufeff", " "]), max_size=25
    )
)
def test_fuzz(root: Path, pieces: list[str]) -> None:
    (root / "labels.csv").write_bytes("".join(pieces).encode())
    try:
        rows = read_rows(root / "labels.csv")
        folder = opened(root, classes=("cat",))
        ids = folder.ids("train")
    except UserError as error:
        told = str(error)
    else:
        told = ""
        assert set(ids) <= {"cat"}
        assert len(rows) == len(ids)
    assert "\n" not in told


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_fuzz_bytes(root: Path, content: bytes) -> None:
    (root / "labels.csv").write_bytes(content)
    try:
        told = str(opened(root, classes=("cat",)).ids("train"))
    except UserError as error:
        told = str(error)
    assert "\n" not in told


def test_tags_are_numbers_too(root: Path) -> None:
    """Labels are texts, whatever they look like."""
    (root / "labels.csv").write_text("cat.jpg,7\ndog 1.jpeg,10;7\n")
    folder = opened(root)
    assert folder.classes == ("10", "7")
    np.testing.assert_array_equal(folder.tags("cat"), [False, True])
