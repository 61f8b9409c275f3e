"""Draw what an exported segmenter finds in a photo, with numpy and OpenCV alone (4.10 or newer).

    python examples/opencv_client.py export/onnx/model.onnx photo.jpg out.png [least score, 0.3]

OpenCV does not read a network's metadata, so model.json must lie beside it; docs/EXPORT.md says what it holds.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np

CANDIDATE, OVERLAP, PER_CLASS, MOST = 0.05, 0.5, 200, 100


def network_input(photo, notes):
    """Resized without regard to its aspect ratio, RGB, normalised, channels first, in a batch of one."""
    height, width = notes["image_size"]
    shrinks = photo.shape[0] > height or photo.shape[1] > width
    smoothed = cv2.INTER_AREA if shrinks and notes["antialias"] else cv2.INTER_LINEAR
    resized = cv2.resize(photo, (width, height), interpolation=smoothed)
    pixels = resized[:, :, ::-1].astype(np.float64) / 255  # OpenCV reads BGR
    return np.ascontiguousarray(((pixels - notes["mean"]) / notes["std"]).transpose(2, 0, 1)[None], dtype=np.float32)


def decode(loc, anchors, variances):
    """Offsets from anchors (centre, size) to boxes (x1, y1, x2, y2), relative to the photo."""
    centre = anchors[:, :2] + loc[:, :2] * variances[0] * anchors[:, 2:]
    size = anchors[:, 2:] * np.exp(loc[:, 2:] * variances[1])
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1)


def overlaps(boxes):
    """The IoU of every two boxes."""
    low, high = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
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
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5


def detect(net, notes, photo, least):
    """(class name, score, box in pixels, mask) of what scores more than `least`, best first."""
    net.setInput(network_input(photo, notes), "image")
    outputs = net.forward(notes["outputs"])[:4]  # OpenCV 5 wants all of them named
    loc, conf, mask, proto = outputs if notes["batch"] == "squeezed" else (output[0] for output in outputs)
    boxes, size = decode(loc, np.array(notes["anchors"]), notes["variances"]), photo.shape[1::-1]
    for score, number, anchor in (item for item in fast_nms(boxes, conf) if item[0] > least):
        box = np.clip(boxes[anchor], 0, 1) * [*size, *size]
        yield notes["classes"][number], score, box, instance_mask(proto, mask[anchor], boxes[anchor], size)


def main(model, source, target, least="0.3"):
    notes = json.loads(Path(model).with_suffix(".json").read_text(encoding="utf-8"))
    if notes["deformable"]:
        sys.exit("OpenCV's dnn module has no deformable convolutions, which YOLACT++ needs: use onnxruntime")
    photo = cv2.imread(source)
    if photo is None:
        sys.exit(f"{source} cannot be read as a photo")
    drawn, found = photo.copy(), list(detect(cv2.dnn.readNetFromONNX(model), notes, photo, float(least)))
    colours = np.random.default_rng(0).integers(64, 256, (len(found), 3)).tolist()
    for (_, _, _, mask), colour in zip(found, colours, strict=True):
        drawn[mask] = drawn[mask] // 2 + np.array(colour, dtype=np.uint8) // 2
    for (name, score, box, mask), colour in zip(found, colours, strict=True):
        x1, y1, x2, y2 = box.round().astype(int).tolist()
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour)
        cv2.putText(drawn, f"{name} {score:.2f}", (x1 + 2, y1 + 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour)
        print(f"{name} {score:.3f} box {' '.join(f'{edge:.1f}' for edge in box)} pixels {mask.sum()}")
    if not cv2.imwrite(target, drawn):
        sys.exit(f"{target} cannot be written")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:]) if len(sys.argv) in (4, 5) else sys.exit(__doc__)
    except (OSError, ValueError, KeyError, cv2.error) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
