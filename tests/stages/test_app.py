"""`eps.app`: what the page is handed of a run, and, in a browser, the page itself."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from eps import app, train_seg
from eps.app_page.looking import see
from eps.app_page.review import MARKED
from eps.app_page.uploads import Bounds, read_upload
from eps.cli import call
from eps.data.artifacts import read_json, read_mask, write_json
from eps.errors import UserError

Command = Callable[..., tuple[int, str]]
BOUNDS = Bounds(mb=1, megapixels=1, side=0)


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """Pages that would have been served, in place of gradio."""
    served: list[SimpleNamespace] = []

    def serve(page: SimpleNamespace, **how: Any) -> None:
        served.append(SimpleNamespace(**vars(page), **how))

    module = ModuleType("eps.app_page.page")
    module.__dict__.update(Page=SimpleNamespace, serve=serve)
    monkeypatch.setitem(sys.modules, "eps.app_page.page", module)
    monkeypatch.setattr(app, "keep_quiet", lambda folder: None)
    return served


def served(pages: list[SimpleNamespace], dataset: Path, run: Path, *settings: str) -> SimpleNamespace:
    call(app.run, "experiment=tiny", f"data.root={dataset}", f"run='{run}'", "app.port=0", *settings)
    return pages[-1]


def some_photo(dataset: Path) -> Path:
    return sorted((dataset / "JPEGImages").glob("val_*"))[0]


def test_a_whole_run(pages: list[SimpleNamespace], dataset: Path, finished: Path) -> None:
    page = served(pages, dataset, finished, "segmenter.nms_iou=0.4")
    manifest = read_json(finished / "pseudo_masks" / "manifest.json")
    assert (page.name, page.host) == ("run", "127.0.0.1")
    assert page.port > 0
    assert vars(page.start) == {"score": 0.3, "nms_iou": 0.4, "threshold": manifest["threshold"]}
    settings = ["experiment=tiny", f"data.root={dataset}", "segmenter.nms_iou=0.4", f"run_dir={finished}"]
    told = shlex.join(["eps", "stage3", *settings, f"segmenter.exclude={finished / 'exclude.txt'}"])
    assert page.hint == f"To train without the marked photos:\n\n```sh\n{told}\n```"
    assert len(page.review.survey()) == 12
    assert page.marks.path == finished / "exclude.txt"


def test_labels_are_those_of_stage_2(pages: list[SimpleNamespace], dataset: Path, finished: Path) -> None:
    """A training photo with its own tags is given the pseudo-mask that it has."""
    page = served(pages, dataset, finished)
    photo = page.review.masks.photos[0]
    tags = [c for c, there in enumerate(page.review.folder.tags(photo)) if there]
    image = page.review.folder.photo(photo)
    labels = page.networks.label(image, page.networks.localize(image, tags), page.start.threshold)
    assert (labels == read_mask(finished / "pseudo_masks" / "masks" / f"{photo}.png")).all()


@pytest.mark.parametrize("missing", ["classifier", "segmenter"])
def test_half_a_run(pages: list[SimpleNamespace], dataset: Path, own_run: Path, missing: str) -> None:
    shutil.rmtree(own_run / missing)
    page = served(pages, dataset, own_run)
    assert (page.networks.localize is None) == (missing == "classifier")
    assert (page.networks.predictor is None) == (missing == "segmenter")
    seen = see(page.networks, read_upload(some_photo(dataset), BOUNDS))
    assert (seen.semantic is None) == (missing == "segmenter")
    assert page.review is not None


def test_a_run_of_networks_alone(pages: list[SimpleNamespace], dataset: Path, own_run: Path) -> None:
    shutil.rmtree(own_run / "pseudo_masks")
    page = served(pages, dataset, own_run)
    assert page.review is page.marks is None
    assert page.hint == f"{own_run}/pseudo_masks has no pseudo-masks to review: stage 2 makes them."
    assert page.start.threshold == app.THRESHOLD
    assert served(pages, dataset, own_run, "pseudo_masks.threshold=0.7").start.threshold == 0.7


def way_out(run: Path) -> str:
    project = "python -m eps.app --config-dir . experiment=project (in the project's folder)"
    photos = shlex.join(["python", "-m", "eps.app", f"run={run}", "data=photos", "data.root=FOLDER"])
    return f"give its settings too, as in {project} or {photos}"


def test_another_dataset_leaves_the_networks_to_try(
    pages: list[SimpleNamespace], own_dataset: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page and the terminal say in the same line that there is no review, and what to do."""
    photos = own_dataset / "ImageSets" / "Segmentation" / "train.txt"
    photos.write_text("".join(photos.read_text().splitlines(keepends=True)[1:]))
    page = served(pages, own_dataset, finished, "data=folder")
    assert page.review is page.marks is None
    lacks = f"split 'train' of {own_dataset} has no photo 'train_00000', which it has a mask of"
    other = f"{finished} was made from other data than data=folder data.root={own_dataset} ({lacks})"
    assert page.hint == f"review is off: {other}: {way_out(finished)}"
    assert f"{page.hint}\n" in capsys.readouterr().err
    assert see(page.networks, read_upload(some_photo(own_dataset), BOUNDS)).semantic is not None


