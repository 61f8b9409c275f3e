"""The tab to browse a run's pseudo-masks and to mark bad ones; what there is to see comes from `review`."""

from collections.abc import Sequence
from threading import Lock
from typing import Any

import gradio as gr

from eps.app_page.events import react, told
from eps.app_page.looking import EVERY
from eps.app_page.review import ALL, MARKED, UNMARKED, Marks, Review, Reviewed, worst_first

PAGE = 27
"""Thumbnails at once."""
MARK, UNMARK = "Mark as bad", "Take the mark away"


class ReviewTab:
    """The controls and pictures of the tab, made within `gradio.Blocks`, in the tab `tab`, whose choice fills it."""

    def __init__(self, review: Review, marks: Marks, tab: gr.Tab, *, hint: str) -> None:
        self.review, self.marks, self.classes = review, marks, review.folder.classes
        self._survey: dict[str, Reviewed] = {}
        self._lock = Lock()
        self.listed, self.place = gr.State([]), gr.State(0)
        classes = [(name, number) for number, name in enumerate(self.classes)]
        with gr.Row():
            self.only = gr.Dropdown(
                [("all classes", EVERY), *classes], value=EVERY, label="Class", elem_id="review_class"
            )
            self.which = gr.Radio([ALL, UNMARKED, MARKED], value=ALL, label="Photos", elem_id="which")
            self.page = gr.Slider(1, 2, value=1, step=1, label="Page", elem_id="page", buttons=[], visible=False)
        self.count = gr.Markdown(elem_id="count")
        self.gallery = gr.Gallery(
            show_label=False,
            columns=8,
            object_fit="contain",
            height="auto",
            allow_preview=False,
            interactive=False,
            buttons=[],
            elem_id="thumbnails",
            elem_classes="tiles",
        )
        self.title = gr.Markdown(elem_id="title")
        with gr.Row():
            self.earlier = gr.Button("Previous", size="md", min_width=80, elem_id="previous")
            self.mark = gr.Button(MARK, size="md", variant="stop", min_width=110, elem_id="mark")
            self.later = gr.Button("Next", size="md", min_width=80, elem_id="next")
        self.pictures = gr.Gallery(
            show_label=False,
            columns=4,
            object_fit="contain",
            height="auto",
            format="png",
            interactive=False,
            buttons=[],
            elem_id="pictures",
            elem_classes="tiles",
        )
        gr.Markdown(hint, elem_id="hint")
        self._wire(tab)

    def _wire(self, tab: gr.Tab) -> None:
        browsed = [self.listed, self.page, self.place]
        filters, thumbnails = [self.only, self.which], [self.listed, self.page]
        shown = [self.title, self.mark, self.pictures, self.count]
        here = [self.listed, self.place]
        for event in (tab.select, self.only.change, self.which.change):
            listed = react(event, self.on_filters, filters, browsed, busy=[self.gallery])
            _then(_then(listed, self.on_page, thumbnails, [self.gallery]), self.on_place, here, shown)
        react(self.page.release, self.on_page, thumbnails, [self.gallery])
        chosen = react(self.gallery.select, self.on_choice, [self.page], [self.place])
        _then(chosen, self.on_place, here, shown)
        for button, step in ((self.earlier, self.on_previous), (self.later, self.on_next)):
            moved = react(button.click, step, [*here, self.page], [self.place, self.page])
            _then(_then(moved, self.on_place, here, shown), self.on_page, thumbnails, [self.gallery])
        marked = react(self.mark.click, self.on_mark, here, [])
        _then(_then(marked, self.on_place, here, shown), self.on_page, thumbnails, [self.gallery])

    @told
    def on_filters(self, only: int, which: str, progress: Any = gr.Progress()) -> tuple[list[str], Any, int]:  # noqa: B008 - how gradio hands it in
        rows = self._surveyed(progress)
        listed = [row.photo for row in worst_first(rows, only=only, which=which, marked=self.marks.read())]
        pages = max(1, -(-len(listed) // PAGE))
        return listed, gr.update(value=1, maximum=max(2, pages), visible=pages > 1), 0

    def _surveyed(self, progress: Any) -> Sequence[Reviewed]:
        """Every mask is looked at when somebody opens the tab first."""
        with self._lock:
            if not self._survey:
                total = len(self.review.masks.photos)

                def advance(done: int) -> None:
                    progress((done, total), desc="looking at every pseudo-mask", unit="photos")

                self._survey = {row.photo: row for row in self.review.survey(advance)}
            return list(self._survey.values())

    @told
    def on_page(self, listed: list[str], page: int) -> list[tuple[Any, str]]:
        marked = set(self.marks.read())
        photos = listed[(int(page) - 1) * PAGE :][:PAGE]
        return [(self.review.thumbnail(photo), self._caption(photo, marked)) for photo in photos]

    def _caption(self, photo: str, marked: set[str]) -> str:
        value = self._survey[photo].disagreement
        return " ".join([*["BAD"] * (photo in marked), photo, "" if value is None else f"{value:.2f}"])

    @told
    def on_choice(self, page: int, chosen: gr.SelectData) -> int:
        return (int(page) - 1) * PAGE + int(chosen.index)

    def on_previous(self, listed: list[str], place: int, page: int) -> tuple[int, int]:
        return self._moved(listed, place - 1, page)

    def on_next(self, listed: list[str], place: int, page: int) -> tuple[int, int]:
        return self._moved(listed, place + 1, page)

    def _moved(self, listed: list[str], place: int, page: int) -> tuple[int, int]:
        there = min(max(0, place), max(0, len(listed) - 1))
        return there, there // PAGE + 1 if listed else page

    @told
    def on_mark(self, listed: list[str], place: int) -> None:
        if listed:
            self.marks.toggle(listed[place])

    @told
    def on_place(self, listed: list[str], place: int) -> tuple[str, Any, list[tuple[Any, str]], str]:
        marked = self.marks.read()
        counted = (
            f"{len(listed)} photos, first those whose mask and saliency map disagree most (1: everywhere, 0: nowhere); "
            f"{len(marked)} of all {len(self._survey)} are marked as bad"
        )
        if not listed:
            return "No photo is like that.", gr.update(value=MARK, interactive=False), [], counted
        photo = listed[place]
        row = self._survey[photo]
        value = "no saliency map" if row.disagreement is None else f"disagreement {row.disagreement:.2f}"
        parts = [f"**{photo}**", ", ".join(self.classes[c] for c in row.classes), value]
        parts += ["**marked as bad**"] * (photo in marked)
        title = f"{place + 1}. " + " · ".join(filter(None, parts))
        button = gr.update(value=UNMARK if photo in marked else MARK, interactive=True)
        return title, button, self.review.pictures(photo), counted


def _then(earlier: Any, fn: Any, inputs: list[Any], outputs: list[Any]) -> Any:
    return react(earlier.success, fn, inputs, outputs)
