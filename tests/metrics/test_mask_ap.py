import numpy as np
import pytest

from eps.metrics.mask_ap import PhotoInstances, mask_ap


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


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="photo 1 have no scores"):
        mask_ap([photo()], [photo()], classes=1)
    with pytest.raises(ValueError, match="shorter"):
        mask_ap([photo(), photo()], [photo(scores=[])], classes=1)
