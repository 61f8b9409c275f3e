"""Look at everything before hours are spent on it: environment, device, dataset, saliency maps, memory and time.

Reads what training would read, opens every photo once and runs a few steps of each network; writes nothing but what
`prepare` would. One page: a line that begins with ! is a problem, and the exit code is then 2.

    python -m eps.doctor  the machine
    python -m eps.doctor data=photos data.root=photos experiment=photos  a dataset and what it will cost
"""

import math
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator

from eps import __version__, build
from eps.cli import entrypoint
from eps.data.layout import DatasetFolder
from eps.data.provenance import missing_of_extras, provenance
from eps.dataset_check import check_dataset
from eps.engine.memory import free_gib
from eps.errors import UserError
from eps.saliency.quality import MapQuality, map_quality
from eps.saliency.rembg_session import import_rembg
from eps.schema import Config, Result
from eps.schema.classifier import ClassifierKind
from eps.schema.data import DataKind
from eps.schema.saliency import SaliencyKind
from eps.stage_costs import MEASURED, evenly, stage_costs

SHOWN = 3
"""Examples of a kind."""


class Line(NamedTuple):
    """One thing that was found out."""

    topic: str
    text: str
    problem: bool = False


def run(cfg: Config) -> Result:
    """Print the page; there is no score. Raises `UserError` where there are problems."""
    accelerator = build.accelerator(cfg)
    problems = 0
    topic = ""
    for line in _lines(cfg, accelerator):
        mark = "!" if line.problem else " "
        print(f"{mark} {line.topic if line.topic != topic else '':<9} {line.text}", flush=True)
        topic, problems = line.topic, problems + line.problem
    if problems:
        raise UserError(f"{problems} problem{'s' * (problems > 1)}: the lines that begin with !")
    return Result(score=math.nan, path=Path(cfg.data.root))


main = entrypoint(run)


def _lines(cfg: Config, accelerator: Accelerator) -> Iterator[Line]:
    yield from _environment(accelerator.device)
    if cfg.data.kind is DataKind.railroad and not Path(cfg.data.root).is_dir():
        yield Line("data", "the embedded benchmark, not generated yet; give yours: data=photos data.root=DIR, ...")
        yield from _saliency_network(cfg)
        return
    try:
        checked = check_dataset(cfg)
        ids = checked.folder.ids(cfg.data.train) if not checked.faults or cfg.data.on_error == "skip" else []
    except UserError as error:
        yield Line("data", str(error), problem=True)
        yield from _saliency_network(cfg)
        return
    yield from _data(cfg, checked.folder)
    rest = f" (all of them in {checked.index.faults_path})" if len(checked.faults) > SHOWN else ""
    for fault in checked.faults[:SHOWN]:
        yield Line("data", f"{fault}{rest}", problem=cfg.data.on_error != "skip")
    yield from _saliency_network(cfg, checked.folder)
    if ids:
        yield from _saliency(cfg, checked.folder, ids)
        for cost in stage_costs(cfg, checked.folder, ids, accelerator):
            yield Line(cost.stage, cost.told, problem=not cost.fits)


def _environment(device: torch.device) -> Iterator[Line]:
    known = provenance()
    libraries = ", ".join(f"{name} {known['libraries'].get(name, '-')}" for name in ("torchvision", "timm", "numpy"))
    commit = f" ({known['commit'][:10]}{'+' * known['commit'].endswith('+')})" if known["commit"] else ""
    yield Line("software", f"eps {__version__}{commit}, Python {platform.python_version()}, {platform.system()}")
    yield Line("software", f"torch {torch.__version__}, {libraries}")
    absent = {extra: missing for extra, missing in missing_of_extras().items() if extra != "dev"}
    there = [extra for extra, missing in absent.items() if not missing]
    yield Line("extras", f"installed: {', '.join(there) or 'none'}")
    for extra in sorted(absent.keys() - set(there)):
        yield Line("extras", f"pip install 'eps-seg[{extra}]' would add {', '.join(absent[extra])}")
    if device.type == "cuda":
        half = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        told = f"{torch.cuda.get_device_name(device)}, {free_gib(device):.3g} GiB free"
        yield Line("device", f"{told}; runtime.precision={half} is faster")
        return
    threads = torch.get_num_threads()
    hardware = known["hardware"]
    yield Line("device", f"no GPU; {hardware['processor']}, {hardware['cores']} cores, {threads} threads of torch")
    yield Line("device", f"{free_gib(device):.3g} GiB of memory free")


