"""Panels with captions on one large image, in rows under headings."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from eps.report_page.combination import Panel

COLUMNS = 6
MARGIN, CAPTION, HEADING = 12, 20, 34
TEXT = 14
PAPER, INK = (255, 255, 255), (30, 30, 30)


class Section(NamedTuple):
    """Panels that belong together, in as many rows as they need."""

    heading: str
    panels: Sequence[Panel]


def sheet(sections: Sequence[Section]) -> Image.Image:
    """All sections below one another; a column is as wide, and a row as high, as the largest panel of all."""
    panels = [panel for section in sections for panel in section.panels]
    column = max(panel.image.width for panel in panels) + MARGIN
    row = max(panel.image.height for panel in panels) + CAPTION + MARGIN
    columns = min(COLUMNS, max(len(section.panels) for section in sections))
    height = MARGIN + sum(HEADING + row * -(-len(section.panels) // COLUMNS) for section in sections)
    made = Image.new("RGB", (MARGIN + column * columns, height), PAPER)
    pencil = ImageDraw.Draw(made)
    font, large = ImageFont.load_default(size=TEXT), ImageFont.load_default(size=TEXT + 4)
    y = MARGIN
    for section in sections:
        pencil.text((MARGIN, y), section.heading, fill=INK, font=large)
        y += HEADING
        for row_panels in _rows(section.panels):
            for index, panel in enumerate(row_panels):
                x = MARGIN + column * index
                made.paste(panel.image.convert("RGB"), (x, y))
                caption = panel.caption.replace("\N{MINUS SIGN}", "-")  # which Pillow's own font does not have
                pencil.text((x, y + panel.image.height + 2), caption, fill=INK, font=font)
            y += row
    return made


def _rows(panels: Sequence[Panel]) -> Iterator[Sequence[Panel]]:
    return (panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS))
