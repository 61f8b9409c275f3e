from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import eps
from eps.engine.checkpoint import load_segmenter, save_model
from eps.engine.exported import describe
from eps.engine.instances import Instances
from eps.engine.predictor import Predictor
from eps.errors import UserError
from eps.models.spec import SegmenterSpec, build_segmenter

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, segmenter_spec: SegmenterSpec) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("segmenter")
    save_model(folder / "model.safetensors", build_segmenter(segmenter_spec), segmenter_spec)
    return folder


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return eps.load(folder)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, size=(height, width, 3), dtype=np.uint8))


def equal(one: Instances, other: Instances) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("size", [(96, 64), (65, 97), (1, 1), (200, 31)])
def test_everything_is_at_the_photos_own_size(predictor: Predictor, size: tuple[int, int]) -> None:
    width, height = size
    found, labels = predictor.predict_all(picture(*size))
    assert 0 < len(found.scores) <= 100
    assert found.masks.shape == (len(found.scores), height, width)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= torch.tensor([width, height, width, height])).all()
    assert (found.scores.diff() <= 0).all()
    assert (found.scores > 0.05).all()
    assert set(found.classes.tolist()) <= {0, 1}
    assert labels.shape == (height, width)
    assert set(labels.flatten().tolist()) <= {0, 1, 2}


def test_what_is_found_may_be_changed_in_place(predictor: Predictor) -> None:
    found, labels = predictor.predict_all(picture(30, 20))
    for part in (*found, found.mask_scores, labels):
        part[:1] = 0
        assert not part.requires_grad


def test_many_photos_are_each_what_they_are_alone(predictor: Predictor) -> None:
    photos = [picture(30, 20), picture(64, 64), picture(96, 64)]
    many = list(predictor.predict_many(photos, batch=2))
    assert len(many) == 3
    for photo, found in zip(photos, many, strict=True):
        alone = predictor.predict(photo)
        torch.testing.assert_close(found.scores, alone.scores, atol=1e-5, rtol=1e-4)
        assert (found.masks == alone.masks).float().mean() > 0.999
        assert found.names == alone.names


