"""Datasets that come as archives: checked by hash, and nothing of them lands anywhere but in its place."""

import shutil
import tarfile
from pathlib import Path

from torchvision.datasets.utils import download_url

from eps.data.atomic import replaced_folder
from eps.errors import UserError


def fetch_folder(url: str, target: Path, *, md5: str, below: str) -> None:
    """Download a tar beside `target`, unless it lies there already, and unpack what it holds `below` as that folder.

    Raises `OSError` or `RuntimeError` where it cannot be had or has another hash, and what `unpack` does.
    """
    archive = target.parent / Path(url).name
    _demand_filter(archive.name)
    archive.parent.mkdir(parents=True, exist_ok=True)
    download_url(url, str(archive.parent), archive.name, md5)
    unpack(archive, target, below=below)


def unpack(archive: Path, target: Path, *, below: str) -> None:
    """Unpack what a tar holds `below` one of its folders as `target`, whole or not at all.

    Raises `tarfile.TarError` for a broken one, and for members that lead elsewhere, by their path or by a link, or that
    are devices; `OSError` where it has no such folder; `UserError` for a Python that cannot tell such members.
    """
    _demand_filter(archive.name)
    with tarfile.open(archive) as tar, replaced_folder(target) as temporary:
        whole = temporary / ".whole"
        tar.extractall(whole, filter="data")
        for found in (whole / below).iterdir():
            found.rename(temporary / found.name)
        shutil.rmtree(whole)


def _demand_filter(name: str) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise UserError(
            f"{name}: it takes Python 3.11.4 to unpack it safely, and this one is older: unpack it yourself"
        )
