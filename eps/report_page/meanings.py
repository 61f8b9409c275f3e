"""What the rows and columns of the table of scores mean, in words."""

from collections.abc import Iterator, Sequence

from eps.report_page.rows import Row, Splits
from eps.report_page.tables import AGREEMENT, AP50, LEAKAGE, Table

_ROWS = {
    "cam": "pseudo-masks of a classifier that learns from tags alone",
    "eps": "the pseudo-masks of the training photos, which stage 2 makes with the classifier that stage 1 teaches by "
    "tags and saliency maps (Explicit Pseudo-pixel Supervision)",
    "eps_crf": "such pseudo-masks, refined by a CRF",
    "segmenter": "the network of stage 3, which learns from pseudo-masks to find instances in any photo",
    "deeplab": "the segmenter of EPS's paper, which learns from pseudo-masks and finds no instances",
    "segmenter_truth": "the same network, learnt from true masks",
    "deeplab_truth": "the same network, learnt from true masks",
}


def rows_explained(rows: Sequence[Row]) -> str:
    """One sentence on the rows that the run has; empty where it has none."""
    told = "; ".join(f"{row.label}: {_ROWS['cam' if row.from_tags_alone else row.name]}" for row in rows if row.made)
    return told and f"{told}."


def columns_explained(table: Table, splits: Splits) -> list[str]:
    """The sentences on those columns that the table has."""
    return list(_column_sentences(set(table.columns), splits, dashes=any(None in row for row in table.rows)))


def _column_sentences(columns: set[str], splits: Splits, *, dashes: bool) -> Iterator[str]:
    miou, leakage, ap50 = any(column.startswith("mIoU") for column in columns), LEAKAGE in columns, AP50 in columns
    if percents := [name for name, there in (("mIoU", miou), ("AP50", ap50)) if there]:
        yield f"{' and '.join(percents)} in percent, higher is better."
    if dashes:
        yield "A dash is a number that is not known."
    if miou:
        yield "The mean is over background and classes, and a pixel that a method leaves open counts as wrong."
    if leakage:
        yield (
            "Context leakage is the share, from 0 to 1, of a class's context (the rails of a train) that is labelled "
            "as the class: lower is better."
        )
    if measured := [name for name, there in (("Leakage", leakage), ("AP50", ap50)) if there]:
        verb = "are" if len(measured) > 1 else "is"
        where = f"on {splits.train} for pseudo-masks, on {splits.val} for segmenters"
        yield f"{' and '.join(measured)} {verb} measured {where}."
    if AGREEMENT in columns:
        yield (
            "Agreement is that of the labels of training photos with saliency maps and tags, from 0 to 1: higher is "
            "better. There is no truth in it, and it compares runs on the same data only."
        )
    yield "Seconds are those of a row's own training and labelling: it also needs what it builds on, further up."
