"""Try a run's networks on your own photos in a browser, and review its pseudo-masks there.

Reads `segmenter/`, `classifier/` and `pseudo_masks/` of the run, whatever it has of these; for the review also the
dataset (data=...), which has to be the one that the pseudo-masks were made from. Serves a page on this machine until
Ctrl-C. Marked photos are written to `exclude.txt` in the run, which `segmenter.exclude` reads. Needs the extra `app`.
See docs/APP.md.

    python -m eps.app run=runs/demo  what the run has
    python -m eps.app --config-dir . experiment=project  of a project of eps init, in its folder
    python -m eps.app run=runs/photos data=photos data.root=photos  of own photos: its masks can be reviewed
"""

import math
import re
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from eps import build, build_data
from eps.app_page.looking import Networks, Start
from eps.app_page.review import Marks, Review, Stated, difference, different_classes, read_stated
from eps.app_page.server import LOCAL, free_port, keep_quiet
from eps.app_page.uploads import Bounds
from eps.cli import entrypoint, started_with
from eps.data import railroad
from eps.data.layout import DatasetFolder
from eps.data.manifest import recorded, typed_settings
from eps.data.mask_sources import PseudoMasks
from eps.engine.checkpoint import load_classifier, network_file
from eps.engine.forms import QuickClassifier
from eps.engine.inference import localize_together
from eps.engine.predictor import Predictor
from eps.engine.progress import remark
from eps.errors import UserError
from eps.mask_labels import labelled, needs_threshold
from eps.schema import Config, Result
from eps.schema.data import DataConfig, DataKind

EXCLUDE = "exclude.txt"
THRESHOLD = 0.3
"""Where the background threshold stands for a run without pseudo-masks, unless one is given."""
_OWN = re.compile(r"[+~]*(run|run_dir|out_dir|model|app|app\..*|segmenter\.exclude)=")
"""Settings of this command line that are not for training, or that the hint says itself."""


def run(cfg: Config) -> Result:
    """Serve the page until somebody stops it; there is no score."""
    cfg = replace(cfg, run_dir=cfg.run, out_dir=cfg.run) if cfg.run else cfg
    device = build.accelerator(cfg).device
    networks = _networks(cfg, device)
    review, marks, hint = _review(cfg)
    port = free_port(cfg.app.host, cfg.app.port)
    with tempfile.TemporaryDirectory(prefix="eps-app-") as folder:
        keep_quiet(folder)
        try:
            from eps.app_page.page import Page, serve  # gradio takes seconds, and is an extra
        except ImportError as error:
            raise UserError(f"eps.app needs gradio: pip install 'eps-seg[app]' ({error})") from error
        page = Page(
            name=Path(cfg.run_dir).name,
            networks=networks,
            bounds=Bounds(cfg.app.max_upload_mb, cfg.app.max_megapixels, cfg.app.max_side),
            start=Start(
                score=cfg.predict.score_threshold, nms_iou=cfg.segmenter.nms_iou, threshold=_start_threshold(cfg)
            ),
            review=review,
            marks=marks,
            hint=hint,
        )
        if cfg.app.host not in LOCAL:
            remark(f"app.host={cfg.app.host}: whoever reaches this machine can use the page, there is no password")
        serve(page, host=cfg.app.host, port=port, folder=Path(folder), announce=_announce)
    return Result(score=math.nan, path=Path(cfg.run_dir))


main = entrypoint(run)


def _announce(address: str) -> None:
    remark(f"{address} is ready; Ctrl-C ends it")


def _networks(cfg: Config, device: torch.device) -> Networks:
    """Whatever the run has. Raises `UserError` where it has nothing, or its networks know different classes."""
    predictor, spec, localizer = _predictor(cfg), None, None
    if (classifier := network_file(cfg.input("classifier"))).is_file():
        model, spec = load_classifier(classifier)
        localizer = QuickClassifier(model.to(device), build.inference_form(cfg))
    if predictor is None and (spec is None or localizer is None):
        raise UserError(f"{cfg.run_dir} has neither segmenter/ nor classifier/: train one first, or give run=FOLDER")
    classes = predictor.classes if predictor is not None else spec.classes if spec is not None else ()
    if spec is not None and spec.classes != classes:
        raise UserError(f"{cfg.run_dir}: its classifier knows {list(spec.classes)}, its segmenter {list(classes)}")
    if localizer is None:
        return Networks(classes=classes, predictor=predictor)
    return Networks(
        classes=classes,
        predictor=predictor,
        localize=_Localize(cfg, localizer, len(classes), device),
        label=_Label(cfg, device),
    )


def _predictor(cfg: Config) -> Predictor | None:
    """Of the segmenter that `model` names, else of the run's, if there is one."""
    place = build.trained(cfg, "segmenter")
    if not cfg.model and not place.is_file():
        return None
    return build.drawing(cfg, build.predictor(cfg, place))


