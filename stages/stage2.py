"""Stage 2: photos, tags and the classifier -> pseudo-masks, scored where there is truth."""

from eps import evaluate, pseudo_masks
from eps.cli import entrypoint
from eps.schema import Config, Result
from eps.schema.evaluate import Subject


def run(cfg: Config) -> Result:
    """Make pseudo-masks, score them where there is truth."""
    made = pseudo_masks.run(cfg)
    scored = evaluate.run_where_truth_is(cfg, Subject.pseudo_masks, cfg.data.scored)
    return cfg.sweep.choose(made, scored)


main = entrypoint(run)

if __name__ == "__main__":
    main()
