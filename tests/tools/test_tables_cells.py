"""From CSV files to cells, and from README and metadata to what differs in them."""

import json
import re

import numpy as np
import pytest

from common.metrics import CaseRow, write_csv
from tools.tables.definition import Cell, Row, Table
from tools.tables.difference import filled, number_differences, table_differences
from tools.tables.metadata import read_numbers, replace_numbers
from tools.tables.network import note_network
from tools.tables.readme import marked_tables, parse, render, replace_tables
from tools.tables.values import cell_text, rounded, values_of

VALUES = np.array([20.0, 21.0, 22.5])


def test_styles():
    def text(values=VALUES, **options):
        return cell_text(Cell(run="r", **options), np.asarray(values))

    assert text() == "21.17"
    assert text(style="mean ± sd", digits=1) == "21.2 ± 1.3"
    assert text(style="mean [interval]") == "21.17 [20.00, 22.50]"
    assert text(style="mean ± sd [interval]", digits=0) == "21 ± 1 [20, 22]"
    assert text(style="mean (range)", digits=1) == "21.2 (20.0 to 22.5)"
    assert text(style="largest", digits=1) == "22.5"
    assert text([1941233.0], style="count", digits=0) == "1,941,233"
    assert text([20.0, np.nan]) == "20.00, 1 undefined"
    assert text([np.nan], undefined="not measurable") == "not measurable"
    assert rounded(Cell(digits=3), VALUES, "here") == 21.167
    with pytest.raises(ValueError, match="here: expected a finite number, got inf"):
        rounded(Cell(), np.array([np.inf]), "here")


@pytest.fixture
def results(tmp_path):
    rows = [
        CaseRow(protocol, f"{i}.png", i, method, {"psnr": gain + i, "error": -i / 10} if i else {"psnr": gain})
        for protocol in ("p", "q")
        for method, gain in (("zero_filled", 20.0), ("network", 30.0))
        for i in range(3)
    ]
    write_csv(tmp_path / "metrics.csv", rows)
    return tmp_path


def test_values_are_those_of_the_rows_asked_for(results):
    where = {"protocol": "q", "method": "network"}
    assert values_of(Cell(where=where, metric="psnr"), results, "here").tolist() == [30.0, 31.0, 32.0]
    errors = values_of(Cell(where=where, metric="error", absolute=True, scale=100.0), results, "here")
    np.testing.assert_allclose(errors, [np.nan, 10.0, 20.0])


def test_rows_that_are_not_there_or_not_told_apart_are_refused(results):
    faults = [
        (Cell(metric="ssim"), "has no column 'ssim', it has protocol, file, slice, method, psnr, error; correct it"),
        (Cell(where={"model": "a"}, metric="psnr"), "has no column 'model'"),
        (Cell(where={"method": "tv"}, metric="psnr"), "has no row of method tv, there is method zero_filled, network;"),
        (Cell(where={"method": "network"}, metric="psnr"), "has several rows a case of method network; say more in"),
        (Cell(metric="psnr"), "has several rows a case of any kind"),
        (Cell(where={"protocol": "q", "method": "network"}, metric="file"), "file: could not convert string to float"),
        (Cell(file="pores.csv", metric="psnr"), "the run wrote no pores.csv, of tables it wrote metrics.csv"),
    ]
    for cell, message in faults:
        with pytest.raises(ValueError, match=rf"^table t, a, column b: .*{re.escape(message)}"):
            values_of(cell, results, "table t, a, column b")


def test_parameters_of_a_network_are_noted(tmp_path):
    from torch import nn

    note_network(nn.Linear(10, 100), tmp_path)
    cell = Cell(file="network.csv", where={"method": "reconstruction"}, metric="parameters", style="count", digits=0)
    assert cell_text(cell, values_of(cell, tmp_path, "here")) == "1,100"


README = """# A

<!-- table: one -->
| image | PSNR | seconds |
|---|---|---|
| a \\| b | 20.0 | 0.3 |
| c | 30.0 | 0.4 |
<!-- /table -->

text | text
<!-- table: two -->
<!-- /table -->
end"""
TABLE = Table(
    ["image", "PSNR", "seconds"],
    [Row(["a | b"], [Cell(run="r"), Cell(timing=True)]), Row(["c"], [Cell(run="r"), Cell(timing=True)])],
)


