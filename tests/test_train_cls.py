"""What stage 1's settings change in its criterion and its start."""

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eps import build, build_training, train_cls
from eps.cli import compose
from eps.data.samples import TaggedPhotos
from eps.models.classifier import ClassifierOutput
from eps.schema import Config
from tests.waits import waits_of


def tiny(*overrides: str) -> Config:
    return compose("experiment=tiny", "data.root=somewhere", *overrides)


class Given(nn.Module):
    """A classifier whose maps are given."""

    def __init__(self, maps: Float[Tensor, "b m h w"]) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, images: Tensor) -> ClassifierOutput:
        return ClassifierOutput(maps=self.maps, prototypes=self.maps)


def saliency_terms(maps: Float[Tensor, "b m h w"]) -> list[float]:
    """The saliency loss at the photo's size and at the maps'."""
    generator = torch.Generator().manual_seed(0)
    batch = TaggedPhotos(
        photos=torch.zeros(2, 3, 16, 16),
        saliency=torch.randint(256, (2, 1, 16, 16), generator=generator, dtype=torch.uint8),
        tags=torch.tensor([[1.0, 0.0], [1.0, 1.0]]),
    )
    nodes = [tiny(f"classifier.saliency_at={at}").classifier for at in ("photo", "maps")]
    return [train_cls._criterion(node, nn.Identity(), Given(maps), batch, 0).terms["saliency"].item() for node in nodes]


def test_saliency_at_either_size() -> None:
    """Even maps see the mean of the saliency map alone, which averaging keeps; uneven ones see its details."""
    even = torch.tensor([1.0, -0.5, 0.3]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    at_photo, at_maps = saliency_terms(even)
    assert at_maps == pytest.approx(at_photo, rel=1e-5)
    at_photo, at_maps = saliency_terms(torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)))
    assert at_maps != pytest.approx(at_photo, rel=1e-3)


def test_saliency_maps_are_distrusted_from_a_step_on() -> None:
    """Then a map that contradicts the photo's own maps costs nothing, and salient evidence is where the maps see it."""
    maps = torch.zeros(1, 3, 8, 8)
    maps[:, 2] = 4
    maps[:, 0, 2:6, 2:6] = 9
    inverted = torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
    inverted[..., 2:6, 2:6] = 0
    batch = TaggedPhotos(photos=torch.zeros(1, 3, 8, 8), saliency=inverted, tags=torch.tensor([[1.0, 0.0]]))
    node = tiny("classifier.distrust_from=0.5").classifier

    def terms(step: int) -> dict[str, float]:
        losses = train_cls._criterion(node, nn.Identity(), Given(maps), batch, step)
        return {name: value.item() for name, value in losses.terms.items()}

    before, after = terms(node.steps // 2 - 1), terms(node.steps // 2)
    assert before["saliency"] > 3
    assert after["saliency"] < 0.2
    assert after["tags"] < 0.6 * before["tags"]
    always = tiny().classifier
    assert train_cls._criterion(always, nn.Identity(), Given(maps), batch, always.steps - 1).terms[
        "saliency"
    ].item() == pytest.approx(before["saliency"])


def test_initial_scale_of_the_coefficients() -> None:
    models = []
    for scale in (1, 0.05):
        torch.manual_seed(0)
        models.append(build.classifier(tiny(f"classifier.initial_scale={scale}"), ("cat", "dog"))[0])
    full, small = models
    assert torch.allclose(small.coefficients, 0.05 * full.coefficients)
    assert torch.equal(small.trunk.head.planes.weight, full.trunk.head.planes.weight)


@pytest.mark.parametrize("scale", [1, 0.1])
def test_the_backbone_has_a_rate_of_its_own(scale: float) -> None:
    cfg = tiny(f"classifier.optim.backbone_scale={scale}", "classifier.optim.lr=0.01")
    model = build.classifier(cfg, ("cat", "dog"))[0]
    optimizer, _ = build_training.optimizer(cfg.classifier.optim, model, last=[model.coefficients], steps=10)
    rates = {id(p): group["initial_lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in model.trunk.backbone.parameters()} == {0.01 * scale}
    assert {rates[id(p)] for p in model.trunk.fpn.parameters()} == {0.01}


@pytest.mark.parametrize("choice", ["eps", "eps_paper", "cam"])
def test_the_criterion_never_makes_a_gpu_wait(choice: str) -> None:
    maps = torch.randn(2, 2 if choice == "cam" else 3, 8, 8, requires_grad=True)
    batch = TaggedPhotos(
        photos=torch.zeros(2, 3, 8, 8),
        saliency=torch.full((2, 1, 8, 8), 200, dtype=torch.uint8),
        tags=torch.tensor([[1.0, 0.0], [0.0, 0.0]]),
    )
    node = tiny(f"classifier={choice}").classifier

    def work(step: int) -> None:
        train_cls._criterion(node, nn.Identity(), Given(maps), batch, step).total.backward()

    assert waits_of(lambda: work(0)) == waits_of(lambda: work(node.steps - 1)) == 0
