"""Weights that describe themselves, and the state that a stopped run goes on from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from eps.checkpoints.eps_resnet38 import load_eps_classifier
from eps.checkpoints.yolact import Told, load_yolact_file
from eps.data.atomic import replaced
from eps.data.manifest import recorded
from eps.engine import ranks
from eps.engine.progress import remark
from eps.errors import UserError, one_line
from eps.models.classifier import Classifier
from eps.models.deeplab import DeepLab
from eps.models.segmenter import Segmenter
from eps.models.spec import (
    ClassifierSpec,
    DeepLabSpec,
    SegmenterSpec,
    Spec,
    build_classifier,
    build_deeplab,
    build_segmenter,
    from_json,
    to_json,
)
from eps.nn.weights import fitted, read_state_dict

Model = TypeVar("Model", Classifier, Segmenter, DeepLab)
AnySpec = TypeVar("AnySpec", ClassifierSpec, SegmenterSpec, DeepLabSpec)
FORMAT = "eps.1"
"""The one key of the metadata: safetensors writes several in an order that changes from run to run."""


def network_file(place: Path) -> Path:
    """The file of a trained network: the one in its folder, or the place itself."""
    if place.suffix in (".safetensors", ".onnx", ".pth") or place.is_file():
        return place
    return place / ("model.onnx" if (place / "model.onnx").is_file() else "model.safetensors")


def save_model(path: Path, model: Classifier | Segmenter | DeepLab, spec: Spec) -> None:
    """Write weights as safetensors; the metadata carries the spec, from which alone the model can be rebuilt."""
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    with replaced(path) as temporary:
        save_file(state, temporary, metadata={FORMAT: to_json(spec)})


def load_classifier(path: Path) -> tuple[Classifier, ClassifierSpec]:
    """Rebuild a classifier from its checkpoint, in evaluation mode, or from that of a segmenter of our design.

    Such a segmenter's semantic map is a combination of the same planes as a classifier's maps: its trunk and class
    coefficients make one. Raises `UserError` for anything else, and for a segmenter that has learnt from true masks:
    no label of a training photo may come from those.
    """
    spec = read_spec(path)
    if isinstance(spec, ClassifierSpec):
        return _rebuilt(build_classifier, spec, path), spec
    if isinstance(spec, SegmenterSpec) and spec.design == "shared":
        _refuse_truth(path)
        return _as_classifier(_rebuilt(build_segmenter, spec, path), spec)
    raise UserError(f"{path} holds a segmenter of another design, a classifier is needed: give the folder of stage 1")


def _refuse_truth(path: Path) -> None:
    supervision = recorded(path.parent).get("config", {}).get("supervision")
    if supervision == "truth":
        raise UserError(f"{path} has learnt from true masks: no pseudo-masks may come from it")
    if supervision is None:
        raise UserError(
            f"{path} has no manifest beside it that says what it has learnt from: give the folder of stage 3"
        )


def _as_classifier(segmenter: Segmenter, spec: SegmenterSpec) -> tuple[Classifier, ClassifierSpec]:
    own = ClassifierSpec(trunk=spec.trunk, classes=spec.classes, background=True)
    classifier = build_classifier(own)
    assert segmenter.coefficients is not None
    classifier.load_state_dict(
        {
            "coefficients": segmenter.coefficients.detach(),
            **{f"trunk.{key}": value for key, value in segmenter.trunk.state_dict().items()},
        }
    )
    return classifier.eval(), own


def load_classifier_for(path: Path, classes: tuple[str, ...]) -> Classifier:
    """The classifier of a file for a dataset's classes: one of ours, or one that EPS has released.

    A released file names no classes: it is taken for the dataset's where their number fits. Raises `UserError` where
    the file is neither, or is for other classes.
    """
    if path.is_file() and not _is_safetensors(path):
        state = read_state_dict(path, setting="classifier")
        return load_eps_classifier(state, classes=classes, source=str(path))
    model, spec = load_classifier(path)
    if spec.classes != classes:
        raise UserError(f"{path} knows the classes {list(spec.classes)}, the dataset has {list(classes)}")
    return model


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as that format does, with a length of 8 bytes and a JSON object."""
    with path.open("rb") as file:
        return file.read(9)[8:] in (b"{", b"")  # an empty one is refused as such later


