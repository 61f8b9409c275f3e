from pathlib import Path

import pytest
from PIL import Image

from eps.data.sources import Footage, Photos, is_footage, open_source
from eps.data.video import VideoWriter
from eps.errors import UserError


@pytest.mark.parametrize(
    ("source", "footage"),
    [
        ("0", True),
        ("12", True),
        ("rtsp://camera/stream", True),
        ("clip.MP4", True),
        ("clip.webm", True),
        ("photo.jpg", False),
        ("photos", False),
        ("list.txt", False),
    ],
)
def test_what_a_name_says(source: str, footage: bool) -> None:
    assert is_footage(source) is footage


def test_a_folder_may_be_called_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("7", "old.mp4"):
        Path(name).mkdir()
        assert not is_footage(name)


def test_photos(tmp_path: Path) -> None:
    Image.new("L", (4, 3), 7).save(tmp_path / "b.png")
    Image.new("RGBA", (5, 6)).save(tmp_path / "a.png")
    found = open_source(str(tmp_path), most=0)
    assert isinstance(found, Photos)
    assert len(found) == 2
    assert [(frame.id, frame.image.mode, frame.image.size) for frame in found] == [
        ("a", "RGB", (5, 6)),
        ("b", "RGB", (4, 3)),
    ]
    assert [frame.id for frame in open_source(str(tmp_path / "b.png"), most=0)] == ["b"]
    with pytest.raises(UserError, match="no such file or folder"):
        open_source(str(tmp_path / "c.png"), most=0)


def test_footage(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", rate=10.0) as writer:
        for shade in range(5):
            writer.write(Image.new("RGB", (32, 32), (shade * 40,) * 3))
    whole = open_source(str(tmp_path / "clip.mp4"), most=0)
    assert isinstance(whole, Footage)
    assert (whole.name, whole.total, whole.path) == ("clip", 5, tmp_path / "clip.mp4")
    assert [frame.id for frame in whole] == [f"clip/00000{number}" for number in range(1, 6)]
    begun = open_source(str(tmp_path / "clip.mp4"), most=2)
    assert isinstance(begun, Footage)
    assert begun.total == 2
    assert len(list(begun)) == 2


def test_photos_that_cannot_be_read_are_found_at_once(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "cut_j.jpg", "cut_p.png"):
        Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / name)
    for name in ("cut_j.jpg", "cut_p.png"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no photo")
    Image.new("I;16", (4, 4)).save(tmp_path / "deep.png")
    found = open_source(str(tmp_path), most=0)
    assert isinstance(found, Photos)
    faults = found.unreadable()
    assert set(faults) == {name for name in found.files if name.startswith(("cut", "text", "deep"))}
    assert len(faults) == 4
    assert "text.jpg cannot be read as an image" in faults["text"]
    assert "8 bits a channel" in faults["deep"]
    assert [frame.id for frame in found.without(faults)] == ["a", "b"]
