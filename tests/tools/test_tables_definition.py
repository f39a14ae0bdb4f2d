"""What a bundle's tables.json says: variables, merged cells, rows of combinations, and what is refused."""

import json
import re

import pytest

from tools.tables.definition import read_definition
from tools.tables.measured import cells_of, names_of
from tools.tables.run import run_of, runs_of
from tools.tables.template import combinations, fill, variables_of

CONTENT = {
    "data": {
        "slices": {"real": "brains", "what": "3 slices"},
        "drawn": {"make": "brain_mri", "options": {"n_train": 0}},
    },
    "runs": {
        "network": {
            "data": "slices",
            "overrides": {"rate": "{rate}", "mask": "{data}/{family}.png", "name": "r{rate}"},
        },
        "others": {"data": "drawn", "compare": {"entries": ["zero_filled", "net={bundle}@{family}"]}},
    },
    "tables": {
        "masks": {
            "heading": ["mask", "rate"],
            "cell": {"run": "network", "where": {"protocol": "p", "method": "network"}, "digits": 2, "metric": "psnr"},
            "columns": [
                {"title": "before", "where": {"method": "zero_filled"}},
                {"title": "after", "style": "mean ± sd"},
                {"title": "seconds", "timing": True},
            ],
            "rows": [
                {
                    "title": ["{family}", "{percent} %"],
                    "for": {"family": ["a", "b"], "rate": [{"rate": 0.1, "percent": 10}, {"rate": 0.2, "percent": 20}]},
                },
                {
                    "title": ["known", ""],
                    "set": {"family": "c", "rate": 1},
                    "cells": {"before": "-", "after": {"digits": 3}},
                },
            ],
        },
        "more": {"like": "masks", "cell": {"metric": "ssim", "where": {"protocol": "q"}}},
    },
    "eval_metrics": {
        "psnr_{family}": {
            "for": {"family": ["a", "b"]},
            "run": "network",
            "set": {"rate": 0.1},
            "metric": "psnr",
            "digits": 2,
        }
    },
}


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "docs").mkdir()

    def write(**changes):
        (tmp_path / "docs" / "tables.json").write_text(json.dumps({**CONTENT, **changes}))
        return tmp_path

    write()
    write.folder = tmp_path
    return write


def test_a_text_that_is_one_variable_becomes_its_value():
    variables = {"rate": 0.1, "options": {"a": 1}, "family": "radial"}
    spec = {"r": "{rate}", "o": "{options}", "both": "{family}_{rate}", "list": ["{rate}", 3], "{family}": None}
    assert fill(spec, variables, "here") == {
        "r": 0.1,
        "o": {"a": 1},
        "both": "radial_0.1",
        "list": [0.1, 3],
        "radial": None,
    }
    assert variables_of(spec) == {"rate", "options", "family"}
    assert fill("$dict(a={}, b={1: 2})", {}, "here") == "$dict(a={}, b={1: 2})"
    with pytest.raises(ValueError, match=r"^here: no variable \{accel\} for 'x\{accel\}', known here: rate, options"):
        fill("x{accel}", variables, "here")


def test_values_that_change_together_are_one_combination():
    assert combinations({"a": [1, 2], "b": [{"c": 3, "d": 4}, {"c": 5, "d": 6}]}) == [
        {"a": 1, "c": 3, "d": 4},
        {"a": 1, "c": 5, "d": 6},
        {"a": 2, "c": 3, "d": 4},
        {"a": 2, "c": 5, "d": 6},
    ]
    assert combinations({}) == [{}]


def test_rows_and_cells(bundle):
    definition = read_definition(bundle.folder)
    masks = definition.tables["masks"]
    assert masks.header == ["mask", "rate", "before", "after", "seconds"]
    assert [row.titles for row in masks.rows] == [
        ["a", "10 %"],
        ["a", "20 %"],
        ["b", "10 %"],
        ["b", "20 %"],
        ["known", ""],
    ]
    before, after, seconds = masks.rows[1].cells
    assert before.where == {"protocol": "p", "method": "zero_filled"}
    assert (after.where["method"], after.style, after.digits) == ("network", "mean ± sd", 2)
    assert seconds.timing
    assert not seconds.run
    assert before.variables == {"family": "a", "rate": 0.2, "percent": 20}
    fixed, changed, _ = masks.rows[4].cells
    assert (fixed.text, fixed.run, changed.digits) == ("-", "", 3)
    more = definition.tables["more"]
    assert more.header == masks.header
    assert more.rows[0].cells[0].where == {"protocol": "q", "method": "zero_filled"}
    assert more.rows[0].cells[0].metric == "ssim"
    assert list(definition.numbers) == ["psnr_a", "psnr_b"]


