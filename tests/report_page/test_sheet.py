import numpy as np
from PIL import Image

from eps.report_page.combination import Panel
from eps.report_page.sheet import PAPER, Section, sheet


def panel(color: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> Panel:
    return Panel(Image.new("RGB", size, color), "a panel", "plane 1: \N{MINUS SIGN}0.5")


def test_every_panel_is_there_once_and_whole() -> None:
    red, green = [panel((200, 0, 0))] * 8, [panel((0, 200, 0), (20, 50))]
    made = np.asarray(sheet([Section("eight", red), Section("one", green)]))
    assert (made == (200, 0, 0)).all(axis=2).sum() == 8 * 40 * 30
    assert (made == (0, 200, 0)).all(axis=2).sum() == 20 * 50
    assert (made[:, -2:] == PAPER).all()
    assert (made[-2:] == PAPER).all()


def test_headings_and_captions_are_written() -> None:
    made = np.asarray(sheet([Section("A heading", [panel((255, 255, 255))])]))
    dark = (made < 120).all(axis=2)
    assert dark[:40].any()
    assert dark[46 + 30 :].any()
