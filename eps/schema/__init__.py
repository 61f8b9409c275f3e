"""The typed config tree: what may be set, of which type. The values live in `conf/`.

One module a group; here is what a verb is handed, `Config`, and what it hands back, `Result`.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from eps.schema.app import AppConfig
from eps.schema.classifier import ClassifierConfig
from eps.schema.convert import ConvertConfig
from eps.schema.data import DataConfig
from eps.schema.evaluate import EvaluateConfig
from eps.schema.output import ExportConfig, OutputFormat, PredictConfig
from eps.schema.pseudo_masks import PseudoMasksConfig
from eps.schema.runtime import RuntimeConfig
from eps.schema.saliency import SaliencyConfig
from eps.schema.segmenter import ReleasedNetwork, SegmenterConfig
from eps.schema.trunk import TrunkConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a verb hands back: a score for sweepers, higher is better, and what it wrote."""

    score: float
    path: Path


class SweepScore(StrEnum):
    agreement = "agreement"
    """A score free of truth: sweeps may select by it."""
    truth = "truth"
    """The score of `evaluate`: for analysis, never for choosing."""


@dataclass(kw_only=True, slots=True)
class SweepConfig:
    score: SweepScore
    """What a stage hands to a sweeper."""

    def choose(self, agreement: Result, truth: Result | None) -> Result:
        """What a stage hands to a sweeper: the score free of truth, unless the truth's was asked for and is there."""
        return truth if truth is not None and self.score is SweepScore.truth else agreement


@dataclass(kw_only=True, slots=True)
class Config:
    name: str
    """Of the run: everything it makes lies in `runs/<name>`."""
    run_dir: str
    """The folder of the run."""
    out_dir: str
    """Where this job writes: the run's folder, or the job's own in a multirun."""
    seed: int
    """Of everything that is drawn at random: the same seed on the same machine gives the same bytes."""
    predictions: str
    """For evaluate: a folder of predicted PNGs, of any project, to score in place of what this run has made."""
    truth: str
    """For `predictions`: the folder of true PNGs (class index + 1, 0 background, 255 ignored)."""
    ids: str
    """For `predictions`: a list of ids, one a line, that must all be there. Empty: every PNG in the folder."""
    classes: Any
    """For `predictions`: voc, coco, a list of names, or how many there are, background not counted. For a `.pth` of the
    released YOLACT code that `model` names: what its classes are called, in its order."""
    format: OutputFormat
    """What predict writes (auto, picture, video, prototypes, png, voc, coco), or export: a network (onnx, torch), or
    masks for other tools (coco, yolo, voc)."""
    source: str
    """Of predict: a photo, a folder of photos, a .txt file of paths (one a line, relative to it), split:NAME of the
    dataset, a video, an address of a stream, or a camera's number. Of pseudo_masks: shards:PATTERN for tar files of
    photos and tags in place of the dataset. Of convert: a folder of photos and annotations."""
    model: str
    """A trained network in place of this run's own: the folder or file of ours, or a released .pth. For predict, export
    and evaluate=segmenter a segmenter (for predict and evaluate also an .onnx file of export), for pseudo_masks a
    classifier. Empty: this run's."""
    run: str
    """Of app: the folder of the run to look at. Empty: this run's, `run_dir`."""
    released: ReleasedNetwork
    """Which network of the released YOLACT code a `.pth` that `model` names is, whatever it is called."""
    data: DataConfig
    saliency: SaliencyConfig
    trunk: TrunkConfig
    classifier: ClassifierConfig
    pseudo_masks: PseudoMasksConfig
    segmenter: SegmenterConfig
    evaluate: EvaluateConfig
    predict: PredictConfig
    export: ExportConfig
    convert: ConvertConfig
    app: AppConfig
    runtime: RuntimeConfig
    sweep: SweepConfig

    def output(self, artifact: str) -> Path:
        """Where this job writes an artifact (`classifier`, `pseudo_masks`, `segmenter`, `report`, ...)."""
        return Path(self.out_dir) / artifact

    def input(self, artifact: str) -> Path:
        """Where this job reads an artifact: its own folder if it lies there, else the run's."""
        own = self.output(artifact)
        return own if own.exists() else Path(self.run_dir) / artifact
