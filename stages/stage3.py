"""Stage 3: photos and pseudo-masks -> a segmenter, scored where there is truth, a report, and format=onnx's export."""

from eps import evaluate, export, report, train_seg
from eps.cli import entrypoint
from eps.schema import Config, Result
from eps.schema.evaluate import Subject


def train_and_score(cfg: Config) -> Result:
    """Train the segmenter, score it where there is truth."""
    trained = train_seg.run(cfg)
    scored = evaluate.run_where_truth_is(cfg, Subject.segmenter, cfg.data.val, *cfg.data.also)
    return cfg.sweep.choose(trained, scored)


def run(cfg: Config) -> Result:
    """Train, score, report, export where a format for that is asked for."""
    result = train_and_score(cfg)
    report.run(cfg)
    export.run_where_asked(cfg)
    return result


main = entrypoint(run)

if __name__ == "__main__":
    main()
