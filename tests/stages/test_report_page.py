"""The report of a finished run in a browser: nothing is fetched, nothing goes wrong, and its filters work."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from eps import report
from eps.cli import call
from eps.errors import UserError
from eps.sweep_report import JobRecord

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
MOST = 20_000_000
SIZES = [(1280, 900, "light"), (1280, 900, "dark"), (390, 844, "light")]

pytestmark = pytest.mark.slow
browsing = pytest.mark.skipif(not CHROMIUM or not find_spec("playwright"), reason="needs Chromium and playwright")

Opened = Callable[..., tuple[Any, list[str]]]


@pytest.fixture(scope="module")
def page(dataset: Path, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(finished, run)
    for seed in (0, 1):
        record = JobRecord(job=seed, overrides=[f"seed={seed}"], score=0.5 + seed, path=None, error=None)
        record.write(run / "sweeps" / "today" / str(seed))
    return call(report.run, "experiment=tiny", f"data.root={dataset}", f"run_dir={run}").path


def test_photos_are_ranked_by_their_own_scores(page: Path, finished: Path) -> None:
    with (finished / "evaluation" / "segmenter_photos.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["val"] * 4 + ["shift"] * 4
    for split in ("val", "shift"):
        mious = [float(row["miou"]) for row in rows if row["split"] == split]
        assert mious == sorted(mious)
    text = page.read_text(encoding="utf-8")
    assert len(text) < MOST
    for photo in (row["photo"] for row in rows if row["split"] == "val"):
        assert f"<code>{photo}</code>" in text
    assert "Sweep today over its seeds" in text
    assert "localization map of" in text
    assert json.loads((page.parent / "summary.json").read_text())["rows"]["segmenter"]["miou_val"] is not None


@pytest.fixture(scope="module")
def opened(page: Path) -> Iterator[Opened]:
    """The page in a window of a size and scheme, and what the browser has to say of it."""
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])

        def opened_in(width: int, height: int, scheme: str) -> tuple[Any, list[str]]:
            window = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            said: list[str] = []
            window.on("console", lambda message: said.append(message.text))
            window.on("pageerror", lambda error: said.append(str(error)))
            window.on("request", lambda request: said.extend([request.url] * (not request.url.startswith("data:"))))
            window.goto(f"file://{page}")
            return window, said

        yield opened_in
        browser.close()


@pytest.mark.parametrize(("width", "height", "scheme"), SIZES)
@browsing
def test_nothing_goes_wrong_and_nothing_sticks_out(
    opened: Opened, page: Path, width: int, height: int, scheme: str
) -> None:
    window, said = opened(width, height, scheme)
    for summary in window.locator("summary").all():
        summary.click()
    window.keyboard.press("End")
    window.wait_for_timeout(200)
    wide = window.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0
    assert said == [f"file://{page}"]
    unseen = window.evaluate("[...document.images].filter(i => i.width * i.height === 0 || !i.alt).length")
    assert unseen == 0


@browsing
def test_pictures_that_come_late_move_nothing(opened: Opened) -> None:
    window, _ = opened(*SIZES[0])
    late = "[...document.images].filter(image => !image.complete).length"
    heights = "[document.documentElement.scrollHeight, ...[...document.images].map(i => Math.round(i.clientHeight))]"
    assert window.evaluate(late) > 0
    before = window.evaluate(heights)
    window.evaluate(
        "Promise.all([...document.images].map(image => { image.loading = 'eager'; return image.decode(); }))"
    )
    assert window.evaluate(late) == 0
    assert window.evaluate(heights) == before


@browsing
def test_filters_leave_what_they_say(opened: Opened) -> None:
    window, _ = opened(*SIZES[2])
    cards, none = window.locator("#pseudo-masks .card"), window.locator("#pseudo-masks .none")
    by_class, by_rank = window.locator("#pseudo-masks select").all()
    every = cards.count()
    others = window.locator("#segmenter .card:visible").count()
    for choice in by_class.locator("option").all()[1:]:
        by_class.select_option(choice.get_attribute("value"))
        name = choice.inner_text()
        shown = window.locator("#pseudo-masks .card:visible").all()
        assert 0 < len(shown) <= every
        assert all(name in card.locator("h3").inner_text() for card in shown)
        for rank in ("best", "median", "worst"):
            by_rank.select_option(rank)
            left = window.locator("#pseudo-masks .card:visible")
            assert all(rank in card.locator("h3").inner_text() for card in left.all())
            assert none.is_visible() == (left.count() == 0)
        by_rank.select_option("")
    by_class.select_option("")
    assert window.locator("#pseudo-masks .card:visible").count() == every
    assert window.locator("#segmenter .card:visible").count() == others


@browsing
def test_keys_alone_do_it(opened: Opened) -> None:
    window, _ = opened(*SIZES[0])
    for _ in range(200):
        window.keyboard.press("Tab")
        if window.evaluate("document.activeElement.tagName") == "SELECT":
            break
    before = window.locator("#pseudo-masks .card:visible").count()
    window.keyboard.press("ArrowDown")
    assert window.locator("#pseudo-masks .card:visible").count() < before


@browsing
def test_pictures_are_enlarged(opened: Opened) -> None:
    """By the mouse and by keys alone, each with its words; those that a filter hides are passed over."""
    window, said = opened(*SIZES[2])
    window.locator("#pseudo-masks select").nth(1).select_option("best")
    buttons = window.locator(".pictures button:visible")
    dialog, large = window.locator("#enlarged"), window.locator("#enlarged img")
    before = buttons.nth(1).locator("img").bounding_box()
    buttons.nth(1).click()
    assert large.get_attribute("alt") == buttons.nth(1).locator("img").get_attribute("alt")
    assert dialog.inner_text().startswith(window.locator("#pseudo-masks h3:visible code").first.inner_text())
    assert f"2 of {buttons.count()}" in dialog.inner_text()
    after = large.bounding_box()
    assert after["width"] > 2 * before["width"]
    assert after["x"] >= 0
    assert after["x"] + after["width"] <= 390
    window.keyboard.press("ArrowRight")
    window.keyboard.press("ArrowRight")
    assert large.get_attribute("alt") == buttons.nth(3).locator("img").get_attribute("alt")
    window.get_by_role("button", name="Previous").click()
    window.keyboard.press("Escape")
    assert not dialog.is_visible()
    focused = "document.activeElement.querySelector('img').alt"
    assert window.evaluate(focused) == buttons.nth(2).locator("img").get_attribute("alt")
    window.keyboard.press("Tab")
    window.keyboard.press("Enter")
    second = window.locator(".pictures:visible").nth(1).locator("img").first
    assert large.get_attribute("alt") == second.get_attribute("alt")
    window.keyboard.press("Enter")
    assert not dialog.is_visible(), "Close is what has the focus"
    buttons.nth(0).click()
    window.keyboard.press("ArrowLeft")
    assert f"{buttons.count()} of {buttons.count()}" in dialog.inner_text()
    window.mouse.click(2, 2)
    assert not dialog.is_visible()
    assert [line for line in said if not line.startswith("file:")] == []


@browsing
def test_a_table_is_taken_along(opened: Opened, tmp_path: Path) -> None:
    window, _ = opened(*SIZES[0])
    with window.expect_download() as waiting:
        window.locator('a[download="scores.csv"]').click()
    waiting.value.save_as(tmp_path / "scores.csv")
    rows = list(csv.reader((tmp_path / "scores.csv").read_text().splitlines()))
    assert rows[0][0] == "method"
    assert [row[0] for row in rows[1:]] == ["EPS", "segmenter"]


def test_other_classes_than_those_learnt_are_refused(dataset: Path, own_run: Path) -> None:
    """Masks know classes by number: they would be given other names."""
    settings = ["experiment=tiny", f"data.root={dataset}", f"run_dir={own_run}", "data.classes=[boat,train]"]
    with pytest.raises(UserError, match=r"classifier/model.safetensors knows the classes \['train', 'boat'"):
        call(report.run, *settings)
