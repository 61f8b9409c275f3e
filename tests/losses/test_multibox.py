from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eps.losses.masks import mask_iou_loss
from eps.losses.multibox import MultiboxLoss, Targets, count_positives, multibox_loss
from eps.nn.mask_iou import MaskIoUNet
from eps.ops.anchors import anchors as pyramid_anchors
from eps.ops.boxes import center_to_corner, encode
from eps.ops.matching import match

GOLDEN = Path(__file__).parents[1] / "golden"
ANCHORS = pyramid_anchors(grids=[(4, 4), (2, 2)], scales=[[12.0], [24.0]], ratios=(1.0, 2.0), size=(48, 48)).double()
CLASSES = 3


class Predictions:
    """What a segmenter says of a batch: leaves, so that gradients can be read."""

    def __init__(self, batch: int = 3, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)

        def leaf(*shape: int) -> torch.Tensor:
            return torch.randn(batch, *shape, generator=generator, dtype=torch.float64).requires_grad_()

        self.offsets, self.logits = leaf(len(ANCHORS), 4), leaf(len(ANCHORS), CLASSES + 1)
        self.coefficients, self.prototypes = leaf(len(ANCHORS), 5), leaf(5, 12, 12)
        self.semantic = leaf(CLASSES, 6, 6)

    @property
    def leaves(self) -> tuple[torch.Tensor, ...]:
        return (self.offsets, self.logits, self.coefficients, self.prototypes, self.semantic)

    def loss(self, targets: list[Targets], **options: object) -> MultiboxLoss:
        return loss_of(*self.leaves, targets, **options)

    def part(self, *images: int) -> "Predictions":
        part = Predictions(batch=1)
        for name, value in vars(self).items():
            setattr(part, name, value[list(images)])
        return part


def loss_of(
    offsets: torch.Tensor,
    logits: torch.Tensor,
    coefficients: torch.Tensor,
    prototypes: torch.Tensor,
    semantic: torch.Tensor,
    targets: list[Targets],
    **options: object,
) -> MultiboxLoss:
    options = {"semantic": semantic, "mask_scorer": scorer, **options}
    return multibox_loss(offsets, logits, coefficients, prototypes, ANCHORS, targets, **options)


def scorer(masks: torch.Tensor) -> torch.Tensor:
    """In place of the mask-IoU net: each class's own multiple of the mean."""
    return masks.mean(dim=(2, 3)) * torch.arange(1, CLASSES + 1)


