import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from eps.data.artifacts import write_json
from eps.engine.agreement import THRESHOLDS
from eps.report_page.charts import loss_chart
from eps.report_page.combination import Combination
from eps.report_page.galleries import Card
from eps.report_page.page import Page, charts_of, filters, render
from eps.report_page.parts import Parts
from eps.report_page.pictures import class_chip, show
from eps.report_page.ranking import Measure
from eps.report_page.rows import Splits, gather_rows
from eps.report_page.tables import Table, shown

SPLITS = Splits(train="train", val="val", also=())
BARE = Page(
    name="a<b>",
    root="data",
    splits=SPLITS,
    sizes={},
    rows=gather_rows(Parts(), SPLITS),
    sweeps=[],
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
    card = Card("photo_1", (class_chip(0, "cat"),), [PICTURE], ("cat",), 50.0, ("best",))
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
    assert "Nothing to score yet" in page
    assert "AP50" not in page


def test_the_page_loads_nothing() -> None:
    page = render(full())
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert not re.search(r"https?:|fetch|import|XMLHttp|eval|document\.write|innerHTML", script)
    for tag, attributes in Elements(page).found:
        assert tag != "script" or not attributes
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
    links = {str(attributes["href"]) for tag, attributes in elements if tag == "a"}
    assert {link for link in links if not link.startswith("data:")} == {f"#{target}" for target in targets}


def test_every_table_can_be_taken_along(tmp_path: Path) -> None:
    sweep = Table("sweep_a", "Sweep", ["job", "score"], [["0: lr=1", 0.5]])
    rows = gather_rows(Parts(segmenter=tmp_path / "segmenter"), SPLITS)
    page = Elements(render(dataclasses.replace(full(), rows=rows, sweeps=[sweep])))
    files = [attributes["download"] for tag, attributes in page.found if tag == "a" and "download" in attributes]
    assert files == ["scores.csv", "scores.md", "sweep_a.csv", "sweep_a.md"]
    assert len([tag for tag, _ in page.found if tag == "summary"]) == 4  # sweep, configuration, time, versions


def cards() -> list[Card]:
    return [
        Card("a", (), [], ("cat", "dog"), 90.0, ("best",)),
        Card("b", (), [], ("cat",), 40.0, ("median", "worst")),
        Card("c", (), [], (), 10.0, ("worst",)),
    ]


def test_filters_offer_what_there_is_and_know_what_leaves_nothing() -> None:
    found = filters(cards())
    assert (found.classes, found.ranks) == (["cat", "dog"], ["best", "median", "worst"])
    assert found.empty == [(1, "median"), (1, "worst")]
    assert filters([Card("a", (), [])]) == ([], [], [])


def test_cards_carry_what_filters_look_for() -> None:
    page = render(dataclasses.replace(BARE, training=cards()))
    classes = [attributes["class"] for tag, attributes in Elements(page).found if tag == "article"]
    assert classes == ["card c0 c1 best", "card c0 median worst", "card worst"]
    options = [attributes["value"] for tag, attributes in Elements(page).found if tag == "option"]
    assert options == ["", "c0", "c1", "", "best", "median", "worst"]
    assert '#pseudo-masks:has(option[value="c1"]:checked) .card:not(.c1) { display: none; }' in page
    assert "picked by the mean IoU" in page
    assert "mIoU 90.0" in page
    agreeing = [card._replace(score=0.456, measure=Measure.agreement) for card in cards()]
    free = render(dataclasses.replace(BARE, training=agreeing))
    assert "agrees with its saliency map (IoU of the foreground, from 0 to 1), not by truth" in free
    assert "IoU with saliency 0.46" in free
    assert "mIoU" not in free
    bare = render(dataclasses.replace(BARE, training=[Card("a", (), [])]))
    assert "not picked by result" in bare
    assert "<select" not in bare


def test_made_rows_are_shown_with_a_dash_for_what_is_unknown(tmp_path: Path) -> None:
    parts = Parts(segmenter=tmp_path / "segmenter")
    page = render(dataclasses.replace(BARE, rows=gather_rows(parts, SPLITS)))
    assert page.count('<th scope="row" class="name"><span class="swatch"') == 1
    assert "<td>\N{EN DASH}</td>" in page
    assert "Nothing to score yet" not in page
    assert "oracle" not in page
    assert "segmenter: the network of stage 3" in page


@pytest.mark.parametrize(("kind", "alone"), [("cam", True), ("eps", False)])
def test_a_run_without_saliency_maps_does_not_speak_of_them(tmp_path: Path, kind: str, alone: bool) -> None:
    """Its labels agree with the tags that they were made of, which is no score."""
    write_json(tmp_path / "classifier" / "manifest.json", {"config": {"kind": kind}, "score": None})
    write_json(tmp_path / "pseudo_masks" / "manifest.json", {"score": 1.0})
    rows = gather_rows(Parts(classifier=tmp_path / "classifier", pseudo_masks=tmp_path / "pseudo_masks"), SPLITS)
    [row] = [row for row in rows if row.name == "eps"]
    assert row.agreement == (None if alone else 1.0)
    page = render(dataclasses.replace(full(), rows=rows))
    assert ("and saliency maps" not in page) is alone
    assert ("without saliency maps" in page) is ("CAM of this run: pseudo-masks of a classifier" in page) is alone


def test_truth_is_spoken_of_where_it_was_there(tmp_path: Path) -> None:
    segmenter = tmp_path / "segmenter"
    write_json(segmenter / "manifest.json", {"score": 0.654})

    def told(*, truth: bool = False) -> str:
        parts = Parts(segmenter=segmenter, truth_segmenter=tmp_path / "truth" / "segmenter" if truth else None)
        return render(dataclasses.replace(full(), rows=gather_rows(parts, SPLITS)))

    free = told()
    assert not [words for words in ("True masks", "mIoU val", "leakage", "AP50", "scoring") if words in free]
    assert "<td>0.654</td>" in free
    assert "compares runs on the same data only" in free
    assert "True masks serve for training the fully supervised" in told(truth=True)
    evaluation = {"splits": {"val": {"miou": 50.0, "per_class": {"cat": 50.0}}}}
    write_json(tmp_path / "evaluation" / "segmenter.json", evaluation)
    scored = told()
    assert "True masks serve for scoring.</p>" in scored
    assert "mIoU val" in scored
    assert "AP50" not in scored
    assert "True masks serve for scoring, and for training the fully supervised" in told(truth=True)


def test_a_picture_has_its_room_before_it_is_there() -> None:
    """The browser takes a picture's shape from its attributes unless its width is said to be another one."""
    page = render(full())
    [rule] = re.findall(r"\.pictures img \{([^}]*)\}", page)
    said = dict(line.split(":") for line in rule.replace(" ", "").strip(";").split(";"))
    assert (said["max-width"], said["height"]) == ("100%", "auto")
    assert not {"width", "min-width", "max-height"} & set(said)
    assert [(a["width"], a["height"]) for tag, a in Elements(page).found if tag == "img"] == [("320", "320")] * 4


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
    labelled(tmp_path / "pseudo_masks", 0.2, "auto")
    parts = Parts(classifier=tmp_path / "classifier", pseudo_masks=tmp_path / "pseudo_masks")
    titles = [chart.title for chart in charts_of(parts, gather_rows(parts, SPLITS))]
    assert titles == ["Threshold, chosen by agreement", "Classifier, EPS"]


def labelled(folder: Path, threshold: float, said: float | str) -> Path:
    curve = [0.5] * len(THRESHOLDS)
    content = {"threshold_curve": curve, "threshold": threshold, "config": {"threshold": said}}
    write_json(folder / "manifest.json", content)
    return folder


def test_a_threshold_that_was_set_is_not_said_to_be_chosen(tmp_path: Path) -> None:
    eps = labelled(tmp_path / "pseudo_masks", 0.25, 0.25)
    [chart] = charts_of(Parts(pseudo_masks=eps), gather_rows(Parts(), SPLITS))
    assert (chart.title, "EPS takes 0.25" in chart.alt) == ("Threshold, set", True)
    assert chart.note.endswith("a number in the settings.")
    cam = labelled(tmp_path / "cam" / "pseudo_masks", 0.4, "auto")
    charts = charts_of(Parts(pseudo_masks=eps, cam_pseudo_masks=cam), gather_rows(Parts(), SPLITS))
    assert [chart.title for chart in charts] == ["Threshold, chosen by agreement", "Threshold, set"]
    assert "EPS" not in charts[0].alt


def test_looks_and_confusions_are_drawn_where_there_are_any(tmp_path: Path) -> None:
    looks = [{"step": 1, "agreement": 0.2}, {"step": 4, "agreement": 0.6}]
    segmenter = tmp_path / "segmenter"
    write_json(segmenter / "manifest.json", {"history": [{"mask": 1.0}] * 4, "looks": looks})
    scores = {"miou": 50.0, "per_class": {"background": 90.0, "cat": 10.0}, "confusion_matrix": [[9, 1, 0], [8, 1, 1]]}
    write_json(tmp_path / "evaluation" / "segmenter.json", {"splits": {"val": scores}})
    parts = Parts(segmenter=segmenter)
    charts = {chart.title: chart for chart in charts_of(parts, gather_rows(parts, SPLITS), ["cat"])}
    assert "segmenter from 0.20 to 0.60" in charts["Agreement while training"].alt
    confusion = charts["What is taken for what: segmenter"]
    assert "80% of cat is taken for background" in confusion.alt
    assert confusion.table is not None
    assert list(confusion.table.rows[1]) == ["cat", 0.8, 0.1, 0.1]
    assert "What is taken for what: segmenter" not in [c.title for c in charts_of(parts, gather_rows(parts, SPLITS))]


def test_numbers() -> None:
    assert [shown(None), shown(61.26), shown(0.05, 3)] == ["\N{EN DASH}", "61.3", "0.050"]
