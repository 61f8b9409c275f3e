"""Railroad: procedural scenes in which every class keeps company with a context (train and rails, boat and water).

The problem is that of EPS (Lee et al., CVPR 2021), "Railroad is not a Train": from image tags alone, what always
occurs together cannot be told apart. In the splits `train` and `val` a class's context appears with it nearly
always; in `shift` contexts are drawn independently of the objects.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from eps.data.palette import label_image
from eps.data.scenery.contexts import GRAIN, PAINTERS, ground, outline
from eps.data.scenery.detector import detect
from eps.data.scenery.layout import Layout, Plan, lay_out, plan
from eps.data.scenery.light import light
from eps.data.scenery.objects import MAKERS
from eps.errors import UserError

CLASSES = tuple(MAKERS)
CONTEXTS = tuple(PAINTERS)
SPLITS = ("train", "val", "shift")
SIZES: Mapping[str, int] = MappingProxyType({"train": 400, "val": 100, "shift": 100})

_FORMAT = 1
_SMALLEST = 40 / 128**2  # what must be visible of an object, as a share of the photo
_SUPERSAMPLING = 3
_DISTRACTOR, _CONTEXT = 50, 100  # codes on the canvas: objects are 1..n, context c is _CONTEXT + c, the ground 0
_MASKS = ("SegmentationClass", "SegmentationObject", "SegmentationContext")


class Scene(NamedTuple):
    """One photo with its truth, which is of visible pixels alone.

    image: colours. saliency: 0..255. semantic: 0 background, class c is c + 1. objects: 0 background, 1..n.
    context: 0 none, class c's context is c + 1. tags: the classes to be seen, in the order of `CLASSES`.
    """

    image: UInt8[np.ndarray, "h w 3"]
    saliency: UInt8[np.ndarray, "h w"]
    semantic: UInt8[np.ndarray, "h w"]
    objects: UInt8[np.ndarray, "h w"]
    context: UInt8[np.ndarray, "h w"]
    tags: tuple[str, ...]


def scene(*, seed: int, split: str, index: int, size: int = 128) -> Scene:
    """Draw scene number `index` of a split (one of `SPLITS`), `size` pixels a side: the same for the same arguments."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, SPLITS.index(split), index]))
    shifted = split == "shift"
    held = plan(rng, shifted=shifted)
    while True:
        flat, codes = _draw(rng, size, lay_out(rng, held, shifted=shifted))
        visible = np.bincount(codes.ravel(), minlength=256)[1 : len(held.classes) + 1]
        if visible.min() >= _SMALLEST * size**2:
            return _finish(rng, flat, codes, held)


def _draw(
    rng: np.random.Generator, size: int, layout: Layout
) -> tuple[UInt8[np.ndarray, "size size 3"], UInt8[np.ndarray, "size size"]]:
    """Flat colours, averaged over each pixel, and the code that covers most of it."""
    side = _SUPERSAMPLING * size
    photo, codes = ground(rng, side), Image.new("L", (side, side))
    for c, band in layout.bands.items():
        stencil = Image.new("L", (side, side))
        ImageDraw.Draw(stencil).polygon([(x, y) for x, y in (side * outline(rng, band)).tolist()], fill=255)
        photo.paste(PAINTERS[CONTEXTS[c]](rng, side, band), mask=stencil)
        codes.paste(_CONTEXT + c, mask=stencil)
    colour_pen, code_pen = ImageDraw.Draw(photo), ImageDraw.Draw(codes)
    for thing in layout.things:
        for part in thing.parts:
            corners = [(x, y) for x, y in (side * part.points).tolist()]
            colour_pen.polygon(corners, fill=part.colour)
            code_pen.polygon(corners, fill=thing.number or _DISTRACTOR)
    return np.asarray(photo.reduce(_SUPERSAMPLING)), _majority(np.asarray(codes), size)