@pytest.mark.parametrize("there", [True, False])
def test_a_run_of_own_classes_without_its_settings(
    pages: list[SimpleNamespace], dataset: Path, own_run: Path, tmp_path: Path, there: bool
) -> None:
    """The benchmark is what is meant by none: it is neither generated nor taken for what the run was made from."""
    path = own_run / "pseudo_masks" / "instances.json"
    path.write_text(path.read_text().replace('"plane"', '"kite"'))
    root = dataset if there else tmp_path / "generated"
    page = served(pages, root, own_run)
    assert page.review is page.marks is None
    other = f"{own_run} was made from other data than data=railroad (it is of kite, it is not of plane)"
    assert page.hint == f"review is off: {other}: {way_out(own_run)}"
    assert root.exists() == there
    assert page.networks.predictor is not None


def test_the_benchmark_is_never_generated(pages: list[SimpleNamespace], finished: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    page = served(pages, tmp_path / "empty", finished)
    assert page.review is None
    expected = f"data=railroad: {tmp_path}/empty has not been made, as python -m eps.prepare does with the settings of"
    assert page.hint.startswith(f"review is off: {expected} the run; if {finished} was made from other data, give its")
    assert not list((tmp_path / "empty").iterdir())


PROJECT = """\
# @package _global_
defaults: [tiny, override /data: folder, _self_]
data: {root: own data}
"""


def test_the_hint_is_a_command_that_works(
    pages: list[SimpleNamespace], own_dataset: Path, own_run: Path, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "project.yaml").write_text(PROJECT)
    own = ["run=own run", "app.port=0", "app.max_side=0"]
    assert command(app.main, *own, "--config-dir", ".", "experiment=project", "segmenter.steps=1") == (0, "")
    [told] = re.findall(r"with whatever else the run was set to:\n\n```sh\neps stage3 (.*)\n```", pages[-1].hint)
    exclude = ["run_dir=own run", "segmenter.exclude=own run/exclude.txt"]
    assert shlex.split(told) == ["experiment=project", "segmenter.steps=1", "--config-dir", ".", *exclude]
    pages[-1].marks.toggle("train_00003")
    assert command(train_seg.main, *shlex.split(told))[0] == 0
    manifest = read_json(own_run / "segmenter" / "manifest.json")
    assert (manifest["excluded"], manifest["config"]["steps"]) == (1, 1)


def test_the_hint_has_the_settings_of_the_run(
    pages: list[SimpleNamespace], dataset: Path, own_run: Path, command: Command
) -> None:
    """What the stages were told, where the page itself is told no more than its dataset; the last word counts."""
    for name, settings in (
        ("classifier", ["experiment=tiny", "trunk.prototypes=32"]),
        ("pseudo_masks", ["experiment=tiny", "data.root=other", "pseudo_masks=crf", f"run_dir={own_run}"]),
        (
            "segmenter",
            ["experiment=tiny", "data.root=elsewhere", "name=a b", "segmenter.steps=3", "--config-dir", "my"],
        ),
    ):
        write_json(own_run / name / "run.json", {"seconds": 1, "settings": settings})
    assert command(app.main, "run=own run", f"data.root={dataset}", "app.port=0") == (0, "")
    assert pages[-1].hint.startswith("To train without the marked photos:")
    told = pages[-1].hint.split("\n")[3]
    own = [
        "experiment=tiny",
        "trunk.prototypes=32",
        f"data.root={dataset}",
        "pseudo_masks=crf",
        "name=a b",
        "segmenter.steps=3",
    ]
    exclude = ["run_dir=own run", "segmenter.exclude=own run/exclude.txt"]
    assert shlex.split(told) == ["eps", "stage3", *own, "--config-dir", "my", *exclude]


def test_a_run_of_nothing_is_one_line(dataset: Path, tmp_path: Path, command: Command) -> None:
    code, told = command(app.main, "experiment=tiny", f"data.root={dataset}", f"run={tmp_path}/none")
    expected = "has neither segmenter/ nor classifier/: train one first, or give run=FOLDER"
    assert (code, told) == (2, f"error: {tmp_path}/none {expected}\n")


def test_without_gradio_it_is_one_line(
    dataset: Path, finished: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "eps.app_page.page", None)
    monkeypatch.setattr(app, "keep_quiet", lambda folder: None)
    code, told = command(app.main, "experiment=tiny", f"data.root={dataset}", f"run_dir={finished}", "app.port=0")
    assert code == 2
    assert told.startswith("error: eps.app needs gradio: pip install 'eps-seg[app]' (")
    assert told.count("\n") == 1


def test_a_port_that_is_taken(pages: list[SimpleNamespace], dataset: Path, finished: Path) -> None:
    with pytest.raises(UserError, match=r"app\.host=192\.0\.2\.1 app\.port=0 cannot be used"):
        served(pages, dataset, finished, "app.host=192.0.2.1")


CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
WATCH = """
import os, socket

def watched(call):
    def connect(self, address, *rest):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1"):
            with open(os.environ["REACHED"], "a") as file:
                file.write(f"{address}\\n")
        return call(self, address, *rest)
    return connect

socket.socket.connect = watched(socket.socket.connect)
socket.socket.connect_ex = watched(socket.socket.connect_ex)
"""
"""A `sitecustomize` that writes down every address outside this machine."""


@pytest.fixture(scope="module")
def served_run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("served") / "a run"
    shutil.copytree(finished, run)
    return run


@pytest.fixture(scope="module")
def address(dataset: Path, served_run: Path) -> Iterator[str]:
    """Of the page of a run whose instances all pass the least score, served by another process."""
    tmp_path = served_run.parent
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    root = Path(__file__).parents[2]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "watch"), str(root)]),
        "REACHED": str(tmp_path / "reached"),
        "TMPDIR": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    settings = ["experiment=tiny", f"data.root={dataset}", f"run='{served_run}'", "app.port=0"]
    settings += ["app.max_upload_mb=0.5", "app.max_megapixels=1", "predict.score_threshold=0"]
    command = [sys.executable, "-m", "eps.app", *settings]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=log,
            stderr=log,
            cwd=tmp_path,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # which a shell's background jobs ignore
        )
        try:
            yield _ready(process, tmp_path / "log")
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0, (tmp_path / "log").read_text()
        finally:
            process.kill()
            process.wait()
    assert not (tmp_path / "reached").exists(), "nothing is fetched from outside"
    assert not list(tmp_path.glob("eps-app-*")), "what was uploaded is gone"
    assert "Traceback" not in (tmp_path / "log").read_text()


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"(http://127\.0\.0\.1:\d+) is ready", log.read_text()):
            return found[1]
        time.sleep(0.2)
    pytest.fail(log.read_text())


