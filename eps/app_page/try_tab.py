"""The tab to drop a photo on: what each control changes, and nothing else; pictures and files come from `looking`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from eps.app_page.events import react, told
from eps.app_page.looking import (
    EVERY,
    HEADINGS,
    Limits,
    Networks,
    Seen,
    Start,
    instances,
    instances_picture,
    labels_picture,
    map_pictures,
    maps_of,
    pseudo_mask,
    rows,
    see,
    write_files,
)
from eps.app_page.uploads import Bounds, described, read_upload
from eps.data.artifacts import fingerprint_of
from eps.errors import UserError

HOUR = 3600
ASKED = "Drop a photo: it stays on this machine."


class _Step(NamedTuple):
    """What is done, from which values, to which."""

    do: Callable[..., Any]
    given: list[Any]
    made: list[Any]
    busy: list[Any] | None = None

    def on(self, event: Any, **how: Any) -> Any:
        return react(event, self.do, self.given, self.made, busy=self.busy, **_ONE_AT_A_TIME, **how)


class TryTab:
    """The controls and pictures of the tab, made within `gradio.Blocks`; `folder` takes the files to download."""

    def __init__(self, networks: Networks, bounds: Bounds, start: Start, folder: Path) -> None:
        self.networks, self.bounds, self.folder = networks, bounds, folder
        self.finds = networks.predictor is not None and networks.predictor.has_instances
        self.segments = networks.predictor is not None and networks.predictor.has_semantic
        self.maps = networks.localize is not None
        self.seen, self.found_maps = gr.State(None, time_to_live=HOUR), gr.State(None, time_to_live=HOUR)
        with gr.Row():
            with gr.Column(scale=1, min_width=290):
                self._controls(start)
            with gr.Column(scale=3, min_width=300):
                self._pictures()
        self._wire()

    def _controls(self, start: Start) -> None:
        classes = [(name, number) for number, name in enumerate(self.networks.classes)]
        self.photo = gr.File(label="Photo", file_types=["image"], elem_id="photo", height=140)
        self.note = gr.Markdown(ASKED, elem_id="note")
        self.only = gr.Dropdown([("all classes", EVERY), *classes], value=EVERY, label="Class", elem_id="only")
        self.tags = gr.Dropdown(
            classes,
            value=[],
            multiselect=True,
            label="Tags",
            info="What is in the photo: the pseudo-mask is made from these",
            visible=self.maps,
            elem_id="tags",
        )
        self.threshold = _slider("Background threshold", start.threshold, "threshold", visible=self.maps)
        self.score = _slider("Least score", start.score, "score", visible=self.finds)
        self.nms_iou = _slider("NMS: most overlap (IoU)", start.nms_iou, "nms", visible=self.finds)
        self.files = [
            gr.DownloadButton(label, interactive=False, visible=visible, size="sm", elem_id=name)
            for label, visible, name in (
                ("Instances, COCO json", self.finds, "coco"),
                ("Semantic map, PNG", self.segments, "semantic_png"),
                ("Pseudo-mask, PNG", self.maps, "mask_png"),
            )
        ]

    def _pictures(self) -> None:
        with gr.Row(visible=self.finds or self.segments):
            self.instances = _picture("Instances", visible=self.finds)
            self.semantic = _picture("Semantic map", visible=self.segments)
        with gr.Row(visible=self.maps):
            self.mask = _picture("Pseudo-mask from the tags", visible=self.maps)
            self.gallery = gr.Gallery(
                label="Localization maps, one a tag",
                columns=2,
                object_fit="contain",
                format="png",
                height="auto",
                visible=self.maps,
                interactive=False,
                min_width=280,
                buttons=[],
                elem_id="maps",
                elem_classes="tiles",
            )
        self.table = gr.Dataframe(
            headers=list(HEADINGS),
            label="Instances",
            interactive=False,
            visible=self.finds,
            column_count=len(HEADINGS),
            buttons=[],
            elem_id="table",
        )

    def _wire(self) -> None:
        """A new photo changes everything, tags the maps, and every control what it is about."""
        seen, maps = [self.seen], [self.found_maps]
        limits = [self.score, self.nms_iou, self.only]
        find = _Step(self.on_limits, [*seen, *limits], [self.instances, self.semantic, self.table])
        localize = _Step(self.on_tags, [*seen, self.tags], maps, busy=[self.gallery, self.mask])
        label = _Step(self.on_threshold, [*seen, *maps, self.threshold, self.only], [self.gallery, self.mask])
        write = _Step(self.on_files, [*seen, *maps, *limits, self.threshold], list(self.files))
        look = _Step(self.on_photo, [self.photo], [*seen, self.note], busy=[self.instances, self.semantic])
        reactions: list[tuple[Any, list[_Step]]] = [
            (self.photo, [look, find, localize, label]),
            (self.tags, [localize, label]),
            (self.only, [find, label]),
            (self.score, [find]),
            (self.nms_iou, [find]),
            (self.threshold, [label]),
        ]
        for control, steps in reactions:
            done = steps[0].on(control.change, trigger_mode="always_last")
            for step in [*steps[1:], write]:
                done = step.on(done.success)

    def on_photo(self, path: str | None) -> tuple[Seen | None, str]:
        """Of a photo that is refused nothing is shown, of an earlier one neither."""
        if path is None:
            return None, ASKED
        try:
            upload = read_upload(Path(path), self.bounds)
            return see(self.networks, upload), described(upload)
        except UserError as error:
            gr.Warning(str(error))
            return None, f"**{error}**"

    @told
    def on_limits(self, seen: Seen | None, score: float, nms_iou: float, only: int) -> tuple[Any, Any, list[Any]]:
        if seen is None:
            return None, None, []
        limits = Limits(score, nms_iou, only)
        found = instances(self.networks, seen, limits)
        drawn = instances_picture(self.networks, seen, limits, found=found)
        return drawn, labels_picture(seen, seen.semantic, only=only), [list(row) for row in rows(found)]

    @told
    def on_tags(self, seen: Seen | None, tags: Sequence[int]) -> Any:
        return None if seen is None or not tags else maps_of(self.networks, seen, tags)

    @told
    def on_threshold(self, seen: Seen | None, maps: Any, threshold: float, only: int) -> tuple[list[Any], Any]:
        if seen is None:
            return [], None
        labels = pseudo_mask(self.networks, seen, maps, threshold=threshold)
        return map_pictures(self.networks, seen, maps, only=only), labels_picture(seen, labels, only=only)

    @told
    def on_files(
        self,
        seen: Seen | None,
        maps: Any,
        score: float,
        nms_iou: float,
        only: int,
        threshold: float,
        request: gr.Request,
    ) -> list[Any]:
        """The files to download say what the page shows."""
        if seen is None:
            return [gr.update(value=None, interactive=False) for _ in self.files]
        folder = self.folder / fingerprint_of(str(request.session_hash))  # which is what the browser says it is
        folder.mkdir(exist_ok=True)
        files = write_files(
            folder, self.networks, seen, limits=Limits(score, nms_iou, only), maps=maps, threshold=threshold
        )
        return [gr.update(value=None if path is None else str(path), interactive=path is not None) for path in files]


def _slider(label: str, value: float, name: str, *, visible: bool) -> gr.Slider:
    return gr.Slider(0, 1, value=value, step=0.01, label=label, visible=visible, elem_id=name, buttons=[])


def _picture(label: str, *, visible: bool) -> gr.Image:
    name = label.split()[0].lower()
    return gr.Image(
        label=label,
        type="pil",
        format="png",
        interactive=False,
        height=320,
        visible=visible,
        min_width=280,
        buttons=["fullscreen"],
        alt_text=label,
        elem_id=f"{name}_picture",
    )


_ONE_AT_A_TIME: dict[str, Any] = {"concurrency_id": "networks", "concurrency_limit": 1}
"""A photo needs what memory there is."""
