from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import eps
from eps.engine.checkpoint import load_segmenter, save_model
from eps.engine.predictor import Predictor
from eps.errors import UserError
from eps.models.deeplab import DeepLab
from eps.models.spec import DeepLabSpec, build_deeplab

SPEC = DeepLabSpec(
    backbone="resnet50",
    classes=("train", "boat"),
    frozen_norm=False,
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.4),
)
CPU = torch.device("cpu")


class Pooled(nn.Module):
    """Maps at stride 8 that are brightness: of red for class 0, of green for class 1, of blue for the background."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"out": F.avg_pool2d(images, 8, ceil_mode=True)}


@pytest.fixture
def model() -> DeepLab:
    mean, std = torch.zeros(3), torch.full((3,), 0.1)
    return DeepLab(backbone=Pooled(), head=nn.Identity(), frozen_norm=False, mean=mean, std=std)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, size=(height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("deeplab")
    save_model(folder / "model.safetensors", build_deeplab(SPEC), SPEC)
    return folder


def test_a_deeplab_comes_back_from_its_file_alone(folder: Path) -> None:
    model, spec = load_segmenter(folder / "model.safetensors")
    assert spec == SPEC
    assert isinstance(model, DeepLab)
    predictor = eps.load(folder)
    assert predictor.classes == ("train", "boat")
    assert not predictor.has_instances
    found, labels = predictor.predict_all(picture(33, 20))
    assert [len(values) for values in found] == [0] * 4
    assert found.masks.shape == (0, 20, 33)
    assert labels.shape == (20, 33)
    assert labels.dtype == torch.uint8
    assert torch.equal(labels, predictor.probabilities(picture(33, 20)).argmax(dim=0).to(torch.uint8))


def test_instances_are_refused_in_one_line(model: DeepLab) -> None:
    predictor = Predictor(model=model, spec=SPEC, device=CPU)
    for ask in (predictor.predict, predictor.run):
        with pytest.raises(UserError, match=r"^a DeepLab segmenter finds no instances.*predict_all"):
            ask(picture(8, 8))


@pytest.mark.parametrize("size", [(16, 8), (33, 20), (1, 1)])
def test_probabilities_are_of_the_photo_as_it_is(model: DeepLab, size: tuple[int, int]) -> None:
    image = picture(*size)
    found = Predictor(model=model, spec=SPEC, device=CPU).probabilities(image)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    maps = F.avg_pool2d(pixels / 0.1, 8, ceil_mode=True)[:, [2, 0, 1]]
    enlarged = F.interpolate(maps, size=size[::-1], mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, enlarged[0].softmax(dim=0))


def test_scales_and_flips_are_averaged(model: DeepLab) -> None:
    image = picture(40, 24)

    def found(**settings: object) -> Tensor:
        return Predictor(model=model, spec=SPEC, device=CPU, **settings).probabilities(image)  # type: ignore[arg-type]

    mirrored = Predictor(model=model, spec=SPEC, device=CPU).probabilities(
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    )
    both = found(scales=[0.5, 1.5])
    torch.testing.assert_close(both, (found(scales=[0.5]) + found(scales=[1.5])) / 2)
    torch.testing.assert_close(found(flip=True), (found() + mirrored.flip(-1)) / 2)
    assert not torch.allclose(found(scales=[0.5]), found(), atol=1e-3)
    torch.testing.assert_close(both.sum(dim=0), torch.ones(24, 40))


def test_the_mirror_image_gives_the_mirrored_map(model: DeepLab) -> None:
    predictor = Predictor(model=model, spec=SPEC, device=CPU, scales=[1.0, 2.0], flip=True)
    image = picture(37, 20)
    mirrored = predictor.probabilities(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    torch.testing.assert_close(mirrored.flip(-1), predictor.probabilities(image))
