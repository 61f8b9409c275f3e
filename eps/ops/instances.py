"""From a label map to instances: one connected component each."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from scipy import ndimage

from eps.ops.pseudo_labels import IGNORE

EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class Instance:
    """One object: class from 0, mask at photo size, box (x1, y1, x2, y2) in pixels, mask area in pixels.

    `uncertain` says that ignored pixels may belong to it in a number that makes its outline a guess.
    """

    class_index: int
    mask: Bool[np.ndarray, "h w"]
    box: tuple[float, float, float, float]
    area: int
    uncertain: bool


def split_instances(
    labels: UInt8[np.ndarray, "h w"], *, min_area: int, fill_holes: bool = True, uncertain_share: float = 0.5
) -> list[Instance]:
    """Split a label map (class + 1, 0 background, 255 ignore) into 8-connected components, by class, then top down.

    `fill_holes` adds the background and ignored pixels that a component encloses, never those of another object.
    Components whose mask is then smaller than `min_area` pixels are dropped. An instance is uncertain where more than
    `uncertain_share` of its component and of the ignored pixels that lie nearer to it than to background or to
    another component is ignored (draws go either way): a thin band of ignored pixels along an object leaves it
    certain, a few pixels within a cloud do not. The right and lower edges of a box lie outside the mask: x2 - x1 is
    its width.
    """
    components, classes = _components(labels)
    if not classes:
        return []
    halo = _ignored_nearest_to(components, labels == IGNORE, len(classes))
    instances = []
    for number, window in enumerate(ndimage.find_objects(components), start=1):
        inside = components[window] == number
        doubt = halo[number] > uncertain_share * (halo[number] + np.count_nonzero(inside))
        if fill_holes:
            free = (labels[window] == 0) | (labels[window] == IGNORE)
            inside |= ndimage.binary_fill_holes(inside) & free
        area = int(np.count_nonzero(inside))
        if area >= min_area:
            mask = np.zeros(labels.shape, dtype=bool)
            mask[window] = inside
            rows, columns = window
            box = (float(columns.start), float(rows.start), float(columns.stop), float(rows.stop))
            instances.append(Instance(classes[number - 1], mask, box, area, bool(doubt)))
    return instances


def _components(labels: UInt8[np.ndarray, "h w"]) -> tuple[Integer[np.ndarray, "h w"], list[int]]:
    """Number the components of all classes from 1, with the class of each."""
    numbers = np.zeros(labels.shape, dtype=np.int64)
    classes: list[int] = []
    for value in np.unique(labels[(labels != 0) & (labels != IGNORE)]):
        found, count = ndimage.label(labels == value, structure=EIGHT_CONNECTED)
        numbers[found > 0] = found[found > 0] + len(classes)
        classes += [int(value) - 1] * count
    return numbers, classes


def _ignored_nearest_to(
    components: Integer[np.ndarray, "h w"], ignored: Bool[np.ndarray, "h w"], count: int
) -> Integer[np.ndarray, " n"]:
    """How many ignored pixels lie closest to each component rather than to background (0) or another component."""
    if not ignored.any():
        return np.zeros(count + 1, dtype=np.int64)
    row, column = ndimage.distance_transform_edt(ignored, return_distances=False, return_indices=True)
    return np.bincount(components[row, column][ignored], minlength=count + 1)
