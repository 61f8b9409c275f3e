"""Draw what an exported segmenter finds in a photo, with numpy, Pillow and onnxruntime.

    python examples/onnxruntime_client.py export/onnx/model.onnx photo.jpg out.png [least score, 0.3]

All that it must know of the network lies in the file's metadata; docs/EXPORT.md says what each entry means.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw

CANDIDATE, OVERLAP, PER_CLASS, MOST = 0.05, 0.5, 200, 100


def network_input(photo, notes):
    """Resized without regard to its aspect ratio, normalised, channels first, in a batch of one."""
    size, bilinear = tuple(notes["image_size"])[::-1], Image.Resampling.BILINEAR
    if notes["antialias"]:
        resized = photo.resize(size, bilinear)
    else:  # Pillow's resize always smooths what shrinks, its transform never does
        resized = photo.transform(size, Image.Transform.EXTENT, (0, 0, *photo.size), bilinear)
    pixels = np.asarray(resized, dtype=np.float64) / 255
    return ((pixels - notes["mean"]) / notes["std"]).transpose(2, 0, 1)[None].astype(np.float32)


def decode(loc, anchors, variances):
    """Offsets from anchors (centre, size) to boxes (x1, y1, x2, y2), relative to the photo."""
    centre = anchors[:, :2] + loc[:, :2] * variances[0] * anchors[:, 2:]
    size = anchors[:, 2:] * np.exp(loc[:, 2:] * variances[1])
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1)


def overlaps(boxes):
    """The IoU of every two boxes."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return common / np.maximum(area[:, None] + area - common, 1e-12)


def fast_nms(boxes, conf):
    """(score, class, anchor), best first: in each class what no better box of it overlaps, suppressed or not."""
    scores, found = conf[:, 1:].T, []  # column 0 is the background
    candidates = np.flatnonzero(scores.max(axis=0) > CANDIDATE)
    for number, row in enumerate(scores):
        order = candidates[np.argsort(-row[candidates], kind="stable")[:PER_CLASS]]
        kept = order[~(np.triu(overlaps(boxes[order]), k=1) > OVERLAP).any(axis=0)]
        found += [(row[anchor], number, anchor) for anchor in kept]
    return sorted(found, key=lambda item: -item[0])[:MOST]


def instance_mask(proto, coefficients, box, size):
    """Combined, squashed, cropped to the box widened by a pixel while still small, enlarged, cut at one half."""
    height, width = proto.shape[:2]
    mask = 1 / (1 + np.exp(-(proto @ coefficients)))
    rows, columns = np.arange(height)[:, None], np.arange(width)
    mask *= (columns >= box[0] * width - 1) & (columns < box[2] * width + 1)
    mask *= (rows >= box[1] * height - 1) & (rows < box[3] * height + 1)
    return np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)) > 0.5


def detect(session, photo, least):
    """(class name, score, box in pixels, mask) of what scores more than `least`, best first."""
    notes = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    outputs = session.run(["loc", "conf", "mask", "proto"], {"image": network_input(photo, notes)})
    loc, conf, mask, proto = outputs if notes["batch"] == "squeezed" else (output[0] for output in outputs)
    boxes = decode(loc, np.array(notes["anchors"]), notes["variances"])
    for score, number, anchor in fast_nms(boxes, conf):
        if score > least:
            box = np.clip(boxes[anchor], 0, 1) * [*photo.size, *photo.size]
            yield notes["classes"][number], score, box, instance_mask(proto, mask[anchor], boxes[anchor], photo.size)


def main(model, source, target, least="0.3"):
    photo = Image.open(source, formats=("JPEG", "PNG", "WEBP", "BMP", "TIFF")).convert("RGB")
    session = onnxruntime.InferenceSession(model, providers=onnxruntime.get_available_providers())
    drawn = np.array(photo)
    found = list(detect(session, photo, float(least)))
    colours = [tuple(colour) for colour in np.random.default_rng(0).integers(64, 256, (len(found), 3)).tolist()]
    for (_, _, _, mask), colour in zip(found, colours, strict=True):
        drawn[mask] = drawn[mask] // 2 + np.array(colour, dtype=np.uint8) // 2
    picture = Image.fromarray(drawn)
    pen = ImageDraw.Draw(picture)
    for (name, score, box, mask), colour in zip(found, colours, strict=True):
        pen.rectangle(box.tolist(), outline=colour)
        pen.text((box[0] + 2, box[1] + 1), f"{name} {score:.2f}", fill=colour)
        print(f"{name} {score:.3f} box {' '.join(f'{edge:.1f}' for edge in box)} pixels {mask.sum()}")
    picture.save(target)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:]) if len(sys.argv) in (4, 5) else sys.exit(__doc__)
    except (OSError, ValueError, KeyError, onnxruntime.capi.onnxruntime_pybind11_state.NoSuchFile) as error:
        sys.exit(f"error: {error}")
