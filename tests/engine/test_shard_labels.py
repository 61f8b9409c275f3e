import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from eps.data.atomic import replaced
from eps.data.provenance import provenance
from eps.data.shards import read_shard, shard_paths
from eps.engine import shard_labels
from eps.engine.shard_labels import Done, label_shards, look_at_shards
from eps.errors import UserError

CLASSES = ("train", "boat")
BLOCK = tarfile.BLOCKSIZE
Files = Mapping[str, bytes]


def photo(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, format="PNG")
    return held.getvalue()


def in_lab() -> bytes:
    held = io.BytesIO()
    Image.new("LAB", (8, 6)).save(held, format="TIFF")
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


def test_a_record_is_the_manifest_of_its_shard(tmp_path: Path) -> None:
    source = shard(tmp_path / "in" / "0.tar", good("a"))
    label([source], tmp_path / "out", config={"threshold": 0.3}, inputs={"classifier/model.safetensors": "c0ffee"})
    record = json.loads((tmp_path / "out" / "0.json").read_text())
    content = (tmp_path / "out" / "0.tar").read_bytes()
    assert record["files"] == {"0.tar": {"size": len(content), "sha256": sha256(content).hexdigest()}}
    assert record["made_by"] == provenance()
    assert record["config"] == {"threshold": 0.3}
    shard_of_photos = {"name": "0.tar", "size": source.stat().st_size}
    assert record["inputs"] == {"classifier/model.safetensors": "c0ffee", "shard": shard_of_photos}
    assert look_at_shards(tmp_path / "out") == ([], {("classifier/model.safetensors", "c0ffee")})


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


@pytest.mark.parametrize("change", ["cut", "other bytes", "another score", "no counts"])
def test_a_finished_shard_is_looked_at(tmp_path: Path, change: str) -> None:
    source = shard(tmp_path / "in" / "0.tar", good("a", "b"))
    label([source], tmp_path / "out")
    masks, record = tmp_path / "out" / "0.tar", tmp_path / "out" / "0.json"
    before = masks.read_bytes(), record.read_text()
    content = json.loads(before[1])
    if change == "cut":
        masks.write_bytes(before[0][:-BLOCK])
    elif change == "other bytes":
        masks.write_bytes(before[0][:9000] + b"x" + before[0][9001:])
    elif change == "another score":
        record.write_text(json.dumps({**content, "score": 0.9}))
    else:
        record.write_text(json.dumps({**content, "counts": []}))
    assert len(look_at_shards(tmp_path / "out").faults) == 1
    assert label([source], tmp_path / "out") == Done(shards=1, photos=2, score=1.0, failed=[])
    assert (masks.read_bytes(), record.read_text()) == before


