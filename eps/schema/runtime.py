"""The machine: `runtime`."""

from dataclasses import dataclass
from enum import StrEnum


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


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
    max_bad_steps: int
    """So many training steps whose loss or gradient is not finite are skipped, and told with their photos; one more
    ends the run."""
