"""The wheel outside of any checkout: commands, config, and where a user's paths lead. And what the sdist holds."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[1]
TINY = ("experiment=tiny", "data.root=scenes")

Installed = Callable[..., str]

pytestmark = [pytest.mark.slow, pytest.mark.release]


def run(*words: str | Path, cwd: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run([str(w) for w in words], cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def dists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an sdist, and of the wheel that is made from the sdist alone."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (archive,) = folder.glob("*.tar.gz")
    run("tar", "-xf", archive, cwd=folder)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=unpacked(folder))
    return folder


def unpacked(dists: Path) -> Path:
    return next(path for path in dists.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def installed(dists: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Runs a command of a fresh environment, in a user's folder, that has the wheel and borrows what it depends on."""
    venv, user = tmp_path_factory.mktemp("venv"), tmp_path_factory.mktemp("user")
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=user)
    python, (wheel,) = venv / "bin" / "python", dists.glob("*.whl")
    offline = ("--no-deps", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", *offline, wheel, cwd=user)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return lambda command, *words: run(venv / "bin" / command, *words, cwd=user)


def test_the_package_is_the_installed_one(installed: Installed) -> None:
    told = installed("python", "-c", "import eps, eps.cli; print(eps.__file__, eps.cli.conf_dir())")
    assert told.count("site-packages") == 2
    assert str(ROOT) not in told


def test_help(installed: Installed) -> None:
    listed = installed("eps", "--help")
    assert all(f"\n  {name} " in listed for name in ("stage1", "stage2", "stage3", "prepare", "predict"))
    told = installed("eps", "pseudo_masks", "--help")
    assert told.startswith("eps pseudo_masks [key=value ...]")
    assert "crf_alpha16" in told  # from the packaged conf


def test_stages_and_verbs_of_a_tiny_run(installed: Installed) -> None:
    assert "classifier: runs/tiny/classifier (score" in installed("eps", "stage1", *TINY)
    # the same settings and inputs however it is called
    assert "runs/tiny/classifier is up to date" in installed("python", "-m", "eps.stages.stage1", *TINY)
    assert "pseudo_masks: runs/tiny/pseudo_masks (score" in installed("python", "-m", "eps.pseudo_masks", *TINY)
    found = installed("python", "-c", "import os; print(sorted(os.listdir()))")
    assert found.strip() == "['runs', 'scenes', 'scenes.index']"


def test_sdist_has_what_its_tests_read(dists: Path) -> None:
    here = unpacked(dists)
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert [name for name in tracked if (ROOT / name).is_file() and not (here / name).is_file()] == []
    few = ("tests/test_moving.py", "tests/test_schema.py", "-k", "not composes")
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *few, cwd=here)


def test_wheel_has_conf_stages_and_types(dists: Path) -> None:
    (path,) = dists.glob("*.whl")
    with ZipFile(path) as wheel:
        names = set(wheel.namelist())
    for folder, suffix in (("eps", "py"), ("conf", "yaml"), ("stages", "py")):
        inside = "eps" if folder == "eps" else f"eps/{folder}"
        files = {f"{inside}/{file.relative_to(ROOT / folder)}" for file in (ROOT / folder).rglob(f"*.{suffix}")}
        assert files <= names
    assert {"eps/py.typed", "eps/report_page/page.html.j2"} <= names
    assert not [name for name in names if not name.startswith(("eps/", "eps_seg-"))]
