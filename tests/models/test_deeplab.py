from collections import OrderedDict
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, resnet50

from eps.errors import UserError
from eps.models.deeplab import DeepLab, load_resnet_weights
from eps.models.spec import DeepLabSpec, TrunkSpec, build_deeplab
from eps.nn.backbone import Backbone
from eps.nn.normalization import IMAGENET_MEAN, IMAGENET_STD
from eps.nn.norms import batch_norms


class Features(nn.Module):
    """A stand-in for a ResNet, quick to run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, stride=8, padding=1)
        self.bn1 = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return OrderedDict(out=self.bn1(self.conv1(images)))


def small(*, frozen_norm: bool = False) -> DeepLab:
    torch.manual_seed(0)
    head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1))
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return DeepLab(backbone=Features(), head=head, frozen_norm=frozen_norm, mean=mean, std=std)


@pytest.fixture(scope="module")
def real() -> DeepLab:
    torch.manual_seed(0)
    spec = DeepLabSpec(backbone="resnet50", classes=("a", "b"), frozen_norm=False, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return build_deeplab(spec).eval()


@torch.inference_mode()
def test_one_map_a_class_and_one_for_the_background_at_stride_8(real: DeepLab) -> None:
    assert real(real.normalize(torch.rand(2, 3, 64, 80))).semantic.shape == (2, 3, 8, 10)
    assert real(torch.rand(1, 3, 1, 1)).semantic.shape == (1, 3, 1, 1)


@torch.inference_mode()
def test_a_batch_is_its_photos() -> None:
    model, images = small().eval(), torch.rand(3, 3, 40, 32)
    expected = torch.cat([model(image[None]).semantic for image in images])
    torch.testing.assert_close(model(images).semantic, expected)


def test_normalize_takes_photos_to_zero_mean_and_unit_deviation() -> None:
    photos = torch.stack([torch.full((4, 4), m) for m in IMAGENET_MEAN])[None]
    torch.testing.assert_close(small().normalize(photos), torch.zeros_like(photos))
    brighter = photos + torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    torch.testing.assert_close(small().normalize(brighter), torch.ones_like(photos))


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_norms_keep_their_statistics_and_the_backbones_their_scales(frozen: bool) -> None:
    model = small(frozen_norm=frozen)
    model.eval().train()
    model(torch.rand(2, 3, 32, 32)).semantic.sum().backward()
    norms = (model.backbone.bn1, model.head[1])
    assert [int(norm.num_batches_tracked) for norm in norms] == [1 - frozen] * 2
    assert (model.backbone.bn1.weight.grad is None) == frozen
    assert model.head[1].weight.grad is not None
    assert model.backbone.conv1.weight.grad is not None
    assert model.training


def test_weights_of_a_file_are_the_backbones(tmp_path: Path) -> None:
    model, same = small(), small()
    published = {key: torch.full_like(tensor, 3) for key, tensor in model.backbone.state_dict().items()}
    torch.save({**published, "fc.weight": torch.zeros(5)}, tmp_path / "resnet.pth")
    load_resnet_weights(model, name="resnet50", source=f"file:{tmp_path / 'resnet.pth'}")
    assert all((tensor == 3).all() for tensor in model.backbone.state_dict().values())
    assert all(torch.equal(a, b) for a, b in zip(model.head.parameters(), same.head.parameters(), strict=True))


def test_a_classification_networks_weights_fit(real: DeepLab) -> None:
    with torch.device("meta"):
        published = {key: tensor.shape for key, tensor in resnet50(weights=None).state_dict().items()}
    wanted = {key: tensor.shape for key, tensor in real.backbone.state_dict().items()}
    assert wanted.items() <= published.items()
    assert published.keys() - wanted.keys() == {"fc.weight", "fc.bias"}


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"^segmenter\.deeplab\.weights=file:.*other\.pth for resnet50.*conv1\.bias"):
        load_resnet_weights(small(), name="resnet50", source=f"file:{tmp_path / 'other.pth'}")
    with pytest.raises(UserError, match=r"nowhere\.pth does not exist"):
        load_resnet_weights(small(), name="resnet50", source=f"file:{tmp_path / 'nowhere.pth'}")


def test_no_weights_change_nothing() -> None:
    model, same = small(), small()
    load_resnet_weights(model, name="resnet50", source="none")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))


def test_published_weights_come_from_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    published = {key: torch.ones_like(tensor) for key, tensor in model.backbone.state_dict().items()}
    asked = []

    def get(weights: ResNet50_Weights, **options: object) -> dict[str, Tensor]:
        asked.append(weights)
        return {**published, "fc.weight": torch.zeros(1)}

    monkeypatch.setattr(ResNet50_Weights, "get_state_dict", get)
    load_resnet_weights(model, name="resnet50", source="imagenet")
    assert asked == [ResNet50_Weights.IMAGENET1K_V1]
    assert (model.backbone.conv1.weight == 1).all()

    def offline(weights: ResNet50_Weights, **options: object) -> dict[str, Tensor]:
        raise URLError("no\nroute")

    monkeypatch.setattr(ResNet50_Weights, "get_state_dict", offline)
    with pytest.raises(UserError, match=r"^segmenter\.deeplab\.weights=imagenet: torchvision cannot get .*no route"):
        load_resnet_weights(model, name="resnet50", source="imagenet")


def on_trunk(
    stride: int, *, network: str = "test_efficientnet", frozen_norm: bool = False, frozen_trunk: bool = True
) -> DeepLab:
    """DeepLab on one of timm's networks."""
    trunk = TrunkSpec(
        backbone=network,
        frozen_norm=frozen_trunk,
        frozen_stages=1,
        output_stride=stride,
        head="identity",
        fpn_channels=0,
        head_channels=0,
        head_depth=0,
        prototypes=0,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    spec = DeepLabSpec(
        backbone="trunk", classes=("a", "b"), frozen_norm=frozen_norm, mean=trunk.mean, std=trunk.std, trunk=trunk
    )
    torch.manual_seed(0)
    return build_deeplab(spec)


@pytest.mark.parametrize(("stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18])])
@torch.inference_mode()
def test_on_a_trunk_the_last_features_are_dilated_and_the_head_goes_by_their_stride(
    stride: int, rates: list[int]
) -> None:
    model = on_trunk(stride).eval()
    assert model(torch.rand(2, 3, 64, 96)).semantic.shape == (2, 3, 64 // stride, 96 // stride)
    pooling = [part for part in model.head.modules() if isinstance(part, nn.Conv2d) and part.dilation != (1, 1)]
    assert [part.dilation[0] for part in pooling] == rates
    undilated = Backbone(name="test_efficientnet")
    assert isinstance(model.backbone, Backbone)
    assert model.backbone.channels == undilated.channels[-1:]  # the last features, not the last of that stride
    shapes = {key: tensor.shape for key, tensor in model.backbone.state_dict().items()}
    assert shapes == {key: tensor.shape for key, tensor in undilated.state_dict().items()}  # so that weights fit


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("frozen_trunk", [True, False])
def test_norms_of_a_trunk_are_frozen_by_either_setting(frozen: bool, frozen_trunk: bool) -> None:
    model = on_trunk(16, frozen_norm=frozen, frozen_trunk=frozen_trunk)
    model.eval().train()
    model(torch.rand(2, 3, 32, 32)).semantic.sum().backward()
    of_trunk, of_head = batch_norms(model.backbone).values(), batch_norms(model.head).values()
    assert {norm.training for norm in of_trunk} == {not (frozen or frozen_trunk)}
    assert {norm.training for norm in of_head} == {not frozen}
    learning = [norm.weight.requires_grad for norm in of_trunk]
    assert any(learning) == (not (frozen or frozen_trunk))
    assert not learning[0]  # of a stage that is frozen as a whole
    assert all(norm.weight.requires_grad for norm in of_head)


@pytest.mark.parametrize(("network", "told"), [("resnet38", "one stride, 8"), ("nonsense", "not a timm model")])
def test_a_trunk_that_cannot_be_dilated_is_refused(network: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        on_trunk(16, network=network)


@torch.inference_mode()
def test_a_dilated_trunk_is_torchvisions_dilated_resnet(real: DeepLab) -> None:
    """One and the same network at stride 8 from both libraries, with the same weights."""
    model = on_trunk(8, network="resnet50").eval()
    model.backbone.body.load_state_dict(real.backbone.state_dict())  # type: ignore[union-attr]
    model.head.load_state_dict(real.head.state_dict())
    images = torch.rand(1, 3, 48, 64)
    torch.testing.assert_close(model(images).semantic, real(images).semantic)
