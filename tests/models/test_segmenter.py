import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from eps.models.segmenter import Segmenter
from eps.models.spec import SegmenterSpec, TrunkSpec, build_segmenter
from eps.ops.anchors import anchors
from eps.ops.prototypes import assemble

SCALES = ((8.0,), (16.0,), (24.0,), (40.0,), (56.0,))
RATIOS = (1.0, 0.5, 2.0)
Make = Callable[..., Segmenter]


@pytest.fixture
def segmenter(trunk_spec: TrunkSpec) -> Make:
    def make(
        *,
        classes: int = 3,
        scales: tuple[tuple[float, ...], ...] = SCALES,
        ratios: tuple[float, ...] = RATIOS,
        tag_head: bool = False,
    ) -> Segmenter:
        torch.manual_seed(0)
        names = tuple(f"class {i}" for i in range(classes))
        sizes = {"image_size": (64, 64), "scales": scales, "ratios": ratios}
        return build_segmenter(SegmenterSpec(trunk=trunk_spec, classes=names, tag_head=tag_head, **sizes)).eval()

    return make


@pytest.fixture
def released(trunk_spec: TrunkSpec) -> Segmenter:
    """In all that YOLACT++ differs from ours."""
    torch.manual_seed(0)
    spec = SegmenterSpec(
        trunk=replace(trunk_spec, finest_stride=8),
        classes=("train", "boat"),
        image_size=(64, 64),
        scales=SCALES,
        ratios=RATIOS,
        square_anchors=True,
        design="released",
        mask_iou=True,
    )
    return build_segmenter(spec).eval()