@pytest.fixture
def streams() -> set[Any]:
    """Of what the server has yet to tell the page."""
    return set()


@pytest.fixture
def tab(address: str, streams: set[Any]) -> Iterator[Any]:
    """A page in headless Chromium, which has asked no other machine and told no error when it is left."""
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.set_default_timeout(60_000)
        asked: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("request", lambda request: streams.add(request) if "/queue/" in request.url else None)
        page.on("requestfinished", lambda request: streams.discard(request))
        page.on("requestfailed", lambda request: streams.discard(request))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(address)
        yield page
        settle(page, streams)
        browser.close()
    outside = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert outside == []
    assert errors == []


def settle(page: Any, streams: set[Any]) -> None:
    """Wait until the server has told all: gradio's client takes a stream that leaving cuts for an error."""
    quiet = 0
    while quiet < 5:
        page.wait_for_timeout(200)
        quiet = 0 if streams else quiet + 1


browser = pytest.mark.skipif(
    not CHROMIUM or not find_spec("gradio") or not find_spec("playwright"),
    reason="needs Chromium (apt-get install chromium), gradio and playwright",
)


def _downloaded(tab: Any, button: str) -> Path:
    tab.wait_for_selector(f"{button}:not([disabled])")
    with tab.expect_download() as waiting:
        tab.click(button)
    return Path(waiting.value.path())


def _put(tab: Any, slider: str, value: str) -> None:
    tab.fill(f"{slider} input[type=number]", value)
    tab.press(f"{slider} input[type=number]", "Enter")


