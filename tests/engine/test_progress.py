"""What a step shows while it runs, in a terminal and elsewhere."""

import re
from io import StringIO

import pytest
from rich.console import Console

from eps.engine import progress


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, loss: float | None) -> list[str]:
    """The lines after 1200 of 2000 steps, as they stand in the end."""
    written = StringIO()
    console = Console(file=written, force_terminal=terminal, width=80, color_system=None, legacy_windows=False)
    monkeypatch.setattr(progress, "console", console)
    with progress.progress_bar("segmenter (pseudo)", total=2000, done=1190) as advance:
        for _ in range(10):
            advance(loss)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue())
    return [line.strip() for line in re.split(r"[\r\n]+", plain) if line.strip()]


@pytest.mark.parametrize("loss", [None, 12.3456])
def test_a_bar_tells_loss_rate_memory_and_time_within_80_columns(
    monkeypatch: pytest.MonkeyPatch, loss: float | None
) -> None:
    last = shown(monkeypatch, terminal=True, loss=loss)[-1]
    told = "" if loss is None else r"loss 12\.346 "
    assert re.fullmatch(rf"segmenter \(pseudo\) \S+ +1200/2000 {told}[\d.]+/s \d+\.\d GiB [\d:-]+", last)
    assert len(last) <= 80


def test_lines_elsewhere_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, terminal=False, loss=1.0) == []
    monkeypatch.setattr(progress, "console", Console(file=(written := StringIO()), force_terminal=False))
    with progress.progress_bar("photos", total=8) as advance:
        for _ in range(8):
            advance(None)
    assert [line.split("  ")[0] for line in written.getvalue().splitlines()] == [f"photos: {n}/8" for n in (2, 4, 6, 8)]
