import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from eps.engine.checkpoint import (
    Position,
    ResumeFile,
    load_classifier,
    load_classifier_for,
    load_segmenter,
    read_spec,
    save_model,
)
from eps.errors import UserError
from eps.models.classifier import Classifier
from eps.models.segmenter import Segmenter
from eps.models.spec import (
    ClassifierSpec,
    SegmenterSpec,
    TrunkSpec,
    build_classifier,
    build_segmenter,
    from_json,
    to_json,
)

CLASSES = ("train", "boat")


@pytest.fixture
def classifier_spec(trunk_spec: TrunkSpec) -> ClassifierSpec:
    return ClassifierSpec(trunk=trunk_spec, classes=CLASSES, background=True)


@pytest.fixture
def classifier(tmp_path: Path, classifier_spec: ClassifierSpec) -> tuple[Path, Classifier]:
    model = build_classifier(classifier_spec)
    save_model(tmp_path / "classifier.safetensors", model, classifier_spec)
    return tmp_path / "classifier.safetensors", model


@pytest.fixture
def segmenter(tmp_path: Path, segmenter_spec: SegmenterSpec) -> tuple[Path, Segmenter]:
    model = build_segmenter(segmenter_spec)
    save_model(tmp_path / "segmenter.safetensors", model, segmenter_spec)
    return tmp_path / "segmenter.safetensors", model


def test_classifier_comes_back_from_its_file_alone(
    classifier: tuple[Path, Classifier], tmp_path: Path, classifier_spec: ClassifierSpec
) -> None:
    path, model = classifier
    elsewhere = tmp_path / "elsewhere" / "any name"
    elsewhere.parent.mkdir()
    shutil.copy(path, elsewhere)
    again, spec = load_classifier(elsewhere)
    assert spec == classifier_spec
    assert not again.training
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key
    assert torch.equal(model.normalization.mean, again.normalization.mean)
    assert torch.equal(model.normalization.std, again.normalization.std)


def test_segmenter_comes_back(segmenter: tuple[Path, Segmenter], segmenter_spec: SegmenterSpec) -> None:
    path, model = segmenter
    again, spec = load_segmenter(path)
    assert spec == segmenter_spec
    images = torch.rand(1, 3, 64, 64)
    assert again(images).tags is None
    assert all(torch.equal(a, b) for a, b in zip(model.eval()(images)[:-1], again(images)[:-1], strict=True))


def test_metadata_describes_the_model(classifier: tuple[Path, Classifier], classifier_spec: ClassifierSpec) -> None:
    with safe_open(classifier[0], framework="pt") as file:
        metadata = file.metadata()
    assert from_json(metadata["eps.1"]) == classifier_spec


def test_equal_weights_make_equal_files(
    classifier: tuple[Path, Classifier], tmp_path: Path, classifier_spec: ClassifierSpec
) -> None:
    path, model = classifier
    for _ in range(8):  # safetensors hashes by chance
        save_model(tmp_path / "again", model.to(memory_format=torch.channels_last), classifier_spec)
        assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_nothing_else_is_left_beside_it(classifier: tuple[Path, Classifier]) -> None:
    assert [p.name for p in classifier[0].parent.iterdir()] == ["classifier.safetensors"]


def test_failed_writing_keeps_the_old_file(
    classifier: tuple[Path, Classifier], monkeypatch: pytest.MonkeyPatch, classifier_spec: ClassifierSpec
) -> None:
    path, model = classifier
    before = path.read_bytes()

    def full(*arguments: object, **more: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("eps.engine.checkpoint.save_file", full)
    with pytest.raises(OSError, match="no space"):
        save_model(path, model, classifier_spec)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_one_is_not_the_other(
    classifier: tuple[Path, Classifier], segmenter_spec: SegmenterSpec, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"classifier\.safetensors holds a classifier, a segmenter is needed"):
        load_segmenter(classifier[0])
    spec = replace(segmenter_spec, design="released")
    save_model(tmp_path / "yolact.safetensors", build_segmenter(spec), spec)
    with pytest.raises(UserError, match=r"yolact\.safetensors holds a segmenter of another design, a classifier is"):
        load_classifier(tmp_path / "yolact.safetensors")


def test_our_segmenter_serves_as_a_classifier_with_the_same_maps(segmenter: tuple[Path, Segmenter]) -> None:
    path, model = segmenter
    (path.parent / "manifest.json").write_text('{"config": {"supervision": "pseudo"}}')
    found, spec = load_classifier(path)
    photos = torch.rand(2, 3, 64, 64)
    assert (spec.classes, spec.background) == (CLASSES, True)
    assert not found.training
    torch.testing.assert_close(found(photos).maps, model.eval()(photos).semantic)


def test_no_labels_from_a_segmenter_that_has_seen_truth(segmenter: tuple[Path, Segmenter]) -> None:
    path, _ = segmenter
    with pytest.raises(UserError, match=r"segmenter\.safetensors has no manifest beside it that says what it has"):
        load_classifier(path)
    (path.parent / "manifest.json").write_text('{"config": {"supervision": "truth"}}')
    with pytest.raises(UserError, match=r"segmenter\.safetensors has learnt from true masks"):
        load_classifier(path)


def test_ours_for_a_datasets_classes(classifier: tuple[Path, Classifier]) -> None:
    path, model = classifier
    found = load_classifier_for(path, CLASSES)
    assert torch.equal(found.coefficients, model.coefficients)
    with pytest.raises(UserError, match=r"knows the classes \['train', 'boat'\], the dataset has \['boat', 'train'\]$"):
        load_classifier_for(path, ("boat", "train"))


def test_a_file_of_torch_is_taken_for_a_released_one(tmp_path: Path) -> None:
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.any"
        torch.save({"fc8.weight": torch.zeros(4, 4096, 1, 1)}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(UserError, match=r"any has 4 maps; the dataset's 2 classes take 2 \(CAM\) or 3 \(EPS\)"):
            load_classifier_for(path, CLASSES)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "is missing: run the stage that trains it"),
        (b"", "is not a checkpoint of ours"),
        (b"12345678{", "is not a checkpoint of ours"),
        (b"neither of them", r"is not a file of torch\.save"),
    ],
)
def test_no_classifier_at_all(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "net"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=reason):
        load_classifier_for(path, CLASSES)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.safetensors is missing: run the stage that trains it"):
        read_spec(tmp_path / "model.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated(classifier: tuple[Path, Classifier], share: float) -> None:
    path, _ = classifier
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"^[^\n]*classifier\.safetensors is not a checkpoint of ours[^\n]*$"):
        load_classifier(path)


