"""What networks make of a photo while they learn: one picture a look, free of truth and of the photo's tags."""

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from eps.engine.drawing import draw_instances
from eps.engine.inference import as_tensor, localize
from eps.engine.predictor import Predictor
from eps.errors import some
from eps.models.classifier import Classifier
from eps.report_page.combination import Panel
from eps.report_page.pictures import fit, paint_labels, paint_map
from eps.report_page.sheet import Section, sheet

CLASSES = 3
SIDE = 400
"""Longest side of a photo in pixels: a larger one is looked at in this size, at which names can be read."""
MIN_SCORE = 0.3
"""Instances of a lower score are not drawn."""


def localization_picture(model: Classifier, name: str, photo: Image.Image, classes: tuple[str, ...]) -> Image.Image:
    """A photo beside the localization maps, over it, of the classes that cover most of it by what the maps say."""
    photo = _reduced(photo)
    device = next(model.parameters()).device
    with torch.inference_mode():
        shares = model.localization(model.normalize(as_tensor(photo)[None].to(device)))[0].mean(dim=(1, 2))
    strongest = shares.argsort(descending=True, stable=True)[:CLASSES].tolist()
    tags = torch.zeros(len(classes), dtype=torch.bool, device=device)
    tags[strongest] = True
    maps = localize(model, photo, tags, scales=[1.0], flip=False).cpu().numpy()
    panels = [_panel(photo, "photo")]
    panels += [_panel(paint_map(photo, maps[index], side=max(photo.size)), classes[index]) for index in strongest]
    return sheet([Section(name, panels)])


def prediction_picture(predictor: Predictor, name: str, photo: Image.Image) -> Image.Image:
    """A photo beside what a segmenter finds in it: instances with names and scores, and the semantic map."""
    photo = _reduced(photo)
    instances, semantic = predictor.predict_all(photo)
    panels = [_panel(photo, "photo")]
    if predictor.has_instances:
        boxes, scores, classes, masks = (part[instances.scores >= MIN_SCORE].cpu().numpy() for part in instances)
        labels = [f"{predictor.classes[int(c)]} {score:.2f}" for c, score in zip(classes, scores, strict=True)]
        drawn = draw_instances(photo, boxes=boxes, classes=classes, masks=masks, labels=labels)
        panels.append(_panel(drawn, f"instances from {MIN_SCORE} on"))
    labels_on_photo = paint_labels(photo, semantic.cpu().numpy(), side=max(photo.size))
    panels.append(_panel(labels_on_photo, _named(predictor.classes, semantic)))
    return sheet([Section(name, panels)])


def _named(classes: tuple[str, ...], labels: UInt8[Tensor, "H W"]) -> str:
    names = [classes[label - 1] for label in np.unique(labels.cpu().numpy()).tolist() if 0 < label <= len(classes)]
    return some(names, most=CLASSES) or "background alone"


def _reduced(photo: Image.Image) -> Image.Image:
    rgb = photo.convert("RGB")
    return fit(rgb, SIDE) if max(rgb.size) > SIDE else rgb


def _panel(image: Image.Image, caption: str) -> Panel:
    return Panel(image, caption, caption)
