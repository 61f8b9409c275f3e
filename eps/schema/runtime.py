"""The machine: `runtime`."""

from dataclasses import dataclass
from enum import StrEnum


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Tracker(StrEnum):
    none = "none"
    tensorboard = "tensorboard"
    """Event files in `tracker/` of the run: `tensorboard --logdir runs/NAME`."""
    wandb = "wandb"
    """Weights & Biases, also in `tracker/`: on disk alone unless WANDB_MODE=online."""


class Precision(StrEnum):
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


@dataclass(kw_only=True, slots=True)
class RuntimeConfig:
    device: Device
    """Where networks run; auto: on a GPU where there is one."""
    precision: Precision
    """Of training, and the least that networks may run in when they label, predict and evaluate."""
    compile: bool
    """Run networks that label, predict and evaluate through torch.compile; as they are where it fails."""
    calibrate: bool
    """Predict and evaluate in the quickest form that precision and compile allow, tried on the first photo; false: as
    they say. With precision=fp32 and compile=false there is one form alone."""
    workers: int
    """Processes that load photos for training, of each process; 0: none of their own."""
    cache_mb: int
    """MiB of memory in which each process keeps decoded photos, saliency maps and masks while it trains, for all its
    workers; what no longer fits is read from its files each time. It changes no result. 0: none."""
    threads: int
    """CPU threads; 0 for one a core."""
    batch: int
    """Photos of one size that are labelled in one pass of the network; 0: as many as fit on a GPU, one on a CPU, where
    more gain nothing. Maps of a photo that is not alone may differ by rounding."""
    accumulate: int
    """So many passes a training step: the batch is divided into as many parts, for memory; the step is the same."""
    memory_limit: float
    """GiB of the device that a run may need, estimated before it starts; 0 for what is free, -1 for no estimate."""
    checkpoint_every: int
    """Steps between resumable states; 0 for none."""
    looks: int
    """So many times in a training its score free of truth is taken on some training photos, for the report's curve, and
    pictures of some validation photos go to the tracker; 0: never. No weight changes by it."""
    tracker: Tracker
    """Where losses, rate, looks and the scores of evaluate are logged, too."""
    max_bad_steps: int
    """So many training steps whose loss or gradient is not finite are skipped, and told with their photos; one more
    ends the run."""
