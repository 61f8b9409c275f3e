"""The whole page, served until somebody stops it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from eps.app_page.looking import Networks, Start
from eps.app_page.review import Marks, Review
from eps.app_page.review_tab import ReviewTab
from eps.app_page.server import BodyLimit
from eps.app_page.try_tab import TryTab
from eps.app_page.uploads import MIB, Bounds

DAY = 86400
_FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
"""Of the machine itself: others would be fetched."""
_CSS = """
.gradio-container {max-width: 1400px !important; margin: 0 auto !important}
#table {max-width: calc(100vw - 66px); overflow-x: auto}
#hint code, #note {overflow-wrap: anywhere; white-space: pre-wrap}
.tiles .grid-container {grid-template-columns: repeat(auto-fill, minmax(var(--tile), 1fr)) !important; height: auto;
  padding-top: 0 !important}
.tiles .grid-wrap {height: auto !important; max-height: none !important}
.tiles .caption-label {max-width: 100%; font-size: 11px; padding: 1px 4px; left: auto; right: 0; bottom: 0}
.tiles .grid-wrap, .tiles .gallery-container {min-height: 0 !important}
#thumbnails {--tile: min(112px, 24vw)}
#thumbnails .grid-wrap {max-height: 390px !important; overflow-y: auto}
#pictures {--tile: min(230px, 36vw)}
#maps .grid-container {grid-template-columns: repeat(auto-fill, minmax(0, min(200px, 36vw))) !important}
#maps .grid-wrap {padding-top: 28px}
"""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page is about."""

    name: str
    """Of the run."""
    networks: Networks
    bounds: Bounds
    start: Start
    review: Review | None
    marks: Marks | None
    hint: str
    """What is said below the pictures of the review, or in place of it."""


def build(page: Page, folder: Path) -> gr.Blocks:
    """The page; files to download are written below `folder`."""
    with gr.Blocks(title=f"eps: {page.name}", analytics_enabled=False, delete_cache=(DAY, DAY)) as blocks:
        gr.Markdown(f"# {page.name}")
        with gr.Tabs():
            with gr.Tab("Try a photo"):
                TryTab(page.networks, page.bounds, page.start, folder)
            with gr.Tab("Review") as tab:
                if page.review is not None and page.marks is not None:
                    ReviewTab(page.review, page.marks, tab, hint=page.hint)
                else:
                    gr.Markdown(page.hint, elem_id="hint")
    return blocks


def serve(page: Page, *, host: str, port: int, folder: Path, announce: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C; `announce` is told where it is."""
    blocks = build(page, folder)
    most = round(page.bounds.mb * MIB)
    blocks.launch(
        server_name=host,
        server_port=port,
        share=False,
        inbrowser=False,
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        footer_links=[],
        max_file_size=most,
        enable_monitoring=False,
        app_kwargs={"middleware": [Middleware(BodyLimit, most=most + MIB)]},
        theme=gr.themes.Base(**_FONTS),
        css=_CSS,
    )
    announce(f"http://{host}:{port}")
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        blocks.close(verbose=False)
