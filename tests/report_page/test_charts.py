import re
from xml.etree import ElementTree

import numpy as np

from eps.report_page.charts import Chart, Curve, class_chart, loss_chart, threshold_chart
from eps.report_page.rows import Row


def row(name: str, **per_class: float | None) -> Row:
    return Row(
        name=name,
        label=name,
        made=True,
        split="val",
        miou={"val": 50.0},
        per_class=per_class,
        leakage=None,
        ap50=None,
        seconds=None,
    )


def texts(chart: Chart) -> str:
    return " ".join(t for t in ElementTree.fromstring(chart.svg).itertext() if t.strip())


def ids(chart: Chart) -> set[str]:
    return {e.attrib["id"] for e in ElementTree.fromstring(chart.svg).iter() if "id" in e.attrib}


def test_a_chart_is_inline_svg_in_the_ink_of_the_page() -> None:
    chart = loss_chart("Classifier", [{"tags": 1.0}, {"tags": 0.5}], note="why")
    root = ElementTree.fromstring(chart.svg)
    assert root.tag.endswith("svg")
    assert not {"width", "height"} & set(root.attrib)
    assert "currentColor" in chart.svg
    assert "#123456" not in chart.svg
    assert "metadata" not in chart.svg
    assert chart.note == "why"


def test_two_charts_on_a_page_share_no_id_and_refer_to_their_own() -> None:
    history = [{"tags": 1.0}, {"tags": 0.5}]
    one, two = loss_chart("One", history, note=""), loss_chart("Two", history, note="")
    assert ids(one)
    assert not ids(one) & ids(two)
    for chart in (one, two):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', chart.svg)) <= ids(chart)


def test_losses_are_named_and_said() -> None:
    chart = loss_chart("S", [{"box": 4.0, "mask": 2.0}, {"box": 1.0, "mask": 0.5}], note="")
    assert "box" in texts(chart)
    assert "mask" in texts(chart)
    assert chart.alt == "S: loss over 2 steps; box from 4.00 to 1.00, mask from 2.00 to 0.50"


def test_a_loss_of_zero_one_step_and_many_can_be_drawn() -> None:
    loss_chart("zero", [{"a": 0.0}] * 3, note="")
    loss_chart("one", [{"a": 1.0}], note="")
    losses = np.random.default_rng(0).uniform(0.1, 1, 5000)
    assert len(loss_chart("many", [{"a": float(loss)} for loss in losses], note="").svg) < 60_000


def test_a_threshold_curve_names_what_was_taken() -> None:
    curve = Curve("EPS", "#3f88c5", [0.1, 0.2, 0.3], [0.5, 0.9, 0.4], 0.2)
    chart = threshold_chart("T", [curve], quantity="IoU", note="")
    assert "EPS: 0.2" in texts(chart)
    assert chart.alt == "IoU over background thresholds; EPS takes 0.2"


def test_a_threshold_curve_at_zero_can_be_drawn() -> None:
    threshold_chart("T", [Curve("EPS", "red", [0.1, 0.2], [0.0, 0.0], 0.1)], quantity="IoU", note="")


def test_bars_take_the_classes_of_all_rows_and_escape_their_names() -> None:
    chart = class_chart("C", [row("eps", train=70.0, boat=None), row("cam", **{"a<b>": 10.0})], note="")
    for name in ("train", "boat", "a<b>", "eps, val", "cam, val"):
        assert name in texts(chart)
    assert "a<b>" not in chart.svg