def _majority(codes: UInt8[np.ndarray, "side side"], size: int) -> UInt8[np.ndarray, "size size"]:
    cells = codes.reshape(size, _SUPERSAMPLING, size, _SUPERSAMPLING).transpose(1, 3, 0, 2).reshape(-1, size, size)
    present = np.flatnonzero(np.bincount(codes.ravel())).astype(np.uint8)
    votes = np.stack([(cells == code).sum(axis=0, dtype=np.uint8) for code in present])
    winners: UInt8[np.ndarray, "size size"] = present[votes.argmax(axis=0)]
    return winners


def _finish(
    rng: np.random.Generator,
    flat: UInt8[np.ndarray, "size size 3"],
    codes: UInt8[np.ndarray, "size size"],
    held: Plan,
) -> Scene:
    count = len(held.classes)
    semantic, objects, context = np.zeros((3, 256), dtype=np.uint8)
    semantic[1 : count + 1], objects[1 : count + 1] = [c + 1 for c in held.classes], range(1, count + 1)
    grain = np.full(256, rng.uniform(0.01, 0.08), dtype=np.float32)
    grain[1 : count + 1] = rng.uniform(0.01, 0.07, count)
    for c, name in enumerate(CONTEXTS):
        context[_CONTEXT + c], grain[_CONTEXT + c] = c + 1, GRAIN[name]
    masks = [codes == number for number in range(1, count + 1)]
    others = [codes == _DISTRACTOR] if held.distracted else []
    return Scene(
        image=light(rng, flat, grain[codes], masks + others),
        saliency=detect(rng, len(codes), masks, others),
        semantic=semantic[codes],
        objects=objects[codes],
        context=context[codes],
        tags=tuple(CLASSES[c] for c in sorted(set(held.classes))),
    )


def write(root: Path, *, seed: int = 0, sizes: Mapping[str, int] = SIZES, size: int = 128) -> None:
    """Write the splits as a dataset folder, whole or not at all; one that holds the same set is left as it is.

    Raises `UserError` for an unknown split and for a folder that holds anything else.
    """
    if unknown := sorted(set(sizes) - set(SPLITS)):
        raise UserError(f"railroad has no split {unknown[0]!r}: choose among {', '.join(SPLITS)}")
    record = {"format": _FORMAT, "seed": seed, "size": size, "sizes": dict(sizes)}
    if _holds(root, record):
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as workshop:
        partial = Path(workshop) / root.name
        _write_files(partial, seed=seed, sizes=sizes, size=size)
        (partial / "railroad.json").write_text(json.dumps(record, indent=1) + "\n")
        try:
            partial.rename(root)
        except OSError:  # another process may have written the same set meanwhile
            if not _holds(root, record):
                raise


def _holds(root: Path, record: Mapping[str, object]) -> bool:
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / "railroad.json").read_text())
    except (OSError, ValueError):
        raise UserError(f"{root} exists and is no railroad set: remove it or choose another data.root") from None
    if found != record:
        raise UserError(f"{root} holds another railroad set, {found}: remove it or choose another data.root")
    return True


def _write_files(root: Path, *, seed: int, sizes: Mapping[str, int], size: int) -> None:
    for folder in ("JPEGImages", "SALImages", *_MASKS, "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    labels: dict[str, tuple[str, ...]] = {}
    for split, count in sizes.items():
        names = [f"{split}_{index:05d}" for index in range(count)]
        for index, name in enumerate(names):
            drawn = scene(seed=seed, split=split, index=index, size=size)
            _write_scene(root, name, drawn)
            labels[name] = drawn.tags
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    (root / "image_labels.json").write_text(json.dumps({"classes": CLASSES, "labels": labels}, indent=1) + "\n")


def _write_scene(root: Path, name: str, drawn: Scene) -> None:
    Image.fromarray(drawn.image).save(root / "JPEGImages" / f"{name}.jpg", quality=92)
    Image.fromarray(drawn.saliency).save(root / "SALImages" / f"{name}.png")
    for folder, mask in zip(_MASKS, (drawn.semantic, drawn.objects, drawn.context), strict=True):
        label_image(mask).save(root / folder / f"{name}.png")
