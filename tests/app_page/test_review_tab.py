"""What the tab of the review says to its page, with something else in gradio's place."""

import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import pytest

from eps.app_page.looking import EVERY
from eps.app_page.review import ALL, MARKED, Marks, Review, Reviewed

PHOTOS = [f"photo_{number:02d}" for number in range(28)]


@pytest.fixture
def gradio() -> Iterator[MagicMock]:
    """A page that takes whatever is put on it; an update of a component is a dict."""
    page = MagicMock(update=dict, Tab=object, SelectData=object, Error=Exception)
    with patch.dict(sys.modules, {"gradio": page}):
        for name in ("events", "review_tab"):
            sys.modules.pop(f"eps.app_page.{name}", None)
        yield page


@pytest.fixture
def tab_of(gradio: MagicMock, tmp_path: Path) -> Callable[[Sequence[str]], Any]:
    """The tab of pseudo-masks of these photos."""

    def made(photos: Sequence[str]) -> Any:
        review = MagicMock(
            spec=Review,
            folder=SimpleNamespace(classes=("bird",)),
            masks=SimpleNamespace(photos=photos),
            survey=lambda advance: [Reviewed(photo, (0,), 0.5) for photo in photos],
        )
        tab_type = import_module("eps.app_page.review_tab").ReviewTab
        return tab_type(review, Marks(tmp_path / "exclude.txt", photos), MagicMock(), hint="")

    return made


def filtered(tab: Any, which: str = ALL) -> tuple[list[str], dict[str, Any]]:
    listed, page, place = tab.on_filters(EVERY, which, progress=MagicMock())
    assert place == 0
    return listed, page


def test_pages_are_to_choose_where_there_are_some(tab_of: Callable[[Sequence[str]], Any], gradio: MagicMock) -> None:
    tab = tab_of(PHOTOS)
    assert gradio.Slider.call_args.kwargs["visible"] is False, "before anything is listed"
    listed, page = filtered(tab)
    assert (len(listed), page["maximum"], page["visible"]) == (28, 2, True)
    assert [caption for _, caption in tab.on_page(listed, 2)] == [f"{listed[-1]} 0.50"]
    assert filtered(tab, MARKED)[1]["visible"] is False
    assert filtered(tab_of(PHOTOS[:27]))[1]["visible"] is False


def test_a_mark_is_a_word(tab_of: Callable[[Sequence[str]], Any]) -> None:
    """Fonts have not every sign."""
    tab = tab_of(PHOTOS[:2])
    listed, _ = filtered(tab)
    tab.on_mark(listed, 1)
    assert [caption for _, caption in tab.on_page(listed, 1)] == ["photo_00 0.50", "BAD photo_01 0.50"]