def test_killed_between_masks_and_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of other masks never stands beside these."""
    source = shard(tmp_path / "in" / "0.tar", good("a"))

    def nothing(image: Image.Image, tags: np.ndarray) -> UInt8[Tensor, "H W"]:
        return torch.zeros(6, 8, dtype=torch.uint8)

    def killed(path: Path, content: object) -> None:
        raise KeyboardInterrupt

    label([source], tmp_path / "out", by="1")
    wanted = masks(tmp_path / "out" / "0.tar")
    with monkeypatch.context() as patch:
        patch.setattr(shard_labels, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            label([source], tmp_path / "out", by="2", label=nothing)
    assert masks(tmp_path / "out" / "0.tar") != wanted
    assert not (tmp_path / "out" / "0.json").exists()
    assert look_at_shards(tmp_path / "out").faults == [f"{tmp_path}/out/0.tar has no record"]
    label([source], tmp_path / "out", by="1")
    assert masks(tmp_path / "out" / "0.tar") == wanted


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    source = shard(tmp_path / "in" / "0.tar", good("a"))
    out = tmp_path / "out"
    left = [replaced(out / name) for name in ("0.tar", "0.json", "1.tar")]
    other = [manager.__enter__() for manager in left][-1]  # never left, as by a kill
    label([source], out)
    assert {path.name for path in out.iterdir()} == {"0.tar", "0.json", other.name}  # which another process writes


@pytest.mark.parametrize("through", ["its own folder", "a linked folder", "a link to the masks"])
def test_photos_are_not_replaced_by_masks(tmp_path: Path, through: str) -> None:
    source = shard(tmp_path / "in" / "0.tar", good("a"))
    before, out = source.read_bytes(), tmp_path / "in"
    if through == "a linked folder":
        out = tmp_path / "out"
        out.symlink_to(tmp_path / "in")
    elif through == "a link to the masks":
        (tmp_path / "links").mkdir()
        source = tmp_path / "links" / "0.tar"
        source.symlink_to(tmp_path / "in" / "0.tar")
    with pytest.raises(UserError, match=rf"{source} would be replaced by masks, which go to {out}: move"):
        label([source], out)
    assert source.read_bytes() == before
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["0.tar"]


@pytest.mark.parametrize("names", [["a.json"], ["a.tar", "a.tor"], ["a", "a.json"], ["x/a.tar", "y/a.tar"]])
def test_names_that_collide(tmp_path: Path, names: list[str]) -> None:
    sources = [shard(tmp_path / "in" / name, good("a")) for name in names]
    with pytest.raises(
        UserError, match=r"out/a\.(json|tar) would be written more than once, for [^\n]*/in/[^\n]*: call"
    ):
        label(sources, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_opened_fails_alone(tmp_path: Path) -> None:
    place = tmp_path / "in"
    good_ones = [shard(place / f"{n}.tar", good(f"a{n}")) for n in (0, 5)]
    (place / "1.tar").mkdir()
    (place / "2.tar").symlink_to(place / "nowhere.tar")
    (place / "3.tar").symlink_to(place / "3.tar")
    os.mkfifo(place / "4.tar")
    sources = shard_paths(f"{place}/*.tar")
    assert len(sources) == 6
    done = label(sources, tmp_path / "out")
    assert (done.shards, done.photos) == (len(good_ones), 2)
    assert [line.split(" ")[0] for line in done.failed] == [f"{place}/{n}.tar" for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("name", ["0.tar", "0.json"])
def test_a_place_that_is_taken_fails_alone(tmp_path: Path, name: str) -> None:
    sources = [shard(tmp_path / "in" / f"{n}.tar", good(f"a{n}")) for n in range(2)]
    (tmp_path / "out" / name).mkdir(parents=True)
    done = label(sources, tmp_path / "out")
    assert done.photos == 1
    assert [line.split(" ")[0] for line in done.failed] == [f"{tmp_path}/in/0.tar:"]


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
    "tags that are no list": (
        lambda: {"x.png": photo(0), "x.json": b'{"tags": {"boat": false}}'},
        "its tags are no list",
    ),
    "colours that are no RGB": (lambda: {"x.jpg": in_lab(), "x.json": b'["boat"]'}, "of Pillow's mode 'LAB'"),
    "a name of two lines": (lambda: {"x\ny.png": photo(0), "x\ny.json": b'["boat"]'}, r"'x\ny' is no file name"),
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
    assert "\n" not in done.failed[0]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"1.tar", "1.json"}
    assert label([source, other], tmp_path / "out", skip=True).photos == 3
    record = json.loads((tmp_path / "out" / "0.json").read_text())
    assert len(record["skipped"]) == 1
    assert words in record["skipped"][0]
    assert list(masks(tmp_path / "out" / "0.tar")) == ["a.png", "b.png"]


@pytest.mark.parametrize("between", [(), ("b",)])
def test_a_key_that_stands_twice(tmp_path: Path, between: tuple[str, ...]) -> None:
    """Its first photo counts: two members of a name would be one when unpacked."""
    source = tmp_path / "in" / "0.tar"
    source.parent.mkdir()
    with tarfile.open(source, "w") as tar:
        for key, seed in (("a", 0), *((key, 1) for key in between), ("a", 2), ("a", 3)):
            for name, content in ((f"{key}.png", photo(seed)), (f"{key}.json", b'["boat"]')):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    once = shard(tmp_path / "in" / "1.tar", {"a.png": photo(0), "a.json": b'["boat"]'})
    (failed,) = label([source, once], tmp_path / "out").failed
    assert "0.tar: a: this key stands in the shard before" in failed
    assert label([source, once], tmp_path / "out", skip=True).photos == 2 + len(between)
    with tarfile.open(tmp_path / "out" / "0.tar") as tar:
        assert tar.getnames() == ["a.png", *(f"{key}.png" for key in between)]
    assert masks(tmp_path / "out" / "0.tar")["a.png"] == masks(tmp_path / "out" / "1.tar")["a.png"]
    assert len(json.loads((tmp_path / "out" / "0.json").read_text())["skipped"]) == 2


def test_a_shard_of_which_nothing_can_be_used_fails(tmp_path: Path) -> None:
    source = shard(tmp_path / "in" / "0.tar", {"x.png": photo(0), "y.png": photo(1)})
    done = label([source, shard(tmp_path / "in" / "1.tar", good("c"))], tmp_path / "out", skip=True)
    assert done.photos == 1
    assert done.failed == ["0.tar: none of its 2 photos can be used: 0.tar: x: no .json with its tags"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"1.tar", "1.json"}


def test_a_truncated_shard_fails_alone(tmp_path: Path) -> None:
    whole = shard(tmp_path / "in" / "0.tar", good("a", "b"))
    whole.write_bytes(whole.read_bytes()[:900])
    done = label([whole, shard(tmp_path / "in" / "1.tar", good("c"))], tmp_path / "out", skip=True)
    assert done.shards == 1
    assert "0.tar is no whole tar file" in done.failed[0]


def test_reading_waits_for_a_slow_network(tmp_path: Path) -> None:
    """Of a long shard only a few photos are read ahead."""
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
    assert len(shard_paths(f"{tmp_path}/[ab]/{{0..1}}{{00..10}}.tar")) == 4
    assert len(shard_paths(f"{tmp_path}/a/{{0..1}}*.tar")) == 3
    assert len(shard_paths(f"{tmp_path}/a/{{0..01}}*0*.tar")) == 3  # 0*0* and 1*0*, some of them twice


@pytest.mark.parametrize("numbers", ["{000..99999999999}", "{0..9999}{0..9999}", "{0..999999999}{9..0}"])
def test_patterns_of_too_many_names(tmp_path: Path, numbers: str) -> None:
    with pytest.raises(UserError, match=r"stands for more than 10000000 names: write \*"):
        shard_paths(f"{tmp_path}/{numbers}.tar")


def test_names_are_made_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten million of them in a list would be a gigabyte."""

    def stopped(pattern: str) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("glob.iglob", stopped)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        shard_paths(f"{tmp_path}/{{0..9999999}}.tar")
    assert time.monotonic() - began < 2


def test_a_tar_of_the_folder_itself(tmp_path: Path) -> None:
    """Its names begin with ./"""
    files = {f"./{name}": content for name, content in good("a", "more/b").items()}
    assert [found.key for found in read_shard(shard(tmp_path / "x.tar", files), CLASSES)] == ["a", "more/b"]
