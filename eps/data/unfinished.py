"""What a stopped step has made photo by photo, so that the next run of it goes on instead of starting anew."""

import os
import shutil
from pathlib import Path


class Unfinished:
    """The finished photos of an unfinished artifact, in a folder beside it that goes when the artifact is there.

    A file's name holds a key, a hash of everything that the file depends on: where something has changed, no file of
    that name is there, and what is not affected is found again.
    """

    def __init__(self, artifact: Path) -> None:
        self.folder = artifact.with_name(f"{artifact.name}.resume")

    def file(self, kind: str, photo: str, *, key: str, suffix: str) -> Path:
        """Where one photo's file lies, or is to be written (under a temporary name first)."""
        return self.folder / kind / f"{photo}.{key[:16]}{suffix}"

    def discard(self) -> None:
        """Forget everything."""
        shutil.rmtree(self.folder, ignore_errors=True)


def keep(source: Path, target: Path) -> None:
    """Put a finished file where it belongs and leave it where it is: a link where the disk has them, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
