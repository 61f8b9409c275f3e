"""Mean-field inference in a fully connected CRF, in torch: photos of any sizes at once, on the scores' device."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from eps.ops.permutohedral import Lattice, gaussian_filter, lattice_of, normalized

SMALLEST = 1e-5  # pydensecrf's default floor of probabilities, which the released EPS keeps


class CRFParameters(NamedTuple):
    """Kernels of a dense CRF: widths (`sxy` in pixels, `srgb` in grey levels) and weights; defaults: released EPS."""

    iterations: int = 10
    gaussian_sxy: float = 3.0
    gaussian_compat: float = 3.0
    bilateral_sxy: float = 80.0
    bilateral_srgb: float = 13.0
    bilateral_compat: float = 10.0


class _Pixels(NamedTuple):
    """Those of all photos, one photo after the other."""

    places: Float[Tensor, "2 n"]
    """x and y."""
    colours: Float[Tensor, "3 n"]
    photos: Integer[Tensor, " n"]


@torch.no_grad()
def mean_field(
    images: Sequence[UInt8[Tensor, "_h _w 3"]],
    probabilities: Sequence[Float[Tensor, "_n _h _w"]],
    parameters: CRFParameters,
) -> list[Float[Tensor, "_n _h _w"]]:
    """Marginals of each photo's labels; see `eps.ops.crf.dense_crf`. Scores are on one device and have a pixel or more.

    Photos may have different sizes and numbers of labels. Source: Kraehenbuehl and Koltun, NIPS 2011, algorithm 1, with
    the message passing of section 4.
    """
    energies = _log_likelihoods(probabilities)
    near, alike = _kernels(_pixels(images, energies.device), parameters)
    marginals = energies.softmax(dim=0)
    for _ in range(parameters.iterations):
        pixels = marginals.T.contiguous()
        messages = gaussian_filter(near, pixels) + gaussian_filter(alike, pixels)
        marginals = (energies + messages.T).softmax(dim=0)  # Potts: what other labels cost is what the own one spares
    return _apart(marginals, probabilities)


def _log_likelihoods(probabilities: Sequence[Float[Tensor, "_n _h _w"]]) -> Float[Tensor, "labels pixels"]:
    """Labels that a photo does not have are impossible."""
    labels = max(len(planes) for planes in probabilities)
    pixels = sum(planes[0].numel() for planes in probabilities)
    made = probabilities[0].new_full((labels, pixels), -torch.inf, dtype=torch.float32)
    start = 0
    for planes in probabilities:
        end = start + planes[0].numel()
        made[: len(planes), start:end] = planes.flatten(1).float().clamp(SMALLEST, 1).log()
        start = end
    return made


def _apart(
    marginals: Float[Tensor, "labels pixels"], probabilities: Sequence[Float[Tensor, "_n _h _w"]]
) -> list[Float[Tensor, "_n _h _w"]]:
    parts = torch.split(marginals, [planes[0].numel() for planes in probabilities], dim=1)
    return [part[: len(planes)].reshape(planes.shape) for part, planes in zip(parts, probabilities, strict=True)]


def _pixels(images: Sequence[UInt8[Tensor, "_h _w 3"]], device: torch.device) -> _Pixels:
    places, colours, photos = [], [], []
    for number, image in enumerate(images):
        height, width = image.shape[:2]
        y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
        places.append(torch.stack([x.flatten(), y.flatten()]).float())
        colours.append(image.to(device).reshape(-1, 3).T.float())
        photos.append(torch.full((height * width,), number, device=device))
    return _Pixels(torch.cat(places, dim=1), torch.cat(colours, dim=1), torch.cat(photos))


def _kernels(pixels: _Pixels, parameters: CRFParameters) -> tuple[Lattice, Lattice]:
    """The kernel of smoothness, and the one of appearance."""
    near = pixels.places / parameters.gaussian_sxy
    alike = torch.cat([pixels.places / parameters.bilateral_sxy, pixels.colours / parameters.bilateral_srgb])
    return (
        normalized(lattice_of(near, pixels.photos), weight=parameters.gaussian_compat),
        normalized(lattice_of(alike, pixels.photos), weight=parameters.bilateral_compat),
    )
