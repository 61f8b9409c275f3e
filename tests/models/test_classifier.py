from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from eps.models.classifier import Classifier
from eps.models.spec import ClassifierSpec, TrunkSpec, build_classifier

Make = Callable[..., Classifier]


@pytest.fixture
def trunk(trunk_spec: TrunkSpec) -> TrunkSpec:
    return replace(trunk_spec, frozen_norm=False)


@pytest.fixture
def classifier(trunk: TrunkSpec) -> Make:
    def make(
        *, classes: int = 3, background: bool = True, dropout: float = 0.0, trunk: TrunkSpec = trunk
    ) -> Classifier:
        torch.manual_seed(0)
        names = tuple(f"class {i}" for i in range(classes))
        spec = ClassifierSpec(trunk=trunk, classes=names, background=background, dropout=dropout)
        return build_classifier(spec).eval()

    return make


def photos(*size: int, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("background", [False, True])
def test_maps_combine_prototypes(classes: int, background: bool, classifier: Make) -> None:
    model = classifier(classes=classes, background=background)
    output = model(photos(32, 36))
    assert output.maps.shape == (2, classes + background, 8, 9)
    planes, coefficients = output.prototypes.detach().numpy(), model.coefficients.detach().numpy()
    for b, m, y, x in np.ndindex(*output.maps.shape):
        expected = sum(coefficients[m, k] * planes[b, k, y, x] for k in range(5))
        assert output.maps[b, m, y, x].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("size", [(65, 97), (3, 200)])
def test_odd_sizes(size: tuple[int, int], classifier: Make) -> None:
    assert classifier()(photos(*size)).maps.shape[-2:] == tuple(-(-side // 4) for side in size)


@pytest.mark.parametrize("background", [False, True])
def test_localization_at_another_size(background: bool, classifier: Make) -> None:
    model, images = classifier(background=background), photos(32, 32)
    expected = torch.nn.functional.interpolate(model.localization(images), size=(21, 30), mode="bilinear")
    torch.testing.assert_close(model.localization(images, size=(21, 30)), expected)


def test_localization_with_background_is_a_softmax_without_its_last_map(classifier: Make) -> None:
    model, images = classifier(), photos(32, 32)
    maps, scores = model(images).maps, model.localization(images)
    torch.testing.assert_close(scores, maps.exp()[:, :3] / maps.exp().sum(dim=1, keepdim=True))
    assert (scores.sum(dim=1) < 1).all()


def test_localization_without_background_is_not_negative(classifier: Make) -> None:
    model, images = classifier(background=False), photos(32, 32)
    with torch.no_grad():
        model.coefficients[0].abs_()
        model.coefficients[1].abs_().neg_()
    scores = model.localization(images)
    assert scores.shape[1] == 3
    assert torch.equal(scores, model(images).maps.clamp(min=0))
    assert scores[:, 0].any()
    assert not scores[:, 1].any()


def test_normalization(trunk: TrunkSpec, classifier: Make) -> None:
    made = classifier().normalize(photos(4, 5))
    for c, (mean, std) in enumerate(zip(trunk.mean, trunk.std, strict=True)):
        torch.testing.assert_close(made[:, c], (photos(4, 5)[:, c] - mean) / std)


def test_batch_equals_singles(classifier: Make) -> None:
    model, images = classifier(), photos(33, 47, batch=3)
    singles = torch.cat([model(image[None]).maps for image in images])
    torch.testing.assert_close(model(images).maps, singles, atol=1e-5, rtol=1e-4)


def test_weights_are_all_that_is_stored(classifier: Make) -> None:
    """Mean and std are in the spec: twice stored, they could differ."""
    keys = {key.partition(".")[0] for key in classifier().state_dict()}
    assert keys == {"trunk", "coefficients"}


def test_every_weight_learns(classifier: Make) -> None:
    model = classifier().train()
    model(photos(64, 64)).maps.pow(2).sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # the pyramid's coarser levels end in a convolution that only the segmenter uses
    assert {name.rsplit(".", 1)[0] for name in idle} == {f"trunk.fpn.predictions.{i}" for i in (1, 2, 3)}


def test_dropout_takes_whole_prototypes_and_only_while_training(classifier: Make) -> None:
    model, images = classifier(dropout=0.5), photos(32, 32)
    plain = classifier()(images)
    assert torch.equal(model(images).maps, plain.maps)
    model.dropout, whole = 0.4, set()
    model.trunk.eval()
    model.training = True
    torch.manual_seed(1)
    for _ in range(8):
        made = model(images).prototypes
        for b, k in np.ndindex(2, 5):
            kept = bool(made[b, k].any())
            whole.add(kept)
            if kept:
                torch.testing.assert_close(made[b, k], plain.prototypes[b, k] / 0.6)
    assert whole == {False, True}


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_identity_prototypes(stride: int, classifier: Make, trunk: TrunkSpec) -> None:
    """EPS's own case: one coefficient for each of the backbone's last features."""
    identity = replace(trunk, head="identity", output_stride=stride, fpn_channels=0, prototypes=0)
    model, images = classifier(trunk=identity), photos(64, 96)
    output = model(images)
    assert output.maps.shape == (2, 4, 64 // stride, 96 // stride)
    assert model.coefficients.shape == (4, output.prototypes.shape[1])
    expected = torch.nn.functional.conv2d(output.prototypes, model.coefficients[:, :, None, None])
    torch.testing.assert_close(output.maps, expected, atol=1e-4, rtol=1e-4)
