"""`eps.predict` for people: one photo, a folder and a video, drawn; prototypes, benchmark, chosen classes, ONNX."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eps
from eps import build, predict
from eps.cli import call
from eps.data.artifacts import read_json, read_mask
from eps.data.files import CONVERT
from eps.data.video import Video, VideoWriter
from eps.engine.latency import summary
from eps.engine.predictor import Predictor
from eps.errors import UserError

pytestmark = pytest.mark.slow

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four of different sizes, one in a folder below; smooth, so that JPEG changes little."""
    folder = tmp_path / "photos"
    for number, (name, size) in enumerate({"a.png": (96, 64), "b.png": (80, 120), "below/c.jpg": (64, 64)}.items()):
        y, x = np.mgrid[: size[1], : size[0]] / max(size)
        waves = [np.sin(6 * x + 2 * y + number), np.cos(5 * y - 3 * x), np.sin(9 * x * y + 1)]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((128 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def clip(photos: Path, tmp_path: Path) -> Path:
    with VideoWriter(tmp_path / "clip.mp4", rate=7.0) as writer:
        for shift in range(5):
            with Image.open(photos / "a.png") as image:
                writer.write(Image.fromarray(np.roll(np.asarray(image), 6 * shift, axis=1)))
    return tmp_path / "clip.mp4"


@pytest.fixture
def ask(exported: Path, tmp_path: Path) -> Callable[..., Path]:
    def run(*overrides: str) -> Path:
        given = any(override.startswith("model=") for override in overrides)
        model = [] if given else [f"model={exported / 'segmenter'}"]
        return call(predict.run, "experiment=tiny", f"run_dir={tmp_path / 'run'}", *model, *overrides).path

    return run


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=float)


def files(folder: Path) -> list[str]:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return sorted(names - {"manifest.json", "run.json"})


def test_one_photo(ask: Callable[..., Path], exported: Path, photos: Path) -> None:
    """What is drawn is what the Python API draws of instances above the score asked for."""
    made = ask(f"source={photos / 'a.png'}", "predict.score_threshold=0.6", "predict.top_k=5")
    assert made.name == "picture"
    assert files(made) == ["a.jpg"]
    segmenter = eps.load(exported / "segmenter")
    segmenter.score_threshold = segmenter.least_score = 0.6
    segmenter.max_detections = 5
    with Image.open(photos / "a.png") as image:
        found = segmenter.predict(image)
        expected = np.asarray(found.draw(image), dtype=float)
    assert len(found.scores) == 5
    assert (found.scores >= 0.6).all()
    assert np.abs(pixels(made / "a.jpg") - expected).mean() < 12  # JPEG
    assert np.abs(pixels(photos / "a.png") - expected).mean() > 12
    nothing = ask(f"source={photos / 'a.png'}", "predict.score_threshold=1")
    assert np.abs(pixels(nothing / "a.jpg") - pixels(photos / "a.png")).mean() < 3


def test_what_is_drawn_is_chosen(ask: Callable[..., Path], exported: Path, photos: Path) -> None:
    """Boxes alone, of so many photos; a shuffled sample is the seed's."""
    made = ask(f"source={photos}", "predict.draw=[boxes]", "predict.frames=1", "predict.score_threshold=0.6")
    assert files(made) == ["a.jpg"]
    segmenter = eps.load(exported / "segmenter")
    segmenter.score_threshold = segmenter.least_score = 0.6
    segmenter.max_detections = 50
    with Image.open(photos / "a.png") as image:
        found = segmenter.predict(image)
        expected = np.asarray(found.draw(image, masks=False, names=False, scores=False), dtype=float)
        whole = np.asarray(found.draw(image), dtype=float)
    difference = np.abs(pixels(made / "a.jpg") - expected).mean()
    assert difference < np.abs(pixels(made / "a.jpg") - whole).mean() / 2
    drawn = ("predict.frames=2", "predict.shuffle=true")
    shuffled = {tuple(files(ask(f"source={photos}", *drawn, f"seed={seed}"))) for seed in range(6)}
    assert len(shuffled) > 1
    assert all(len(names) == 2 for names in shuffled)


def test_the_network_is_loaded_once(ask: Callable[..., Path], photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Path] = []
    load = build.load_network
    monkeypatch.setattr(build, "load_network", lambda path, **rest: loaded.append(path) or load(path, **rest))
    ask(f"source={photos / 'a.png'}")
    assert [path.name for path in loaded] == ["model.safetensors"]


def test_a_folder_in_batches(
    ask: Callable[..., Path], exported: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ask(f"source={photos}", "predict.batch=2")
    assert files(made) == ["a.jpg", "b.jpg", "below/c.jpg"]
    assert "3 photos in" in (shown := capsys.readouterr().err)
    assert "fps" in shown
    before = {name: pixels(made / name) for name in files(made)}
    single = ask(f"source={photos}", "predict.batch=1")
    for name, drawn in before.items():
        assert np.abs(pixels(single / name) - drawn).mean() < 1
    ask(f"source={photos}", "predict.batch=1")
    assert "is up to date" in capsys.readouterr().err


def test_photos_that_cannot_be_read(
    ask: Callable[..., Path], photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them are told before the network runs; left out, they are listed in the end and in the manifest."""
    (photos / "text.jpg").write_text("no photo")
    whole = (photos / "b.png").read_bytes()
    (photos / "b.png").write_bytes(whole[: len(whole) // 2])
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict_many", lambda *_, **__: pytest.fail("the network has run"))
        with pytest.raises(UserError, match=r"2 of 4 photos cannot be read: mend or remove them, or .*on_error=skip"):
            ask(f"source={photos}", "format=coco")
    told = capsys.readouterr().err
    assert "text.jpg cannot be read" in told
    assert "b.png cannot be read" in told
    (photos / "below" / "d.WEBP").write_bytes(whole)
    (photos / "below" / "e.HEIC").touch()
    made = ask(f"source={photos}", "data.on_error=skip")
    assert files(made) == ["a.jpg", "below/c.jpg", "below/d.jpg"]
    told = " ".join(capsys.readouterr().err.split())
    assert "left out, 2 of them" in told
    assert f"pictures of kinds that are not read: below/e.HEIC; {CONVERT}" in told
    manifest = read_json(made / "manifest.json")
    assert set(manifest["skipped"]) == {"b", "text"}
    assert manifest["photos"] == 3
    with pytest.raises(UserError, match=r"text\.jpg cannot be read"):
        ask(f"source={photos / 'text.jpg'}", "data.on_error=skip")


def test_a_video(ask: Callable[..., Path], exported: Path, clip: Path) -> None:
    made = ask(f"source={clip}")
    assert made.name == "video"
    assert files(made) == ["clip.mp4"]
    drawn, source = Video(str(made / "clip.mp4")), Video(str(clip))
    assert (drawn.rate, drawn.count) == (pytest.approx(7), 5)
    segmenter = eps.load(exported / "segmenter")
    segmenter.score_threshold = segmenter.least_score = 0.3
    segmenter.max_detections = 50
    for one, frame in zip(drawn, source, strict=True):
        expected = np.asarray(segmenter.predict(frame).draw(frame), dtype=float)
        assert np.abs(np.asarray(one, dtype=float) - expected).mean() < 25  # the codec
        assert np.abs(np.asarray(one, dtype=float) - np.asarray(frame, dtype=float)).mean() > 30
    plain = pixels(ask(f"source={clip}", "format=picture", "predict.frames=1") / "clip" / "000001.jpg")
    timed = ask(f"source={clip}", "format=picture", "predict.frames=1", "predict.draw=[masks,boxes,names,scores,fps]")
    corner = np.abs(pixels(timed / "clip" / "000001.jpg") - plain)
    assert corner[:16, :30].mean() > 10 * corner[32:].mean()
    begun = ask(f"source={clip}", "predict.frames=2", "format=picture")
    assert files(begun) == ["clip/000001.jpg", "clip/000002.jpg"]
    results = read_json(ask(f"source={clip}", "predict.frames=2", "format=coco") / "results.json")
    assert {entry["image_id"] for entry in results} == {"clip/000001", "clip/000002"}


class Camera:
    """What OpenCV gives of a camera that Ctrl-C ends after three pictures."""

    CAP_PROP_FPS, CAP_PROP_FRAME_COUNT = 5, 7

    def __init__(self) -> None:
        self.left = 3

    def isOpened(self) -> bool:
        return True

    def get(self, key: int) -> float:
        return {self.CAP_PROP_FPS: 0.0, self.CAP_PROP_FRAME_COUNT: -1.0}[key]

    def read(self) -> tuple[bool, np.ndarray]:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return True, np.full((64, 96, 3), 60 * self.left, dtype=np.uint8)

    def release(self) -> None:
        pass


@pytest.mark.parametrize(("overrides", "count"), [(["predict.frames=2"], 2), ([], 3)])
def test_a_camera(ask: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, overrides: list[str], count: int) -> None:
    """It ends after so many pictures, or with Ctrl-C, and what was recorded is kept."""
    import cv2

    monkeypatch.setattr(cv2, "VideoCapture", lambda number: Camera() if number == 0 else pytest.fail(str(number)))
    monkeypatch.setattr(cv2, "CAP_PROP_FPS", Camera.CAP_PROP_FPS)
    monkeypatch.setattr(cv2, "CAP_PROP_FRAME_COUNT", Camera.CAP_PROP_FRAME_COUNT)
    made = ask("source=0", *overrides)
    assert files(made) == ["camera0.mp4"]
    monkeypatch.undo()
    assert Video(str(made / "camera0.mp4")).count == count


def test_chosen_classes(ask: Callable[..., Path], photos: Path) -> None:
    """They are what remains of all, and of masks the others become background."""
    everything = read_json(ask(f"source={photos}", "format=coco", "segmenter.max_detections=1000") / "results.json")
    boats = read_json(
        ask(f"source={photos}", "format=coco", "segmenter.max_detections=1000", "predict.classes=[boat]")
        / "results.json"
    )
    assert {entry["category_id"] for entry in everything} == {1, 2}
    assert boats == [entry for entry in everything if entry["category_id"] == 2]
    whole = {
        name: read_mask(path) for name in ("a", "b") for path in [ask(f"source={photos}", "format=png") / f"{name}.png"]
    }
    part = ask(f"source={photos}", "format=png", "predict.classes=[boat]")
    for name, labels in whole.items():
        np.testing.assert_array_equal(read_mask(part / f"{name}.png"), np.where(labels == 2, 2, 0))
    assert any((labels == 1).any() for labels in whole.values())


def test_a_results_file_has_the_ids_of_the_datasets_json(ask: Callable[..., Path], photos: Path) -> None:
    images = [
        {"id": 70 + number, "file_name": name, "height": height, "width": width}
        for number, (name, width, height) in enumerate([("a.png", 96, 64), ("b.png", 80, 120), ("below/c.jpg", 64, 64)])
    ]
    categories = [{"id": 5, "name": "boat"}, {"id": 31, "name": "train"}]
    content = {"images": images, "categories": categories, "annotations": []}
    (photos / "mine.json").write_text(json.dumps(content), encoding="utf-8")
    own = ("data=coco", f"data.root={photos}", "data.tags=mine.json", "data.val_share=0", "source=split:train")
    made = ask(*own, f"data.index={photos.parent / 'index'}", "format=coco", "segmenter.max_detections=1000")
    results = read_json(made / "results.json")
    assert {entry["image_id"] for entry in results} == {70, 71, 72}
    assert {entry["category_id"] for entry in results} == {5, 31}
    assert read_json(made / "categories.json") == [{"id": 31, "name": "train"}, {"id": 5, "name": "boat"}]


def test_prototypes(ask: Callable[..., Path], photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = ask(f"source={photos}", "format=prototypes")
    assert files(made) == ["a.png", "b.png", "below/c.png"]
    best = pixels(made / "a.png")
    second = pixels(ask(f"source={photos / 'a.png'}", "format=prototypes", "predict.instance=1") / "a.png")
    assert best.shape == second.shape
    assert (best != second).any()
    none = pixels(ask(f"source={photos / 'a.png'}", "format=prototypes", "predict.instance=5000") / "a.png")
    assert none.shape[0] < best.shape[0]
    assert "a: no instance 5000 is found that scores above segmenter.score_threshold=0.05" in capsys.readouterr().err


def test_benchmark(ask: Callable[..., Path], photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = ask(f"source={photos}", "predict.benchmark=6")
    assert path.name == "benchmark.json"
    content = read_json(path)
    assert (content["runs"], content["photos"], content["device"]) == (6, 3, "cpu")
    for part in ("predict", "network"):
        times = content["milliseconds"][part]
        assert 0 < times["p50"] <= times["p90"] <= times["p99"]
        assert times["per_second"] == pytest.approx(1000 / times["mean"], rel=0.01)
    assert "predict: p50" in capsys.readouterr().err
    assert not (path.parent / "picture").exists()


def test_onnx_file(ask: Callable[..., Path], exported: Path, photos: Path) -> None:
    """One interface: the file that was exported draws and labels as the model does."""
    file = exported / "export" / "onnx" / "model.onnx"
    ours = {
        form: shutil.copytree(made, made.with_name(f"{form}_ours"))
        for form in ("coco", "png")
        for made in [ask(f"source={photos}", f"format={form}")]
    }
    theirs = {form: ask(f"source={photos}", f"format={form}", f"model={file}") for form in ours}
    results = [read_json(folder / "results.json") for folder in (ours["coco"], theirs["coco"])]
    assert len(results[0]) == len(results[1]) > 50
    for one, other in zip(*results, strict=True):
        assert one["category_id"] == other["category_id"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-3)
        assert one["bbox"] == pytest.approx(other["bbox"], abs=0.1)
    for name in ("a", "b"):
        assert (read_mask(ours["png"] / f"{name}.png") == read_mask(theirs["png"] / f"{name}.png")).mean() > 0.999


def test_benchmark_as_a_flag(command: Command, exported: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []
    monkeypatch.setattr(predict, "measure", lambda *_, runs, **__: called.append(runs) or summary([0.001]))
    settings = ("experiment=tiny", f"source={photos / 'a.png'}", f"model={exported / 'segmenter'}")
    code, text = command(predict.main, *settings, "--benchmark")
    assert code == 0, text
    assert called == [200, 200]
    code, text = command(predict.main, "--benchmark", "--wrong")
    assert (code, "no option --wrong" in text) == (2, True)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["source=nowhere.jpg"], "source=nowhere.jpg: no such file or folder"),
        (["source=nowhere.mp4"], "source=nowhere.mp4: OpenCV cannot open this video"),
        (["source={photos}", "format=video"], "is no video or camera; choose format=picture"),
        (["source={clip}", "format=voc"], "the server knows no videos"),
        (["source={photos}", "predict.classes=[boat,bus]"], "no class 'bus': this segmenter knows train, boat"),
        (["source={photos}", "format=picture", "predict=crf"], "predict.crf refines semantic masks, format=picture"),
        (["source={photos}", "predict.score_threshold=2"], "predict.score_threshold=2"),
        (["source={photos}", "predict.classes=[boat,boat]"], "predict.classes"),
        (["source={photos}", "model=nowhere.onnx"], "nowhere.onnx is missing"),
    ],
)
def test_mistakes(
    command: Command, exported: Path, photos: Path, clip: Path, overrides: list[str], message: str
) -> None:
    given = [override.format(photos=photos, clip=clip) for override in overrides]
    model = [] if any(override.startswith("model=") for override in given) else [f"model={exported / 'segmenter'}"]
    code, text = command(predict.main, "experiment=tiny", *model, *given)
    assert code == 2, text
    assert message in text.splitlines()[-1]
    assert not Path("runs/default/predictions").exists()
