import numpy as np
import pytest

from eps.metrics.boundary import BoundaryCounts, boundary_counts, boundary_scores, edges


def picture(rows: str) -> np.ndarray:
    """Digits are labels, `v` is void (255)."""
    return np.array([[255 if c == "v" else int(c) for c in row] for row in rows.split()], dtype=np.uint8)


SQUARE = picture("000000 002200 002200 000000")
"""A square of 2 x 2: its 4 pixels and the 8 beside them are edge, the 4 at its corners are not."""
SHIFTED = picture("000000 000110 000110 000000")
"""The same one pixel to the right, of another class."""


def naive_edges(mask: np.ndarray) -> set[tuple[int, int]]:
    """Pixels of which a neighbour above, below, left or right differs."""
    height, width = mask.shape
    around = ((0, 1), (1, 0), (0, -1), (-1, 0))
    return {
        (y, x)
        for y, x in np.ndindex(height, width)
        for dy, dx in around
        if 0 <= y + dy < height and 0 <= x + dx < width and mask[y, x] != mask[y + dy, x + dx]
    }


def naive_counts(prediction: np.ndarray, truth: np.ndarray, tolerance: float) -> tuple[int, ...]:
    """From the definition, for a truth without void."""
    found, true = naive_edges((prediction > 0) & (prediction < 255)), naive_edges(truth > 0)

    def near(pixels: set[tuple[int, int]], others: set[tuple[int, int]]) -> int:
        return sum(any((y - v) ** 2 + (x - u) ** 2 <= tolerance**2 for v, u in others) for y, x in pixels)

    return near(found, true), len(found), near(true, found), len(true)


def test_edges_of_a_square() -> None:
    assert edges(SQUARE > 0).astype(int).tolist() == [
        [0, 0, 1, 1, 0, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 0, 1, 1, 0, 0],
    ]


def test_shifted_square_worked_out_by_hand() -> None:
    """Columns 2 to 4 of the middle rows (6 pixels) and column 3 of the outer rows (2) are edge of both: 8 of 12 each.

    The other 4 of the prediction (column 5 twice, column 4 of the outer rows) are one pixel from a true one.
    """
    exact = boundary_counts(SHIFTED, SQUARE, tolerance=0.0)
    assert exact == BoundaryCounts(right=8, predicted=12, found=8, true=12)
    assert boundary_scores(exact) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert boundary_scores(boundary_counts(SHIFTED, SQUARE, tolerance=1.0)) == (1, 1, 1)


def test_precision_and_recall_differ() -> None:
    """A second square far off: 12 of 24 predicted edges are right, all true ones are found; F1 = 2 * .5 / 1.5."""
    both, one = np.hstack([SQUARE, SQUARE]), np.hstack([SQUARE, np.zeros_like(SQUARE)])
    counts = boundary_counts(both, one, tolerance=1.0)
    assert counts == BoundaryCounts(right=12, predicted=24, found=12, true=12)
    assert boundary_scores(counts) == pytest.approx((0.5, 1, 2 / 3))


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 1.5, 3.0])
def test_equals_loops(tolerance: float) -> None:
    generator = np.random.default_rng(0)
    for _ in range(5):
        prediction = generator.choice(np.array([0, 0, 0, 1, 2, 255], dtype=np.uint8), size=(9, 12))
        truth = generator.choice(np.array([0, 0, 0, 1], dtype=np.uint8), size=(9, 12))
        assert tuple(boundary_counts(prediction, truth, tolerance=tolerance)) == naive_counts(
            prediction, truth, tolerance
        )


def test_classes_do_not_matter() -> None:
    halves = picture("0110 0220 0000")
    assert boundary_counts(halves, np.minimum(halves, 1), tolerance=0.0) == boundary_counts(
        halves, halves, tolerance=0.0
    )


def test_flips_change_nothing() -> None:
    flipped = boundary_counts(SHIFTED[::-1, ::-1], SQUARE[::-1, ::-1], tolerance=0.0)
    assert flipped == boundary_counts(SHIFTED, SQUARE, tolerance=0.0)


def test_swapping_prediction_and_truth_swaps_precision_and_recall() -> None:
    bigger = picture("011110 011110 011110 000000")
    there, back = (
        boundary_scores(boundary_counts(*pair, tolerance=0.0)) for pair in ((bigger, SQUARE), (SQUARE, bigger))
    )
    assert (there.precision, there.recall, there.f1) == (back.recall, back.precision, back.f1)
    assert there.precision != there.recall


def test_void_band_hides_the_true_edge_in_its_middle() -> None:
    """Columns 2 to 5 are void: the edge lies between columns 3 and 4."""
    truth = picture("00vvvv11 00vvvv11")
    middle, near, off = picture("00001111 00001111"), picture("00011111 00011111"), picture("01111111 01111111")
    assert boundary_counts(middle, truth, tolerance=0.0) == BoundaryCounts(right=4, predicted=4, found=4, true=4)
    assert boundary_counts(near, truth, tolerance=0.0) == BoundaryCounts(right=2, predicted=2, found=2, true=4)
    assert boundary_counts(off, truth, tolerance=0.0) == BoundaryCounts(right=0, predicted=4, found=0, true=4)


def test_void_object_is_not_judged() -> None:
    assert boundary_counts(picture("000000 002200 000000"), picture("0vvvv0 0vvvv0 0vvvv0"), tolerance=0.0) == (
        0,
        0,
        0,
        0,
    )
    assert boundary_counts(SQUARE, np.full_like(SQUARE, 255), tolerance=1.0) == (0, 0, 0, 0)


def test_predicted_ignore_is_no_foreground() -> None:
    assert boundary_counts(np.where(SQUARE > 0, 255, 0).astype(np.uint8), SQUARE, tolerance=9.0).predicted == 0


def test_nothing_to_judge() -> None:
    nothing = np.zeros_like(SQUARE)
    scores = boundary_scores(boundary_counts(nothing, nothing, tolerance=1.0))
    assert np.isnan(scores).all()
    missed = boundary_scores(boundary_counts(nothing, SQUARE, tolerance=1.0))
    assert (np.isnan(missed.precision), missed.recall, np.isnan(missed.f1)) == (True, 0, True)
    assert boundary_scores(BoundaryCounts(0, 5, 0, 5)).f1 == 0
    for size in ((0, 0), (1, 1)):
        blank = np.ones(size, dtype=np.uint8)
        assert boundary_counts(blank, blank, tolerance=1.0) == (0, 0, 0, 0)


def test_whole_photo_has_no_outline() -> None:
    assert not edges(np.ones((4, 5), dtype=bool)).any()
