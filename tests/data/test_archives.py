"""Archives that would write elsewhere, and what is left of those that were interrupted."""

import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import pytest
from torchvision.datasets import utils

from eps.data.archives import fetch_folder, unpack
from eps.errors import UserError

filtered = pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="Python before 3.11.4 has no filter")


def tar(path: Path, *members: tarfile.TarInfo) -> Path:
    """Each file of three bytes, after one that belongs there."""
    with tarfile.open(path, "w") as made:
        for member in (file("set/photos/a.jpg"), *members):
            made.addfile(member, io.BytesIO(b"abc"))
    return path


def file(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = 3
    return member


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@filtered
def test_the_folder_alone_is_unpacked(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", file("set/list.txt"), file("other/b.jpg"))
    unpack(archive, tmp_path / "here", below="set")
    assert names(tmp_path / "here") == ["list.txt", "photos/a.jpg"]


@filtered
@pytest.mark.parametrize(
    "members",
    [
        [file("../outside")],
        [file("set/../../../outside")],
        [link("set/way", "../../.."), file("set/way/outside")],
        [link("set/way", "/etc")],
        [link("set/way", "../../outside", tarfile.LNKTYPE)],
        [link("set/device", "", tarfile.CHRTYPE)],
    ],
)
def test_members_that_lead_elsewhere_are_refused(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    (tmp_path / "outside").write_text("old")
    archive = tar(tmp_path / "a.tar", *members)
    with pytest.raises(tarfile.FilterError):
        unpack(archive, tmp_path / "deep" / "here", below="set")
    assert names(tmp_path) == ["a.tar", "outside"]
    assert (tmp_path / "outside").read_text() == "old"


@filtered
def test_an_absolute_path_is_taken_for_a_relative_one(tmp_path: Path) -> None:
    unpack(tar(tmp_path / "a.tar", file(f"{tmp_path}/outside")), tmp_path / "here", below="set")
    assert names(tmp_path) == ["a.tar", "here/photos/a.jpg"]


@filtered
@pytest.mark.parametrize("kept", [0, 100, 900])
def test_half_an_archive_leaves_nothing(tmp_path: Path, kept: int) -> None:
    archive = tar(tmp_path / "a.tar", file("set/b.jpg"))
    archive.write_bytes(archive.read_bytes()[:kept])
    with pytest.raises((tarfile.TarError, OSError)):
        unpack(archive, tmp_path / "here", below="set")
    assert names(tmp_path) == ["a.tar"]


@filtered
def test_another_hash_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tar(tmp_path / "made.tar")
    monkeypatch.setattr(utils, "_urlretrieve", lambda url, filename: shutil.copy(made, filename))
    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, **_: url)
    target = tmp_path / "deep" / "here"
    with pytest.raises(RuntimeError, match="corrupted"):
        fetch_folder("https://example.org/a.tar", target, md5="0" * 32, below="set")
    assert names(tmp_path / "deep") == ["a.tar"]
    right = hashlib.md5(made.read_bytes()).hexdigest()
    fetch_folder("https://example.org/a.tar", target, md5=right, below="set")
    assert names(target) == ["photos/a.jpg"]


def test_a_python_without_the_filter_downloads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with pytest.raises(UserError, match=r"a\.tar: it takes Python 3\.11\.4 to unpack it safely"):
        fetch_folder("https://example.org/a.tar", tmp_path / "here", md5="0" * 32, below="set")
    with pytest.raises(UserError, match="unpack it yourself"):
        unpack(tar(tmp_path / "a.tar"), tmp_path / "here", below="set")
    assert names(tmp_path) == ["a.tar"]
