"""What people hand over as a photo, and what they are told where it is none."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from eps.engine.given import opened
from eps.errors import UserError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((4, 5, 3), dtype=np.float32), r"an array of float32, 4 x 5 x 3, is no photo: give uint8"),
        (np.zeros((3, 4, 5), dtype=np.uint8), r"an array of uint8, 3 x 4 x 5, is no photo"),
        (np.zeros((1, 4, 5, 3), dtype=np.uint8), r"an array of uint8, 1 x 4 x 5 x 3, is no photo"),
        (np.zeros((), dtype=np.uint8), r"an array of uint8, a single number, is no photo"),
        (np.zeros((0, 5, 3), dtype=np.uint8), r"an array of 0 x 5 x 3 is a photo without pixels"),
        (Image.new("RGB", (5, 0)), r"a photo of 5 x 0 pixels \(width x height\) has nothing in it"),
        (torch.zeros(3, 4, 5), r"a torch\.Tensor is no photo: give a path, a PIL image or an array"),
        (None, r"a builtins\.NoneType is no photo"),
        (b"photo.jpg", r"a builtins\.bytes is no photo"),
    ],
)
def test_what_is_no_photo_is_refused(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        opened(given)


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5), (4, 5, 4)])
def test_arrays(shape: tuple[int, ...]) -> None:
    array = np.full(shape, 200, dtype=np.uint8)
    photo = opened(array)
    assert (photo.mode, photo.size) == ("RGB", (5, 4))
    assert (np.asarray(photo) == 200).all()
