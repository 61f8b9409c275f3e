from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eps.data.artifacts import write_mask
from eps.data.mask_folder import MaskFolders
from eps.errors import UserError


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three predictions, four truths; one of each kind of PNG."""
    predictions, truth = tmp_path / "predictions", tmp_path / "truth"
    for number in range(4):
        write_mask(truth / f"{number}.png", np.full((4, 6), number, dtype=np.uint8))
    write_mask(predictions / "0.png", np.zeros((4, 6), dtype=np.uint8))
    Image.fromarray(np.full((4, 6), 1, dtype=np.uint8)).save(predictions / "1.PNG", format="PNG")
    write_mask(predictions / "2.png", np.full((4, 6), 255, dtype=np.uint8))
    (predictions / "readme.txt").write_text("not a mask")
    return predictions, truth


def test_every_png_of_the_predictions(folders: tuple[Path, Path]) -> None:
    found = MaskFolders.open(*folders)
    assert found.ids == ("0", "1", "2")
    for number, photo in enumerate(found.ids):
        predicted, true = found(photo)
        assert predicted.dtype == true.dtype == np.uint8
        assert (true == number).all()
        assert (predicted == (0, 1, 255)[number]).all()


def test_a_list_chooses_and_orders(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("2\r\n\n 0 \n")
    assert MaskFolders.open(*folders, ids=tmp_path / "ids.txt").ids == ("2", "0")


def test_missing_masks_are_counted_and_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, truth = folders
    (tmp_path / "ids.txt").write_text("\n".join(["0", "3", *(f"x{number}" for number in range(20))]))
    with pytest.raises(UserError, match=r"predictions: 21 of 22 masks are missing: 3\.png, x0\.png, .*x8\.png and 11"):
        MaskFolders.open(predictions, truth, ids=tmp_path / "ids.txt")
    (truth / "1.png").unlink()
    with pytest.raises(UserError, match=r"truth: 1 of 3 masks are missing: 1\.png$"):
        MaskFolders.open(predictions, truth)


def test_sizes_must_agree(folders: tuple[Path, Path]) -> None:
    write_mask(folders[0] / "0.png", np.zeros((4, 5), dtype=np.uint8))
    with pytest.raises(UserError, match=r"0\.png is 5x4, its truth 6x4"):
        MaskFolders.open(*folders)("0")


def test_all_wrong_sizes_are_told_together(folders: tuple[Path, Path]) -> None:
    for name in ("0", "2"):
        write_mask(folders[0] / f"{name}.png", np.zeros((4, 5), dtype=np.uint8))
    with pytest.raises(UserError, match=r"0\.png is 5x4, its truth 6x4; .*2\.png is 5x4, its truth 6x4$"):
        MaskFolders.open(*folders)


def test_truths_without_a_prediction_are_counted(folders: tuple[Path, Path]) -> None:
    assert MaskFolders.open(*folders).unpredicted == 1


def test_lists_as_voc_and_sbd_have_them(folders: tuple[Path, Path], tmp_path: Path) -> None:
    lines = "\ufeff2\n/JPEGImages/0.jpg /SegmentationClassAug/0.png\n"
    (tmp_path / "ids.txt").write_text(lines, encoding="utf-8")
    assert MaskFolders.open(*folders, ids=tmp_path / "ids.txt").ids == ("2", "0")


def test_a_list_that_is_no_text(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"ids\.txt is no text"):
        MaskFolders.open(*folders, ids=tmp_path / "ids.txt")


def test_colour_pictures_are_no_masks(folders: tuple[Path, Path]) -> None:
    Image.new("RGB", (6, 4)).save(folders[0] / "0.png")
    with pytest.raises(UserError, match=r"0\.png is a RGB image"):
        MaskFolders.open(*folders)("0")


@pytest.mark.parametrize("content", [None, "", "0\n1\n0\n"])
def test_unusable_lists(folders: tuple[Path, Path], tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "ids.txt").write_text(content)
    with pytest.raises(UserError, match=r"^ids="):
        MaskFolders.open(*folders, ids=tmp_path / "ids.txt")


def test_missing_and_empty_folders(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^predictions=.*nowhere: no such folder"):
        MaskFolders.open(tmp_path / "nowhere", folders[1])
    with pytest.raises(UserError, match=r"^truth=.*nowhere: no such folder"):
        MaskFolders.open(folders[0], tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no PNG"):
        MaskFolders.open(tmp_path / "empty", folders[1])
