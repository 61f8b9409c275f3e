"""In which form a network runs when it is not learning: batch norms folded, which numbers, compiled or not."""

import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from eps.engine.latency import timed
from eps.engine.progress import remark
from eps.errors import UserError
from eps.models.classifier import Classifier
from eps.nn.folding import folded
from eps.nn.norms import batch_norms
from eps.ops.assembly import photo_localization

Precision = Literal["fp32", "bf16", "fp16"]
Forward = Callable[[Tensor], Any]
"""Normalised photos to what the network's `forward` gives, in float32."""
Output = TypeVar("Output")

SMALL = 64
"""Side of the photo that shows which norm follows which convolution."""
ROUNDS = 3
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Form(NamedTuple):
    precision: Precision = "fp32"
    compiled: bool = False

    def __str__(self) -> str:
        return f"{self.precision}{', compiled' if self.compiled else ''}"


def allowed_forms(form: Form) -> list[Form]:
    """What is tried where a form is asked for: it, and the same with all 32 bits or without a compiler."""
    precisions: dict[Precision, None] = {form.precision: None, "fp32": None}
    return [Form(p, c) for p in precisions for c in ((True, False) if form.compiled else (False,))]


def in_form(network: nn.Module, form: Form) -> Forward:
    """A network, which stays as it is, as a function in this form: a copy with folded norms, channels last.

    Where torch.compile fails, what it has failed on runs as it is, and so does all that follows. Raises `UserError` for
    fp16 on a CPU.
    """
    device = next(network.parameters()).device
    if form.precision == "fp16" and device.type == "cpu":
        raise UserError("runtime.precision=fp16: a CPU gains nothing from it; set bf16 or fp32")
    with torch.inference_mode(False):  # else its weights would be good for nothing else
        made = folded(network, torch.zeros(1, 3, SMALL, SMALL, device=device))
        quick = _in_precision(made, _DTYPES[form.precision]).to(memory_format=torch.channels_last)
    run = _Compiled(quick) if form.compiled else quick

    def forward(images: Float[Tensor, "b 3 H W"]) -> Any:
        given = images.to(_DTYPES[form.precision]).contiguous(memory_format=torch.channels_last)
        return tree_map(_in_float32, run(given))

    return forward


def quickest(network: nn.Module, form: Form, images: Float[Tensor, "b 3 H W"]) -> Forward:
    """The network in the quickest of the forms that `form` allows, tried for a moment on photos of the usual size.

    A form whose output is not finite (fp16 overflows) is out. Says what it has chosen, if there was a choice.
    """
    forms = allowed_forms(form)
    if len(forms) == 1:
        return in_form(network, form)
    forwards = {one: in_form(network, one) for one in forms}
    seconds = {one: _seconds(forward, images) for one, forward in forwards.items()}
    best = min(seconds, key=lambda one: seconds[one])
    remark(f"network in {best}: " + "; ".join(f"{one} {1000 * took:.0f} ms" for one, took in seconds.items()))
    return forwards[best]


class QuickClassifier:
    """A classifier in a form of its own, as `eps.engine.inference.localize` takes it."""

    def __init__(self, model: Classifier, form: Form) -> None:
        self.normalize = model.normalize
        self.background = model.background
        self.forward = in_form(model, form)

    def localization(
        self, images: Float[Tensor, "b 3 H W"], *, size: tuple[int, int], classes: Sequence[int] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """As `Classifier.localization`."""
        maps = self.forward(images).maps
        return photo_localization(maps, background=self.background, size=size, classes=classes)


class _Compiled:
    """A network compiled, or as it is once the compiler has failed, which needs a C compiler of its own."""

    def __init__(self, network: nn.Module) -> None:
        self.plain = network
        self.run: Callable[[Tensor], Any] = torch.compile(network)

    def __call__(self, images: Tensor) -> Any:
        if self.run is self.plain:
            return self.plain(images)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the compiler's own libraries
                return self.run(images)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # the compiler's have no class in common
            self.run = self.plain
            remark(f"runtime.compile: the network runs as it is, torch.compile failed: {_first_line(error)}")
            return self.plain(images)


def _in_precision(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """In place. Norms that are left keep their statistics in float32, which their kernels take beside 16-bit photos."""
    kept = deepcopy(batch_norms(network))
    network.to(dtype)
    for name, module in kept.items():
        network.set_submodule(name, module)
    return network


def _in_float32(value: Output) -> Output | Tensor:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _seconds(forward: Forward, images: Tensor) -> float:
    """The best of some calls after one that does not count; infinite where the output is not finite."""
    output = forward(images)
    if not all(bool(torch.isfinite(leaf).all()) for leaf in tree_leaves(output) if isinstance(leaf, Tensor)):
        return float("inf")
    return min(timed(forward, images, images.device) for _ in range(ROUNDS))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
