from pathlib import Path

import pytest

from eps.data.exclusion import read_exclusion, write_exclusion
from eps.errors import UserError

KNOWN = ["a", "b c", "ä"]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "below" / "exclude.txt"
    write_exclusion(path, ["ä", "b c"])
    assert path.read_text(encoding="utf-8") == "ä\nb c\n"
    assert read_exclusion(path, known=KNOWN, known_as="split 'train'") == ["ä", "b c"]
    write_exclusion(path, [])
    assert read_exclusion(path, known=KNOWN, known_as="split 'train'") == []
    assert [file.name for file in path.parent.iterdir()] == ["exclude.txt"]


def test_lists_that_people_have_written(tmp_path: Path) -> None:
    path = tmp_path / "exclude.txt"
    path.write_bytes("\ufeff b c \r\n\r\na\r\nb c".encode())
    assert read_exclusion(path, known=KNOWN, known_as="split 'train'") == ["b c", "a"]


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "exclude.txt"
    with pytest.raises(UserError, match=r"exclude\.txt: no such file; give a list of ids, one a line"):
        read_exclusion(path, known=KNOWN, known_as="split 'train'")
    path.write_text("a\nx.jpg\ny\n")
    with pytest.raises(UserError, match=r"exclude\.txt: split 'train' has no photo 'x\.jpg' \(and 1 more\); remove it"):
        read_exclusion(path, known=KNOWN, known_as="split 'train'")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is no text in UTF-8"):
        read_exclusion(path, known=KNOWN, known_as="split 'train'")
