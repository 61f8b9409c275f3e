"""Stages 1 to 3 on the tiny railroad set: what they write is what DESIGN.md's contracts say."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from safetensors import safe_open

import eps
from eps import evaluate, predict, prepare, pseudo_masks, segmenter_tasks, train_cls, train_seg
from eps.cli import call
from eps.data.artifacts import file_hash, read_json, read_mask, read_scores, write_json, write_mask
from eps.data.layout import DatasetFolder
from eps.data.palette import voc_palette
from eps.data.railroad import CLASSES
from eps.engine.checkpoint import load_classifier
from eps.metrics.boundary import boundary_counts
from eps.models.segmenter import Segmenter
from eps.models.spec import ClassifierSpec, SegmenterSpec, from_json
from eps.nn.backbone import Backbone
from eps.schema import Result
from stages import stage1, stage2, stage3

pytestmark = pytest.mark.slow
VERBS = {"classifier": train_cls, "pseudo_masks": pseudo_masks, "segmenter": train_seg}


def tiny(root: Path, run: Path, *overrides: str) -> tuple[str, ...]:
    return ("experiment=tiny", f"data.root={root}", f"run_dir={run}", *overrides)


def manifest(run: Path, artifact: str) -> dict[str, Any]:
    content: dict[str, Any] = read_json(run / artifact / "manifest.json")
    return content


def test_nothing_but_artifacts(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {"classifier", "pseudo_masks", "segmenter", "evaluation", "report"}
    hidden = [path for path in finished.rglob("*") if path.name.startswith(".")]
    assert hidden == []


def test_classifier(finished: Path) -> None:
    folder = finished / "classifier"
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "manifest.json", "run.json"}
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        (spec,) = (from_json(text) for text in file.metadata().values())
    assert isinstance(spec, ClassifierSpec)
    assert spec.classes == CLASSES
    assert spec.background
    model, _ = load_classifier(folder / "model.safetensors")
    assert model.localization(torch.rand(1, 3, 65, 97)).shape == (1, 5, 17, 25)
    content = manifest(finished, "classifier")
    assert len(content["history"]) == content["config"]["steps"] == 4
    assert all(np.isfinite(list(terms.values())).all() for terms in content["history"])
    assert 0 < content["score"] < 1
    assert content["config"]["kind"] == "eps"


def test_pseudo_masks(finished: Path, dataset: Path) -> None:
    folder, data = finished / "pseudo_masks", DatasetFolder.open(dataset)
    assert {path.name for path in folder.iterdir()} == {"masks", "instances.json", "manifest.json", "run.json"}
    ids = data.ids("train")
    assert sorted(path.name for path in (folder / "masks").iterdir()) == [f"{photo}.png" for photo in sorted(ids)]
    seen = set()
    for photo in ids:
        with Image.open(folder / "masks" / f"{photo}.png") as image:
            assert (image.format, image.mode, image.size) == ("PNG", "P", (64, 64))
            assert image.getpalette() == voc_palette()
            labels = set(np.unique(np.asarray(image)).tolist())
        assert labels <= {0, 255} | set((np.flatnonzero(data.tags(photo)) + 1).tolist())
        seen |= labels
    assert len(seen) > 2


def test_pseudo_instances(finished: Path, dataset: Path) -> None:
    folder, data = finished / "pseudo_masks", DatasetFolder.open(dataset)
    coco = COCO(folder / "instances.json")
    assert [(c["id"], c["name"]) for c in coco.loadCats(coco.getCatIds())] == list(enumerate(CLASSES, start=1))
    images = coco.loadImgs(coco.getImgIds())
    assert [image["file_name"] for image in images] == data.ids("train")
    assert len(coco.getAnnIds()) > 0
    for image in images:
        assert (image["height"], image["width"]) == (64, 64)
        labels = read_mask(folder / "masks" / f"{image['file_name']}.png")
        covered = np.zeros_like(labels)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image["id"])):
            mask = coco.annToMask(annotation).astype(bool)
            assert annotation["area"] == mask.sum() >= 4
            assert set(labels[mask].tolist()) <= {annotation["category_id"], 0, 255}  # holes are filled
            rows, columns = np.nonzero(mask)
            x, y, width, height = annotation["bbox"]
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x, y, x + width, y + height)
            covered[mask] += 1
        assert covered.max(initial=0) <= 1


def test_manifest_counts_what_is_there(finished: Path, dataset: Path) -> None:
    folder, data = finished / "pseudo_masks", DatasetFolder.open(dataset)
    content = manifest(finished, "pseudo_masks")
    ids = data.ids("train")
    masks = np.stack([read_mask(folder / "masks" / f"{photo}.png") for photo in ids])
    counts = content["counts"]
    foreground = (masks > 0) & (masks < 255)
    assert counts["photos"] == 12
    assert counts["pixels"] == masks.size
    assert counts["foreground"] == foreground.sum()
    assert counts["ignored"] == (masks == 255).sum()
    instances = read_json(folder / "instances.json")["annotations"]
    assert counts["instances"] == len(instances)
    assert counts["uncertain"] == sum(i["iscrowd"] for i in instances)
    salient = np.stack([data.saliency(photo, size=(64, 64)) for photo in ids]) > 127
    agreement = (foreground & salient).sum() / (foreground | salient).sum()
    found = sum(len(set(m[f].tolist())) for m, f in zip(masks, foreground, strict=True))
    tags = sum(data.tags(photo).sum() for photo in ids)  # only tagged classes compete: all that is found is tagged
    assert content["score"] == pytest.approx(agreement * 2 * found / (tags + found))
    assert content["threshold"] in {round(0.05 * k, 2) for k in range(1, 20)}
    assert len(content["threshold_curve"]) == 19
    assert content["config"]["threshold"] == "auto"


def test_segmenter(finished: Path, dataset: Path) -> None:
    folder = finished / "segmenter"
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "manifest.json", "run.json"}
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        (spec,) = (from_json(text) for text in file.metadata().values())
    assert isinstance(spec, SegmenterSpec)
    assert (spec.classes, spec.image_size) == (CLASSES, (64, 64))
    content = manifest(finished, "segmenter")
    assert len(content["history"]) == content["config"]["steps"] == 2
    assert set(content["history"][0]) == {"box", "class", "mask", "semantic"}


def test_segmenter_alone_predicts(finished: Path, dataset: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copy(finished / "segmenter" / "model.safetensors", tmp_path / "model")
    predictor = eps.load(elsewhere)
    assert predictor.classes == CLASSES
    photo = dataset / "JPEGImages" / "val_00000.jpg"
    found = predictor.predict(photo)
    assert found.masks.shape == (len(found.scores), 64, 64)
    again = eps.load(finished / "segmenter").predict(photo)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_evaluation(finished: Path, dataset: Path) -> None:
    """mIoU and leakage of the pseudo-masks, counted anew from the files."""
    content = read_json(finished / "evaluation" / "pseudo_masks.json")
    assert content["subject"] == "pseudo_masks"
    assert set(content["splits"]) == {"train"}
    scores = content["splits"]["train"]
    ids = DatasetFolder.open(dataset).ids("train")
    made = np.stack([read_mask(finished / "pseudo_masks" / "masks" / f"{photo}.png") for photo in ids])
    true = np.stack([read_mask(dataset / "SegmentationClass" / f"{photo}.png") for photo in ids])
    context = np.stack([read_mask(dataset / "SegmentationContext" / f"{photo}.png") for photo in ids])
    expected = {}
    for c, name in enumerate(("background", *CLASSES)):
        union = ((made == c) | (true == c)).sum()
        expected[name] = 100 * ((made == c) & (true == c)).sum() / union if union else None
    assert scores["per_class"] == pytest.approx(expected)
    assert scores["miou"] == pytest.approx(np.mean([v for v in expected.values() if v is not None]))
    shares = [((made == c) & (context == c)).sum() / (context == c).sum() for c in range(1, 6) if (context == c).any()]
    assert scores["leakage"]["mean"] == pytest.approx(np.mean(shares))
    segmenter = read_json(finished / "evaluation" / "segmenter.json")
    assert set(segmenter["splits"]) == {"val", "shift"}
    assert all(0 <= split["miou"] <= 100 for split in segmenter["splits"].values())


def test_results(finished: Path, dataset: Path) -> None:
    """Each verb and stage says where its artifact is and how good it is without truth; only evaluation asks truth."""
    arguments = tiny(dataset, finished)
    for stage, artifact in ((stage1, "classifier"), (stage2, "pseudo_masks")):
        result = call(stage.run, *arguments)
        assert result == Result(score=manifest(finished, artifact)["score"], path=finished / artifact)
    truth = read_json(finished / "evaluation" / "pseudo_masks.json")["splits"]["train"]["miou"]
    assert call(stage2.run, *arguments, "sweep.score=truth").score == truth
    assert call(evaluate.run, *arguments).score == truth
    assert call(prepare.run, *arguments) == Result(score=1.0, path=dataset)


def refuse(*arguments: object, **more: object) -> None:
    raise AssertionError("this had been done before")


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("artifact", VERBS)
def test_second_run_is_skipped(finished: Path, dataset: Path, artifact: str, monkeypatch: pytest.MonkeyPatch) -> None:
    verb, before = VERBS[artifact], stamps(finished / artifact)
    for work in ("train", "_label", "_score"):
        if hasattr(verb, work):
            monkeypatch.setattr(verb, work, refuse)
    result = call(verb.run, *tiny(dataset, finished))
    assert result == Result(score=manifest(finished, artifact)["score"], path=finished / artifact)
    assert stamps(finished / artifact) == before
    # what lies elsewhere, and how it is read, does not change what is made
    call(verb.run, *tiny(dataset, finished, "data=folder", "runtime.workers=1", "name=other", "evaluate=segmenter"))
    call(verb.run, *tiny(dataset, finished, "segmenter.score_threshold=0.3", "segmenter.max_detections=7"))


def test_corrected_masks_train_anew(own_run: Path, dataset: Path) -> None:
    before = manifest(own_run, "segmenter")["fingerprint"]
    write_mask(own_run / "pseudo_masks" / "masks" / "train_00000.png", np.zeros((64, 64), dtype=np.uint8))
    call(VERBS["segmenter"].run, *tiny(dataset, own_run))
    assert manifest(own_run, "segmenter")["fingerprint"] != before


@pytest.mark.parametrize("name", ["classifier/model.safetensors", "pseudo_masks/masks/train_00000.png"])
def test_missing_file_is_made_again(own_run: Path, dataset: Path, name: str) -> None:
    expected = (own_run / name).read_bytes()
    (own_run / name).unlink()
    call(VERBS[name.partition("/")[0]].run, *tiny(dataset, own_run))
    assert (own_run / name).read_bytes() == expected


@pytest.mark.parametrize(
    ("artifact", "override"),
    [
        ("classifier", "classifier.steps=3"),
        ("classifier", "classifier.optim.lr=1e-4"),
        ("classifier", "classifier.augment.flip=0"),
        ("classifier", "classifier=cam"),
        ("classifier", "trunk.prototypes=4"),
        ("classifier", "seed=1"),
        ("classifier", "runtime.precision=bf16"),
        ("pseudo_masks", "pseudo_masks.threshold=0.3"),
        ("pseudo_masks", "pseudo_masks.scales=[0.5,1]"),
        ("pseudo_masks", "pseudo_masks.save_scores=true"),
        ("pseudo_masks", "pseudo_masks=crf"),
        ("segmenter", "segmenter.steps=1"),
        ("segmenter", "segmenter.supervision=truth"),
        ("segmenter", "segmenter.warm_start=false"),
        ("segmenter", "seed=1"),
    ],
)
def test_changed_config_is_not_skipped(own_run: Path, dataset: Path, artifact: str, override: str) -> None:
    before = manifest(own_run, artifact)["fingerprint"]
    call(VERBS[artifact].run, *tiny(dataset, own_run, override))
    assert manifest(own_run, artifact)["fingerprint"] != before
    assert not [path for path in own_run.iterdir() if path.name.startswith(".") or path.suffix == ".pt"]


def test_scaled_coefficients_are_in_the_checkpoint(
    own_run: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loaded segmenter gives the masks that it has learnt to give. Planes as small as these would leave it at 1."""

    def quartered(model: Segmenter, spec: SegmenterSpec, photos: list[Image.Image]) -> SegmenterSpec:
        assert photos
        model.box_head.coefficient_scale = 0.25
        return replace(spec, coefficient_scale=0.25)

    monkeypatch.setattr(segmenter_tasks, "_scaled", quartered)
    assert eps.load(own_run / "segmenter").model.box_head.coefficient_scale == 1
    call(train_seg.run, *tiny(dataset, own_run, "segmenter.scaled_coefficients=true"))
    assert eps.load(own_run / "segmenter").model.box_head.coefficient_scale == 0.25


