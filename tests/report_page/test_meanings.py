from pathlib import Path

from eps.report_page.charts import COLORS
from eps.report_page.meanings import columns_explained, rows_explained
from eps.report_page.parts import Parts
from eps.report_page.rows import Splits, gather_rows
from eps.report_page.tables import AGREEMENT, AP50, LEAKAGE, Cell, Table

SPLITS = Splits(train="train", val="val", also=())


def explained(*columns: str, cell: Cell = 1.0) -> str:
    names = ["method", *columns, "seconds"]
    return " ".join(columns_explained(Table("", "", names, [["EPS", *[cell] * (len(names) - 1)]]), SPLITS))


def test_only_the_columns_that_are_there_are_explained() -> None:
    bare = explained()
    assert bare.startswith("Seconds are")
    assert "." not in bare[:-1]
    without_truth = explained(AGREEMENT)
    assert "compares runs on the same data only" in without_truth
    assert not [word for word in ("mIoU", "mean", "AP50", "rails", "dash", "train ", "val") if word in without_truth]
    everything = explained("mIoU train", LEAKAGE, AP50, AGREEMENT, cell=None)
    assert everything.startswith("mIoU and AP50 in percent, higher is better. A dash is a number that is not known.")
    assert "Leakage and AP50 are measured on train for pseudo-masks, on val for segmenters." in everything
    assert "the rails of a train" in everything
    alone = explained("mIoU val", AP50)
    assert "AP50 is measured on train" in alone
    assert "akage" not in alone


def test_every_row_has_its_meaning_and_only_those_of_the_run_are_told() -> None:
    parts = Parts()
    assert rows_explained(gather_rows(parts, SPLITS)) == ""
    every = Parts(**dict.fromkeys(vars(parts), Path("nowhere")))
    rows = gather_rows(every, SPLITS)
    assert [row.name for row in rows] == list(COLORS)
    told = rows_explained(rows)
    assert all(f"{row.label}: " in told for row in rows)
    some = rows_explained([row for row in rows if row.name in ("eps", "segmenter")])
    assert some.startswith("EPS: the pseudo-masks")
    assert "; segmenter: the network of stage 3" in some
    assert "CRF" not in some
