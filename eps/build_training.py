"""From config nodes to a training run: batches divided among processes, optimizer, schedule and loop."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from eps.data.layout import DatasetFolder
from eps.data.manifest import Recorder
from eps.data.sampling import Division, Draw, TrainingDraws, by_hash
from eps.engine import optim, ranks
from eps.engine.checkpoint import ResumeFile
from eps.engine.descent import Losses
from eps.engine.loop import Batch, History, train
from eps.engine.tracking import Kind, Log, open_log
from eps.engine.watch import PHOTOS_TO_LOOK_AT, PICTURES, Look, Watch, spread_over
from eps.errors import UserError
from eps.memory_demand import demand_for_training
from eps.schema import Config
from eps.schema.classifier import ClassifierConfig
from eps.schema.runtime import Tracker
from eps.schema.segmenter import SegmenterConfig
from eps.schema.training import OptimConfig, ScheduleKind

Model = TypeVar("Model", bound=nn.Module)


class Trained(NamedTuple):
    """What a training has told: the loss terms of every step, and the scores of the looks at it."""

    history: History
    looks: list[dict[str, float]]


def optimizer(
    cfg: OptimConfig, model: nn.Module, *, last: Iterable[nn.Parameter], steps: int, done: int = 0
) -> tuple[Optimizer, LRScheduler]:
    """Optimizer with its parameter groups, and its schedule over `steps`, of which so many are done."""
    groups = optim.parameter_groups(
        model,
        last=last,
        pretrained=_backbone(model) if cfg.backbone_scale != 1 else [],
        pretrained_scale=cfg.backbone_scale,
        lr=cfg.lr,
        weight_decay=cfg.weight_decay,
        bias_scale=cfg.bias_scale,
        last_scale=cfg.last_scale,
        decay_biases=cfg.decay_biases,
    )
    made = optim.build_optimizer(groups, kind=cfg.kind.value, lr=cfg.lr, momentum=cfg.momentum)
    if cfg.schedule is ScheduleKind.poly:
        factor = optim.poly(steps=steps, power=cfg.power, warmup=cfg.warmup)
    else:
        factor = optim.drops(steps=steps, at=cfg.drops, warmup=cfg.warmup, by=cfg.drop_factor)
    return made, optim.schedule(made, lambda step: factor(step + done))


def _backbone(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for name, parameter in model.named_parameters() if "backbone" in name.split(".")]


def draws(cfg: Config, node: ClassifierConfig | SegmenterConfig, *, photos: int, start: int) -> TrainingDraws:
    """What this process sees of so many photos from step `start` on."""
    return TrainingDraws(
        photos=photos, batch=node.batch, steps=node.steps, seed=cfg.seed, start=start, division=_division(cfg, node)
    )


def _division(cfg: Config, node: ClassifierConfig | SegmenterConfig) -> Division:
    """This process's part of each batch. Raises `UserError` where the batch cannot be divided evenly."""
    made = Division(rank=ranks.rank(), ranks=ranks.count(), parts=cfg.runtime.accumulate)
    shares = made.ranks * made.parts
    if node.batch % shares:
        key = "classifier" if isinstance(node, ClassifierConfig) else "segmenter"
        nearest = max(1, round(node.batch / shares)) * shares
        told = f"{made.ranks} processes x runtime.accumulate={made.parts} need a multiple of {shares}"
        raise UserError(f"{key}.batch={node.batch}: {told}, such as {nearest}; the batch is that of all together")
    return made


def fit(
    cfg: Config,
    node: ClassifierConfig | SegmenterConfig,
    recorder: Recorder,
    accelerator: Accelerator,
    model: Model,
    *,
    look: Look[Model],
    last: Iterable[nn.Parameter],
    criterion: Callable[[nn.Module, Batch, int], Losses],
    batches: Callable[[int], Iterable[Batch]],
    photos: Callable[[Draw], Sequence[str]],
    size: int,
    label: str,
    count: Callable[[Batch], Tensor] | None = None,
) -> Trained:
    """Train a model as its node says, going on from the state that a stopped run left beside the artifact.

    `look` is what it is looked at by now and then. `photos` are the ids that a draw from a dataset of `size` photos is
    made of; `count` is what the criterion divides by beside photos (see `eps.engine.descent.Descent`).
    """
    parts = _division(cfg, node).parts

    def photos_of(step: int) -> list[str]:
        draws = TrainingDraws(photos=size, batch=node.batch, steps=step + 1, seed=cfg.seed, start=step)
        return [photo for batch in draws for draw in batch for photo in photos(draw)]

    done = node.start if isinstance(node, SegmenterConfig) else 0
    demand_for_training(cfg, node, model, accelerator.device)
    made, scheduler = optimizer(node.optim, model, last=last, steps=done + node.steps, done=done)
    watch = Watch(
        look=look,
        at=spread_over(node.steps, times=cfg.runtime.looks),
        open_log=partial(tracker_log, cfg, recorder.folder.name),
    )
    history = train(
        model=model,
        criterion=criterion,
        batches=batches,
        optimizer=made,
        scheduler=scheduler,
        accelerator=accelerator,
        steps=node.steps,
        clip=node.optim.clip,
        resume=ResumeFile(recorder.resume_path, fingerprint=recorder.fingerprint),
        save_every=cfg.runtime.checkpoint_every,
        label=label,
        max_bad_steps=cfg.runtime.max_bad_steps,
        photos=photos_of,
        count=count,
        parts=parts,
        watch=watch,
    )
    return Trained(history, watch.scores)


def looked_at(ids: Sequence[str]) -> list[str]:
    """The photos that a look takes the score of, of those that the score in the end is taken of."""
    return by_hash(ids, most=PHOTOS_TO_LOOK_AT)


def pictured(cfg: Config, folder: DatasetFolder) -> list[str]:
    """The photos that a look takes pictures of: some that are not learnt from, where there are such."""
    split = cfg.data.val if folder.has_split(cfg.data.val) else cfg.data.train
    return by_hash(folder.ids(split), most=PICTURES)


def tracker_log(cfg: Config, name: str, done: int) -> Log | None:
    """The log of a training or an evaluation of this run, from after the steps that are done; None without a tracker.

    Raises `UserError` where the tracker's package is not installed.
    """
    if cfg.runtime.tracker is Tracker.none:
        return None
    kind: Kind = "wandb" if cfg.runtime.tracker is Tracker.wandb else "tensorboard"
    return open_log(kind, cfg.output("tracker") / name, done=done, group=cfg.name)
