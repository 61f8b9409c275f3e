"""Stage 1: photos, tags and saliency maps -> a classifier with localization maps."""

from eps import prepare, saliency_maps, train_cls
from eps.cli import entrypoint
from eps.schema import Config, Result


def run(cfg: Config) -> Result:
    """Check the data, make the saliency maps that are missing, train the classifier."""
    prepare.run(cfg)
    saliency_maps.run_where_missing(cfg)
    return train_cls.run(cfg)


main = entrypoint(run)

if __name__ == "__main__":
    main()
