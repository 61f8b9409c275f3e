import numpy as np
from numpy.typing import NDArray

from eps.ops.instances import split_instances


def labels_of(*rows: str) -> NDArray[np.uint8]:
    """One character a pixel: '.' background, '?' ignore, a digit the label."""
    value = {".": 0, "?": 255}
    return np.array([[value.get(c) if c in value else int(c) for c in row] for row in rows], dtype=np.uint8)


def naive_components(labels: NDArray[np.uint8]) -> set[tuple[int, frozenset[tuple[int, int]]]]:
    """Flood fill, pixel by pixel."""
    left = {(y, x) for y, x in np.ndindex(*labels.shape) if labels[y, x] not in (0, 255)}
    components = set()
    while left:
        seed = left.pop()
        component, frontier = {seed}, [seed]
        while frontier:
            y, x = frontier.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            near = {pixel for pixel in near if labels[pixel] == labels[seed]}
            left -= near
            component |= near
            frontier += near
        components.add((int(labels[seed]) - 1, frozenset(component)))
    return components


def pixels(mask: NDArray[np.bool_]) -> frozenset[tuple[int, int]]:
    return frozenset((int(y), int(x)) for y, x in np.argwhere(mask))


def test_components_equal_flood_fill() -> None:
    labels = np.random.default_rng(0).choice([0, 0, 0, 1, 2, 255], size=(25, 30)).astype(np.uint8)
    found = split_instances(labels, min_area=1, fill_holes=False)
    assert {(instance.class_index, pixels(instance.mask)) for instance in found} == naive_components(labels)
    assert len(found) > 20
    assert all(instance.area == instance.mask.sum() for instance in found)


def test_masks_without_filling_make_up_the_labels() -> None:
    labels = np.random.default_rng(1).choice([0, 1, 2, 3, 255], size=(12, 10)).astype(np.uint8)
    rebuilt = np.zeros((12, 10), dtype=int)
    for instance in split_instances(labels, min_area=1, fill_holes=False):
        rebuilt += instance.mask * (instance.class_index + 1)
    np.testing.assert_array_equal(rebuilt, np.where(labels == 255, 0, labels))


def test_flip() -> None:
    labels = np.random.default_rng(2).choice([0, 0, 1, 2, 255], size=(12, 10)).astype(np.uint8)
    straight = split_instances(labels, min_area=2)
    flipped = split_instances(labels[:, ::-1].copy(), min_area=2)
    assert {(i.class_index, pixels(i.mask)) for i in straight} == {
        (i.class_index, pixels(i.mask[:, ::-1])) for i in flipped
    }


def test_box_class_and_order() -> None:
    labels = labels_of(
        "...22",
        ".....",
        "11...",
        ".1..1",
    )
    found = split_instances(labels, min_area=1)
    assert [i.class_index for i in found] == [0, 0, 1]
    assert [i.box for i in found] == [(0.0, 2.0, 2.0, 4.0), (4.0, 3.0, 5.0, 4.0), (3.0, 0.0, 5.0, 1.0)]
    assert [i.area for i in found] == [3, 1, 2]


def test_corners_connect() -> None:
    assert len(split_instances(labels_of("1.", ".1"), min_area=1)) == 1
    assert len(split_instances(labels_of("1..", "..1"), min_area=1)) == 2


def test_touching_classes_are_apart() -> None:
    assert [i.area for i in split_instances(labels_of("1122", "1122"), min_area=1)] == [4, 4]


def test_holes_of_background_and_ignore_are_filled_but_not_other_objects() -> None:
    labels = labels_of(
        "1111111",
        "1.1?121",
        "1111111",
    )
    plain = split_instances(labels, min_area=1, fill_holes=False)
    filled = split_instances(labels, min_area=1)
    assert [i.area for i in plain] == [18, 1]
    assert [i.area for i in filled] == [20, 1]
    assert filled[0].box == (0.0, 0.0, 7.0, 3.0)


def test_nested_object_of_the_same_class_stays_its_own() -> None:
    labels = labels_of(
        "11111",
        "1...1",
        "1.1.1",
        "1...1",
        "11111",
    )
    outer, inner = split_instances(labels, min_area=1)
    assert (outer.area, inner.area) == (24, 1)
    assert not (outer.mask & inner.mask).any()


def test_bay_at_the_border_of_the_photo_is_no_hole() -> None:
    labels = labels_of("1.1", "111")
    assert [i.area for i in split_instances(labels, min_area=1)] == [5]


def test_small_components_are_dropped() -> None:
    labels = labels_of("11.1", "11..")
    assert [i.area for i in split_instances(labels, min_area=4)] == [4]
    assert [i.area for i in split_instances(labels, min_area=1)] == [4, 1]
    assert split_instances(labels, min_area=5) == []


def test_thin_band_leaves_an_object_certain_but_a_cloud_does_not() -> None:
    band, cloud = np.zeros((20, 20), dtype=np.uint8), np.zeros((20, 20), dtype=np.uint8)
    band[3:17, 3:17], cloud[3:17, 3:17] = 255, 255
    band[5:15, 5:15], cloud[9:11, 9:11] = 1, 1
    assert [i.uncertain for i in split_instances(band, min_area=1)] == [False]
    assert [i.uncertain for i in split_instances(cloud, min_area=1)] == [True]


def test_uncertain_share_counts_the_ignored_pixels_nearest_to_the_object() -> None:
    # of the five ignored pixels, two are nearer to the object than to the background beyond, one is as near
    labels = labels_of("11?????.")
    (instance,) = split_instances(labels, min_area=1, uncertain_share=0.61)
    assert not instance.uncertain
    (instance,) = split_instances(labels, min_area=1, uncertain_share=0.49)
    assert instance.uncertain


def test_ignored_pixels_count_for_the_nearest_object() -> None:
    labels = labels_of("1??....????2")
    first, second = split_instances(labels, min_area=1, uncertain_share=0.55)
    assert (first.uncertain, second.uncertain) == (False, True)


def test_nothing_to_split() -> None:
    for value in (0, 255):
        assert split_instances(np.full((4, 5), value, dtype=np.uint8), min_area=1) == []
    assert split_instances(np.zeros((0, 5), dtype=np.uint8), min_area=1) == []


def test_one_pixel_and_the_highest_class() -> None:
    (instance,) = split_instances(np.full((1, 1), 254, dtype=np.uint8), min_area=1)
    assert (instance.class_index, instance.box, instance.uncertain) == (253, (0.0, 0.0, 1.0, 1.0), False)
