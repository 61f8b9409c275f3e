from typing import Any

import pytest
import torch
from torch import nn

from eps.engine.optim import build_optimizer, drops, parameter_groups, poly, schedule


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
        self.last = nn.Linear(3, 4)
        self.scale = nn.Parameter(torch.ones(()))


def groups_of(network: Network, **changes: Any) -> list[dict[str, Any]]:
    settings: dict[str, Any] = {"lr": 0.01, "weight_decay": 5e-4, "bias_scale": 2.0, "last_scale": 10.0}
    return parameter_groups(network, last=network.last.parameters(), **settings | changes)


def rate_and_decay(groups: list[dict[str, Any]], parameter: nn.Parameter) -> tuple[float, float]:
    (group,) = [g for g in groups if any(parameter is p for p in g["params"])]
    return group["lr"], group["weight_decay"]


def test_the_papers_four_rates() -> None:
    network = Network()
    groups = groups_of(network)
    assert len(groups) == 4
    assert rate_and_decay(groups, network.body[0].weight) == pytest.approx((0.01, 5e-4))
    assert rate_and_decay(groups, network.body[0].bias) == pytest.approx((0.02, 0))
    assert rate_and_decay(groups, network.body[1].weight) == pytest.approx((0.02, 0))  # a norm's weight
    assert rate_and_decay(groups, network.scale) == pytest.approx((0.02, 0))
    assert rate_and_decay(groups, network.last.weight) == pytest.approx((0.1, 5e-4))
    assert rate_and_decay(groups, network.last.bias) == pytest.approx((0.2, 0))


def test_pretrained_layers_have_a_rate_of_their_own() -> None:
    network = Network()
    groups = groups_of(network, pretrained=network.body.parameters(), pretrained_scale=0.25)
    assert rate_and_decay(groups, network.body[0].weight) == pytest.approx((0.0025, 5e-4))
    assert rate_and_decay(groups, network.body[0].bias) == pytest.approx((0.005, 0))
    assert rate_and_decay(groups, network.scale) == pytest.approx((0.02, 0))
    assert rate_and_decay(groups, network.last.weight) == pytest.approx((0.1, 5e-4))
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(id(p) for p in network.parameters())


def test_biases_decay_where_asked() -> None:
    network = Network()
    kept, decayed = groups_of(network), groups_of(network, decay_biases=True)
    assert {group["weight_decay"] for group in decayed} == {5e-4}
    assert [group["lr"] for group in decayed] == [group["lr"] for group in kept]
    assert rate_and_decay(decayed, network.body[1].bias) == pytest.approx((0.02, 5e-4))
    assert rate_and_decay(decayed, network.last.bias) == pytest.approx((0.2, 5e-4))


def test_every_parameter_stands_in_one_group() -> None:
    network = Network()
    members = [id(p) for group in groups_of(network) for p in group["params"]]
    assert sorted(members) == sorted(id(p) for p in network.parameters())


def test_frozen_parameters_and_empty_groups_are_left_out() -> None:
    network = Network()
    network.last.weight.requires_grad_(False)
    groups = groups_of(network)
    assert len(groups) == 3
    assert not any(p is network.last.weight for group in groups for p in group["params"])
    assert parameter_groups(nn.ReLU(), last=[], lr=1.0, weight_decay=0.0, bias_scale=1.0, last_scale=1.0) == []


def test_sgd_equals_its_equation() -> None:
    """Velocity v = momentum v + g + decay w; w = w - lr v, with each group's own rate."""
    weight, bias = nn.Parameter(torch.tensor([[2.0]])), nn.Parameter(torch.tensor([1.0]))
    groups = [
        {"params": [weight], "lr": 0.1, "weight_decay": 0.5},
        {"params": [bias], "lr": 0.2, "weight_decay": 0.0},
    ]
    optimizer = build_optimizer(groups, kind="sgd", lr=7.0, momentum=0.9)
    (w, v), (b, u) = (2.0, 0.0), (1.0, 0.0)
    for _ in range(3):
        weight.grad, bias.grad = torch.tensor([[3.0]]), torch.tensor([1.0])
        optimizer.step()
        v, u = 0.9 * v + 3 + 0.5 * w, 0.9 * u + 1
        w, b = w - 0.1 * v, b - 0.2 * u
    assert weight.item() == pytest.approx(w)
    assert bias.item() == pytest.approx(b)


