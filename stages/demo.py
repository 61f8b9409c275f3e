"""The demo: all stages on one dataset, beside the CAM baseline, a CRF and a fully supervised segmenter."""

from eps.cli import entrypoint, variant
from eps.schema import Config, Result

from . import stage1, stage2, stage3

CAM = ("classifier=cam", "pseudo_masks.saliency=none", "pseudo_masks.save_scores=true", "evaluate=thresholds")


def run(cfg: Config) -> Result:
    """Run every row of the table; the last stage reports on all of them."""
    own = f"run_dir={cfg.out_dir}"
    cam = variant(own, f"out_dir={cfg.out_dir}/cam", *CAM)
    stage1.run(cam)
    stage2.run(cam)
    stage1.run(cfg)
    stage2.run(cfg)
    stage2.run(variant(own, f"out_dir={cfg.out_dir}/crf", "pseudo_masks=crf"))
    stage3.train_and_score(variant(own, f"out_dir={cfg.out_dir}/truth", "segmenter.supervision=truth"))
    return stage3.run(cfg)


main = entrypoint(run)

if __name__ == "__main__":
    main()