def test_runs_are_told_apart_by_the_variables_that_they_use(bundle):
    definition = read_definition(bundle.folder)
    assert names_of(definition, "") == ["masks", "more", "eval_metrics"]
    assert names_of(definition, "eval_metrics, masks") == ["masks", "eval_metrics"]
    cells = [cell for name in names_of(definition, "") for cell in cells_of(definition, name)]
    runs = runs_of(definition, cells)
    assert [run.label for run in runs] == [
        "network family=a rate=0.1",
        "network family=a rate=0.2",
        "network family=b rate=0.1",
        "network family=b rate=0.2",
        "network family=c rate=1",
    ]
    assert runs[1].folder_name == "network_family=a_rate=0.2"
    overrides, compare = runs[1].told(bundle.folder / "data", bundle.folder)
    assert overrides == {"rate": 0.2, "mask": f"{bundle.folder}/data/a.png", "name": "r0.2"}
    assert compare == {}


def test_a_comparison_is_told_of_the_bundle(bundle):
    rows = [{"title": "x", "run": "others", "set": {"family": "wide"}, "metric": "psnr", "digits": 1}]
    definition = read_definition(bundle(tables={"t": {"columns": [{"title": "y"}], "rows": rows}}))
    run = run_of(definition, definition.tables["t"].rows[0].cells[0])
    assert run.label == "others family=wide"
    assert run.told(bundle.folder, bundle.folder)[1] == {"entries": ["zero_filled", f"net={bundle.folder}@wide"]}


ROW = {"title": "x", "run": "network", "metric": "psnr", "digits": 1}


def table(**row):
    return {"tables": {"t": {"columns": [{"title": "y"}], "rows": [{**ROW, **row}]}}}


def test_what_means_nothing_is_refused(bundle):
    both = {"real": "a", "make": "rock"}
    run = {"data": "slices"}
    faults = [
        ({"metrics": {}}, "unknown key 'metrics', expected data, runs, tables, eval_metrics; correct it"),
        ({"data": {"d": {"path": "x"}}}, "data d: unknown key 'path', expected real, make"),
        ({"data": {"d": both}}, "data d: expected either `real` (a folder's name) or `make` (a synthetic set)"),
        ({"data": {"d": {"make": "brains"}}}, "data d: no synthetic set 'brains', expected brain_mri,"),
        ({"data": {"d": {"make": "rock", "options": {"n": 1}}}}, "data d: options of rock:"),
        ({"runs": {"r": {"data": "none"}}}, "run r: data: expected one of slices, drawn, got 'none'"),
        ({"runs": {"r": {**run, "split": "valid"}}}, "run r: unknown key 'split'"),
        ({"runs": {"r": {**run, "compare": {"sweep": ""}}}}, "run r: compare: unknown key 'sweep'"),
        ({"runs": {"r": {**run, "compare": {}}}}, "run r: compare: entries: expected a list"),
        ({"runs": {"r": {**run, "config": "inference.json"}}}, "run r: config: expected a list"),
        (table(run="none"), "row x, column y: run: expected one of network, others, got 'none'"),
        (table(style="median"), "row x, column y: style: expected one of mean, mean ± sd"),
        (table(digits=None), "row x, column y: digits: expected how many after the point, 0 to 12, got None"),
        (table(metric=3), "row x, column y: metric: expected a column of the run's file, got 3"),
        (table(where="all"), "row x, column y: where: expected an object, {...}, got 'all'"),
        (table(colour="red"), "row x: unknown key 'colour'"),
        (table(title=["x", "z"]), "table t: expected 1 titles of a row, got ['x', 'z']"),
        (table(title="{family}"), "no variable {family} for '{family}', known here: none"),
        (table(cells={"z": ""}), "row x: cells: unknown key 'z', expected y"),
        (table(**{"for": {"family": "radial"}}), "row x: for family: expected a list"),
        ({"tables": {"t": {"like": "u"}}}, "table t: like: no earlier table 'u'"),
        ({"tables": {"t": {"columns": [{"title": "y"}]}}}, "table t: rows: expected a list"),
        ({"tables": {"t": {"columns": [{}, {}], "rows": [ROW]}}}, "table t: two columns are called ''"),
        (
            {"tables": {"t": {"columns": [{"title": "y"}], "rows": [ROW, ROW]}}},
            "table t: two rows have the same titles",
        ),
        ({"eval_metrics": {"psnr": {"text": "30"}}}, "eval_metrics psnr: expected a number of a run, got a text"),
    ]
    for changes, message in faults:
        path = re.escape(str(bundle.folder / "docs" / "tables.json"))
        with pytest.raises(ValueError, match=rf"^{path}: .*{re.escape(message)}.*$"):
            read_definition(bundle(**changes))


def test_a_variable_that_is_not_set_is_named(bundle):
    definition = read_definition(bundle(**table()))
    with pytest.raises(
        ValueError, match=r"tables\.json: run network: no variable \{rate\} for '\{rate\}'.* under `set`"
    ):
        run_of(definition, definition.tables["t"].rows[0].cells[0])


def test_unknown_names_and_missing_files(bundle, tmp_path):
    definition = read_definition(bundle.folder)
    with pytest.raises(ValueError, match=r"no table 'mask', it has masks, more, eval_metrics; correct it"):
        names_of(definition, "mask")
    with pytest.raises(ValueError, match=r"docs/tables\.json: no such file"):
        read_definition(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="expected `tables` or `eval_metrics`, got neither"):
        names_of(read_definition(bundle(tables={}, eval_metrics={})), "")
