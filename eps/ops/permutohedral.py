"""Gaussian filters over points of any few dimensions, on a permutohedral lattice, in torch.

A full Gaussian kernel compares all pairs of samples. Here every sample is spread over the d + 1 lattice points of the
simplex around it, each lattice point is blurred with its neighbours along d + 1 directions, and samples collect what
has come to their points: linear in the number of samples. Source: Adams, Baek and Davis, Eurographics 2010. Samples of
different groups (photos) never meet, so that many small filters run as one.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional as F

from eps.errors import UserError


class Sums(NamedTuple):
    """A sparse matrix: row i is the weighted sum of the entries from starts[i] to starts[i + 1]."""

    entries: Integer[Tensor, " e"]
    weights: Float[Tensor, " e"]
    starts: Integer[Tensor, " rows1"]

    def of(self, values: Float[Tensor, "columns c"]) -> Float[Tensor, "rows c"]:
        """The product with dense values; the sums of a bag of embeddings are the quickest such product in torch."""
        return F.embedding_bag(
            self.entries, values, self.starts, per_sample_weights=self.weights, mode="sum", include_last_offset=True
        )


class Lattice(NamedTuple):
    """n samples among m lattice points; one more point stands for all that are not there: it has and gives nothing."""

    splat: Sums
    """From samples to lattice points."""
    blur: list[Sums]
    """Each point with its neighbours, direction by direction."""
    slice: Sums
    """From lattice points back to samples."""


class _Numbering(NamedTuple):
    """How d integer coordinates and a colour become one number, with room for a step in every direction."""

    lowest: list[int]
    factors: list[int]
    """Of the d + 1 coordinates; the last one follows from the others."""
    span: int
    dtype: torch.dtype


def lattice_of(features: Float[Tensor, "d n"], groups: Integer[Tensor, " n"]) -> Lattice:
    """Place n samples, one or more, on the lattice; a distance of 1 is the standard deviation of `gaussian_filter`.

    `groups` are numbers from 0. Raises UserError where samples lie so many deviations apart that the lattice has no
    numbers for them.
    """
    elevated = _elevate(features)
    corner, place = _enclose(elevated)
    weights = _barycentric(elevated, corner, place)
    width, damping = len(weights), 1 + 2.0 ** (1 - len(weights))
    numbering = _numbering(corner, groups)
    ordered, order = _keys(corner, place, groups, numbering).flatten().sort(stable=True)
    points, inverse, counts = torch.unique_consecutive(ordered, return_inverse=True, return_counts=True)
    owners = torch.arange(len(groups), dtype=torch.int32, device=groups.device).repeat_interleave(width)
    shares = weights.T.reshape(-1)
    splat = Sums(
        entries=owners.index_select(0, order),
        weights=shares.index_select(0, order),
        starts=F.pad(counts.cumsum(0, dtype=torch.int32), (1, 1)),
    )
    splat.starts[-1] = len(order)
    back = Sums(
        entries=torch.empty_like(order).scatter_(0, order, inverse).int(),
        weights=shares / damping,  # of the blur, which gives as much to all neighbours as it keeps
        starts=_every(width, rows=len(groups), like=splat.starts),
    )
    return Lattice(splat=splat, blur=_blur(points, numbering, width), slice=back)


def gaussian_filter(lattice: Lattice, values: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Sum over all samples j of a group of exp(-|f_i - f_j|^2 / 2) values_j, as far as the lattice approximates it."""
    spread = lattice.splat.of(values)
    for direction in lattice.blur:
        spread = direction.of(spread)
    return lattice.slice.of(spread)


def normalized(lattice: Lattice, *, weight: float) -> Lattice:
    """The lattice of weight D^-1/2 K D^-1/2 in place of the kernel matrix K; D are K's row sums."""
    ones = torch.ones_like(lattice.slice.weights[: len(lattice.slice.starts) - 1, None])
    scale = (gaussian_filter(lattice, ones)[:, 0] + 1e-20).rsqrt()
    width = len(lattice.blur)
    splat = lattice.splat._replace(weights=lattice.splat.weights * scale.index_select(0, lattice.splat.entries))
    rows = lattice.slice.weights.view(-1, width) * (weight * scale[:, None])
    return Lattice(splat, lattice.blur, lattice.slice._replace(weights=rows.view(-1)))


def _elevate(features: Float[Tensor, "d n"]) -> Float[Tensor, "v n"]:
    """Rotate the samples into the plane of d + 1 coordinates that sum to 0, scaled for the blur's deviation."""
    dimensions, rows = len(features), []
    rest = torch.zeros_like(features[0])
    for axis in range(dimensions, 0, -1):
        part = features[axis - 1] * (math.sqrt(2 / 3) * (dimensions + 1) / math.sqrt(axis * (axis + 1)))
        rows.append(rest - axis * part)
        rest = rest + part
    return torch.stack([rest, *reversed(rows)])