class _Localize:
    """Localization maps of a photo as stage 2 makes them, but for a saliency map, which a new photo has not."""

    def __init__(self, cfg: Config, localizer: QuickClassifier, classes: int, device: torch.device) -> None:
        self.node, self.device = cfg.pseudo_masks, device
        self.localizer, self.classes = localizer, classes

    def __call__(self, photo: Image.Image, tags: Sequence[int]) -> Tensor:
        present = torch.zeros(self.classes, dtype=torch.bool)
        present[list(tags)] = True
        [maps] = localize_together(
            self.localizer, [photo], [present], scales=self.node.scales, flip=self.node.flip, device=self.device
        )
        return maps.cpu().half().float()  # as precise as stage 2 keeps them


class _Label:
    """Labels of a photo as stage 2 makes them."""

    def __init__(self, cfg: Config, device: torch.device) -> None:
        self.node, self.device = cfg.pseudo_masks, device

    def __call__(self, photo: Image.Image, maps: Tensor, threshold: float) -> UInt8[np.ndarray, "H W"]:
        [labels] = labelled(self.node, [(lambda: photo, maps)], threshold=threshold, device=self.device)
        return labels.numpy()


def _start_threshold(cfg: Config) -> float:
    """The threshold that is given, else that of the run's pseudo-masks."""
    node = cfg.pseudo_masks
    if not isinstance(node.threshold, str) and needs_threshold(node):
        return node.threshold
    known = recorded(cfg.input("pseudo_masks")).get("threshold")
    return float(known) if isinstance(known, float) else THRESHOLD


def _review(cfg: Config) -> tuple[Review | None, Marks | None, str]:
    """What there is to review, and what to say of it: without the dataset of the masks the page does without."""
    place = cfg.input("pseudo_masks")
    if not (place / "instances.json").is_file():
        return None, None, f"{place} has no pseudo-masks to review: stage 2 makes them."
    try:
        folder = _dataset_of(cfg, read_stated(place / "instances.json"))
        masks = PseudoMasks(place)
        marks = Marks(cfg.output(EXCLUDE), masks.photos)
        marks.read()
    except UserError as error:
        remark(f"review is off: {error}")
        return None, None, f"review is off: {error}"
    return Review(masks, folder), marks, _hint(cfg, marks)


def _dataset_of(cfg: Config, stated: Stated) -> DatasetFolder:
    """The dataset of the config, never generated. Raises `UserError` unless the masks were made from it."""
    node, is_railroad = cfg.data, cfg.data.kind is DataKind.railroad
    given = f"data={node.kind}" if is_railroad else f"data={node.kind} data.root={node.root}"
    photos = shlex.join(["python", "-m", "eps.app", f"run={cfg.run_dir}", "data=photos", "data.root=FOLDER"])
    project = "python -m eps.app --config-dir . experiment=project (in the project's folder)"
    way_out = f"give its settings too, as in {project} or {photos}"
    known = tuple(node.classes) or railroad.CLASSES
    if is_railroad and stated.classes != known:
        differs: str | None = different_classes(stated.classes, known)
    else:
        try:
            folder = _opened(node)
        except UserError as error:
            raise UserError(f"{given}: {error}; if {cfg.run_dir} was made from other data, {way_out}") from error
        differs = difference(stated, folder, split=node.train)
    if differs:
        raise UserError(f"{cfg.run_dir} was made from other data than {given} ({differs}): {way_out}")
    return folder


def _opened(node: DataConfig) -> DatasetFolder:
    if node.kind is not DataKind.railroad:
        return build_data.dataset(node, maps=False)
    if not Path(node.root, "railroad.json").is_file():
        raise UserError(f"{node.root} has not been made, as python -m eps.prepare does with the settings of the run")
    return build_data.dataset(replace(node, kind=DataKind.folder), maps=False)  # as it lies there


def _hint(cfg: Config, marks: Marks) -> str:
    """How to train without the photos that are marked: by the run's own settings, then those of the page.

    A page of another recipe than the run is said to be made by has all that there is to say.
    """
    folders = [cfg.input(name) for name in ("classifier", "pseudo_masks", "segmenter")]
    typed = [typed_settings(folder) for folder in folders if folder.is_dir()]
    page, made = started_with(), [words for words in typed if words is not None]
    if any(word.startswith("experiment=") and not any(word in words for words in made) for word in page):
        made = []
    settings = [word for word in _together(*made, page) if not _OWN.match(word)]
    command = ["eps", "stage3", *settings, f"run_dir={cfg.run_dir}", f"segmenter.exclude={marks.path}"]
    more = "" if made and len(made) == len(typed) else ", with whatever else the run was set to"
    return f"To train without the marked photos{more}:\n\n```sh\n{shlex.join(command)}\n```"


def _together(*commands: Sequence[str]) -> list[str]:
    """The settings of several commands, of those for one key the last, then the flags of the last that has some."""
    settings: dict[str, str] = {}
    flags: list[str] = []
    for words in commands:
        own = [word for word in words if "=" in word and not word.startswith("-")]
        settings |= {word.partition("=")[0].lstrip("+"): word for word in own}
        flags = [word for word in words if word not in own] or flags
    return [*settings.values(), *flags]


if __name__ == "__main__":
    main()