def grids(height: int, width: int, levels: int) -> list[tuple[int, int]]:
    """Rows and columns of P3 and the levels above it."""
    return [(-(-height // 2**level), -(-width // 2**level)) for level in range(3, 3 + levels)]


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (32, 200)])
@pytest.mark.parametrize("classes", [1, 3])
def test_shapes(size: tuple[int, int], classes: int, segmenter: Make) -> None:
    output = segmenter(classes=classes)(torch.rand(2, 3, *size))
    rows = sum(h * w for h, w in grids(*size, 5)) * 3
    stride_4 = tuple(-(-side // 4) for side in size)
    assert output.offsets.shape == (2, rows, 4)
    assert output.logits.shape == (2, rows, classes + 1)
    assert output.coefficients.shape == (2, rows, 5)
    assert output.prototypes.shape == (2, 5, *stride_4)
    assert output.semantic.shape == (2, classes + 1, *stride_4)
    expected = anchors(grids=grids(*size, 5), scales=SCALES, ratios=RATIOS, size=size)
    assert torch.equal(output.anchors, expected)


@pytest.mark.parametrize(
    ("scales", "ratios"),
    [(SCALES[:3], (1.0,)), (((8.0, 10.0), (16.0, 20.0), (24.0, 30.0), (40.0, 50.0)), (1.0, 2.0))],
)
def test_levels_and_anchors_a_cell(
    scales: tuple[tuple[float, ...], ...], ratios: tuple[float, ...], segmenter: Make
) -> None:
    output = segmenter(scales=scales, ratios=ratios)(torch.rand(1, 3, 64, 96))
    rows = sum(h * w for h, w in grids(64, 96, len(scales))) * len(scales[0]) * len(ratios)
    assert output.offsets.shape[1] == len(output.anchors) == rows


def test_anchors_are_made_once_a_size(segmenter: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = segmenter(), []
    monkeypatch.setattr("eps.models.segmenter.anchors", lambda **sizes: made.append(sizes) or anchors(**sizes))
    with torch.inference_mode():
        first = model(torch.rand(1, 3, 64, 64)).anchors
    again = model(torch.rand(2, 3, 64, 64))
    assert again.anchors is first
    assert len(made) == 1
    (again.offsets * again.anchors).sum().backward()  # though they were made in inference mode
    other = model(torch.rand(1, 3, 64, 96)).anchors
    assert torch.equal(other, anchors(grids=grids(64, 96, 5), scales=SCALES, ratios=RATIOS, size=(64, 96)))
    assert torch.equal(model(torch.rand(1, 3, 64, 64)).anchors, first)
    assert len(made) == 3
    assert not any("anchor" in key for key in model.state_dict())
    assert model(torch.rand(1, 3, 64, 64, device="cpu")).anchors.device.type == "cpu"
    assert model.to("meta")(torch.rand(1, 3, 64, 64, device="meta")).anchors.device.type == "meta"


def test_semantic_map_combines_the_same_planes(segmenter: Make) -> None:
    model = segmenter()
    output = model(torch.rand(2, 3, 64, 64))
    assert torch.equal(output.semantic, assemble(output.prototypes, model.coefficients))


def test_batch_equals_singles(segmenter: Make) -> None:
    model, images = segmenter(), torch.rand(3, 3, 64, 48)
    whole, singles = model(images), [model(image[None]) for image in images]
    for name in ("offsets", "logits", "coefficients", "prototypes", "semantic"):
        parts = torch.cat([getattr(single, name) for single in singles])
        torch.testing.assert_close(getattr(whole, name), parts, atol=1e-4, rtol=1e-3)


def test_normalization_equals_the_classifiers(trunk_spec: TrunkSpec, segmenter: Make) -> None:
    photo = torch.rand(1, 3, 2, 2)
    mean, std = torch.tensor(trunk_spec.mean).view(3, 1, 1), torch.tensor(trunk_spec.std).view(3, 1, 1)
    torch.testing.assert_close(segmenter().normalize(photo), (photo - mean) / std)


def test_every_weight_learns(segmenter: Make) -> None:
    model = segmenter().train()
    output = model(torch.rand(2, 3, 64, 64))
    sum(part.pow(2).sum() for part in output[:5]).backward()
    assert idle(model) == []


def idle(model: Segmenter) -> list[str]:
    """Names of weights that are to learn and have no gradient."""
    return [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]


def test_the_released_design_has_planes_at_stride_4_and_semantic_maps_at_8(released: Segmenter) -> None:
    output = released(torch.rand(2, 3, 64, 96))
    assert output.prototypes.shape == (2, 5, 16, 24)
    assert output.semantic.shape == (2, 3, 8, 12)
    assert not output.semantic[:, -1].any()  # the background, for which YOLACT has no map
    expected = anchors(grids=grids(64, 96, 5), scales=SCALES, ratios=RATIOS, size=(64, 96), square=True)
    assert torch.equal(output.anchors, expected)


def test_the_released_semantic_map_is_a_convolution_of_p3(released: Segmenter) -> None:
    images = torch.rand(1, 3, 64, 64)
    output, levels = released(images), released.trunk(images).levels
    assert [level.shape[-1] for level in levels] == [8, 4, 2]
    assert released.semantic_head is not None
    assert torch.equal(output.semantic[:, :-1], released.semantic_head(levels[0]))
    assert released.coefficients is None


def test_released_layers_start_by_xaviers_rule(released: Segmenter) -> None:
    assert released.semantic_head is not None
    weight = released.box_head.shared.weight
    limit = (6 / (9 * weight.shape[0] + 9 * weight.shape[1])) ** 0.5
    assert 0.95 * limit < weight.abs().max() <= limit
    parts = (released.box_head, released.trunk.fpn, released.trunk.head, released.extra, released.semantic_head)
    assert not any(p.any() for part in parts for name, p in part.named_parameters() if name.endswith("bias"))


def test_every_released_weight_learns(released: Segmenter) -> None:
    model = released.train()
    output = model(torch.rand(2, 3, 64, 64))
    assert model.mask_iou is not None
    rated = model.mask_iou(torch.rand(2, 1, 64, 64))
    sum(part.pow(2).sum() for part in (*output[:5], rated)).backward()
    assert idle(model) == []


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (32, 200), (138, 71)])
@pytest.mark.parametrize("levels", [3, 5])
def test_anchors_are_known_before_the_network_has_run(size: tuple[int, int], levels: int, segmenter: Make) -> None:
    model = segmenter(scales=SCALES[:levels])
    assert torch.equal(model.anchors_of(size), model(torch.rand(1, 3, *size)).anchors)


def test_a_tag_head_weighs_the_classes_of_a_photo_once_trained(segmenter: Make) -> None:
    """Pixels and anchors are left as they are while training, and to the background always."""
    model = segmenter(tag_head=True)
    photos = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        model.tag_head.linear.bias.copy_(torch.tensor([3.0, -2.0, 1.0]))
        given = model(photos)
        model.training = True  # no batch norm is told
        plain = model(photos)
    assert torch.equal(given.tags, plain.tags)
    assert given.tags.tolist() == [[3.0, -2.0, 1.0]] * 2
    prior = torch.tensor([1.0, 1 / (1 + math.exp(-3)), 1 / (1 + math.exp(2)), 1 / (1 + math.exp(-1))])
    torch.testing.assert_close(given.logits.exp(), plain.logits.exp() * prior)
    shown = [0, 2, 3]  # likelier than not, and the background
    torch.testing.assert_close(given.semantic[:, shown], plain.semantic[:, shown])
    assert (given.semantic.softmax(dim=1)[:, 1] == 0).all()


def test_the_likeliest_class_of_a_photo_is_shown_however_unlikely(segmenter: Make) -> None:
    model = segmenter(tag_head=True)
    with torch.no_grad():
        model.tag_head.linear.bias.copy_(torch.tensor([-5.0, -4.0, -6.0]))
        shares = model(torch.rand(1, 3, 64, 64)).semantic.softmax(dim=1)[0]
    assert (shares[[0, 2]] == 0).all()
    assert (shares[[1, 3]] > 0).all()


def test_without_a_tag_head_nothing_is_said_of_tags(segmenter: Make) -> None:
    assert segmenter()(torch.rand(1, 3, 64, 64)).tags is None
