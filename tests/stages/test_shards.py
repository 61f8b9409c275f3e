"""The photos of a dataset as shards get the masks that they get in their folder."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from eps import pseudo_masks, verify
from eps.cli import call
from eps.data.artifacts import read_json
from eps.data.layout import DatasetFolder
from eps.data.manifest import CLASSIFIER
from eps.errors import UserError

pytestmark = pytest.mark.slow


def pack(dataset: Path, folder: Path, *, per_shard: int) -> None:
    data = DatasetFolder.open(dataset)
    ids = data.ids("train")
    folder.mkdir()
    for start in range(0, len(ids), per_shard):
        with tarfile.open(folder / f"{start:03}.tar", "w") as tar:
            for photo in ids[start : start + per_shard]:
                tar.add(data.photo_path(photo), arcname=f"{photo}.jpg")
                tags = json.dumps(data.labels[photo]).encode()
                member = tarfile.TarInfo(f"{photo}.json")
                member.size = len(tags)
                tar.addfile(member, io.BytesIO(tags))


def masks(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


def test_same_masks_as_of_a_folder(dataset: Path, finished: Path, tmp_path: Path) -> None:
    pack(dataset, tmp_path / "shards", per_shard=5)
    manifest = read_json(finished / "pseudo_masks" / "manifest.json")
    arguments = (
        "experiment=tiny",
        f"run_dir={finished}",
        f"out_dir={tmp_path}",
        f"source=shards:{tmp_path}/shards/*.tar",
    )
    with pytest.raises(
        UserError, match=rf"threshold=auto: shards have no .*\(of this run's pseudo_masks: {manifest['threshold']}"
    ):
        call(pseudo_masks.run, *arguments)
    result = call(pseudo_masks.run, *arguments, f"pseudo_masks.threshold={manifest['threshold']}")
    assert result.path == tmp_path / "pseudo_masks_shards"
    made = masks(result.path)
    assert len(made) == 12
    for name, content in made.items():
        assert content == (finished / "pseudo_masks" / "masks" / name).read_bytes()
    records = [read_json(path) for path in sorted(result.path.glob("*.json"))]
    assert [record["counts"]["photos"] for record in records] == [5, 5, 2]
    threshold = manifest["threshold"]
    assert [record["config"] for record in records] == 3 * [{**manifest["config"], "threshold": threshold}]
    classifier = {CLASSIFIER: manifest["inputs"][CLASSIFIER]}
    shard = tmp_path / "shards" / "000.tar"
    assert records[0]["inputs"] == {**classifier, "shard": {"name": "000.tar", "size": shard.stat().st_size}}
    _verified(result.path)


def _verified(made: Path) -> None:
    """Masks, records and the classifier are compared, from the run's folder or that of the masks."""
    for place in (made, made.parent):
        assert call(verify.run, f"run_dir={place}").path == place
    other = made.parent / CLASSIFIER
    other.parent.mkdir()
    other.write_bytes(b"another")
    with pytest.raises(UserError, match=rf"^{made.parent}: {made} was made from another {other} than lies there; "):
        call(verify.run, f"run_dir={made.parent}")
    shutil.rmtree(other.parent)
    (made / "000.tar").write_bytes((made / "000.tar").read_bytes()[:-1])
    (made / "005.json").unlink()
    with pytest.raises(UserError, match=r"/000\.tar has \d+ bytes, its manifest says \d+; .*/005\.tar has no record$"):
        call(verify.run, f"run_dir={made.parent}")


def test_a_shard_that_fails_is_told_when_the_others_are_done(dataset: Path, finished: Path, tmp_path: Path) -> None:
    pack(dataset, tmp_path / "shards", per_shard=5)
    (tmp_path / "shards" / "000.tar").write_bytes(b"no tar")
    arguments = ("experiment=tiny", f"run_dir={finished}", f"out_dir={tmp_path}", "pseudo_masks.threshold=0.3")
    with pytest.raises(UserError, match=r"saliency=trusted: shards have no saliency maps"):
        call(pseudo_masks.run, *arguments, f"source=shards:{tmp_path}/shards/*.tar", "pseudo_masks.saliency=trusted")
    with pytest.raises(UserError, match=r"1 shards failed: .*000\.tar is no whole tar file"):
        call(pseudo_masks.run, *arguments, f"source=shards:{tmp_path}/shards/*.tar")
    assert sorted(path.name for path in (tmp_path / "pseudo_masks_shards").glob("*.tar")) == ["005.tar", "010.tar"]


def test_a_photo_that_memory_does_not_suffice_for(dataset: Path, finished: Path, tmp_path: Path) -> None:
    pack(dataset, tmp_path / "shards", per_shard=12)
    settings = ("experiment=tiny", f"run_dir={finished}", f"out_dir={tmp_path}", "pseudo_masks.threshold=0.3")
    source = f"source=shards:{tmp_path}/shards/*.tar"
    with pytest.raises(UserError, match=r"1 shards failed: .* a photo of 64x64 needs about .* GiB, of 1e-06 on cpu"):
        call(pseudo_masks.run, *settings, source, "runtime.memory_limit=1e-6")
    assert call(pseudo_masks.run, *settings, source, "runtime.memory_limit=4").score >= 0
