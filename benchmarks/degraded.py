"""Saliency maps spoiled on purpose, to see what a method makes of bad ones.

`python -m benchmarks.degraded MAPS OUT --kind blank --share 0.2` copies a folder of saliency maps with a fifth of them
blank; `data.saliency=OUT` (absolute) trains on them. Which ones are spoiled depends on `--seed` and their names alone:
another kind spoils the same ones.
"""

import argparse
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from scipy import ndimage

Spoil = Callable[[UInt8[np.ndarray, "h w"]], UInt8[np.ndarray, "h w"]]

BLUR = 0.05
"""Standard deviation, as a share of a map's longer side."""


def blank(saliency: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Nothing is salient."""
    return np.zeros_like(saliency)


def inverted(saliency: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """What is salient is all that is not."""
    return 255 - saliency


def blurred(saliency: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Borders are gone, by `BLUR`."""
    soft = ndimage.gaussian_filter(saliency.astype(np.float32), BLUR * max(saliency.shape), mode="nearest")
    return soft.round().clip(0, 255).astype(np.uint8)


KINDS: dict[str, Spoil] = {"blank": blank, "inverted": inverted, "blurred": blurred}


def is_spoiled(name: str, *, share: float, seed: int) -> bool:
    """Whether a map is one of the share, whatever other maps there are."""
    drawn = hashlib.sha256(f"{seed} {name}".encode()).digest()[:8]
    return int.from_bytes(drawn) < share * 2**64


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the folder, and say how many maps were spoiled."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.degraded", description=__doc__)
    parser.add_argument("maps", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kind", choices=sorted(KINDS), required=True)
    parser.add_argument("--share", type=float, default=1.0, help="of the maps, 0..1")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.out.resolve() == options.maps.resolve():
        parser.error("OUT is MAPS: the maps themselves would be spoiled")
    if not 0 <= options.share <= 1:
        parser.error(f"--share {options.share}: between 0 and 1")
    options.out.mkdir(parents=True, exist_ok=True)
    files = sorted(options.maps.glob("*.png"))
    if not files:
        parser.error(f"{options.maps} has no PNGs")
    strangers = sorted({file.name for file in options.out.glob("*.png")} - {file.name for file in files})
    if strangers:
        parser.error(f"{options.out} has maps that {options.maps} has not ({strangers[0]}): give an empty folder")
    spoiled = 0
    for file in files:
        saliency = np.asarray(Image.open(file).convert("L"))
        if is_spoiled(file.stem, share=options.share, seed=options.seed):
            saliency = KINDS[options.kind](saliency)
            spoiled += 1
        Image.fromarray(saliency).save(options.out / file.name)
    print(f"{spoiled} of {len(files)} maps {options.kind}: {options.out}")


if __name__ == "__main__":
    main()
