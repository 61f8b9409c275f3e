from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eps.data.video import Video, VideoWriter
from eps.errors import UserError

SHADES = (20, 90, 160, 230)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Four pictures at 12 a second: left red, right grey, each lighter than the last."""
    with VideoWriter(tmp_path / "clip.mp4", rate=12.0) as writer:
        for shade in SHADES:
            pixels = np.full((48, 64, 3), shade, dtype=np.uint8)
            pixels[:, :32] = (200, 30, 30)
            writer.write(Image.fromarray(pixels))
    return tmp_path / "clip.mp4"


def test_what_is_written_is_read(clip: Path) -> None:
    video = Video(str(clip))
    assert video.rate == pytest.approx(12)
    assert video.count == 4
    pictures = [np.asarray(picture, dtype=float) for picture in video]
    assert [picture.shape for picture in pictures] == [(48, 64, 3)] * 4
    for picture, shade in zip(pictures, SHADES, strict=True):
        assert abs(picture[:, 40:].mean() - shade) < 8
        red, green, blue = picture[:, 4:28].mean(axis=(0, 1))
        assert red > 160
        assert max(green, blue) < 70  # RGB, not BGR
    assert len(list(video)) == 4  # again from the start


def test_one_size(clip: Path) -> None:
    with VideoWriter(clip.with_name("other.mp4"), rate=5.0) as writer:
        writer.write(Image.new("RGB", (32, 32)))
        with pytest.raises(UserError, match=r"a picture of \(32, 16\) after ones of \(32, 32\)"):
            writer.write(Image.new("RGB", (32, 16)))


def test_what_cannot_be_opened(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no.mp4").write_bytes(b"no video")
    for source, kind in ((str(tmp_path / "no.mp4"), "video"), (str(tmp_path / "nowhere.avi"), "video")):
        with pytest.raises(UserError, match=rf"OpenCV cannot open this {kind}"):
            Video(source)


def test_without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(UserError, match=r"videos and cameras need OpenCV: pip install 'eps-seg\[video\]'"):
        Video("clip.mp4")
