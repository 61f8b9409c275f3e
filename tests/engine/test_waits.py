"""That a training step does not make a GPU's host wait more than it must."""

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from eps.data.samples import PhotoInstances
from eps.engine.criteria import instance_losses
from eps.engine.descent import Descent, Losses
from eps.models.segmenter import SegmenterOutput
from tests.waits import waits_of


def test_waits_are_seen() -> None:
    values = torch.tensor([1.0, 2.0])
    assert waits_of(lambda: values[values > 1]) == 1
    assert waits_of(lambda: float(values.sum())) == 1
    assert waits_of(lambda: bool(values.isfinite().all())) == 1
    assert waits_of(lambda: values[torch.tensor([1])]) == 0


def squares(model: nn.Module, batch: Tensor, step: int) -> Losses:
    loss = model(batch).pow(2).mean()
    return Losses(total=loss, terms={"loss": loss})


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_step_asks_for_all_its_numbers_at_once(clip: float) -> None:
    """By one tolist, which a CPU does without an operation: where it stands, nothing else does."""
    model = nn.Linear(3, 2)
    descend = Descent(
        model=model,
        criterion=squares,
        optimizer=torch.optim.AdamW(model.parameters(), fused=True),
        accelerator=Accelerator(cpu=True),
        clip=clip,
    )
    batch = torch.ones(4, 3)
    assert waits_of(lambda: descend([batch], 0)) == 0
    assert waits_of(lambda: descend([batch, batch], 1)) == 0


class Raw(nn.Module):
    """A segmenter of two classes with one anchor on an object."""

    def forward(self, images: Tensor) -> SegmenterOutput:
        b = len(images)
        shapes = ((b, 3, 4), (b, 3, 3), (b, 3, 2), (b, 2, 4, 4), (b, 3, 4, 4))
        anchors = torch.tensor([[0.375, 0.5, 0.5, 0.5], [0.9, 0.1, 0.1, 0.1], [0.8, 0.9, 0.1, 0.1]])
        return SegmenterOutput(*(torch.randn(*shape, requires_grad=True) for shape in shapes), anchors)


def sample() -> PhotoInstances:
    """An object, a crowd, and pixels to ignore."""
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 2:6, 1:5] = masks[1, 6:, 6:] = True
    semantic = torch.zeros(8, 8, dtype=torch.uint8)
    semantic[masks[0]], semantic[7] = 2, 255
    kinds = torch.tensor([False, True])
    return PhotoInstances(torch.rand(3, 8, 8), semantic, masks, torch.tensor([1, 0]), kinds, torch.ones(2))


@pytest.mark.parametrize("photos", [1, 5])
def test_the_segmenters_loss_waits_for_positives_and_negatives_alone(photos: int) -> None:
    """However many photos there are; which are crowds, and how many are positive, are two more that show on a GPU."""

    def work() -> None:
        losses = instance_losses(
            Raw(),
            batch,
            0,
            normalize=lambda images: images,
            box_weight=1.0,
            class_weight=1.0,
            mask_weight=1.0,
            semantic_weight=1.0,
            mask_iou_weight=1.0,
            tag_weight=0.0,
            masks_per_image=100,
            min_mask_side=0.0,
            mask_scorer=None,
            sigmoid_maps=False,
        )
        losses.total.backward()

    batch = [sample() for _ in range(photos)]
    assert waits_of(work) == 2
