"""What made an artifact: version, git commit, libraries, hardware; the same as long as a machine is."""

import os
import platform
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any, Final

import torch

PACKAGE: Final = "eps-seg"
_ABSENT: Final = "not installed"


@cache
def provenance() -> dict[str, Any]:
    """A record that JSON can hold."""
    return {
        "version": _version(PACKAGE),
        "commit": commit(Path(__file__).resolve().parents[2]),
        "python": platform.python_version(),
        "libraries": _libraries(),
        "hardware": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "devices": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        },
    }


def commit(checkout: Path) -> str | None:
    """The commit of a checkout, with `+` where tracked files differ from it; None where it is none, or git is not."""
    if not (checkout / ".git").exists():  # an installed package may lie in somebody else's repository
        return None
    found = _git(checkout, "rev-parse", "HEAD")
    return found and found + ("+" if _git(checkout, "status", "--porcelain", "--untracked-files=no") else "")


def _git(checkout: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(checkout), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def missing_of_extras() -> dict[str, list[str]]:
    """Of each of the package's extras the packages that are not installed; nothing where the package itself is not."""
    try:
        found = metadata(PACKAGE)
    except PackageNotFoundError:
        return {}
    missing: dict[str, list[str]] = {extra: [] for extra in found.get_all("Provides-Extra", [])}
    for line in found.get_all("Requires-Dist", []):
        extra = re.search(r"extra == ['\"]([\w-]+)", line)
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        if extra and _version(name) == _ABSENT:
            missing[extra[1]].append(name)
    return missing


def _libraries() -> dict[str, str]:
    """What the package depends on; of torch also for which devices it was built."""
    try:
        lines = [line for line in requires(PACKAGE) or () if "extra" not in line]
    except PackageNotFoundError:  # a checkout that is not installed
        lines = []
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines]
    return {**{name: _version(name) for name in sorted(names)}, "torch": torch.__version__}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return _ABSENT


def _processor() -> str:
    """Its name; Linux tells it in a file alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
