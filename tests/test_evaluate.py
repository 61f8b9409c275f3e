"""Which classes of a segmenter are which of the dataset's."""

from pathlib import Path

import pytest

from eps.data.class_names import COCO, unnamed
from eps.errors import UserError
from eps.evaluate import _label_table

FILE = Path("yolact_base_1_1.pth")


def labels(known: tuple[str, ...], classes: tuple[str, ...]) -> list[int]:
    """The dataset's label of each label of a file that knows these classes."""
    found: list[int] = _label_table(known, classes, place=FILE)[: len(known) + 1].tolist()
    return found


def test_classes_of_a_released_file_go_by_their_names() -> None:
    """In another order too, where they once went by their place."""
    assert labels(COCO, COCO[::-1]) == [0, *range(80, 0, -1)]
    assert labels(("a", "b", "c"), ("c", "a")) == [0, 2, 0, 1]


def test_unnamed_classes_go_by_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert labels(unnamed(2), ("dog", "cat")) == [0, 1, 2]
    told = " ".join(capsys.readouterr().err.split())
    assert "yolact_base_1_1.pth does not name its 2 classes: they are taken for the dataset's, in its order" in told


@pytest.mark.parametrize(
    ("known", "classes", "message"),
    [
        (("dog", "bus"), ("dog", "cat"), r"knows the classes \['dog', 'bus'\], the dataset has \['dog', 'cat'\]$"),
        (unnamed(3), ("dog", "cat"), r"has \['dog', 'cat'\]; name them in its order: classes=\[a,b,\.\.\.\]$"),
    ],
)
def test_other_classes_are_refused(known: tuple[str, ...], classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        labels(known, classes)
