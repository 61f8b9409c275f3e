import subprocess
from email.message import Message
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from eps.data import provenance as module
from eps.data.provenance import commit, missing_of_extras, provenance


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_commit_and_whether_files_differ(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "code.py").touch()
    git(tmp_path, "init")
    assert commit(tmp_path) is None
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    first = commit(tmp_path)
    assert first is not None
    assert len(first) == 40
    (tmp_path / "notes").touch()
    assert commit(tmp_path) == first
    (tmp_path / "package" / "code.py").write_text("changed")
    assert commit(tmp_path) == f"{first}+"
    assert commit(tmp_path / "package") is None


def test_a_repository_that_is_none(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert commit(tmp_path) is None


def test_what_it_names() -> None:
    found = provenance()
    assert set(found) == {"version", "commit", "python", "libraries", "hardware"}
    assert {"torch", "numpy", "timm", "pillow"} <= set(found["libraries"])
    assert "pytest" not in found["libraries"]
    assert found["hardware"]["cores"] >= 1
    assert found == provenance()


def test_extras_and_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Message()
    for key, value in (
        ("Provides-Extra", "demo"),
        ("Provides-Extra", "more"),
        ("Requires-Dist", "nobody-has-this>=1"),  # of no extra
        ("Requires-Dist", "numpy<3,>=2; extra == 'demo'"),
        ("Requires-Dist", 'nobody-has-this>=1; extra == "more"'),
        ("Requires-Dist", "nor-this; extra == 'more'"),
        ("Requires-Dist", "numpy; extra == 'more'"),
    ):
        found[key] = value
    monkeypatch.setattr(module, "metadata", lambda package: found)
    assert missing_of_extras() == {"demo": [], "more": ["nobody-has-this", "nor-this"]}


def test_extras_of_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(package: str) -> Message:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(module, "metadata", fail)
    assert missing_of_extras() == {}
