"""Stage 3: photos and pseudo-masks -> a segmenter, scored where there is truth, and a report."""

from eps import evaluate, report, train_seg
from eps.cli import entrypoint
from eps.schema import Config, Result, Subject


def train_and_score(cfg: Config) -> Result:
    """Train the segmenter, score it where there is truth."""
    trained = train_seg.run(cfg)
    scored = evaluate.run_where_truth_is(cfg, Subject.segmenter, cfg.data.val, *cfg.data.also)
    return cfg.sweep.choose(trained, scored)


def run(cfg: Config) -> Result:
    """Train, score, report."""
    result = train_and_score(cfg)
    report.run(cfg)
    return result


main = entrypoint(run)

if __name__ == "__main__":
    main()
