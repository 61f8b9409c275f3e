import pytest
import torch
import torch.nn.functional as F

from eps.nn.box_head import BoxHead
from eps.ops.anchors import anchors

GRIDS = [(3, 4), (2, 2), (1, 1)]


def head(*, classes: int = 2, per_cell: int = 3, normalized: bool = False) -> BoxHead:
    torch.manual_seed(0)
    return BoxHead(
        in_channels=4, channels=5, classes=classes, prototypes=6, anchors_per_cell=per_cell, normalized=normalized
    )


def levels(batch: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, 4, *grid, generator=generator) for grid in GRIDS]


@pytest.mark.parametrize("per_cell", [1, 3])
def test_rows_run_by_level_row_column_anchor(per_cell: int) -> None:
    made, features = head(per_cell=per_cell), levels()
    output = made(features)
    number = 0
    for feature in features:
        hidden = F.relu(made.shared(feature))
        boxes, classes, coefficients = made.boxes(hidden), made.classes(hidden), made.coefficients(hidden)
        for y in range(feature.shape[2]):
            for x in range(feature.shape[3]):
                for a in range(per_cell):
                    torch.testing.assert_close(output.offsets[:, number], boxes[:, 4 * a : 4 * a + 4, y, x])
                    torch.testing.assert_close(output.logits[:, number], classes[:, 3 * a : 3 * a + 3, y, x])
                    expected = coefficients[:, 6 * a : 6 * a + 6, y, x].tanh()
                    torch.testing.assert_close(output.coefficients[:, number], expected)
                    number += 1
    assert output.offsets.shape == (2, number, 4)


def test_coefficients_are_at_most_their_scale() -> None:
    made = head()
    torch.nn.init.normal_(made.coefficients.weight, std=10)
    plain = made(levels())
    made.coefficient_scale = 0.25
    scaled = made(levels())
    torch.testing.assert_close(scaled.coefficients, plain.coefficients / 4)
    assert torch.equal(scaled.offsets, plain.offsets)
    assert 0.2 < scaled.coefficients.abs().max() <= 0.25


def test_rows_are_as_many_as_anchors() -> None:
    made = anchors(grids=GRIDS, scales=[[8.0], [16.0], [32.0]], ratios=[1.0, 0.5, 2.0], size=(48, 64))
    assert head()(levels()).logits.shape == (2, len(made), 3)


def test_one_class_has_a_background_beside_it() -> None:
    assert head(classes=1)(levels()).logits.shape[-1] == 2


def test_coefficients_are_within_one() -> None:
    made = head()
    with torch.no_grad():
        made.coefficients.weight.mul_(1e8)
    coefficients = made(levels()).coefficients
    assert coefficients.abs().max() == 1
    assert (coefficients < 0).any()


def test_levels_are_independent_and_shared() -> None:
    made, features = head(), levels()
    alone = [made([feature]) for feature in features]
    torch.testing.assert_close(made(features).logits, torch.cat([output.logits for output in alone], dim=1))
    made(features).logits.sum().backward()
    whole = made.shared.weight.grad.clone()  # type: ignore[union-attr]
    made.zero_grad()
    for feature in features:
        made([feature]).logits.sum().backward()
    torch.testing.assert_close(whole, made.shared.weight.grad, rtol=1e-4, atol=1e-4)


def test_batch_equals_singles() -> None:
    made, features = head(), levels(3)
    singles = torch.cat([made([f[i : i + 1] for f in features]).offsets for i in range(3)])
    torch.testing.assert_close(made(features).offsets, singles)


def test_a_normalized_head_sees_no_scale_of_a_level() -> None:
    made, features = head(normalized=True), levels()
    scaled = [100 * feature + 7 for feature in features]
    torch.testing.assert_close(made(features).logits, made(scaled).logits, rtol=1e-3, atol=1e-3)
    plain = head()
    assert not torch.allclose(plain(features).logits, plain(scaled).logits, atol=1.0)


def test_a_normalized_head_is_the_plain_one_on_standardised_levels() -> None:
    features = levels()
    standard = [(f - f.mean((1, 2, 3), keepdim=True)) / f.std((1, 2, 3), keepdim=True, correction=0) for f in features]
    made, plain = head(normalized=True), head()
    torch.testing.assert_close(made(features).offsets, plain(standard).offsets, rtol=1e-3, atol=1e-3)