def test_a_batch_ends_at_so_many_pixels(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    run = predictor._run
    monkeypatch.setattr(predictor, "_run", lambda photos: sizes.append(len(photos)) or run(photos))
    monkeypatch.setattr("eps.engine.given.MOST_PIXELS", 2000)
    assert len(list(predictor.predict_many([picture(30, 30)] * 3 + [picture(90, 90)] * 2, batch=8))) == 5
    assert sizes == [2, 1, 1, 1]


def test_nothing_is_read_before_it_is_asked_for(predictor: Predictor) -> None:
    """So that a folder of photos need not fit into memory."""
    opened: list[int] = []
    photos = (opened.append(number) or picture(20, 20) for number in range(10))
    found = predictor.predict_many(photos, batch=2)
    next(found)
    assert opened == [0, 1]


def test_chosen_classes_and_least_score(folder: Path) -> None:
    model, spec = load_segmenter(folder / "model.safetensors")
    image = picture(60, 60)
    every = Predictor(model=model, spec=spec, device=CPU, max_detections=10_000).predict(image)
    boats = Predictor(model=model, spec=spec, device=CPU, max_detections=10_000, wanted=["boat"]).predict(image)
    assert set(every.names) == {"train", "boat"}
    assert set(boats.names) == {"boat"}
    assert torch.equal(boats.scores, every.scores[every.classes == 1])
    few = Predictor(model=model, spec=spec, device=CPU, max_detections=3, wanted=["boat"]).predict(image)
    assert torch.equal(few.scores, boats.scores[:3])
    least = float(every.scores.median())
    sure = Predictor(model=model, spec=spec, device=CPU, max_detections=10_000, least_score=least).predict(image)
    assert torch.equal(sure.scores, every.scores[every.scores >= least])
    assert 0 < len(sure.scores) < len(every.scores)
    with pytest.raises(UserError, match="no class 'bus': this segmenter knows train, boat"):
        Predictor(model=model, spec=spec, device=CPU, wanted=["train", "bus"])


def test_class_names(predictor: Predictor) -> None:
    assert predictor.classes == ("train", "boat")


def test_path_array_and_picture_are_the_same(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    image = picture(50, 40)
    expected = predictor.predict(image)
    image.save(tmp_path / "photo.png")
    assert equal(predictor.predict(tmp_path / "photo.png"), expected)
    assert equal(predictor.predict(str(tmp_path / "photo.png")), expected)
    assert equal(predictor.predict(np.asarray(image)), expected)
    backwards = np.ascontiguousarray(np.asarray(image)[:, ::-1])[:, ::-1]
    assert equal(predictor.predict(backwards), expected)
    assert equal(eps.load(folder / "model.safetensors").predict(image), expected)
    assert equal(eps.load(str(folder)).predict(image), expected)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_other_colour_modes(predictor: Predictor, mode: str) -> None:
    image = picture(40, 30).convert(mode)
    assert equal(predictor.predict(image), predictor.predict(image.convert("RGB")))


def test_photo_of_the_networks_size_is_not_resized(predictor: Predictor) -> None:
    """Then the result is what the model itself gives."""
    image = picture(96, 64)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    semantic = predictor.model(predictor.model.normalize(pixels)).semantic
    resized = torch.nn.functional.interpolate(semantic, size=(64, 96), mode="bilinear", align_corners=False)
    labels = (resized[0].argmax(dim=0) + 1) % 3
    agreement = (predictor.predict_all(image)[1] == labels).float().mean()
    assert agreement > 0.999  # memory layout may move a draw


@pytest.mark.parametrize("size", [(200, 150), (50, 40), (130, 50)])
def test_what_shrinks_is_smoothed_or_not(segmenter_spec: SegmenterSpec, size: tuple[int, int]) -> None:
    """Not as the released YOLACT resizes (OpenCV's bilinear), smoothed as Pillow does."""
    image = picture(*size)
    smooth, plain = (
        Predictor(model=build_segmenter(spec), spec=spec, device=CPU)._pixels(image, scale=1.0)[0].permute(1, 2, 0)
        for spec in (segmenter_spec, replace(segmenter_spec, antialias=False))
    )
    opencv = cv2.resize(np.asarray(image, dtype=np.float32) / 255, (96, 64), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(plain, opencv, atol=1e-4)
    pillow = np.asarray(image.resize((96, 64), Image.Resampling.BILINEAR)) / 255
    np.testing.assert_allclose(smooth, pillow, atol=1.01 / 255)
    shrinks = image.width > 96 or image.height > 64
    assert (float((smooth - plain).abs().max()) > 0.05) == shrinks


def test_boxes_of_the_released_design_are_whole_pixels(segmenter_spec: SegmenterSpec) -> None:
    spec = replace(segmenter_spec, design="released")
    torch.manual_seed(0)
    model = build_segmenter(spec)
    whole = Predictor(model=model, spec=spec, device=CPU, score_threshold=0.0).predict(picture(97, 61))
    exact = Predictor(model=model, spec=segmenter_spec, device=CPU, score_threshold=0.0).predict(picture(97, 61))
    assert len(exact.boxes) > 0
    assert torch.equal(whole.boxes, exact.boxes.floor())
    assert not torch.equal(whole.boxes, exact.boxes)
    described = describe(spec, anchors=model.anchors_of(spec.image_size), outputs=["loc"], batch="kept")
    assert described.whole_pixels
    assert Predictor(model=model, spec=described, device=CPU).whole_pixels


@pytest.mark.parametrize("mask_iou", [False, True])
def test_whether_masks_are_rated(segmenter_spec: SegmenterSpec, mask_iou: bool) -> None:
    spec = replace(segmenter_spec, mask_iou=mask_iou)
    assert Predictor(model=build_segmenter(spec), spec=spec, device=CPU).rates_masks is mask_iou


def test_the_likeliest_label_is_the_label(predictor: Predictor) -> None:
    image = picture(70, 50)
    found = predictor.probabilities(image)
    assert found.shape == (3, 50, 70)
    torch.testing.assert_close(found.sum(dim=0), torch.ones(50, 70))
    assert torch.equal(found.argmax(dim=0).to(torch.uint8), predictor.predict_all(image)[1])
    assert predictor.has_instances


def test_thresholds(folder: Path) -> None:
    model, spec = load_segmenter(folder / "model.safetensors")
    image = picture(60, 60)
    every = Predictor(model=model, spec=spec, device=CPU, score_threshold=0.05).predict(image)
    best = Predictor(model=model, spec=spec, device=CPU, score_threshold=0.05, max_detections=3).predict(image)
    assert torch.equal(best.scores, every.scores[:3])
    none = Predictor(model=model, spec=spec, device=CPU, score_threshold=1.0).predict(image)
    assert len(none.scores) == 0
    loose = Predictor(model=model, spec=spec, device=CPU, iou_threshold=1.0).predict(image)
    assert loose.scores.sum() >= every.scores.sum()


@pytest.mark.parametrize(
    "given", [np.zeros((4, 5, 3), dtype=np.float32), Image.new("RGB", (0, 4)), torch.zeros(3, 4, 5)]
)
def test_what_is_no_photo_is_refused(predictor: Predictor, given: object) -> None:
    with pytest.raises(UserError, match="photo"):
        next(predictor.predict_many(iter([given])))


@pytest.mark.parametrize("content", [None, b"", b"not a photo", b"\x89PNG\r\n\x1a\n" + bytes(30)])
def test_unreadable_photo(predictor: Predictor, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "photo.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"photo\.png cannot be read as an image"):
        predictor.predict(path)


def test_truncated_photo(predictor: Predictor, tmp_path: Path) -> None:
    picture(60, 60).save(tmp_path / "photo.jpg")
    content = (tmp_path / "photo.jpg").read_bytes()
    (tmp_path / "photo.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"photo\.jpg cannot be read as an image"):
        predictor.predict(tmp_path / "photo.jpg")


def test_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        eps.load(tmp_path)
    with pytest.raises(UserError, match=r"nowhere/model\.safetensors is missing"):
        eps.load(tmp_path / "nowhere")


@pytest.mark.parametrize("calibrate", [False, True])
def test_forms_find_the_same(folder: Path, calibrate: bool) -> None:
    """Folded norms give what the network as it is gives; 16 bits nearly so."""
    model, spec = load_segmenter(folder / "model.safetensors")
    photo = picture(96, 64)
    plain = Predictor(model=model, spec=spec, device=CPU).run(photo)
    for precision, share in (("fp32", 1e-5), ("bf16", 0.05)):
        found = eps.load(folder, precision=precision, calibrate=calibrate).run(photo)
        assert found.tags is None
        assert plain.tags is None
        for ours, theirs in zip(found[:-1], plain[:-1], strict=True):
            assert ours.dtype == theirs.dtype
            torch.testing.assert_close(ours, theirs, rtol=0, atol=share * float(theirs.abs().max()))
