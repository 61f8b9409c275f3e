"""Labels and ids as annotations may have them, and what is told of them."""

import pytest

from eps.data.annotations.records import Report, label_of, photo_id


def test_labels() -> None:
    assert label_of("  cafe\u0301 ") == "café"
    for odd in (None, 5, "", "  ", "a\nb", "a\x00", "\ud800", "background"):
        with pytest.raises(ValueError, match=r"label|background"):
            label_of(odd)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", "a"),
        ("a.b.jpg", "a.b"),
        ("JPEGImages/a.jpg", "a"),
        ("images/sub/a.jpg", "sub/a"),
        ("a", "a"),
        (".hidden", ".hidden"),
    ],
)
def test_ids(name: str, expected: str) -> None:
    assert photo_id(name) == expected


@pytest.mark.parametrize("name", ["../a.jpg", "a/../../b.jpg", "/etc/a.jpg", "C:/a.jpg", "a\\b.jpg", "a\x00.jpg", ""])
def test_ids_that_lead_elsewhere(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a photo"):
        photo_id(name)


def test_notes_are_counted_with_examples() -> None:
    report = Report()
    for number in range(5):
        report.note("points are left out", f"{number}.json")
    report.note("odd \udcff", "b\udcff")
    assert report.notes() == [
        "5 points are left out: 0.json, 1.json, 2.json and 2 more",
        "1 odd \\udcff: b\\udcff",
    ]
    report.fault("a\nb \udcff")
    assert report.faults == ["a b \\udcff"]