def _data(cfg: Config, folder: DatasetFolder) -> Iterator[Line]:
    splits = [split for split in (cfg.data.train, cfg.data.val) if folder.has_split(split)]
    counts = ", ".join(f"{len(folder.listed(split))} in {split}" for split in splits)
    train = [photo for photo in folder.listed(cfg.data.train) if photo in folder.labels] if splits else []
    yield Line("data", f"{folder.root}: {len(folder.classes)} classes; photos: {counts or 'none'}")
    if cfg.data.val not in splits:
        yield Line("data", f"there is no split {cfg.data.val} to look at results on")
    tags = Counter(tag for photo in train for tag in folder.labels[photo])
    rarest = ", ".join(f"{name} {tags[name]}" for name in sorted(folder.classes, key=lambda name: tags[name])[:SHOWN])
    untagged = sum(not folder.labels[photo] for photo in train)
    if train:
        yield Line("tags", f"{tags.total() / len(train):.2f} a photo, {untagged} photos without; rarest: {rarest}")
    for name in (name for name in folder.classes if train and tags[name] in (0, len(train))):
        told = "no training photo has it" if not tags[name] else "all have it: nothing tells what it is"
        yield Line("tags", f"{name}: {told}", problem=True)


def _saliency_network(cfg: Config, folder: DatasetFolder | None = None) -> Iterator[Line]:
    """Why stage 1 could not make maps, where it would have to; of photos that are not known yet it has to."""
    if not _makes_maps(cfg):
        return
    if folder is not None and not cfg.saliency.overwrite:
        splits = [split for split in cfg.saliency.splits if folder.has_split(split)]
        if not any(folder.without_saliency(folder.listed(split)) for split in splits):
            return
    try:
        if cfg.saliency.kind is SaliencyKind.rembg:
            import_rembg()  # a session would fetch weights
        else:
            build.saliency_network(cfg)
    except UserError as error:
        yield Line("saliency", str(error), problem=True)


def _saliency(cfg: Config, folder: DatasetFolder, ids: Sequence[str]) -> Iterator[Line]:
    if cfg.classifier.kind is not ClassifierKind.eps:
        return
    some = evenly(ids, MEASURED)
    found = map_quality(folder, some)
    if found.summary is None:
        yield Line("saliency", "there are no maps yet; stage 1 makes them" if _makes_maps(cfg) else "there are no maps")
        return
    told = "coverage {coverage:.1%}, blank maps {blank:.1%}, decided pixels {decided:.1%}".format(
        **found.summary._asdict()
    )
    yield Line("saliency", f"{told} (of {len(some) - len(found.missing)} maps)")
    for text, photos, share in _disagreements(found):
        examples = ", ".join(photos[:SHOWN]) + (", ..." if len(photos) > SHOWN else "")
        yield Line("saliency", f"{len(photos)} {text}: {examples}", problem=len(photos) > share * len(some))


def _makes_maps(cfg: Config) -> bool:
    return cfg.saliency.kind is not SaliencyKind.none


def _disagreements(found: MapQuality) -> Iterator[tuple[str, list[str], float]]:
    """What maps and tags do not agree on, photos, and the share of all from which on it is a problem."""
    kinds = (
        ("photos have tags, but a blank map", found.tagged_blank, 0.2),
        ("photos have no tag, but something salient", found.untagged_salient, 1.0),
        ("maps are all but full", found.full, 0.2),
        ("photos have no map", found.missing, 1.0),
    )
    yield from (kind for kind in kinds if kind[1])


if __name__ == "__main__":
    main()
