"""Pseudo-masks of photos that no folder holds: what `pseudo_masks` does with `source=shards:PATTERN`."""

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from eps import build
from eps.data.artifacts import as_plain, file_hash, fingerprint_of
from eps.data.index import files_signature
from eps.data.manifest import CLASSIFIER, recorded
from eps.data.shards import shard_paths
from eps.engine.checkpoint import load_classifier
from eps.engine.forms import QuickClassifier
from eps.engine.inference import localize
from eps.engine.progress import announce
from eps.engine.shard_labels import FOLDER, label_shards
from eps.errors import UserError
from eps.mask_labels import labelled, needs_threshold
from eps.memory_demand import demand_for_photo
from eps.schema import Config, Result

SHARDS = "shards:"


def is_over_shards(cfg: Config) -> bool:
    """Whether photos come from shards in place of the dataset."""
    return cfg.source.startswith(SHARDS)


def label_shards_of(cfg: Config) -> Result:
    """Label every shard that has no masks yet, and score them by agreement with the tags.

    Raises `UserError` for what would need saliency maps, and, once all others are done, for shards that have failed.
    """
    node = cfg.pseudo_masks
    threshold = node.threshold if needs_threshold(node) else None
    if isinstance(threshold, str):
        chosen = recorded(cfg.input("pseudo_masks")).get("threshold")
        hint = f" (of this run's pseudo_masks: {chosen})" if chosen else ""
        raise UserError(f"pseudo_masks.threshold={threshold}: shards have no saliency maps; set a number{hint}")
    weights = build.trained(cfg, "classifier")
    model, spec = load_classifier(weights)
    device = build.accelerator(cfg).device
    quick = QuickClassifier(model.to(device), build.inference_form(cfg))

    largest = 0

    def label(photo: Image.Image, tags: Bool[np.ndarray, " c"]) -> UInt8[Tensor, "H W"]:
        nonlocal largest
        if (pixels := photo.width * photo.height) > largest:  # nobody knows beforehand what shards hold
            demand_for_photo(cfg, model, photo.size, device, called="a photo")
            largest = pixels
        scores = localize(quick, photo, torch.from_numpy(tags).to(device), scales=node.scales, flip=node.flip)
        stored = scores.cpu().half().float()  # as precise as maps that are stored
        (labels,) = labelled(node, [(lambda: photo, stored)], threshold=threshold, device=device)
        return labels

    classifier = file_hash(weights)
    settings = fingerprint_of(node, *build.precision_settings(cfg), classifier)
    target = cfg.output(FOLDER)
    done = label_shards(
        shard_paths(cfg.source.removeprefix(SHARDS)),
        target,
        label,
        classes=spec.classes,
        fingerprint=lambda shard: files_signature([shard], settings),
        skip_faults=cfg.data.on_error == "skip",
        config=as_plain(node),
        inputs={"model" if cfg.model else CLASSIFIER: classifier},
    )
    if done.failed:
        raise UserError(f"{len(done.failed)} shards failed: {done.failed[0]}; the same command tries them again")
    announce(target, done.score, fresh=True)
    return Result(score=done.score, path=target)
