import dataclasses
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from eps.data.artifacts import write_json
from eps.engine.agreement import THRESHOLDS
from eps.report_page.charts import loss_chart
from eps.report_page.combination import Combination
from eps.report_page.galleries import Card
from eps.report_page.page import Page, charts_of, render, shown
from eps.report_page.parts import Parts
from eps.report_page.pictures import class_chip, show
from eps.report_page.rows import Splits, gather_rows

SPLITS = Splits(train="train", val="val", also=())
BARE = Page(
    name="a<b>",
    root="data",
    splits=SPLITS,
    sizes={},
    rows=gather_rows(Parts(), SPLITS),
    charts=[],
    training=[],
    validation=[],
    combination=None,
    combination_photo="",
    seconds={},
    config="seed: 0",
)
PICTURE = show(Image.new("RGB", (8, 8)), alt='the "alt"', caption="caption", chips=(class_chip(0, "cat 0.5"),))


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def full() -> Page:
    card = Card("photo_1", (class_chip(0, "cat"),), [PICTURE])
    return dataclasses.replace(
        BARE,
        sizes={"train": 4, "val": 2},
        charts=[loss_chart("Loss", [{"a": 1.0}], note="")],
        training=[card],
        validation=[card],
        combination=Combination("cat, score 0.50", 8, [PICTURE], [PICTURE]),
        combination_photo="photo_1",
        seconds={"classifier": 2.0},
    )


def test_a_bare_run_makes_a_page_without_empty_sections() -> None:
    page = render(BARE)
    assert "a&lt;b&gt;" in page
    assert "a<b>" not in page
    sections = {attributes["id"] for tag, attributes in Elements(page).found if tag == "section"}
    assert sections == {"scores", "made"}


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    for tag, attributes in Elements(render(full())).found:
        assert tag != "script"
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), f"{tag} {name}={value}"


def test_every_picture_has_words_for_those_who_do_not_see_it() -> None:
    elements = Elements(render(full())).found
    pictures = [attributes for tag, attributes in elements if tag == "img"]
    assert len(pictures) == 4
    assert {attributes["alt"] for attributes in pictures} == {'the "alt"'}
    assert [a["aria-label"] for _, a in elements if a.get("role") == "img"] == [
        "Loss: loss over 1 steps; a from 1.00 to 1.00"
    ]


def test_links_lead_to_sections_that_are_there() -> None:
    elements = Elements(render(full())).found
    targets = {attributes["id"] for tag, attributes in elements if tag == "section"}
    links = {attributes["href"] for tag, attributes in elements if tag == "a"}
    assert links == {f"#{target}" for target in targets}


def test_made_rows_are_shown_with_a_dash_for_what_is_unknown(tmp_path: Path) -> None:
    parts = Parts(segmenter=tmp_path / "segmenter")
    page = render(dataclasses.replace(BARE, rows=gather_rows(parts, SPLITS)))
    assert page.count('<th scope="row" class="name">') == 1
    assert "<td>\N{EN DASH}</td>" in page
    assert "oracle" not in page


def test_the_oracle_is_called_one(tmp_path: Path) -> None:
    best = {
        "miou": 31.0,
        "per_class": {"cat": 31.0},
        "leakage": {"mean": 0.5},
        "threshold": 0.3,
        "curve": {"0.3": 31.0},
    }
    write_json(tmp_path / "evaluation" / "pseudo_masks.json", {"splits": {}, "best_threshold": best})
    write_json(tmp_path / "pseudo_masks" / "manifest.json", {"threshold_curve": None, "threshold": 0.3})
    parts = Parts(cam_pseudo_masks=tmp_path / "pseudo_masks")
    rows = gather_rows(parts, SPLITS)
    page = render(dataclasses.replace(BARE, rows=rows, charts=charts_of(parts, rows)))
    assert "an oracle that no user has" in page
    assert [chart.title for chart in charts_of(parts, rows)] == ["IoU of each class", "Threshold by truth, CAM"]


def test_charts_follow_what_was_recorded(tmp_path: Path) -> None:
    write_json(tmp_path / "classifier" / "manifest.json", {"history": [{"tags": 1.0}]})
    curve = [0.5] * len(THRESHOLDS)
    write_json(tmp_path / "pseudo_masks" / "manifest.json", {"threshold_curve": curve, "threshold": 0.2})
    parts = Parts(classifier=tmp_path / "classifier", pseudo_masks=tmp_path / "pseudo_masks")
    titles = [chart.title for chart in charts_of(parts, gather_rows(parts, SPLITS))]
    assert titles == ["Threshold without truth", "Classifier, EPS"]


def test_numbers() -> None:
    assert [shown(None), shown(61.26), shown(0.05, 3)] == ["\N{EN DASH}", "61.3", "0.050"]
