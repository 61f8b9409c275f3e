import json
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from eps.metrics.mask_ap import InstanceTally, PhotoInstances, mask_ap


def square(x: int, width: int = 10) -> np.ndarray:
    mask = np.zeros((30, 60), dtype=bool)
    mask[5:15, x : x + width] = True
    return mask


def photo(
    *instances: tuple[np.ndarray, int], scores: list[float] | None = None, crowd: list[bool] | None = None
) -> PhotoInstances:
    masks = np.array([mask for mask, _ in instances], dtype=bool).reshape(-1, 30, 60)
    return PhotoInstances(
        masks=masks,
        classes=np.array([index for _, index in instances], dtype=np.int64),
        scores=None if scores is None else np.array(scores, dtype=np.float64),
        crowd=np.array(crowd if crowd is not None else [False] * len(instances), dtype=bool),
    )


def naive_ap(
    truth: list[list[np.ndarray]], found: list[list[tuple[np.ndarray, float]]], thresholds: list[float]
) -> float:
    """One class, no crowds: greedy matching by score, precision made monotonous, sampled at 101 recalls."""
    total = sum(len(masks) for masks in truth)
    results = []
    for threshold in thresholds:
        hits = []
        for masks, candidates in zip(truth, found, strict=True):
            free = list(range(len(masks)))
            for mask, score in sorted(candidates, key=lambda candidate: -candidate[1]):
                ious = {i: (mask & masks[i]).sum() / (mask | masks[i]).sum() for i in free}
                best = max(ious, key=lambda i: ious[i], default=None)
                hit = best is not None and ious[best] >= threshold
                if hit and best is not None:
                    free.remove(best)
                hits.append((score, hit))
        hits.sort(key=lambda pair: -pair[0])
        right = np.cumsum([hit for _, hit in hits])
        recall, precision = right / total, right / np.arange(1, len(hits) + 1)
        samples = [max(precision[recall >= r - 1e-12], default=0.0) for r in np.linspace(0, 1, 101)]
        results.append(np.mean(samples))
    return float(np.mean(results))


def test_equals_loops() -> None:
    generator = np.random.default_rng(0)
    truth, found = [], []
    for _ in range(4):
        places = [3, 20, 40]
        truth.append([square(x) for x in places])
        shifts = generator.integers(-5, 6, size=3)
        candidates = [square(x + shift) for x, shift in zip(places, shifts, strict=True)] + [square(30)]
        found.append([(mask, float(score)) for mask, score in zip(candidates, generator.random(4), strict=True)])
    result = mask_ap(
        [photo(*[(mask, 0) for mask in masks]) for masks in truth],
        [photo(*[(mask, 0) for mask, _ in pairs], scores=[score for _, score in pairs]) for pairs in found],
        classes=1,
    )
    ious = [0.5 + 0.05 * i for i in range(10)]
    assert result.ap == pytest.approx(naive_ap(truth, found, ious))
    assert result.ap50 == pytest.approx(naive_ap(truth, found, ious[:1]))
    assert result.ap75 == pytest.approx(naive_ap(truth, found, ious[5:6]))
    assert 0 < result.ap75 < result.ap50 < 1


def test_perfect() -> None:
    truth = [photo((square(3), 0), (square(20), 1)), photo((square(40), 1))]
    found = [photo((square(3), 0), (square(20), 1), scores=[0.3, 0.9]), photo((square(40), 1), scores=[0.1])]
    result = mask_ap(truth, found, classes=2)
    assert result[:3] == pytest.approx((1, 1, 1))
    assert result.ap50_per_class == pytest.approx([1, 1])


def test_order_of_instances_is_free() -> None:
    truth = [photo((square(3), 0), (square(20), 0))]
    instances, scores = [(square(4), 0), (square(23), 0), (square(40), 0)], [0.5, 0.9, 0.7]
    straight = mask_ap(truth, [photo(*instances, scores=scores)], classes=1)
    turned = mask_ap(truth, [photo(*instances[::-1], scores=scores[::-1])], classes=1)
    assert straight.ap == pytest.approx(turned.ap)


def test_first_of_many_matches() -> None:
    """pycocotools takes annotation 0 for "not matched", so ids must not start there."""
    assert mask_ap([photo((square(3), 0))], [photo((square(3), 0), scores=[0.5])], classes=1).ap == pytest.approx(1)


def test_classes_are_apart() -> None:
    result = mask_ap([photo((square(3), 0))], [photo((square(3), 1), scores=[0.9])], classes=3)
    assert result.ap50 == 0
    np.testing.assert_array_equal(result.ap50_per_class, [0, np.nan, np.nan])


def test_a_false_instance_over_the_true_one_halves_precision() -> None:
    truth = [photo((square(3), 0))]
    result = mask_ap(truth, [photo((square(3), 0), (square(40), 0), scores=[0.5, 0.9])], classes=1)
    assert result.ap50 == pytest.approx(0.5)


def test_crowd_is_neutral() -> None:
    truth = [photo((square(3), 0), (square(20, 30), 0), crowd=[False, True])]
    inside = [(square(3), 0), (square(22, 5), 0)]
    assert mask_ap(truth, [photo(*inside, scores=[0.5, 0.9])], classes=1).ap50 == pytest.approx(1)
    assert mask_ap(truth, [photo(inside[0], scores=[0.5])], classes=1).ap50 == pytest.approx(1)
    only = [photo((square(20, 30), 0), crowd=[True])]
    assert np.isnan(mask_ap(only, [photo(inside[1], scores=[0.9])], classes=1).ap)


