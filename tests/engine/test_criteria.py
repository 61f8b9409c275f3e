import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eps.data.samples import LabelledPhotos, PhotoInstances
from eps.engine.criteria import instance_losses, semantic_losses
from eps.engine.descent import Losses
from eps.losses.multibox import MultiboxLoss, Targets, multibox_loss
from eps.models.deeplab import DeepLabOutput
from eps.models.segmenter import SegmenterOutput


class Maps(nn.Module):
    """A segmenter of two classes whose maps are its photos' channels and nothing else."""

    def forward(self, images: Tensor) -> DeepLabOutput:
        return DeepLabOutput(images)


def doubled(photos: Tensor) -> Tensor:
    return 2 * photos


def test_semantic_losses_are_the_cross_entropy_of_what_is_not_ignored() -> None:
    photos = torch.rand(2, 3, 4, 5)
    labels = torch.randint(0, 3, (2, 4, 5), dtype=torch.uint8)
    labels[0, 0] = 255
    found = semantic_losses(Maps(), LabelledPhotos(photos, labels), 0, normalize=doubled)
    logits = doubled(photos)[:, [2, 0, 1]]  # background first, as labels count
    expected = F.cross_entropy(logits, labels.long(), ignore_index=255)
    torch.testing.assert_close(found.total, expected)
    assert found.terms == {"semantic": found.total}


def test_labels_are_not_shrunk_to_the_maps() -> None:
    """It is the maps that are enlarged (DeepLabv3, section 4): fine labels all count."""
    maps = torch.tensor([[[[3.0]], [[0.0]], [[0.0]]]])

    class One(nn.Module):
        def forward(self, images: Tensor) -> DeepLabOutput:
            return DeepLabOutput(maps)

    labels = torch.tensor([[[1, 1], [2, 0]]], dtype=torch.uint8)
    found = semantic_losses(One(), LabelledPhotos(torch.zeros(1, 3, 2, 2), labels), 0, normalize=doubled)
    logs = maps.log_softmax(dim=1).flatten()
    torch.testing.assert_close(found.total, -(2 * logs[0] + logs[1] + logs[2]) / 4)


def instances() -> PhotoInstances:
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, 2:6, 1:5] = True
    semantic = torch.zeros(8, 8, dtype=torch.uint8)
    semantic[masks[0]], semantic[7] = 2, 255
    tags = torch.tensor([1.0, 1.0])  # also of a class that no mask shows
    return PhotoInstances(torch.rand(3, 8, 8), semantic, masks, torch.tensor([1]), torch.tensor([False]), tags)


ANCHORS = torch.tensor([[0.375, 0.5, 0.5, 0.5], [0.9, 0.1, 0.1, 0.1], [0.8, 0.9, 0.1, 0.1]])


class Raw(nn.Module):
    tags: Tensor | None = None

    def forward(self, images: Tensor) -> SegmenterOutput:
        g = torch.Generator().manual_seed(0)
        b = len(images)
        shapes = ((b, 3, 4), (b, 3, 3), (b, 3, 2), (b, 2, 4, 4), (b, 3, 4, 4))
        return SegmenterOutput(*(torch.randn(*shape, generator=g) for shape in shapes), ANCHORS, self.tags)


def losses_of(model: nn.Module | None = None, **options: object) -> Losses:
    weights = {"box_weight": 1.5, "class_weight": 2.0, "mask_weight": 3.0, "semantic_weight": 10.0}
    others = {"mask_iou_weight": 5.0, "tag_weight": 4.0, "masks_per_image": 100, "min_mask_side": 0.0}
    others |= {"mask_scorer": None, "sigmoid_maps": False}
    return instance_losses(model or Raw(), [instances()] * 2, 7, normalize=doubled, **(weights | others | options))


def expected_losses(**options: object) -> MultiboxLoss:
    sample, output = instances(), Raw()(torch.zeros(2, 3, 8, 8))
    box = torch.tensor([[1 / 8, 2 / 8, 5 / 8, 6 / 8]])  # a box ends at its last pixel's far edge
    target = Targets(box, sample.classes, sample.masks, sample.uncertain, ignore=sample.semantic == 255)
    return multibox_loss(
        output.offsets,
        output.logits,
        output.coefficients,
        output.prototypes,
        output.anchors,
        [target, target],
        generator=torch.Generator().manual_seed(7),
        box_weight=1.5,
        classification_weight=2.0,
        mask_weight=3.0,
        **options,
    )


def test_instance_losses_are_yolacts_terms_and_a_weighted_semantic_one() -> None:
    found, expected, sample = losses_of(), expected_losses(), instances()
    output = Raw()(torch.zeros(2, 3, 8, 8))
    torch.testing.assert_close(found.terms["box"], expected.box)
    torch.testing.assert_close(found.terms["class"], expected.classification)
    torch.testing.assert_close(found.terms["mask"], expected.mask)
    enlarged = F.interpolate(output.semantic, size=(8, 8), mode="bilinear", align_corners=False)[:, [2, 0, 1]]
    labels = torch.stack([sample.semantic] * 2).long()
    semantic = F.cross_entropy(enlarged, labels, ignore_index=255)
    torch.testing.assert_close(found.terms["semantic"], 10 * semantic)
    torch.testing.assert_close(found.total, sum(found.terms.values()))
    assert all(float(term) > 0 for term in found.terms.values())


def test_a_tag_head_is_held_to_the_photos_tags() -> None:
    model = Raw()
    model.tags = torch.tensor([[2.0, 1.0], [0.5, -1.0]])
    found = losses_of(model)
    told = -torch.tensor([2.0, 1.0, 0.5, -1.0]).sigmoid().log().mean()
    torch.testing.assert_close(found.terms["tags"], 4 * told)
    torch.testing.assert_close(found.total, sum(found.terms.values()))
    assert "tags" not in losses_of().terms


def test_a_box_counts_as_no_smaller_than_it_is_told() -> None:
    """The instance's box is two prototype pixels wide and high."""
    found = losses_of(min_mask_side=4.0).terms["mask"]
    torch.testing.assert_close(found, expected_losses().mask / 4)


class Scorer(nn.Module):
    """In place of a mask-IoU net."""

    def forward(self, masks: Tensor) -> Tensor:
        return masks.mean(dim=(2, 3)) * torch.tensor([1.0, 2.0])


def test_the_released_design_has_a_sigmoid_a_class_and_rates_masks() -> None:
    found = losses_of(mask_scorer=Scorer(), sigmoid_maps=True)
    foreground = Raw()(torch.zeros(2, 3, 8, 8)).semantic[:, :-1]
    expected = expected_losses(semantic=foreground, semantic_weight=10.0, mask_scorer=Scorer(), mask_iou_weight=5.0)
    assert list(found.terms) == ["box", "class", "mask", "semantic", "mask_iou"]
    for one, two in zip(found.terms.values(), expected, strict=True):
        torch.testing.assert_close(one, two)
    assert "mask_iou" not in losses_of().terms