def _enclose(elevated: Float[Tensor, "v n"]) -> tuple[Float[Tensor, "v n"], Integer[Tensor, "v n"]]:
    """The simplex around each sample: its corner of colour 0, in units of d + 1, and the coordinates' ascending order.

    The order says where in the row of coordinates, sorted by their distance from the corner, each one stands.
    """
    width = len(elevated)
    corner = (elevated * (1 / width)).round()
    residual = elevated - corner * width
    rank = torch.zeros_like(residual, dtype=torch.int8)
    for axis in range(width - 1):
        less = residual[axis] < residual[axis + 1 :]
        rank[axis] += less.sum(dim=0, dtype=torch.int8)
        rank[axis + 1 :] += ~less
    rank += corner.sum(dim=0).to(torch.int8)  # rounding may leave the plane: back, farthest off first
    wrap = (rank < 0).to(torch.int8) - (rank >= width).to(torch.int8)
    return corner + wrap, (width - 1 - width * wrap - rank).long()


def _barycentric(
    elevated: Float[Tensor, "v n"], corner: Float[Tensor, "v n"], place: Integer[Tensor, "v n"]
) -> Float[Tensor, "v n"]:
    """Weights of the simplex's points, by colour; they sum to 1."""
    width = len(elevated)
    offset = (elevated - corner * width) * (1 / width)
    ascending = torch.empty_like(offset).scatter_(0, place, offset)
    weights = ascending - ascending.roll(1, dims=0)
    weights[0] += 1
    return weights


def _numbering(corner: Float[Tensor, "v n"], groups: Integer[Tensor, " n"]) -> _Numbering:
    low, high = torch.stack([corner[:-1].amin(dim=1), corner[:-1].amax(dim=1)]).long().tolist()
    factors, span = [], 1
    for least, most in zip(low, high, strict=True):
        factors.append(span)
        span *= most - least + 4  # colours above 0 are up to 1 below their corner, neighbours 1 around that
    numbers = span * len(corner) * (int(groups.max()) + 1)
    if numbers >= 2**63:
        raise UserError("the kernels of the CRF are too narrow for this photo: raise bilateral_srgb or bilateral_sxy")
    dtype = torch.int32 if numbers < 2**31 else torch.int64  # half the time to sort
    return _Numbering([least - 2 for least in low], [*factors, 0], span, dtype)


def _keys(
    corner: Float[Tensor, "v n"], place: Integer[Tensor, "v n"], groups: Integer[Tensor, " n"], numbering: _Numbering
) -> Integer[Tensor, "n v"]:
    """The number of each simplex's point of each colour: from one to the next, one coordinate falls by d + 1."""
    width = len(corner)
    key = groups.to(numbering.dtype) * (numbering.span * width)
    for whole, lowest, factor in zip(corner, numbering.lowest, numbering.factors, strict=False):
        key += (whole.to(numbering.dtype) - lowest) * (factor * width)
    falls = torch.tensor(numbering.factors, dtype=numbering.dtype, device=corner.device) * width - 1
    steps = torch.empty_like(place, dtype=numbering.dtype).scatter_(0, place, falls[:, None].expand(place.shape))
    keys = [key]
    for step in steps[:-1]:
        keys.append(keys[-1] - step)
    return torch.stack(keys, dim=1)


def _blur(points: Integer[Tensor, " m"], numbering: _Numbering, width: int) -> list[Sums]:
    """A step is d along one coordinate and -1 along all others, so that the colour falls by 1."""
    count = len(points)
    factors = torch.tensor(numbering.factors, dtype=points.dtype, device=points.device)[:, None]
    steps = torch.where(points % width > 0, factors * width - 1, (factors - factors.sum()) * width + width - 1)
    targets = points + steps
    place = torch.searchsorted(points, targets, out_int32=True).clamp(max=count - 1)
    found = points.index_select(0, place.flatten()).view_as(targets) == targets
    after = F.pad(torch.where(found, place, count), (0, 1), value=count)
    own = torch.arange(count + 1, dtype=torch.int32, device=points.device).expand_as(after)
    before = torch.full_like(after, count).scatter_(1, after.long(), own)
    before[:, count] = count  # where all points without one wrote
    entries = torch.stack([own, before, after], dim=2).view(width, -1)
    weights = torch.tensor([1.0, 0.5, 0.5], device=points.device).repeat(count + 1)
    starts = _every(3, rows=count + 1, like=own)
    return [Sums(direction, weights, starts) for direction in entries]


def _every(width: int, *, rows: int, like: Tensor) -> Integer[Tensor, " rows1"]:
    """Starts of rows of one length."""
    return torch.arange(0, rows * width + 1, width, dtype=like.dtype, device=like.device)