@browser
@pytest.mark.slow
def test_a_photo_in_a_browser(tab: Any, dataset: Path) -> None:
    photo = some_photo(dataset)
    tab.set_input_files("#photo input[type=file]", photo)
    tab.wait_for_selector("#instances_picture img")
    tab.wait_for_selector("#semantic_picture img")
    assert f"{photo.name}, 64 x 64 pixels" in tab.inner_text("#note")
    coco = json.loads(_downloaded(tab, "#coco").read_text())
    assert coco["images"] == [{"id": 1, "file_name": photo.name, "height": 64, "width": 64}]
    assert coco["annotations"]
    assert read_mask(_downloaded(tab, "#semantic_png")).shape == (64, 64)
    assert tab.is_disabled("#mask_png"), "no tags, no pseudo-mask"
    tab.click("#tags input")
    tab.keyboard.type("train")
    tab.keyboard.press("Enter")
    tab.keyboard.press("Escape")
    tab.wait_for_selector("#maps img")
    tab.wait_for_selector("#pseudo-mask_picture img")
    assert set(read_mask(_downloaded(tab, "#mask_png")).flat) <= {0, 1}
    _put(tab, "#score", "1")
    tab.wait_for_function("!document.querySelector('#table').innerText.includes('0.')")
    tab.wait_for_timeout(1000)
    assert json.loads(_downloaded(tab, "#coco").read_text())["annotations"] == []


@browser
@pytest.mark.slow
def test_uploads_out_of_bounds_in_a_browser(tab: Any, streams: set[Any], dataset: Path, tmp_path: Path) -> None:
    """Refused by the server for its bytes, by our reader for its pixels, and because it is no picture."""
    Image.new("L", (2000, 1000)).save(tmp_path / "huge.png")
    tab.set_input_files("#photo input[type=file]", some_photo(dataset))
    tab.wait_for_selector("#instances_picture img")
    tab.click("#photo [aria-label='Clear']")
    tab.wait_for_selector("#note :text('Drop a photo')")
    tab.wait_for_selector("#instances_picture img", state="detached")
    tab.set_input_files("#photo input[type=file]", tmp_path / "huge.png")
    told = "huge.png has 2000 x 1000 pixels, more than the 1 million of app.max_megapixels"
    tab.wait_for_selector(f"#note :text('{told}')")
    settle(tab, streams)
    tab.reload()
    (tmp_path / "odd.png").write_bytes(b"no picture")
    tab.set_input_files("#photo input[type=file]", tmp_path / "odd.png")
    tab.wait_for_selector("#note :text('odd.png cannot be read as an image')")
    upload = f"{tab.url}gradio_api/upload"
    body = {"files": {"name": "a.png", "mimeType": "image/png", "buffer": bytes(2 * 2**20)}}
    assert tab.request.post(upload, multipart=body).status == 413
    body["files"]["buffer"] = bytes(1000)
    assert tab.request.post(upload, multipart=body).status == 200


@browser
@pytest.mark.slow
def test_bad_masks_are_marked_in_a_browser_and_left_out(tab: Any, dataset: Path, served_run: Path) -> None:
    tab.get_by_role("tab", name="Review").click()
    tab.wait_for_selector("#pictures img")
    assert tab.locator("#thumbnails .thumbnail-item").count() == 12
    assert not tab.is_visible("#page"), "there is one"
    marked = []
    for _ in range(2):
        marked.append(tab.inner_text("#title strong"))
        tab.click("#mark")
        tab.wait_for_selector("#title :text('marked as bad')")
        tab.click("#next")
        tab.wait_for_function("before => document.querySelector('#title strong').innerText != before", arg=marked[-1])
    path = served_run / "exclude.txt"
    assert sorted(path.read_text().split()) == sorted(marked)
    tab.click(f"#which :text('{MARKED}')")
    tab.wait_for_function("document.querySelectorAll('#thumbnails .thumbnail-item').length == 2")
    tab.locator("#thumbnails .thumbnail-item").nth(1).click()
    tab.wait_for_selector(f"#title :text('{marked[1]}')")
    tab.click("#mark")
    tab.wait_for_selector("#mark:has-text('Mark as bad')")
    assert path.read_text().split() == marked[:1]
    settings = ["experiment=tiny", f"data.root={dataset}", f"run_dir='{served_run}'", f"segmenter.exclude='{path}'"]
    call(train_seg.run, *settings)
    assert read_json(served_run / "segmenter" / "manifest.json")["excluded"] == 1
