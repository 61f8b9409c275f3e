"""Write the masks of a FiftyOne dataset as COCO's json, pixel by pixel; its own export makes polygons of them.

    python examples/from_fiftyone.py NAME runs/photos/export/coco corrected.json [the labels' field, masks]

NAME is the dataset's, whose photos are those of `python -m eps.export format=coco`. Other processes find a dataset once
`dataset.persistent = True`. Photos that it has no more are left out. docs/LABELS.md tells what comes before and after.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask


def annotations(samples, told, folder, field="masks"):
    """What instances.json told of the photos in a folder, with the objects that the samples have now."""
    images = {(Path(folder) / image["file_name"]).resolve(): image for image in told["images"]}
    numbers = {category["name"]: category["id"] for category in told["categories"]}
    kept, objects = [], []
    for sample in samples:
        image = images[Path(sample.filepath).resolve()]
        kept.append(image)
        for detection in sample[field].detections if sample[field] else ():
            mask = whole(detection, image["height"], image["width"])
            if mask.any():
                objects.append(annotation(len(objects) + 1, image["id"], numbers[detection.label], mask, detection))
    return {**told, "images": kept, "annotations": objects}


def whole(detection, height, width):
    """The mask at the photo's size: FiftyOne keeps what lies in the box, which may have been pulled to another size."""
    x, y, w, h = np.array(detection.bounding_box) * (width, height, width, height)
    left, top, right, bottom = (round(float(edge)) for edge in (x, y, x + w, y + h))
    part = detection.get_mask()
    if part is None:
        raise SystemExit(f"an object {detection.label!r} has a box alone: draw its mask, or delete it")
    cut = Image.fromarray(np.asarray(part) > 0).resize((max(right - left, 1), max(bottom - top, 1)), Image.NEAREST)
    mask = Image.new("1", (width, height))
    mask.paste(cut, (left, top))
    return np.asarray(mask)


def annotation(number, image, category, mask, detection):
    """One object of COCO's json."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
        "bbox": coco_mask.toBbox(rle).tolist(),
        "area": float(coco_mask.area(rle)),
        "iscrowd": int(detection.get_attribute_value("iscrowd", 0) or 0),
    }


def main(name, folder, out, field="masks"):
    import fiftyone

    told = json.loads((Path(folder) / "instances.json").read_text(encoding="utf-8"))
    made = annotations(fiftyone.load_dataset(name), told, Path(folder) / "JPEGImages", field)
    (Path(folder) / out).write_text(json.dumps(made), encoding="utf-8")
    print(f"{Path(folder) / out}: {len(made['annotations'])} objects on {len(made['images'])} photos")


if __name__ == "__main__":
    main(*sys.argv[1:])
