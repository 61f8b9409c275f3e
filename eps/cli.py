"""The door: from a command line to a checked `Config` and a verb's `run`; every mistake of a user becomes one line.

The only file that runs hydra; what its errors mean stands in `mistakes`.
"""

import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import env_override
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from eps.command_line import config_dir, ordered, readable, typed
from eps.engine import ranks
from eps.errors import UserError, one_line
from eps.mistakes import CONFIG_ERRORS, MISTAKES, explain
from eps.schema import Config, Result
from eps.sweep_report import JobRecord, finite, read_records, report
from eps.usage import usage
from eps.validation import validate

_VERSION_BASE = "1.3"


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The job that is running: what `variant` starts from."""

    overrides: tuple[str, ...] = ()
    run_dir: str | None = None
    folder: str | None = None
    """Of a multirun's job: where it writes."""


_NO_JOB = _Job()
_running: ContextVar[_Job] = ContextVar("_running", default=_NO_JOB)


def conf_dir() -> Path:
    """The folder of the YAML files: inside the package where it is installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def entrypoint(
    run: Callable[[Config], Result], *, many: bool = False, flags: Mapping[str, str] = MappingProxyType({})
) -> Callable[[], None]:
    """The `main` of a verb or stage: reads the command line, checks the config, calls `run`, once or as a multirun.

    With `many`, a launcher such as torchrun may start it several times, to work together. `flags` are words that stand
    for settings. Ends the process with code 2 and one line on stderr for a mistake of the user, 130 when interrupted.
    """

    def task(tree: DictConfig) -> float:
        return _swept(run, tree) if HydraConfig.get().mode is RunMode.MULTIRUN else _single(run, tree)

    def main() -> None:
        with mistakes_refused():
            if {"-h", "--help"} & set(sys.argv[1:]):
                print(usage(sys.modules[run.__module__], conf_dir(), sys.argv[1:], _values), flush=True)
                return
            sys.argv[1:] = ordered([flags.get(word, word) for word in sys.argv[1:]])
            _refuse_processes(many)
            with env_override({"HYDRA_FULL_ERROR": "1"}):  # else hydra prints errors itself and exits
                hydra.main(version_base=_VERSION_BASE, config_path=str(conf_dir()), config_name="config")(task)()
            sys.stdout.flush()
            ranks.leave()

    return main


@contextmanager
def mistakes_refused() -> Iterator[None]:
    """Ends the process with code 2 and one line on stderr for a mistake of the user, 130 when interrupted."""
    try:
        yield
    except BrokenPipeError:  # who read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except MISTAKES as error:
        raise SystemExit(_refuse(error)) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def compose(*overrides: str) -> Config:
    """The checked config that a command line with these overrides would run with. Raises `UserError`."""
    try:
        return _checked(_compose(overrides), _NO_JOB)
    except CONFIG_ERRORS as error:
        raise UserError(explain(error)) from error


def call(run: Callable[[Config], Result], *overrides: str) -> Result:
    """Run a verb or stage from Python as the command line would, `variant` included. Raises `UserError`."""
    cfg = compose(*overrides)
    with _as_job(_Job(overrides=overrides, run_dir=cfg.run_dir)):
        return run(cfg)


def variant(*overrides: str) -> Config:
    """The running job's config, composed anew with further overrides: how a stage runs the same recipe another way.

    In a multirun it writes into the job's folder; with a name below the job's (`name=<job>/cam`), into `cam` there.
    """
    job = _running.get()
    try:
        return _checked(_compose((*job.overrides, *overrides)), job)
    except CONFIG_ERRORS as error:
        raise UserError(explain(error)) from error


def started_with() -> tuple[str, ...]:
    """What to type for the settings of the running job, with the `--config-dir` that the command line has, if any."""
    settings = tuple(typed(setting) for setting in _running.get().overrides)
    if not GlobalHydra.instance().is_initialized():
        return settings
    folder = config_dir(sys.argv[1:])
    return settings if folder is None else (*settings, "--config-dir", folder)


def _values(overrides: Sequence[str]) -> Mapping[Any, Any]:
    tree = OmegaConf.to_container(_compose(tuple(overrides)), enum_to_str=True)
    return tree if isinstance(tree, dict) else {}


def _refuse_processes(many: bool) -> None:
    if ranks.launched() > 1 and not many:
        raise UserError(f"WORLD_SIZE={ranks.launched()}: only one process is supported; start it without a launcher")
    if ranks.launched() > 1 and {"-m", "--multirun"} & set(sys.argv[1:]):
        raise UserError("-m: the jobs of a multirun are single processes; start it without a launcher")


def _compose(overrides: tuple[str, ...]) -> DictConfig:
    written = [readable(override) for override in overrides]
    running = GlobalHydra.instance().is_initialized()
    with nullcontext() if running else hydra.initialize_config_dir(str(conf_dir()), version_base=_VERSION_BASE):
        return hydra.compose("config", written)


def _checked(tree: DictConfig, job: _Job) -> Config:
    """A tree of settings as `Config`, every value there and sensible, writing into the job's folder."""
    try:
        cfg = OmegaConf.to_object(tree)
    except AttributeError as error:  # a key that was added with + but that no dataclass has
        raise UserError(f"no such setting: {str(error).splitlines()[0]}; --cfg job prints them all") from error
    assert isinstance(cfg, Config)
    if job.folder is not None and cfg.out_dir == cfg.run_dir:
        below = os.path.relpath(cfg.run_dir, job.run_dir)
        if not below.startswith(".."):
            cfg.out_dir = os.path.normpath(os.path.join(job.folder, below))
    validate(cfg)
    return cfg