def retagged(root: Path) -> None:
    content = read_json(root / "image_labels.json")
    content["labels"]["train_00003"] = list(CLASSES)
    write_json(root / "image_labels.json", content)


def blank_saliency(root: Path) -> None:
    Image.new("L", (64, 64)).save(root / "SALImages" / "train_00003.png")


def shorter(root: Path) -> None:
    path = root / "ImageSets" / "Segmentation" / "train.txt"
    path.write_text("\n".join(path.read_text().split()[:8]))


@pytest.mark.parametrize("change", [retagged, blank_saliency, shorter])
def test_changed_data_are_not_skipped(
    own_run: Path, own_dataset: Path, change: Callable[[Path], None], contents: Callable[[Path], dict[str, str]]
) -> None:
    """And what is made of one artifact follows it."""
    before = contents(own_run)
    change(own_dataset)
    for verb in VERBS.values():
        call(verb.run, *tiny(own_dataset, own_run, "data=folder"))
    after = contents(own_run)
    for artifact in VERBS:
        assert after[f"{artifact}/manifest.json"] != before[f"{artifact}/manifest.json"]
    assert after["classifier/model.safetensors"] != before["classifier/model.safetensors"]


@pytest.mark.parametrize("artifact", ["classifier", "segmenter"])
def test_other_weights_in_the_same_file_are_not_skipped(
    own_run: Path, dataset: Path, tmp_path: Path, artifact: str
) -> None:
    path = tmp_path / "published.pth"
    start = (f"trunk.weights=file:{path}", "segmenter.warm_start=false", "classifier.steps=1", "segmenter.steps=1")
    known = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(Backbone(name="test_efficientnet").body.state_dict(), path)
        call(VERBS[artifact].run, *tiny(dataset, own_run, *start))
        assert manifest(own_run, artifact)["inputs"]["weights"] == file_hash(path)
        known.append(manifest(own_run, artifact)["fingerprint"])
    assert known[0] != known[1]