def target(*boxes: tuple[float, float, float, float], crowd: int = 0, ignore: torch.Tensor | None = None) -> Targets:
    """Truths that fill their boxes, in a photo of 24 x 24; the last `crowd` of them are crowds."""
    corners = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    masks = torch.zeros(len(boxes), 24, 24, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, (corners * 24).long().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
    number = torch.arange(len(boxes))
    return Targets(corners, number % CLASSES, masks, number >= len(boxes) - crowd, ignore)


LEFT, RIGHT, LARGE = (0.05, 0.1, 0.35, 0.5), (0.5, 0.55, 0.95, 0.9), (0.1, 0.1, 0.8, 0.9)
BATCH = [target(LEFT, RIGHT), target(LARGE, LEFT, RIGHT, crowd=1), target()]


@pytest.mark.parametrize(
    ("matching", "negatives", "variances"),
    [
        ({"positive": 0.5, "negative": 0.4, "crowd_coverage": 0.7}, 3, (0.1, 0.2)),
        ({"positive": 0.35, "negative": 0.1, "crowd_coverage": 0.05}, 2, (0.3, 0.5)),
    ],
)
def test_against_loops_over_images_and_anchors(
    matching: dict[str, float], negatives: int, variances: tuple[float, float]
) -> None:
    predictions = Predictions()
    box = classification = mask = semantic = rescored = 0.0
    positives = 0
    for i, truth in enumerate(BATCH):
        single = ~truth.crowd
        boxes, classes, masks = truth.boxes[single], truth.classes[single], truth.masks[single]
        matched = match(boxes, classes, ANCHORS, crowds=truth.boxes[truth.crowd], **matching)
        small = F.interpolate(masks[:, None].double(), size=(12, 12), mode="bilinear")[:, 0] > 0.5
        probability = predictions.logits[i].softmax(1)
        background = []
        for a, label in enumerate(matched.classes.tolist()):
            if label == 0:
                background.append(-probability[a, 0].log().item())
            if label <= 0:
                continue
            positives += 1
            t = int(matched.index[a])
            goal = encode(boxes[t : t + 1], ANCHORS[a : a + 1], variances=variances)[0]
            box += F.smooth_l1_loss(predictions.offsets[i, a], goal, reduction="sum").item()
            classification += -probability[a, label].log().item()
            logits = torch.einsum("k,khw->hw", predictions.coefficients[i, a], predictions.prototypes[i])
            cost = F.binary_cross_entropy_with_logits(logits, small[t].double(), reduction="none")
            x1, y1, x2, y2 = (boxes[t] * 12).tolist()
            inside = [(y, x) for y, x in np.ndindex(12, 12) if x1 - 1 <= x < x2 + 1 and y1 - 1 <= y < y2 + 1]
            mask += sum(cost[y, x].item() for y, x in inside) / ((x2 - x1) * (y2 - y1))
            own = (predictions.prototypes[i], predictions.coefficients[i, a : a + 1], torch.tensor([t]))
            rescored += mask_iou_loss(*own, boxes, masks, classes, scorer=scorer).item()
        classification += sum(sorted(background, reverse=True)[: negatives * int((matched.classes > 0).sum())])
        quarter = F.interpolate(masks[:, None].double(), size=(6, 6), mode="bilinear")[:, 0] > 0.5
        for c in range(CLASSES):
            union = quarter[classes == c].any(0).double()
            cost = F.binary_cross_entropy_with_logits(predictions.semantic[i, c], union, reduction="sum")
            semantic += cost.item() / 36
    found = predictions.loss(BATCH, **matching, negatives_per_positive=negatives, variances=variances)
    assert positives > 4
    assert found.box.item() == pytest.approx(1.5 * box / positives)
    assert found.classification.item() == pytest.approx(classification / positives)
    assert found.mask.item() == pytest.approx(6.125 * mask / positives)
    assert found.semantic.item() == pytest.approx(semantic / 3)
    assert rescored > 0
    assert found.mask_iou.item() == pytest.approx(25 * rescored / positives)


def test_the_order_of_images_does_not_matter() -> None:
    predictions = Predictions()
    shuffled = predictions.part(2, 0, 1).loss([BATCH[2], BATCH[0], BATCH[1]])
    for one, two in zip(predictions.loss(BATCH), shuffled, strict=True):
        torch.testing.assert_close(one, two)


def test_an_image_with_a_known_share_of_positives_weighs_by_it() -> None:
    """A batch of the same image twice costs what the image costs."""
    predictions = Predictions()
    twice, once = predictions.part(1, 1).loss([BATCH[1], BATCH[1]]), predictions.part(1).loss([BATCH[1]])
    for one, two in zip(once, twice, strict=True):
        torch.testing.assert_close(one, two)


def test_masks_are_sampled_by_the_generator() -> None:
    predictions = Predictions()
    losses = [
        predictions.loss(BATCH, masks_per_image=1, generator=torch.Generator().manual_seed(seed)).mask
        for seed in (0, 0, 1, 2, 3)
    ]
    assert losses[0] == losses[1]
    assert len({loss.item() for loss in losses}) > 1


def test_weights_scale_their_terms() -> None:
    predictions = Predictions()
    plain = predictions.loss(BATCH)
    weights = {"box_weight": 3.0, "classification_weight": 0.5, "mask_weight": 0.0, "semantic_weight": 2.0}
    weighted = predictions.loss(BATCH, **weights, mask_iou_weight=12.5)
    expected = (plain.box * 2, plain.classification / 2, plain.mask * 0, plain.semantic * 2, plain.mask_iou / 2)
    for one, two in zip(weighted, expected, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("empty", [target(), target((0.0, 0.0, 1.0, 1.0), crowd=1)])
def test_no_positive_gives_finite_zeros_and_zero_gradients(empty: Targets) -> None:
    predictions = Predictions(batch=2)
    loss = predictions.loss([empty, empty])
    assert loss.box == loss.classification == loss.mask == loss.mask_iou == 0
    (loss.box + loss.classification + loss.mask + loss.mask_iou).backward()
    for leaf in predictions.leaves[:4]:
        assert torch.equal(leaf.grad, torch.zeros_like(leaf))
    assert loss.semantic > 0


def test_without_semantic_logits_or_scorer_their_terms_are_zero() -> None:
    predictions = Predictions()
    loss = multibox_loss(*predictions.leaves[:4], ANCHORS, BATCH)
    assert loss.semantic == loss.mask_iou == 0
    assert loss.mask == predictions.loss(BATCH).mask


def test_a_crowd_is_in_no_target() -> None:
    """A crowd away from every anchor that learns something changes nothing, whatever its mask."""
    predictions = Predictions(batch=1)
    empty_crowd = target(LARGE, RIGHT, crowd=1)
    empty_crowd.masks[1] = False
    with_crowd = target(LARGE, RIGHT, crowd=1)
    assert with_crowd.masks[1].any()
    for one, two in zip(predictions.loss([with_crowd]), predictions.loss([empty_crowd]), strict=True):
        assert torch.equal(one, two)
    same_box = target(LARGE, LARGE, crowd=1)
    assert torch.equal(predictions.loss([same_box]).box, predictions.loss([target(LARGE)]).box)


def test_what_is_predicted_on_ignored_pixels_does_not_matter() -> None:
    ignore = torch.zeros(24, 24, dtype=torch.bool)
    ignore[8:16] = True
    batch = [target(LEFT, LARGE, ignore=ignore)]
    predictions, shaken = Predictions(batch=1), Predictions(batch=1)
    with torch.no_grad():
        shaken.prototypes[:, :, 4:8] += 5
        shaken.semantic[:, :, 2:4] += 5
    for one, two in zip(predictions.loss(batch), shaken.loss(batch), strict=True):
        assert torch.equal(one, two)
    assert shaken.loss([target(LEFT, LARGE)]).mask != predictions.loss([target(LEFT, LARGE)]).mask


def test_an_anchor_on_ignored_pixels_is_not_background() -> None:
    ignore = torch.zeros(24, 24, dtype=torch.bool)
    ignore[:, 12:] = True
    predictions = Predictions(batch=1)
    lost = predictions.loss([target(LEFT, ignore=ignore)], negatives_per_positive=10**6).classification
    (gradient,) = torch.autograd.grad(lost, predictions.logits)
    within = center_to_corner(ANCHORS)[:, 0] >= 0.5
    assert within.any()
    assert not gradient[0, within].any()
    assert gradient[0, ~within].any(dim=1).sum() > 1
    (gradient,) = torch.autograd.grad(
        predictions.loss([target(LEFT)], negatives_per_positive=10**6).classification, predictions.logits
    )
    assert gradient[0, within].any()


def test_truth_under_ignored_pixels_does_not_matter() -> None:
    ignore = torch.zeros(24, 24, dtype=torch.bool)
    ignore[8:16] = True
    one, two = target(LARGE, ignore=ignore), target(LARGE, ignore=ignore)
    two.masks[:, 8:16] = False
    predictions = Predictions(batch=1)
    for a, b in zip(predictions.loss([one]), predictions.loss([two]), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("side", [0.0, 1e-6])
def test_a_tiny_truth_stays_finite_in_float32(side: float) -> None:
    tiny = target((0.5, 0.5, 0.5 + side, 0.5 + side))
    leaves = [leaf.detach().float().requires_grad_() for leaf in Predictions(batch=1).leaves]
    loss = multibox_loss(*leaves[:4], ANCHORS.float(), [tiny._replace(boxes=tiny.boxes.float())], semantic=leaves[4])
    torch.stack(loss).sum().backward()
    assert all(term.isfinite() for term in loss)
    assert all(leaf.grad.isfinite().all() for leaf in leaves)


def test_gradient() -> None:
    def total(*leaves: torch.Tensor) -> torch.Tensor:
        return torch.stack(loss_of(*leaves, BATCH[:1])).sum()

    assert torch.autograd.gradcheck(total, Predictions(batch=1).leaves, fast_mode=True)


def released(name: str) -> tuple[dict[str, torch.Tensor], list[Targets]]:
    golden = {key: torch.from_numpy(value) for key, value in np.load(GOLDEN / f"loss_{name}.npz").items()}
    targets, side = [], int(golden["mask_size"])
    for i, crowds in enumerate(golden["crowds"].tolist()):
        rows = golden[f"targets_{i}"]
        bits = np.unpackbits(golden[f"masks_{i}"].numpy())[: len(rows) * side * side]
        masks = torch.from_numpy(bits).reshape(-1, side, side).bool()
        crowd = torch.arange(len(rows)) >= len(rows) - crowds
        targets.append(Targets(rows[:, :4], rows[:, 4].long(), masks, crowd))
    return golden, targets


def filled_net(fill: Callable[..., dict[str, torch.Tensor]]) -> MaskIoUNet:
    net = MaskIoUNet(classes=5)
    ours = net.state_dict()
    theirs = {key: f"maskiou_net.{2 * int(key.split('.')[1])}.{key.split('.')[2]}" for key in ours}
    weights = fill({theirs[key]: list(tensor.shape) for key, tensor in ours.items()})
    net.load_state_dict({key: weights[theirs[key]] for key in ours})
    return net


@pytest.mark.parametrize(("name", "terms"), [("yolact_resnet50", "BCMS"), ("yolact_plus_resnet50", "BCMSI")])
def test_released_loss_and_gradients(name: str, terms: str, fill: Callable[..., dict[str, torch.Tensor]]) -> None:
    golden, targets = released(name)
    net = filled_net(fill) if "I" in terms else None
    names = ("loc", "conf", "coefficients", "prototypes", "segmentation")
    leaves = [golden[leaf].requires_grad_() for leaf in names]
    planes = leaves[3].permute(0, 3, 1, 2)
    loss = multibox_loss(*leaves[:3], planes, golden["priors"], targets, semantic=leaves[4], mask_scorer=net)
    for letter, term in zip(terms, loss, strict=False):
        assert term.item() == pytest.approx(golden[f"loss_{letter}"].item(), rel=1e-5)
    torch.stack(loss).sum().backward()
    for leaf_name, leaf in zip(names, leaves, strict=True):
        expected = golden[f"{leaf_name}_grad"]
        torch.testing.assert_close(leaf.grad, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_parts_of_a_batch_add_up_to_it() -> None:
    """With the count of the whole batch over the number of parts; whose masks are drawn depends on no other image."""
    predictions = Predictions()
    options = {"masks_per_image": 1, "mask_weight": 6.0}
    whole = predictions.loss(BATCH, **options, generator=torch.Generator().manual_seed(0))
    counts = [count_positives(ANCHORS, [target]) for target in BATCH]
    assert len({int(count) for count in counts}) > 1
    mean = torch.stack(counts).double().mean()
    parts = [
        predictions.part(i).loss([BATCH[i]], **options, count=mean, generator=torch.Generator().manual_seed(0))
        for i in range(len(BATCH))
    ]
    for term, *shares in zip(whole, *parts, strict=True):
        torch.testing.assert_close(torch.stack(shares).mean(), term)
    assert count_positives(ANCHORS, BATCH) == sum(counts)