@contextmanager
def _as_job(job: _Job) -> Iterator[None]:
    token = _running.set(job)
    try:
        yield
    finally:
        _running.reset(token)


def _single(run: Callable[[Config], Result], tree: DictConfig) -> float:
    try:
        job = _Job(overrides=tuple(HydraConfig.get().overrides.task), run_dir=str(tree.run_dir))
        with _as_job(job):
            return run(_checked(tree, job)).score
    except BrokenPipeError:
        raise
    except MISTAKES as error:
        raise SystemExit(_refuse(error)) from None  # an Exception would make hydra print lines of its own


def _swept(run: Callable[[Config], Result], tree: DictConfig) -> float:
    """One job of a multirun: its end, good or bad, is recorded, and the other jobs go on."""
    settings = HydraConfig.get()
    folder = Path(settings.sweep.dir, settings.sweep.subdir)
    overrides, number = tuple(settings.overrides.task), int(settings.job.num)
    score, path, failure = float("nan"), None, None
    _console().rule(f"job {number}: {' '.join(overrides)}", align="left")
    try:
        job = _Job(overrides=overrides, run_dir=str(tree.run_dir), folder=str(folder))
        with _as_job(job):
            result = run(_checked(tree, job))
        score, path = result.score, str(result.path)
    except MISTAKES as error:
        _refuse(error)
        failure = explain(error)
    except Exception as error:
        traceback.print_exc()
        failure = one_line(f"{type(error).__name__}: {error}")
    record = JobRecord(job=number, overrides=list(overrides), score=finite(score), path=path, error=failure)
    record.write(folder)
    return score if record.score is not None else -math.inf  # to a sweeper a job without a score is the worst


class Sweep(Callback):
    """Checks every value of a multirun before its first job, and reports after its last, whatever the launcher."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a mistake before anything is written, and keep all jobs in one folder even where names are swept."""
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{config.hydra.sweep.dir}'")
        try:
            for overrides in _trials(list(config.hydra.overrides.task)):
                _checked(_compose(overrides), _NO_JOB)
        except MISTAKES as error:
            raise SystemExit(_refuse(error)) from None  # hydra turns an Exception here into a warning

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Gather what the jobs recorded, in whichever process they ran."""
        sweep = Path(config.hydra.sweep.dir)
        try:
            records = read_records(sweep)
            report(sweep, records, _console())
        except BrokenPipeError:
            raise SystemExit(1) from None
        except OSError as error:
            raise SystemExit(_refuse(error)) from None  # hydra turns an Exception here into a warning
        if any(record.error for record in records):
            raise SystemExit(2)


def _trials(overrides: list[str]) -> Iterator[tuple[str, ...]]:
    """Jobs that between them have every listed value of every swept key: far fewer than all combinations."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    values: list[list[str]] = []
    for override in parser.parse_overrides(overrides):
        if override.is_discrete_sweep():
            values.append([f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()])
        elif not override.is_sweep_override():  # an interval's values are the sweeper's to choose
            values.append([str(override.input_line)])
    first = [choices[0] for choices in values]
    yield tuple(first)
    for i, choices in enumerate(values):
        for choice in choices[1:]:
            yield (*first[:i], choice, *first[i + 1 :])


def _console() -> Console:
    return Console(markup=False, emoji=False, highlight=False)  # overrides hold brackets that are no markup


def _refuse(error: Exception) -> int:
    print(f"{ranks.label()}error: {explain(error)}", file=sys.stderr)
    return 2


def _schema() -> DictConfig:
    """`Config` with its groups spelled out: left missing, omegaconf cannot fill in one with a union type."""
    schema = OmegaConf.structured(Config)
    for field in fields(Config):
        if is_dataclass(get_type_hints(Config)[field.name]):
            schema[field.name] = get_type_hints(Config)[field.name]
    assert isinstance(schema, DictConfig)
    return schema


ConfigStore.instance().store(name="schema", node=_schema())
ConfigStore.instance().store(group="hydra/callbacks", name="sweep", node={"sweep": {"_target_": f"{__name__}.Sweep"}})