def test_stored_scores_and_the_best_threshold(own_run: Path, dataset: Path) -> None:
    arguments = tiny(dataset, own_run, "pseudo_masks.save_scores=true", "evaluate=thresholds")
    call(pseudo_masks.run, *arguments)
    scores = read_scores(own_run / "pseudo_masks" / "scores" / "train_00000.npz")
    tags = DatasetFolder.open(dataset).tags("train_00000")
    assert scores.shape == (5, 64, 64)
    assert scores[tags].any(axis=(1, 2)).all()
    assert not scores[~tags].any()
    assert scores.max() <= 1
    result = call(evaluate.run, *arguments)
    content = read_json(result.path)
    best = content["best_threshold"]
    assert best["miou"] == max(best["curve"].values()) == best["curve"][str(best["threshold"])]
    threshold = manifest(own_run, "pseudo_masks")["threshold"]
    assert best["curve"][str(threshold)] == pytest.approx(content["splits"]["train"]["miou"])
    assert "oracle" in best["note"]
    agreement = manifest(own_run, "pseudo_masks")["threshold_curve"]
    assert list(best["agreement"].values()) == pytest.approx([100 * value for value in agreement])
    with Image.open(result.path.with_name("pseudo_masks_thresholds.png")) as picture:
        assert min(picture.size) > 400


