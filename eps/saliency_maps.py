"""Make saliency maps for photos that have none, by a salient-object network (stage 1).

Reads photos; writes SALImages/ in the dataset folder and `saliency/manifest.json` in the run's. Maps that are there
already are kept, so that a stopped run goes on where it was; one line tells of those that had other settings.

    python -m eps.saliency_maps data=photos data.root=photos saliency=u2net saliency.model=u2net.onnx
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from eps import build, build_data
from eps.cli import entrypoint
from eps.data.artifacts import as_plain, file_hash, fingerprint_of, read_json, write_json
from eps.data.layout import DatasetFolder
from eps.data.manifest import Recorder, recorded
from eps.engine.progress import announce, console, progress_bar
from eps.errors import UserError
from eps.saliency.maps import advice, make_maps, summarise
from eps.schema import Config, Result
from eps.schema.saliency import SaliencyConfig, SaliencyKind

_ANY: Final = ("model", "batch", "splits", "overwrite")
"""Settings that maps do not depend on; the model's hash stands for its path."""


def run(cfg: Config) -> Result:
    """Make the maps of `saliency.splits` that are missing; score by how decided all of them are (no truth).

    The score is the mean share of pixels below a quarter or above three quarters of full saliency, where a map that is
    all but empty or all but full counts 0: such maps teach nothing.
    """
    folder = build_data.dataset(cfg.data, maps=False)
    ids = _ids(cfg, folder)
    missing = folder.without_saliency(ids)
    if missing and cfg.saliency.kind is SaliencyKind.none:
        raise UserError(advice(folder, missing, of=len(ids)))
    wanted = ids if cfg.saliency.overwrite else missing
    recorder = Recorder(cfg.output("saliency"), fingerprint=fingerprint_of(cfg.saliency))
    settings: dict[str, Any] = {"config": as_plain(cfg.saliency), "model_sha256": _model_hash(cfg.saliency)}
    begun = recorder.folder.with_name(f"{recorder.folder.name}.resume.json")
    kept = len(ids) - len(wanted)
    if cfg.saliency.kind is not SaliencyKind.none:
        _tell_of_others(read_json(begun) if begun.is_file() else recorded(recorder.folder), settings, kept=kept)
    provider = _make(cfg, folder, wanted, begun, settings) if wanted else None
    summary = summarise(folder, ids)
    if wanted:
        with recorder.writing() as target:
            recorder.record(
                target,
                score=summary.decided,
                **settings,
                inputs={"photos": folder.fingerprint(wanted, with_saliency=False)},
                skipped={photo: why for split in cfg.saliency.splits for photo, why in folder.skipped(split).items()},
                provider=provider,
                counts={"made": len(wanted), "kept": kept},
                summary=summary._asdict(),
            )
        begun.unlink(missing_ok=True)
    console.print(
        f"saliency maps: {len(wanted)} made, {kept} kept; mean saliency {summary.coverage:.1%}, "
        f"blank maps {summary.blank:.1%}, decided pixels {summary.decided:.1%}",
        highlight=False,
        soft_wrap=True,
    )
    result = Result(score=summary.decided, path=folder.saliency_path(ids[0]).parent)
    announce(result.path, result.score, fresh=bool(wanted))
    return result


main = entrypoint(run)


def run_where_missing(cfg: Config) -> None:
    """For a stage: make the maps that are missing, where a network for it is chosen."""
    if cfg.saliency.kind is SaliencyKind.none:
        return
    folder = build_data.dataset(cfg.data, maps=False)
    if cfg.saliency.overwrite or folder.without_saliency(_ids(cfg, folder)):
        run(cfg)


def _ids(cfg: Config, folder: DatasetFolder) -> list[str]:
    return list(dict.fromkeys(photo for split in cfg.saliency.splits for photo in folder.ids(split)))


def _tell_of_others(earlier: Mapping[str, Any], settings: Mapping[str, Any], *, kept: int) -> None:
    """One line where an earlier run, finished or stopped, had other settings: its maps and these get mixed."""
    if earlier and kept and _deciding(earlier) != _deciding(settings):
        console.print(
            f"{kept} kept maps were made with other settings; saliency.overwrite=true makes them anew",
            highlight=False,
            soft_wrap=True,
        )


def _deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    config = {key: value for key, value in settings.get("config", {}).items() if key not in _ANY}
    return {**config, "model_sha256": settings.get("model_sha256")}


def _make(cfg: Config, folder: DatasetFolder, ids: Sequence[str], begun: Path, settings: Mapping[str, Any]) -> str:
    """Make the maps of `ids`, once `begun` says with what settings; what computed them."""
    network = build.saliency_network(cfg)
    write_json(begun, settings)
    with progress_bar("saliency maps", total=len(ids)) as advance:
        for _ in make_maps(folder, ids, network, batch=network.batch):
            advance(None)
    return network.provider


def _model_hash(cfg: SaliencyConfig) -> str | None:
    path = Path(cfg.model)
    return file_hash(path) if cfg.kind is SaliencyKind.onnx and path.is_file() else None


if __name__ == "__main__":
    main()