def test_of_another_kind(tmp_path: Path, classifier_spec: ClassifierSpec) -> None:
    path = tmp_path / "model.safetensors"
    for metadata in (None, {"eps.2": to_json(classifier_spec)}, {"eps.1": "{}"}, {"eps.1": ""}):
        save_file({"weight": torch.zeros(1)}, path, metadata=metadata)
        with pytest.raises(UserError, match="is not a checkpoint of ours"):
            load_classifier(path)


def test_weights_that_do_not_fit_their_description(
    classifier: tuple[Path, Classifier], classifier_spec: ClassifierSpec
) -> None:
    path, _ = classifier
    other = to_json(replace(classifier_spec, classes=("train",)))
    save_file(load_file(path), path, metadata={"eps.1": other})
    with pytest.raises(UserError, match=r"^[^\n]*by the description in it, does not fit: misshapen [^\n]*$"):
        load_classifier(path)


def test_description_of_an_unknown_network(
    classifier: tuple[Path, Classifier], classifier_spec: ClassifierSpec
) -> None:
    path, _ = classifier
    other = to_json(replace(classifier_spec, trunk=replace(classifier_spec.trunk, backbone="no_such_net")))
    save_file(load_file(path), path, metadata={"eps.1": other})
    with pytest.raises(UserError, match="'no_such_net' is not a timm model"):
        load_classifier(path)


def parts(seed: int) -> tuple[nn.Linear, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_resume_restores_everything(tmp_path: Path) -> None:
    resume = ResumeFile(tmp_path / "deep" / "resume.pt", fingerprint="a")
    model, optimizer = parts(0)
    resume.save(Position(7, [{"loss": 0.5}]), model=model, optimizer=optimizer)
    drawn = torch.rand(3)
    other, other_optimizer = parts(1)
    assert resume.restore(model=other, optimizer=other_optimizer) == Position(7, [{"loss": 0.5}])
    assert torch.equal(other.weight, model.weight)
    assert torch.equal(torch.rand(3), drawn)
    moments = [o.state_dict()["state"][0]["exp_avg"] for o in (optimizer, other_optimizer)]
    assert torch.equal(*moments)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["resume.pt"]
    resume.path.unlink()
    assert resume.restore(model=other) == Position(0, [])


def test_resume_restores_chance_on_every_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as there are as many now."""
    resume, restored = ResumeFile(tmp_path / "resume.pt", fingerprint="a"), {}
    states = [torch.tensor([device], dtype=torch.uint8) for device in range(2)]
    monkeypatch.setattr("torch.cuda.get_rng_state_all", lambda: states)
    monkeypatch.setattr("torch.cuda.set_rng_state", lambda state, device: restored.update({device: state}))
    resume.save(Position(7, []))
    for devices in (2, 1, 0):
        restored.clear()
        monkeypatch.setattr("torch.cuda.device_count", lambda count=devices: count)
        resume.restore()
        assert restored == {device: states[device] for device in range(devices)}


def test_resume_leaves_another_run_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "resume.pt"
    ResumeFile(path, fingerprint="a").save(Position(7, []), model=parts(0)[0])
    model, _ = parts(1)
    weight, state = model.weight.clone(), torch.get_rng_state()
    assert ResumeFile(path, fingerprint="b").restore(model=model) == Position(0, [])
    assert torch.equal(model.weight, weight)
    assert torch.equal(torch.get_rng_state(), state)
    assert f"{path} is of other settings or data: training starts afresh" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_broken_resume_file(tmp_path: Path, share: float) -> None:
    resume = ResumeFile(tmp_path / "resume.pt", fingerprint="a")
    resume.save(Position(7, []), model=parts(0)[0])
    content = resume.path.read_bytes()
    resume.path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"resume\.pt is not readable: remove it to start training afresh"):
        resume.restore(model=parts(1)[0])


def test_no_code_runs_from_a_resume_file(tmp_path: Path) -> None:
    path = tmp_path / "resume.pt"
    torch.save({"fingerprint": "a", "random": random.Random(0)}, path)
    with pytest.raises(UserError, match="is not readable"):
        ResumeFile(path, fingerprint="a").restore()
