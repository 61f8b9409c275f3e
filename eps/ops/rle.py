"""COCO's run-length encoding of masks, as JSON can hold it."""

from typing import TypedDict

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco_mask


class RLE(TypedDict):
    """COCO's compressed run lengths of a mask of `size` [height, width]."""

    size: list[int]
    counts: str


def encode_rle(mask: Bool[np.ndarray, "h w"]) -> RLE:
    """Compress a mask into COCO's RLE, its counts as text."""
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return RLE(size=[int(side) for side in encoded["size"]], counts=encoded["counts"].decode("ascii"))


def decode_rle(rle: RLE) -> Bool[np.ndarray, "h w"]:
    """Give back the mask that `encode_rle`, or any writer of COCO's compressed RLE, has encoded."""
    return np.asarray(coco_mask.decode(rle), dtype=bool)
