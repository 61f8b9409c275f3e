import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from eps.errors import UserError
from eps.saliency.onnx_network import OnnxNetwork
from eps.saliency.recipe import Recipe

Write = Callable[..., Path]


def opened(file: Path, **settings: Any) -> OnnxNetwork:
    recipe = {
        "size": (8, 12),
        "scale": "unit",
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "layout": "nchw",
        "channels": "rgb",
        "activation": "none",
    }
    given = {key: settings.pop(key) for key in tuple(settings) if key in recipe}
    rest = {"output": "0", "batch": 4, "device": "cpu", "threads": 1} | settings
    return OnnxNetwork(file, recipe=Recipe(**(recipe | given)), **rest)


def photos(count: int, *, height: int = 8, width: int = 12) -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, size=(height, width, 3), dtype=np.uint8)) for _ in range(count)]


def channel_means(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(float).mean(axis=2)


def assert_maps(found: list[np.ndarray], expected: list[np.ndarray], *, within: float = 0.501) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.uint8
        np.testing.assert_allclose(one, other, atol=within)


@pytest.mark.parametrize("shape", [(), ("n", 3, 8, 12), (None, 3, None, None)])
def test_mean_of_channels(onnx_network: Write, shape: tuple[Any, ...]) -> None:
    images = photos(3)
    network = opened(onnx_network(*shape))
    assert (network.batch, network.provider) == (4, "CPUExecutionProvider")
    assert_maps(network(images), [channel_means(image) for image in images])


@pytest.mark.parametrize("keepdims", [True, False])
def test_channels_last(onnx_network: Write, keepdims: bool) -> None:
    images = photos(2)
    network = opened(onnx_network("n", 8, 12, 3, axis=3, keepdims=keepdims), layout="nhwc")
    assert_maps(network(images), [channel_means(image) for image in images])


@pytest.mark.parametrize(("keepdims", "fixed"), [(True, 1), (False, 1), (True, 3)])
def test_fixed_batch(onnx_network: Write, keepdims: bool, fixed: int) -> None:
    """Found out, whatever is asked for; one that is not full is filled up."""
    network = opened(onnx_network(fixed, 3, 8, 12, keepdims=keepdims))
    assert network.batch == fixed
    images = photos(1)
    assert_maps(network(images), [channel_means(image) for image in images])


def test_minmax_is_of_each_photo(onnx_network: Write) -> None:
    images = photos(2)
    images[1] = images[1].point(lambda value: value // 4)
    found = opened(onnx_network(gain=3, bias=-7), activation="minmax")(images)
    means = [channel_means(image) for image in images]
    assert_maps(found, [(m - m.min()) / (m.max() - m.min()) * 255 for m in means])
    assert [(one.min(), one.max()) for one in found] == [(0, 255)] * 2


def test_logits_after_normalisation(onnx_network: Write) -> None:
    images = photos(2)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.5)
    found = opened(onnx_network(gain=2), mean=mean, std=std, activation="sigmoid", channels="bgr")(images)
    expected = []
    for image in images:
        blue_first = np.asarray(image).astype(float)[..., ::-1] / 255
        logits = 2 * sum((blue_first[..., k] - mean[k]) / std[k] for k in range(3)) / 3
        expected.append(255 / (1 + np.exp(-logits)))
    assert_maps(found, expected, within=0.51)


def test_batch_equals_singles(onnx_network: Write) -> None:
    images = [*photos(2), *photos(1, height=31, width=17)]
    network = opened(onnx_network())
    together = network(images)
    assert [one.shape for one in together] == [(8, 12), (8, 12), (31, 17)]
    for one, image in zip(together, images, strict=True):
        np.testing.assert_array_equal(one, network([image])[0])


@pytest.mark.parametrize("elements", ["FLOAT16", "DOUBLE"])
def test_other_floats(onnx_network: Write, elements: str) -> None:
    images = photos(2)
    found = opened(onnx_network(elements=elements))(images)
    assert_maps(found, [channel_means(image) for image in images], within=0.7)


def test_output_by_name_and_number(onnx_network: Write) -> None:
    file, images = onnx_network(), photos(1)
    plain = opened(file, activation="minmax")(images)[0].astype(int)
    for name in ("1", "rest"):
        inverse = opened(file, output=name, activation="minmax")(images)[0]
        assert np.abs(plain + inverse - 255).max() <= 1
    np.testing.assert_array_equal(plain, opened(file, output="salient", activation="minmax")(images)[0])
    for name in ("2", "salience", "-1"):
        with pytest.raises(UserError, match=rf"^saliency.output={name}: .*network.onnx has salient, rest"):
            opened(file, output=name)


@pytest.mark.parametrize("content", [b"", b"no network at all", b"\x08\x08\x12\x04half"])
def test_no_onnx(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.onnx"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"bad.onnx cannot be opened as an ONNX network: ") as refusal:
        opened(file)
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr() == ("", "")


def test_half_a_network(onnx_network: Write) -> None:
    file = onnx_network()
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(UserError, match="cannot be opened as an ONNX network"):
        opened(file)


def test_no_file(tmp_path: Path) -> None:
    for file in (tmp_path / "nowhere.onnx", tmp_path):
        with pytest.raises(UserError, match=r"^saliency.model=.*: no such file; give the ONNX file"):
            opened(file)


def odd_network(tmp_path: Path, operator: str, inputs: list[Any], *, into: int = TensorProto.FLOAT) -> Path:
    """One operator from `inputs` to an output of which nothing is declared but the type."""
    entries = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    made = helper.make_tensor_value_info("out", into, None)
    node = helper.make_node(operator, [entry.name for entry in entries], ["out"])
    model = helper.make_model(
        helper.make_graph([node], "odd", entries, [made]), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    onnx.save(model, str(tmp_path / "odd.onnx"))
    return tmp_path / "odd.onnx"


PHOTO = ["n", 3, "h", "w"]


@pytest.mark.parametrize(
    ("operator", "inputs", "into", "told"),
    [
        (
            "Add",
            [("a", TensorProto.FLOAT, PHOTO), ("b", TensorProto.FLOAT, PHOTO)],
            TensorProto.FLOAT,
            "2 inputs .a, b",
        ),
        ("Identity", [("a", TensorProto.INT64, PHOTO)], TensorProto.INT64, r"takes tensor\(int64\)"),
        ("Identity", [("a", TensorProto.FLOAT, ["n", 3])], TensorProto.FLOAT, "four dimensions"),
        (
            "Identity",
            [("a", TensorProto.FLOAT, ["n", 8, 12, 3])],
            TensorProto.FLOAT,
            "set saliency.layout=nchw or nhwc",
        ),
        ("Identity", [("a", TensorProto.FLOAT, ["n", 3, 12, 8])], TensorProto.FLOAT, r"make \[3, 8, 12\] of a photo"),
        ("Identity", [("a", TensorProto.FLOAT, ["n", 1, 8, 12])], TensorProto.FLOAT, r"shape \['n', 1, 8, 12\]"),
    ],
)
def test_unusable_input(tmp_path: Path, operator: str, inputs: list[Any], into: int, told: str) -> None:
    with pytest.raises(UserError, match=told):
        opened(odd_network(tmp_path, operator, inputs, into=into))


@pytest.mark.parametrize(
    ("operator", "into", "told"),
    [
        ("Identity", TensorProto.FLOAT, r"'out' is float32 of shape \(2, 3, 8, 12\), not one map"),
        ("GlobalAveragePool", TensorProto.FLOAT, r"shape \(2, 3, 1, 1\)"),
        ("Flatten", TensorProto.FLOAT, r"shape \(2, 288\)"),
        ("Shape", TensorProto.INT64, r"is int64 of shape \(4,\)"),
    ],
)
def test_unusable_output(tmp_path: Path, operator: str, into: int, told: str) -> None:
    network = opened(odd_network(tmp_path, operator, [("a", TensorProto.FLOAT, PHOTO)], into=into))
    with pytest.raises(UserError, match=f"{told}.*saliency.output"):
        network(photos(2))


def test_vector_of_one_photo_is_no_map(tmp_path: Path) -> None:
    network = opened(odd_network(tmp_path, "Flatten", [("a", TensorProto.FLOAT, PHOTO)]))
    with pytest.raises(UserError, match=r"shape \(1, 288\)"):
        network(photos(1))


def test_batch_that_only_seems_open(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Exporters leave a batch of 1 inside a graph whose input says otherwise."""
    inputs = [helper.make_tensor_value_info("a", TensorProto.FLOAT, PHOTO)]
    target = helper.make_tensor("target", TensorProto.INT64, [3], [3, 8, 12])
    node = helper.make_node("Reshape", ["a", "target"], ["out"])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "odd", inputs, [out], initializer=[target])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "odd.onnx"))
    network = opened(tmp_path / "odd.onnx")
    with pytest.raises(UserError, match=r"cannot be run on \(2, 3, 8, 12\); .*saliency.batch=1"):
        network(photos(2))
    assert capfd.readouterr() == ("", "")


def test_wrong_activation_names_the_file(onnx_network: Write) -> None:
    network = opened(onnx_network(gain=20, bias=-10))
    with pytest.raises(UserError, match=r"network.onnx: its output lies in .*, not in 0..1"):
        network(photos(1))


def test_cuda_that_is_not_there(onnx_network: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    file = onnx_network()
    with pytest.raises(UserError, match=r"^runtime.device=cuda: .*onnxruntime-gpu"):
        opened(file, device="cuda")
    assert opened(file, device="auto").provider == "CPUExecutionProvider"


@pytest.mark.parametrize(("device", "first"), [("auto", "CUDA"), ("cuda", "CUDA"), ("cpu", "CPU")])
def test_cuda_is_asked_for(onnx_network: Write, monkeypatch: pytest.MonkeyPatch, device: str, first: str) -> None:
    import onnxruntime

    asked: list[Any] = []
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    session = onnxruntime.InferenceSession

    class Session(session):  # type: ignore[misc, valid-type]
        def __init__(self, file: str, options: Any, *, providers: list[str]) -> None:
            asked.append((options.intra_op_num_threads, providers))
            super().__init__(file, options, providers=[cpu])

        def get_providers(self) -> list[str]:
            return asked[0][1]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [cuda, cpu])
    network = opened(onnx_network(), device=device, threads=3)
    assert asked == [(3, [cuda, cpu] if first == "CUDA" else [cpu])]
    assert network.provider.startswith(first)


def test_without_onnxruntime(onnx_network: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"onnxruntime is not installed: pip install 'eps-seg\[saliency\]'"):
        opened(onnx_network())
