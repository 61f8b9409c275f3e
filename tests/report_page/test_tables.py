import base64
import csv
import io
from dataclasses import replace

from eps.report_page.rows import Row, Splits
from eps.report_page.tables import AP, Table, more_tables, score_table, shown

SPLITS = Splits(train="train", val="val", also=())
TABLE = Table("t", "Title", ["a,b", "c|d"], [['say "x"', 61.256], ["none", None]], {"c|d": 2})


def text(url: str, kind: str) -> str:
    head, _, body = url.partition(",")
    assert head == f"data:{kind};charset=utf-8;base64"
    return base64.b64decode(body).decode()


def row(
    name: str, *, made: bool = True, instances: bool = False, tags: bool = False, agreement: float | None = None
) -> Row:
    figures = {key: float(number) for number, key in enumerate(AP)}
    found = {**figures, "ap50_per_class": {"cat": 4.0, "dog": None}, "boxes": {**figures, "ap": 33.0}}
    return Row(
        name=name,
        label=name.upper(),
        made=made,
        split="val",
        miou={"train": None, "val": 50.25},
        per_class={"background": 90.0, "cat": 10.0} if made else {},
        leakage=0.0123,
        ap50=12.3456,
        agreement=agreement,
        instances=found if instances else {},
        tag_ap={"cat": 88.0, "dog": 77.0} if tags else {},
        seconds=12.6,
    )


def test_csv_can_be_read_back_with_all_digits() -> None:
    rows = list(csv.reader(io.StringIO(text(TABLE.as_csv, "text/csv"))))
    assert rows == [["a,b", "c|d"], ['say "x"', "61.256"], ["none", ""]]


def test_markdown_is_what_the_page_shows() -> None:
    lines = text(TABLE.as_markdown, "text/markdown").splitlines()
    assert lines == ["| a,b | c\\|d |", "| --- | ---: |", '| say "x" | 61.26 |', "| none | \N{EN DASH} |"]


def test_scores_are_of_what_was_made() -> None:
    rows = [row("cam", agreement=0.54321), row("eps", made=False), row("segmenter")]
    table = score_table(rows, SPLITS)
    assert table.columns == ["method", "mIoU val", "context leakage", "mask AP50", "agreement", "seconds"]
    assert table.shown() == [
        ["CAM", "50.2", "0.012", "12.3", "0.543", "13"],
        ["SEGMENTER", "50.2", "0.012", "12.3", "\N{EN DASH}", "13"],
    ]


def test_scores_that_no_row_has_are_no_columns() -> None:
    bare = replace(row("eps"), miou={"train": None, "val": None}, leakage=None, ap50=None)
    known = replace(row("segmenter", made=False), miou={"train": 1.0, "val": 1.0})
    assert score_table([bare, known], SPLITS).columns == ["method", "seconds"]
    told = replace(bare, agreement=0.5, seconds=None)
    table = score_table([told, known], SPLITS)
    assert table.columns == ["method", "agreement", "seconds"]
    assert table.shown() == [["EPS", "0.500", "\N{EN DASH}"]]


def test_what_no_row_knows_has_no_table() -> None:
    assert [table.name for table in more_tables([row("cam")])] == ["iou"]
    assert more_tables([row("cam", made=False)]) == []
    every = more_tables([row("cam"), row("segmenter", instances=True, tags=True)])
    assert [table.name for table in every] == ["iou", "ap", "ap50", "tags"]


def test_instances_have_cocos_twelve_figures_and_classes_a_mean() -> None:
    _, coco, ap50, tags = more_tables([row("cam"), row("segmenter", instances=True, tags=True)])
    assert coco.columns[:4] == ["method", "split", "mask AP", "mask AP50"]
    assert coco.rows == [["SEGMENTER", "val", 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 33.0, 1.0, 2.0, 3.0, 4.0, 5.0]]
    assert ap50.rows == [["cat", 4.0], ["dog", None], ["mean", 4.0]]
    assert tags.rows[-1] == ["mean", 82.5]


def test_numbers() -> None:
    assert [shown(None), shown(61.26), shown(0.05, 3), shown("a")] == ["\N{EN DASH}", "61.3", "0.050", "a"]
