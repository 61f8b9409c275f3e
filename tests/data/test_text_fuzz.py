"""Foreign bytes under the names of what people write themselves, lists and tags, and shards: read, or one line."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from eps.data.exclusion import read_exclusion
from eps.data.folder import folder_form
from eps.data.listing import Places
from eps.data.photo_list import photos_at
from eps.data.shards import read_shard
from eps.errors import UserError

FUZZ = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["cat", "a"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)
LISTED = st.fixed_dictionaries(
    {}, optional={"classes": JSON | st.just(["cat"]), "labels": JSON | st.just({"a": ["cat"]})}
)


def read_folder(path: Path) -> object:
    (path.parent / "JPEGImages").mkdir(exist_ok=True)
    return folder_form(path.parent, Places(tags=path.name)).read()


READERS: dict[str, Callable[[Path], object]] = {
    "exclude.txt": lambda path: read_exclusion(path, known={"a", "b"}, known_as="train"),
    "list.txt": photos_at,
    "image_labels.json": read_folder,
    "photos.tar": lambda path: list(read_shard(path, ("cat",))),
}


def refused(name: str, path: Path) -> str:
    try:
        READERS[name](path)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", READERS)
@FUZZ
@given(content=st.binary(max_size=80) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "\n" not in refused(name, tmp_path / name)


@FUZZ
@given(content=JSON | LISTED)
def test_any_json(tmp_path: Path, content: object) -> None:
    (tmp_path / "image_labels.json").write_text(json.dumps(content))
    assert "\n" not in refused("image_labels.json", tmp_path / "image_labels.json")


def packed(tags: bytes) -> bytes:
    held, photo = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (9, 7)).save(photo, format="PNG")
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name, content in (("a.png", photo.getvalue()), ("a.json", tags), ("b" * 120 + ".json", b"[]")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return held.getvalue()


WHOLE = packed(b'["cat"]')


@FUZZ
@given(place=st.floats(0, 1), cut=st.integers(0, 600), inserted=st.binary(max_size=20))
def test_a_damaged_shard(tmp_path: Path, place: float, cut: int, inserted: bytes) -> None:
    start = int(place * len(WHOLE))
    path = tmp_path / "photos.tar"
    path.write_bytes(WHOLE[:start] + inserted + WHOLE[start + cut :])
    told = refused("photos.tar", path)
    assert "\n" not in told
    assert told or len(list(read_shard(path, ("cat",)))) == 2  # none is lost without a word


HEADER = st.tuples(
    st.sampled_from([tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE, b"D"]),
    st.sampled_from(["a.png", "x" * 90, "", "../a.json", "a\nb.png"]),
    st.integers(-(2**40), 2**87) | st.integers(0, 2000),
    st.binary(max_size=700) | st.sampled_from([b"0 path=a\n", b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"]),
)


@FUZZ
@given(headers=st.lists(HEADER, max_size=4))
def test_odd_headers_of_a_shard(tmp_path: Path, headers: list[tuple[bytes, str, int, bytes]]) -> None:
    path, content = tmp_path / "photos.tar", b""
    for kind, name, size, body in headers:
        member = tarfile.TarInfo(name)
        member.type, member.size = kind, size
        content += member.tobuf(tarfile.GNU_FORMAT) + body + bytes(-len(body) % tarfile.BLOCKSIZE)
    path.write_bytes(content + WHOLE)
    assert "\n" not in refused("photos.tar", path)


@FUZZ
@given(tags=JSON)
def test_any_tags_of_a_shard(tmp_path: Path, tags: object) -> None:
    path = tmp_path / "photos.tar"
    path.write_bytes(packed(json.dumps(tags).encode()))
    first, second = read_shard(path, ("cat",))
    assert (first.image is None) == bool(first.fault)
    assert first.fault or first.tags.tolist() in ([True], [False])
    assert "no photo" in second.fault
    assert "\n" not in first.fault
