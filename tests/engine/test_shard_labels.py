import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from eps.data.shards import read_shard, shard_paths
from eps.engine.shard_labels import Done, label_shards
from eps.errors import UserError

CLASSES = ("train", "boat")
Files = Mapping[str, bytes]


def photo(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, format="PNG")
    return held.getvalue()


def shard(path: Path, files: Files) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def good(*keys: str) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for seed, key in enumerate(keys):
        files[f"{key}.png"] = photo(seed)
        files[f"{key}.json"] = json.dumps({"tags": ["boat"]} if seed % 2 else ["train"]).encode()
    return files


def brightest(image: Image.Image, tags: np.ndarray) -> UInt8[Tensor, "H W"]:
    """In place of a network: pixels above the middle are of the first tag."""
    bright = torch.from_numpy(np.asarray(image.convert("L")) > 127)
    return (bright * (int(tags.argmax()) + 1)).to(torch.uint8)


def masks(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]


def label(sources: list[Path], folder: Path, by: str = "1", skip: bool = False, **more: object) -> Done:
    settings = {"classes": CLASSES, "fingerprint": lambda path: by, "skip_faults": skip} | more
    return label_shards(sources, folder, settings.pop("label", brightest), **settings)  # type: ignore[arg-type]


def refuse(image: Image.Image, tags: np.ndarray) -> UInt8[Tensor, "H W"]:
    raise AssertionError("this shard was done")


def test_every_photo_gets_its_mask(tmp_path: Path) -> None:
    files = good("a", "below/b", "c")
    done = label([shard(tmp_path / "in" / "0.tar", files)], tmp_path / "out")
    assert done == Done(shards=1, photos=3, score=1.0, failed=[])
    found = masks(tmp_path / "out" / "0.tar")
    assert list(found) == ["a.png", "below/b.png", "c.png"]
    for number, key in enumerate(("a", "below/b", "c")):
        image = Image.open(io.BytesIO(files[f"{key}.png"]))
        expected = (np.asarray(image.convert("L")) > 127) * (number % 2 + 1)
        mask = Image.open(io.BytesIO(found[f"{key}.png"]))
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), expected)
    record = json.loads((tmp_path / "out" / "0.json").read_text())
    assert record["counts"]["photos"] == 3
    assert record["skipped"] == []


def test_a_shard_is_done_once_and_with_the_same_bytes(tmp_path: Path) -> None:
    sources = [shard(tmp_path / "in" / f"{n}.tar", good(f"a{n}", f"b{n}")) for n in range(3)]
    label(sources, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert label(sources, tmp_path / "out", label=refuse).photos == 6
    (tmp_path / "out" / "1.tar").unlink()
    (tmp_path / "out" / "2.json").write_text("{")  # killed, or edited
    label(sources, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert set(before) == {f"{n}.{suffix}" for n in range(3) for suffix in ("tar", "json")}
    with pytest.raises(AssertionError, match="was done"):
        label(sources, tmp_path / "out", by="2", label=refuse)


def test_a_stopped_shard_leaves_nothing_and_the_finished_ones(tmp_path: Path) -> None:
    sources = [shard(tmp_path / "in" / f"{n}.tar", good(f"a{n}", f"b{n}")) for n in range(2)]

    def stops(photos: int) -> None:
        if photos == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(sources, tmp_path / "out", told=stops)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"0.tar", "0.json"}
    assert label(sources, tmp_path / "out").photos == 4


FAULTS: dict[str, tuple[Callable[[], Files], str]] = {
    "broken photo": (lambda: {"x.jpg": b"no photo", "x.json": b'["boat"]'}, "its photo cannot be read"),
    "no photo": (lambda: {"x.json": b'["boat"]'}, "no photo of at most"),
    "no tags": (lambda: {"x.png": photo(0)}, "no .json with its tags"),
    "unknown tag": (lambda: {"x.png": photo(0), "x.json": b'["ship"]'}, "its tags are no list of train, boat"),
    "tags of another form": (lambda: {"x.png": photo(0), "x.json": b'{"labels": 1}'}, "its tags are no list"),
    "no JSON": (lambda: {"x.png": photo(0), "x.json": b"\xff{"}, "its tags are no list"),
    "a way out": (lambda: {"../x.png": photo(0), "../x.json": b'["boat"]'}, "no file name that may be written"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_photo_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    make, words = FAULTS[name]
    source = shard(tmp_path / "in" / "0.tar", {**good("a"), **make(), **good("b")})
    other = shard(tmp_path / "in" / "1.tar", good("c"))
    done = label([source, other], tmp_path / "out")
    assert (done.shards, done.photos, len(done.failed)) == (1, 1, 1)  # the other one is done
    assert words in done.failed[0]
    assert "0.tar" in done.failed[0]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"1.tar", "1.json"}
    assert label([source, other], tmp_path / "out", skip=True).photos == 3
    record = json.loads((tmp_path / "out" / "0.json").read_text())
    assert len(record["skipped"]) == 1
    assert words in record["skipped"][0]
    assert list(masks(tmp_path / "out" / "0.tar")) == ["a.png", "b.png"]


def test_a_truncated_shard_fails_alone(tmp_path: Path) -> None:
    whole = shard(tmp_path / "in" / "0.tar", good("a", "b"))
    whole.write_bytes(whole.read_bytes()[:900])
    done = label([whole, shard(tmp_path / "in" / "1.tar", good("c"))], tmp_path / "out", skip=True)
    assert done.shards == 1
    assert "0.tar is no whole tar file" in done.failed[0]


def test_reading_waits_for_a_slow_network(tmp_path: Path) -> None:
    """Of a long shard only a few photos are read ahead."""
    from eps.engine import shard_labels

    read = labelled = ahead = 0

    def watched(path: Path, classes: tuple[str, ...]):  # type: ignore[no-untyped-def]
        nonlocal read
        for found in read_shard(path, classes):
            read += 1
            yield found

    def slow(image: Image.Image, tags: np.ndarray) -> UInt8[Tensor, "H W"]:
        nonlocal labelled, ahead
        ahead = max(ahead, read - labelled)
        labelled += 1
        return brightest(image, tags)

    source = shard(tmp_path / "in" / "0.tar", good(*(f"p{n:02}" for n in range(40))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_labels, "read_shard", watched)
        assert label([source], tmp_path / "out", label=slow).photos == 40
    assert ahead <= 5


def test_patterns(tmp_path: Path) -> None:
    for name in ("a/000.tar", "a/001.tar", "a/010.tar", "b/000.tar", "a/x.txt"):
        shard(tmp_path / name, {})
    assert [path.name for path in shard_paths(f"{tmp_path}/a/*.tar")] == ["000.tar", "001.tar", "010.tar"]
    assert [path.name for path in shard_paths(f"{tmp_path}/a/{{000..009}}.tar")] == ["000.tar", "001.tar"]
    with pytest.raises(UserError, match=r"source=shards:.*c: there is no such file"):
        shard_paths(f"{tmp_path}/c")
    with pytest.raises(UserError, match=r"2 shards are called 000\.tar"):
        shard_paths(f"{tmp_path}/*/*.tar")
