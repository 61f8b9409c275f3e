import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eps.report_page.matrices import confusion_chart, cooccurrence, cooccurrence_chart

LABELS = {"a": ("train", "rails"), "b": ("train", "rails"), "c": ("rails",), "d": ()}


@given(st.lists(st.lists(st.sampled_from("xyz"), unique=True), max_size=12))
def test_cooccurrence_is_counted_photo_by_photo(photos: list[list[str]]) -> None:
    found = cooccurrence({str(n): names for n, names in enumerate(photos)}, list("xyz"))
    for i, one in enumerate("xyz"):
        having = [names for names in photos if one in names]
        for j, other in enumerate("xyz"):
            if having:
                assert found[i, j] == sum(other in names for names in having) / len(having)
            else:
                assert np.isnan(found[i, j])


def test_what_comes_together_is_said_and_can_be_taken_along() -> None:
    chart = cooccurrence_chart(LABELS, ["train", "rails", "boat"], split="train")
    assert "100% of photos with train show rails; 67% of photos with rails show train" in chart.alt
    assert chart.table is not None
    assert chart.table.shown()[2] == ["boat", *["\N{EN DASH}"] * 3]
    assert "<image" in chart.svg


def test_classes_that_never_meet_are_said_to_do_so() -> None:
    assert "no two classes come together" in cooccurrence_chart({"a": ("x",)}, ["x", "y"], split="train").alt


def test_confusion_has_a_column_for_what_was_left_open_only_where_something_was() -> None:
    matrix = np.array([[8, 2, 0], [1, 1, 2]])
    names = ["background", "cat"]
    chart = confusion_chart("EPS", "eps", matrix, names, split="train")
    assert "50% of cat is taken for left open" in chart.alt
    assert chart.table is not None
    assert list(chart.table.rows[1]) == ["cat", 0.25, 0.25, 0.5]
    matrix[:, 2] = 0
    closed = confusion_chart("EPS", "eps", matrix, names, split="train").table
    assert closed is not None
    assert list(closed.columns)[1:] == names


def test_a_dollar_in_a_class_is_no_formula() -> None:
    names = ["$\\foo$", "$5 & $6"]
    chart = cooccurrence_chart({"a": tuple(names)}, names, split="train")
    assert "$5 &amp; $6" in chart.svg