def test_tables_are_found_and_replaced_and_all_else_stays(tmp_path):
    found = marked_tables(README, tmp_path)
    assert parse(found["one"]) == [["image", "PSNR", "seconds"], ["a | b", "20.0", "0.3"], ["c", "30.0", "0.4"]]
    assert found["two"] == []
    assert parse(found["two"]) == []
    lines = render(TABLE.header, parse(found["one"])[1:])
    assert lines == found["one"]
    assert replace_tables(README, {"one": lines}) == README
    new = replace_tables(README, {"two": ["| x |", "|---|"], "one": ["nothing"]})
    assert new == README.replace("\n".join(lines), "nothing").replace("two -->\n", "two -->\n| x |\n|---|\n")
    assert replace_tables(new, {"two": [], "one": lines}) == README


def test_marks_come_in_pairs(tmp_path):
    faults = [
        ("<!-- table: a -->\n| x |", r"README\.md: expected <!-- /table --> after <!-- table: a -->"),
        ("<!-- /table -->", r"README\.md:1: <!-- /table --> without"),
        ("<!-- table: a -->\n<!-- table: b -->\n<!-- /table -->", r"README\.md:2: expected <!-- /table --> before"),
        ("<!-- table: a -->\n<!-- /table -->\n" * 2, r"README\.md:3: expected .* or another name"),
    ]
    for text, message in faults:
        with pytest.raises(ValueError, match=message):
            marked_tables(text, tmp_path / "README.md")


def test_each_cell_that_differs_is_a_line(tmp_path):
    printed = marked_tables(README, tmp_path)["one"]
    same = filled(TABLE, [["20.0", ""], ["30.0", ""]], printed)
    assert same == [["a | b", "20.0", "0.3"], ["c", "30.0", "0.4"]]
    assert table_differences("one", TABLE, same, printed) == []
    other = filled(TABLE, [["20.0", ""], ["30.1", ""]], printed)
    assert table_differences("one", TABLE, other, printed) == ["one: c, PSNR: printed 30.0, now 30.1"]
    new_row = Table(TABLE.header, [TABLE.rows[1], Row(["d"], TABLE.rows[1].cells)])
    measured = filled(new_row, [["30.0", ""], ["31.0", ""]], printed)
    assert measured == [["c", "30.0", "0.4"], ["d", "31.0", ""]]
    assert table_differences("one", new_row, measured, printed) == [
        "one: row d is not printed",
        "one: row a | b is printed, but not defined",
    ]
    swapped = Table(TABLE.header, TABLE.rows[::-1])
    assert table_differences("one", swapped, same[::-1], printed) == [
        "one: the rows are printed in another order than they are defined"
    ]
    renamed = Table(["image", "SSIM", "seconds"], TABLE.rows)
    assert table_differences("one", renamed, same, printed) == [
        "one: columns printed as image | PSNR | seconds, defined as image | SSIM | seconds"
    ]
    assert table_differences("two", TABLE, same, []) == [
        "two: columns printed as none, defined as image | PSNR | seconds"
    ]


def test_numbers_of_the_metadata(tmp_path):
    path = tmp_path / "metadata.json"
    text = '{\n    "version": "0.1.0",\n    "eval_metrics": {\n        "psnr": 30.5\n    },\n  "list": [1, 2]}'
    path.write_text(text)
    assert read_numbers(path) == {"psnr": 30.5}
    assert replace_numbers(text, {"psnr": 30.5}, path) == text
    new = replace_numbers(text, {"psnr": 31.0, "ssim": 0.9}, path)
    assert new == text.replace('"psnr": 30.5', '"psnr": 31.0,\n        "ssim": 0.9')
    assert json.loads(new)["list"] == [1, 2]
    assert number_differences({"psnr": 31.0, "ssim": 0.9}, {"psnr": 30.5, "mse": 1}) == [
        "eval_metrics: psnr: printed 30.5, now 31.0",
        "eval_metrics: ssim: printed nothing, now 0.9",
        "eval_metrics: mse: printed 1, now nothing",
    ]
    assert number_differences({"psnr": 30.5}, {"psnr": 30.5}) == []
    path.write_text('{"eval_metrics": []}')
    with pytest.raises(ValueError, match="eval_metrics: expected an object, got \\[\\]"):
        read_numbers(path)
    with pytest.raises(
        ValueError, match=r'metadata\.json: expected a key "eval_metrics" on a line of its own, got none'
    ):
        replace_numbers('{"name": "a"}', {}, path)