def load_segmenter(path: Path, told: Told | None = None) -> tuple[Segmenter | DeepLab, SegmenterSpec | DeepLabSpec]:
    """Rebuild a segmenter of either kind from its checkpoint, in evaluation mode.

    A file `*.pth` is one of the released YOLACT code: its name, `<model>_<epoch>_<iteration>.pth`, or what is `told`
    says of which network. Raises `UserError` for anything else, and where something is told of another file.
    """
    if path.suffix == ".pth":
        released = load_yolact_file(path, told)
        for note in released.notes:
            remark(note)
        return released.segmenter, released.spec
    refuse_told(path, told)
    spec = read_spec(path)
    if isinstance(spec, ClassifierSpec):
        raise UserError(f"{path} holds a classifier, a segmenter is needed: give the folder of stage 3")
    if isinstance(spec, SegmenterSpec):
        return _rebuilt(build_segmenter, spec, path), spec
    return _rebuilt(build_deeplab, spec, path), spec


def refuse_told(path: Path, told: Told | None) -> None:
    """Raise `UserError` where something is told of a file that says everything of itself."""
    if told not in (None, Told()):
        raise UserError(f"{path} says itself which network and classes it has: leave out released, name and classes")


def read_spec(path: Path) -> Spec:
    """The description in a checkpoint's metadata. Raises `UserError` where the file is not one of ours."""
    if not path.is_file():
        raise UserError(f"{path} is missing: run the stage that trains it first (eps stage1 or eps stage3)")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if FORMAT not in metadata:
            raise ValueError(f"its metadata have no {FORMAT!r}")
        return from_json(metadata[FORMAT])
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a checkpoint of ours: {one_line(error)}") from error


def _rebuilt(build: Callable[[AnySpec], Model], spec: AnySpec, path: Path) -> Model:
    """The model of a description with the weights of its file: nothing is allocated before their shapes agree."""
    with safe_open(path, framework="pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    source = f"{path}, by the description in it,"
    try:
        with torch.device("meta"):
            wanted = build(spec).state_dict()
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # a description may say anything
        raise UserError(f"{source} is no network: {one_line(error)}") from error
    fitted(state, wanted, source=source, exactly=True)
    model = build(spec)
    model.load_state_dict(state, strict=False)  # they fit, but for counters that old batch norms have not
    return model.eval()


@dataclass(frozen=True)
class Position:
    """Where a run of training stands: steps done, and the loss terms of each."""

    step: int
    history: list[dict[str, float]]


class ResumeFile:
    """The state of an unfinished training run: weights, optimizer, schedule and progress.

    `fingerprint` names what the run depends on; a state with another fingerprint is left alone, so that a changed
    config starts afresh. Batches and augmentation are functions of seed and step and need no state.
    """

    def __init__(self, path: Path, *, fingerprint: str) -> None:
        self.path, self.fingerprint = path, fingerprint

    def save(self, progress: Position, **parts: Any) -> None:
        """Write the state of `parts` (whatever has a `state_dict`), replacing the last one.

        Of several processes each has to call this: rank 0 writes, and how every process draws at random.
        """
        random = ranks.gathered((torch.get_rng_state(), torch.cuda.get_rng_state_all()))  # one a device, none without
        if ranks.rank():
            return
        state = {name: part.state_dict() for name, part in parts.items()}
        content = {"fingerprint": self.fingerprint, "step": progress.step, "history": progress.history, "parts": state}
        content["random"] = random
        with replaced(self.path) as temporary, temporary.open("wb") as file:  # of a file torch tells what is wrong
            torch.save(content, file)

    def restore(self, **parts: Any) -> Position:
        """Put `parts` where the last run stopped, or leave them and say step 0.

        Raises `UserError` for a file that is damaged or holds anything else.
        """
        if not self.path.is_file():
            return Position(0, [])
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            if content["fingerprint"] != self.fingerprint:
                remark(f"{self.path} is of other settings or data: training starts afresh and replaces it")
                return Position(0, [])
            position = Position(int(content["step"]), list(content["history"]))
            for name, part in parts.items():
                part.load_state_dict(content["parts"][name])
            for random, of_devices in content["random"][ranks.rank() :][:1]:  # none where there were fewer processes
                torch.set_rng_state(random)
                for device, state in enumerate(of_devices[: torch.cuda.device_count()]):
                    torch.cuda.set_rng_state(state, device)
        except Exception as error:  # torch raises whatever its readers do
            told = f"{self.path} is not readable: remove it to start training afresh ({one_line(error)})"
            raise UserError(told) from error
        return position
