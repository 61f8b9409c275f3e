"""Photos or footage on their way through a predictor: reading, the network and writing at the same time."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from eps.data.artifacts import write_json
from eps.data.prediction_files import CocoIds
from eps.data.sources import Footage, Frame, Photos
from eps.engine import ranks
from eps.engine.drawing import draw_rate
from eps.engine.instances import Instances
from eps.engine.overlap import ahead
from eps.engine.predictor import Predictor
from eps.engine.progress import progress_bar, remark
from eps.errors import UserError

Item = TypeVar("Item")
RATED = 30
"""Pictures that a rate is the mean of."""
SHOWN = 20
"""Photos that cannot be read and are told; the manifest has all that are left out."""
_Entries = list[dict[str, Any]]


def unreadable(source: Photos | Footage, *, name: str, skip: bool) -> dict[str, str]:
    """Photos of the source `name` that cannot be read and are to be left out, each with the reason.

    Raises `UserError`, all of them told, where none may be left out, or none would be left. The network has not run
    yet, so that nothing is thrown away.
    """
    if not isinstance(source, Photos) or not (found := source.unreadable()):
        return {}
    if skip and len(found) < len(source):
        return found
    if len(source) == 1:
        raise UserError(next(iter(found.values())))
    _remark_each(found)
    way_out = "" if skip else ", or leave them out with data.on_error=skip"
    raise UserError(f"source={name}: {len(found)} of {len(source)} photos cannot be read: mend or remove them{way_out}")


def with_rate(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Each picture with the rate written in at which the last ones have come, itself the last."""
    times = deque([time.monotonic()], maxlen=RATED + 1)
    for frame in frames:
        times.append(time.monotonic())
        seconds = max(times[-1] - times[0], 1e-9)
        yield Frame(frame.id, draw_rate(frame.image, (len(times) - 1) / seconds))


def remark_skipped(skipped: Mapping[str, str]) -> None:
    """Say which photos were left out, if any."""
    if skipped:
        remark(f"photos that cannot be read are left out, {len(skipped)} of them; the manifest lists them, too")
        _remark_each(skipped)


def _remark_each(faults: Mapping[str, str]) -> None:
    for fault in list(faults.values())[:SHOWN]:
        remark(fault)
    if len(faults) > SHOWN:
        remark(f"and {len(faults) - SHOWN} more")


def own_share(source: Photos | Footage, *, batch: int) -> Photos | Footage:
    """Of several processes each takes every so many-th batch: the same batches as one process makes.

    Raises `UserError` for footage, which cannot be shared.
    """
    if ranks.count() == 1:
        return source
    if not isinstance(source, Photos):
        raise UserError(
            f"source={source.video.source}: several processes share photos alone; start one, without a launcher"
        )
    photos = list(source.files)
    batches = [photos[start : start + batch] for start in range(0, len(photos), batch)]
    return Photos(files={photo: source.files[photo] for share in ranks.own(batches) for photo in share})


def found_in(source: Photos | Footage, predictor: Predictor, *, batch: int) -> Iterator[tuple[Frame, Instances]]:
    """Every photo of this process with what is found in it; the next ones are read meanwhile.

    Every so many photos begin a batch anew, so that a photo has the same company in however many processes.
    """
    frames = iter(ahead(own_share(source, batch=batch)))
    waiting: deque[Frame] = deque()

    def images(first: Frame) -> Iterator[Image.Image]:
        for frame in chain([first], islice(frames, batch - 1)):
            waiting.append(frame)
            yield frame.image

    for first in frames:
        for instances in predictor.predict_many(images(first), batch=batch):
            yield waiting.popleft(), instances


def write_coco(source: Photos | Footage, predictor: Predictor, target: Path, *, ids: CocoIds, batch: int) -> int:
    """Write what is found in a source as COCO's results, and how its categories are called; how many photos it was.

    `results.json` has boxes and masks with the masks' scores. A segmenter that rates masks gets `results_bbox.json`
    beside it, boxes alone with theirs: AP of boxes goes by those.
    """
    results: dict[str, tuple[_Entries, ...]] = {}
    categories = ids.category_ids(predictor.classes)
    kinds = (False, True) if predictor.rates_masks else (False,)

    def entries(photo: str, found: Instances) -> tuple[_Entries, ...]:
        image = ids.image_id(photo)
        return tuple(found.to_coco(image, category_ids=categories, boxes_only=boxes_only) for boxes_only in kinds)

    made = ((frame.id, entries(frame.id, found)) for frame, found in found_in(source, predictor, batch=batch))
    count = write_all(source, ahead(made), lambda entry: results.update([entry]))
    every = {photo: found for part in ranks.collected(results) for photo, found in part.items()}
    if ranks.rank():
        return count
    order = source.files if isinstance(source, Photos) else every
    for name, kind in zip(("results.json", "results_bbox.json"), range(len(kinds)), strict=False):
        write_json(target / name, [result for photo in order for result in every[photo][kind]])
    pairs = zip(categories, predictor.classes, strict=True)
    write_json(target / "categories.json", [{"id": number, "name": name} for number, name in pairs])
    return count


def write_all(source: Photos | Footage, made: Iterator[Item], write: Callable[[Item], None]) -> int:
    """Write what is made of a source, say how fast, and how many it was.

    Ctrl-C ends a camera's recording, which is kept.
    """
    count, began = 0, time.monotonic()
    total = len(source) if isinstance(source, Photos) else source.total
    with progress_bar("predict", total=total) as advance:
        try:
            for item in made:
                write(item)
                count += 1
                advance(None)
        except KeyboardInterrupt:
            if isinstance(source, Photos) or source.path is not None or not count:
                raise
    seconds, photos = time.monotonic() - began, "photo" if count == 1 else "photos"
    remark(f"{count} {photos} in {seconds:.1f} s: {count / seconds:.1f} fps, reading and writing included")
    return count