def test_nothing_predicted_is_zero() -> None:
    result = mask_ap([photo((square(3), 0)), photo()], [photo(scores=[]), photo(scores=[])], classes=2)
    assert (result.ap, result.ap50, result.ap75) == (0, 0, 0)
    np.testing.assert_array_equal(result.ap50_per_class, [0, np.nan])


def test_no_truth_is_nan() -> None:
    result = mask_ap([photo()], [photo((square(3), 0), scores=[0.5])], classes=1)
    assert np.isnan([*result[:3], *result.ap50_per_class]).all()


@pytest.mark.parametrize("photos", [0, 2])
def test_no_instance_at_all(photos: int) -> None:
    result = mask_ap([photo()] * photos, [photo(scores=[])] * photos, classes=2)
    assert np.isnan([*result[:3], *result.ap50_per_class]).all()


def test_pycocotools_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    mask_ap([photo((square(3), 0))], [photo((square(3), 0), scores=[0.5])], classes=1)
    assert capsys.readouterr() == ("", "")


def tally(truth: list[PhotoInstances], found: list[PhotoInstances]) -> InstanceTally:
    made = InstanceTally()
    for expected, predicted in zip(truth, found, strict=True):
        made.add(expected, predicted)
    return made


def test_boxes_are_judged_by_their_own_overlap() -> None:
    """Half of an L is a poor mask and a perfect box, where the other half is a point in the far corner."""
    whole = square(3)
    corners = np.zeros_like(whole)
    corners[5, 3] = corners[14, 12] = True
    made = tally([photo((whole, 0))], [photo((corners, 0), scores=[0.9])])
    assert made.result(classes=1).ap == 0
    assert made.result(classes=1, of="boxes").ap == pytest.approx(1)


def test_given_boxes_count_and_have_their_own_ranks() -> None:
    """Two boxes, the false one first by the score of masks, last by that of boxes."""
    truth = [replace(photo((square(3), 0)), boxes=np.array([[100.0, 50, 120, 70]]))]
    found = replace(
        photo((square(3), 0), (square(40), 0), scores=[0.5, 0.9]),
        boxes=np.array([[100.0, 50, 120, 70], [0, 0, 9, 9]]),
        box_scores=np.array([0.8, 0.1]),
    )
    made = tally(truth, [found])
    assert made.result(classes=1).ap50 == pytest.approx(0.5)
    assert made.result(classes=1, of="boxes").ap50 == pytest.approx(1)


@pytest.mark.parametrize("of", ["masks", "boxes"])
def test_sizes_go_by_the_annotated_area(of: Literal["masks", "boxes"]) -> None:
    """The mask has 100 pixels, small; COCO's limits are 32^2 and 96^2."""
    found = [photo((square(3), 0), scores=[0.9])]
    for area, size in ((None, "small"), (100.0, "small"), (2000.0, "medium"), (9217.0, "large")):
        areas = None if area is None else np.array([area])
        result = tally([replace(photo((square(3), 0)), areas=areas)], found).result(classes=1, of=of)
        by_size = {"small": result.small, "medium": result.medium, "large": result.large}
        assert by_size.pop(size) == pytest.approx(1)
        assert all(np.isnan(value) for value in by_size.values())


@pytest.mark.parametrize("of", ["masks", "boxes"])
def test_equals_pycocotools_on_a_results_file(of: Literal["masks", "boxes"], tmp_path: Path) -> None:
    """What the command line of COCO would do: truth and results as json, loadRes, summarize."""
    generator = np.random.default_rng(1)
    truth, found, annotations, results = [], [], [], []
    for image in range(6):
        masks = [square(int(x), int(w)) for x, w in generator.integers(4, 25, size=(3, 2))]
        shifted = [np.roll(mask, int(generator.integers(-4, 5)), axis=1) for mask in masks]
        scores = generator.random(3)
        truth.append(photo(*[(mask, i % 2) for i, mask in enumerate(masks)], crowd=[False, False, image == 2]))
        found.append(photo(*[(mask, i % 2) for i, mask in enumerate(shifted)], scores=scores.tolist()))
        for i in range(3):
            rle = coco_mask.encode(np.asfortranarray(masks[i].astype(np.uint8)))
            other = coco_mask.encode(np.asfortranarray(shifted[i].astype(np.uint8)))
            common = {"image_id": image + 1, "category_id": i % 2 + 1}
            text = {"size": rle["size"], "counts": rle["counts"].decode()}
            crowd = int(truth[-1].crowd[i])
            facts = {"bbox": coco_mask.toBbox(rle).tolist(), "area": float(coco_mask.area(rle)), "iscrowd": crowd}
            annotations.append({"id": len(annotations) + 1, **common, "segmentation": text, **facts})
            segmentation = {"size": other["size"], "counts": other["counts"].decode()}
            one = {"segmentation": segmentation} if of == "masks" else {"bbox": coco_mask.toBbox(other).tolist()}
            results.append({**common, "score": float(scores[i]), **one})
    images = [{"id": i + 1, "height": 30, "width": 60} for i in range(6)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1}, {"id": 2}], "info": {}}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "results.json").write_text(json.dumps(results))
    with redirect_stdout(StringIO()):
        coco = COCO(tmp_path / "truth.json")
        evaluation = COCOeval(coco, coco.loadRes(str(tmp_path / "results.json")), "segm" if of == "masks" else "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    made = tally(truth, found).result(classes=2, of=of)
    expected = [value if value > -1 else np.nan for value in evaluation.stats[:6]]
    np.testing.assert_allclose(made[:6], expected, atol=1e-12)
    assert 0.1 < made.ap < 0.9


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="photo 1 have no scores"):
        mask_ap([photo()], [photo()], classes=1)
    with pytest.raises(ValueError, match="shorter"):
        mask_ap([photo(), photo()], [photo(scores=[])], classes=1)
