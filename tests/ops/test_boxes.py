import math

import pytest
import torch

from eps.ops.boxes import center_to_corner, corner_to_center, coverage, decode, encode


def random_corners(count: int, seed: int = 0) -> torch.Tensor:
    points = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([points.amin(1), points.amax(1) + 0.01], dim=1)


def test_forms_by_hand() -> None:
    corners = torch.tensor([[1.0, 2.0, 5.0, 10.0]])
    centers = torch.tensor([[3.0, 6.0, 4.0, 8.0]])
    assert torch.equal(corner_to_center(corners), centers)
    assert torch.equal(center_to_corner(centers), corners)


def test_forms_round_trip_in_any_number_of_dimensions() -> None:
    corners = random_corners(24).reshape(2, 3, 4, 4)
    torch.testing.assert_close(center_to_corner(corner_to_center(corners)), corners)


@pytest.mark.parametrize("variances", [(0.1, 0.2), (1.0, 0.5)])
def test_encode_against_the_equation(variances: tuple[float, float]) -> None:
    corners, anchors = random_corners(7), corner_to_center(random_corners(7, seed=1))
    offsets = encode(corners, anchors, variances=variances)
    for row, (x1, y1, x2, y2), (ax, ay, aw, ah) in zip(
        offsets.tolist(), corners.tolist(), anchors.tolist(), strict=True
    ):
        expected = [
            ((x1 + x2) / 2 - ax) / aw / variances[0],
            ((y1 + y2) / 2 - ay) / ah / variances[0],
            math.log((x2 - x1) / aw) / variances[1],
            math.log((y2 - y1) / ah) / variances[1],
        ]
        assert row == pytest.approx(expected)


def test_decode_inverts_encode() -> None:
    corners, anchors = random_corners(50), corner_to_center(random_corners(50, seed=1))
    torch.testing.assert_close(decode(encode(corners, anchors), anchors), corners)


def test_decode_of_zeros_is_the_anchor_itself() -> None:
    anchors = corner_to_center(random_corners(5))
    torch.testing.assert_close(decode(torch.zeros_like(anchors), anchors), center_to_corner(anchors))


def test_decoding_a_batch_decodes_its_images() -> None:
    anchors = corner_to_center(random_corners(6))
    offsets = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.equal(decode(offsets, anchors), torch.stack([decode(image, anchors) for image in offsets]))


def test_a_truth_without_area_has_finite_targets() -> None:
    anchors = torch.tensor([[0.5, 0.5, 0.2, 0.3]])
    offsets = encode(torch.tensor([[0.4, 0.4, 0.4, 0.4]]), anchors)
    assert offsets.isfinite().all()
    assert (offsets[:, 2:] < -10).all()


def test_coverage_against_counted_cells() -> None:
    generator = torch.Generator().manual_seed(3)
    low = torch.randint(0, 6, (9, 2), generator=generator)
    boxes = torch.cat([low, low + torch.randint(1, 6, (9, 2), generator=generator)], dim=1)
    table = coverage(boxes[:5].float(), boxes[5:].float())

    def cells(box: torch.Tensor) -> set[tuple[int, int]]:
        x1, y1, x2, y2 = box.tolist()
        return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}

    for i in range(5):
        for j in range(4):
            own, other = cells(boxes[i]), cells(boxes[5 + j])
            assert table[i, j].item() == pytest.approx(len(own & other) / len(own))
    assert (table > 0).any()


def test_coverage_is_not_symmetric() -> None:
    small, large = torch.tensor([[0.4, 0.4, 0.6, 0.6]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert coverage(small, large).item() == pytest.approx(1.0)
    assert coverage(large, small).item() == pytest.approx(0.04)


def test_nothing_in_nothing_out() -> None:
    none, some = torch.zeros(0, 4), torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert encode(none, none).shape == (0, 4)
    assert decode(torch.zeros(2, 0, 4), none).shape == (2, 0, 4)
    assert coverage(none, some).shape == (0, 1)
    assert coverage(some, none).shape == (1, 0)
