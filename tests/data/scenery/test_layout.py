"""What stands in a scene and where."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from eps.data.scenery.layout import CLASSES, Plan, lay_out, plan
from eps.data.scenery.objects import MAKERS
from eps.data.scenery.shapes import Part, disc, rectangle


def plans(*, shifted: bool) -> list[Plan]:
    rng = np.random.default_rng(0)
    return [plan(rng, shifted=shifted) for _ in range(4000)]


def share_with_context(drawn: list[Plan], c: int, *, present: bool) -> float:
    return float(np.mean([c in held.contexts for held in drawn if (c in held.classes) == present]))


def test_contexts_keep_their_class_company() -> None:
    drawn = plans(shifted=False)
    for c in range(len(CLASSES)):
        assert share_with_context(drawn, c, present=True) == pytest.approx(0.95, abs=0.025)
        assert share_with_context(drawn, c, present=False) == pytest.approx(0.03, abs=0.012)


def test_shifted_contexts_are_independent_and_as_frequent() -> None:
    drawn, paired = plans(shifted=True), plans(shifted=False)
    for c in range(len(CLASSES)):
        with_class, without = (share_with_context(drawn, c, present=present) for present in (True, False))
        assert with_class == pytest.approx(without, abs=0.05)
        assert np.mean([c in held.contexts for held in drawn]) == pytest.approx(
            np.mean([c in held.contexts for held in paired]), abs=0.03
        )


def test_one_to_four_objects_of_one_or_two_classes() -> None:
    drawn = plans(shifted=False)
    assert {len(held.classes) for held in drawn} == {1, 2, 3, 4}
    assert np.mean([len(set(held.classes)) for held in drawn]) == pytest.approx(1.4, abs=0.03)
    assert np.mean([held.distracted for held in drawn]) == pytest.approx(0.15, abs=0.02)
    frequency = np.bincount([held.classes[0] for held in drawn]) / len(drawn)
    np.testing.assert_allclose(frequency, 0.2, atol=0.03)


def test_things_fit_the_photo_and_hide_little_of_one_another() -> None:
    rng = np.random.default_rng(1)
    for held in plans(shifted=False)[:150]:
        things = lay_out(rng, held, shifted=False).things
        assert sorted(thing.number for thing in things) == [0] * held.distracted + [*range(1, len(held.classes) + 1)]
        assert [thing.box[3] for thing in things] == sorted(thing.box[3] for thing in things)
        for thing in things:
            corners = np.concatenate([part.points for part in thing.parts])
            np.testing.assert_allclose([*corners.min(axis=0), *corners.max(axis=0)], thing.box)
            x0, y0, x1, y1 = thing.box
            assert min(x1, 1) - max(x0, 0) > 0.75 * (x1 - x0)
            assert min(y1, 1) - max(y0, 0) > 0.75 * (y1 - y0)
        for a, b in combinations([thing.box for thing in things], 2):
            shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
            assert shared <= 0.3 * min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) + 1e-12


def distances(parts: list[Part]) -> NDArray[np.float64]:
    points = np.concatenate([part.points for part in parts])
    return np.hypot(*np.moveaxis(points[:, None] - points[None], 2, 0))  # type: ignore[no-any-return]


def test_things_are_turned_and_scaled_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [rectangle(0, 0, 5, 2, (1, 2, 3)), disc(1, 2, 0.5, 0.5, (4, 5, 6)), rectangle(4, -1, 5, 0, (7, 8, 9))]
    monkeypatch.setitem(MAKERS, "car", lambda _: drawn)
    heads_left = []
    for seed in range(20):
        layout = lay_out(np.random.default_rng(seed), Plan([CLASSES.index("car")], [], False), shifted=False)
        parts = layout.things[0].parts
        ratio = distances(parts)[0, 1] / distances(drawn)[0, 1]
        np.testing.assert_allclose(distances(parts), ratio * distances(drawn), atol=1e-9)
        heads_left.append(parts[2].points[:, 0].mean() < parts[0].points[:, 0].mean())
    assert 4 < sum(heads_left) < 16


@pytest.mark.parametrize("name", CLASSES)
def test_an_object_is_on_its_context_unless_shifted(name: str) -> None:
    c = CLASSES.index(name)
    near = {shifted: [gap(c, shifted=shifted, seed=seed) for seed in range(60)] for shifted in (False, True)}
    assert np.mean(np.array(near[False]) < 0.5) > 0.85
    assert np.mean(near[True]) > 1.5 * np.mean(near[False])


def gap(c: int, *, shifted: bool, seed: int) -> float:
    """Height of an object's foot (a plane's middle) from the middle of its band, in thicknesses."""
    layout = lay_out(np.random.default_rng(seed), Plan([c], [c], False), shifted=shifted)
    (x0, y0, x1, y1), band = layout.things[0].box, layout.bands[c]
    y = (y0 + y1) / 2 if CLASSES[c] == "plane" else y1
    return abs(y - band.at((x0 + x1) / 2)) / band.thickness
