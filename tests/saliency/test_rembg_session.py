import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eps.errors import UserError
from eps.saliency.rembg_session import RembgSession, import_rembg


def test_without_rembg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(
        UserError, match=r"^saliency=rembg: the package rembg is not installed: pip install 'rembg\[cpu\]'"
    ):
        RembgSession("u2net", device="auto")


def test_rembg_without_what_runs_its_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Then the package says so in lines of its own, and ends the process."""
    (tmp_path / "rembg.py").write_text("import sys\nprint('No onnxruntime backend found.')\nsys.exit(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "rembg", raising=False)
    with pytest.raises(UserError, match=r"pip install 'rembg\[cpu\]'"):
        import_rembg()
    assert capsys.readouterr().out == ""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a stand-in for the package was asked for: its functions as its documentation has them."""
    seen: list[Any] = []

    def new_session(model_name: str, **settings: Any) -> str:
        seen.append((model_name, settings))
        if model_name == "nonsense":
            raise ValueError("No session class found for model 'nonsense'")
        return f"session of {model_name}"

    def remove(image: Image.Image, *, session: str, only_mask: bool) -> Image.Image:
        seen.append((image.size, session, only_mask))
        return image.getchannel("R")

    monkeypatch.setitem(sys.modules, "rembg", SimpleNamespace(new_session=new_session, remove=remove))
    return seen


@pytest.mark.parametrize(
    ("device", "settings"), [("auto", {}), ("cuda", {}), ("cpu", {"providers": ["CPUExecutionProvider"]})]
)
def test_masks_of_photos(asked: list[Any], device: str, settings: dict[str, Any]) -> None:
    session = RembgSession("isnet-general-use", device=device)
    photos = [Image.new("RGB", (7, 5), (200, 0, 0)), Image.new("RGB", (4, 9), (10, 255, 255))]
    found = session(photos)
    np.testing.assert_array_equal(found[0], np.full((5, 7), 200))
    np.testing.assert_array_equal(found[1], np.full((9, 4), 10))
    name = "session of isnet-general-use"
    assert asked == [("isnet-general-use", settings), ((7, 5), name, True), ((4, 9), name, True)]
    assert (session.batch, session.provider) == (1, "rembg")


def test_unknown_session(asked: list[Any]) -> None:
    with pytest.raises(UserError, match=r"^saliency.session=nonsense: rembg has no such session"):
        RembgSession("nonsense", device="auto")