def test_adamw_takes_momentum_for_its_first_beta() -> None:
    optimizer = build_optimizer([{"params": [nn.Parameter(torch.zeros(1))]}], kind="adamw", lr=0.1, momentum=0.7)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["betas"] == (0.7, 0.999)
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("power", [0.9, 1.0, 0.0])
def test_poly(power: float) -> None:
    factor = poly(steps=10, power=power, warmup=0)
    assert [factor(step) for step in range(10)] == pytest.approx([(1 - step / 10) ** power for step in range(10)])


def test_poly_warms_up_linearly() -> None:
    factor, plain = poly(steps=100, power=0.9, warmup=4), poly(steps=100, power=0.9, warmup=0)
    shares = [factor(step) / plain(step) for step in range(7)]
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1])


def test_poly_ends_at_zero_and_stays() -> None:
    factor = poly(steps=10, power=0.9, warmup=20)
    assert factor(10) == factor(11) == 0  # the scheduler asks once more after the last step
    assert all(factor(step) > 0 for step in range(10))


def test_drops() -> None:
    factor = drops(steps=800_000, at=[0.35, 0.75, 0.875, 0.9375], warmup=500)  # YOLACT's own
    for step, expected in [(500, 1), (279_999, 1), (280_000, 0.1), (600_000, 0.01), (700_000, 1e-3), (799_999, 1e-4)]:
        assert factor(step) == pytest.approx(expected), step


def test_drops_by_another_factor() -> None:
    factor = drops(steps=10, at=[0.2, 0.5], warmup=0, by=0.5)
    assert [factor(step) for step in (1, 2, 4, 5, 9)] == [1, 0.5, 0.5, 0.25, 0.25]


def test_drops_warm_up_from_a_tenth() -> None:
    factor = drops(steps=100, at=[], warmup=4)
    assert [factor(step) for step in range(6)] == pytest.approx([0.1, 0.325, 0.55, 0.775, 1, 1])
    assert drops(steps=100, at=[], warmup=0)(0) == 1


def test_schedule_moves_every_group_alike() -> None:
    network = Network()
    groups = groups_of(network)
    rates = [group["lr"] for group in groups]
    optimizer = build_optimizer(groups, kind="sgd", lr=1.0, momentum=0.0)
    scheduler = schedule(optimizer, poly(steps=4, power=1.0, warmup=1))
    for share in (0.5, 0.75, 0.5, 0.25, 0.0):
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([share * rate for rate in rates])
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_fused_steps_are_the_plain_ones(kind: Any) -> None:
    """Five steps from the same gradients, against torch's loop over the weights."""
    fused, plain = Network(), Network()
    plain.load_state_dict(fused.state_dict())
    made = build_optimizer(groups_of(fused), kind=kind, lr=0.01, momentum=0.9)
    settings: dict[str, Any] = {"momentum": 0.9} if kind == "sgd" else {"betas": (0.9, 0.999)}
    loop = (torch.optim.SGD if kind == "sgd" else torch.optim.AdamW)(
        groups_of(plain), lr=0.01, foreach=False, **settings
    )
    for step in range(5):
        for number, (ours, theirs) in enumerate(zip(fused.parameters(), plain.parameters(), strict=True)):
            ours.grad = torch.randn(ours.shape, generator=torch.Generator().manual_seed(10 * step + number))
            theirs.grad = ours.grad.clone()
        made.step()
        loop.step()
    for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