def test_own_thresholds_and_no_saliency(own_run: Path, own_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each map is read once for all thresholds, and once more at the best of them."""
    arguments = tiny(own_dataset, own_run, "data=folder", "pseudo_masks.threshold=0.3")
    (own_dataset / "SALImages" / "train_00003.png").unlink()
    call(pseudo_masks.run, *arguments, "pseudo_masks.save_scores=true")
    read: list[Path] = []
    monkeypatch.setattr(evaluate, "read_scores", lambda path, **given: read.append(path) or read_scores(path, **given))
    result = call(evaluate.run, *arguments, "evaluate.thresholds=[0.12,0.3,0.5,0.7]")
    assert len(read) == 2 * len(set(read)) == 24
    content = read_json(result.path)
    best = content["best_threshold"]
    assert list(best["curve"]) == ["0.12", "0.3", "0.5", "0.7"]
    assert best["agreement"] is None
    assert best["curve"]["0.3"] == content["splits"]["train"]["miou"]


def test_confusion_and_boundaries_of_a_run(finished: Path, dataset: Path, tmp_path: Path) -> None:
    """m_kc of chosen pairs and the edges of all foreground, counted anew from the files."""
    pair = f"evaluate.pairs=[[{CLASSES[1]},{CLASSES[0]}]]"
    arguments = tiny(dataset, finished, f"out_dir={tmp_path}", pair, "evaluate.boundary_tolerance=1.5")
    scores = read_json(call(evaluate.run, *arguments).path)["splits"]["train"]
    false = right = 0
    counts = np.zeros(4, dtype=int)
    for photo in DatasetFolder.open(dataset).ids("train"):
        made = read_mask(finished / "pseudo_masks" / "masks" / f"{photo}.png")
        true = read_mask(dataset / "SegmentationClass" / f"{photo}.png")
        false += ((true == 1) & (made == 2)).sum()
        right += ((true == 2) & (made == 2)).sum()
        counts += boundary_counts(made, true, tolerance=1.5)
    ratio = pytest.approx(false / right) if right else None
    expected = {"false_positive": false, "true_positive": right, "confusion_ratio": ratio}
    assert scores["pairs"] == [{"target": CLASSES[1], "coincident": CLASSES[0], **expected}]
    assert false + right > 0
    boundary = scores["boundary"]
    assert boundary["precision"] == pytest.approx(100 * counts[0] / counts[1])
    assert boundary["recall"] == pytest.approx(100 * counts[2] / counts[3])
    assert 0 < boundary["f1"] < 100


def test_stored_scores_are_used_again(
    own_run: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another threshold takes no further look at the photos, and labels as if it had."""
    call(pseudo_masks.run, *tiny(dataset, own_run, "pseudo_masks.threshold=0.3"))
    expected = {path.name: path.read_bytes() for path in (own_run / "pseudo_masks" / "masks").iterdir()}
    call(pseudo_masks.run, *tiny(dataset, own_run, "pseudo_masks.save_scores=true"))
    monkeypatch.setattr("eps.stored_maps.localize_together", refuse)
    call(pseudo_masks.run, *tiny(dataset, own_run, "pseudo_masks.threshold=0.3"))
    assert {path.name: path.read_bytes() for path in (own_run / "pseudo_masks" / "masks").iterdir()} == expected
    assert not (own_run / "pseudo_masks" / "scores").exists()


@pytest.mark.parametrize("module", [stage1, stage2, stage3, *VERBS.values(), prepare, evaluate, predict])
def test_everything_has_a_command_line(module: ModuleType) -> None:
    assert callable(module.main)
    assert module.__doc__
