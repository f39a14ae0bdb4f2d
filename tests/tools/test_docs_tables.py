"""Tables, single numbers and metadata from rows of `results.csv`."""

import json
import math

import pandas as pd
import pytest

from tools.docs.document import rendered, with_metrics
from tools.docs.pivot import table_lines
from tools.docs.results import COLUMNS, IDENTITY

KEYS = {"evaluation": "e", "data": "d", "protocol": "p", "mask": "radial", "undefined": 0, "date": "2026-01-02"}
SPREAD = {"sd": 1.26, "low": 20.0, "high": 22.5, "min": 19.04, "max": 23.0}
WEIGHTS = {"weights": "none", "sha256": ""}


def row(method, rate, metric, mean, **others):
    return {
        **KEYS,
        "method": method,
        "rate": rate,
        "metric": metric,
        "n": 3,
        "mean": mean,
        **SPREAD,
        **WEIGHTS,
        **others,
    }


FRAME = pd.DataFrame(
    [
        row("zero_filled", "0.1", "psnr", 21.166),
        row("zero_filled", "0.2", "psnr", 25.0, undefined=2),
        row("model", "0.1", "psnr", 30.5),
        row("model", "0.2", "psnr", 1234.5),
        row("zero_filled", "0.1", "ssim", 0.3336, sd=math.nan),
        row("model", "0.1", "ssim", math.nan, n=0),
        row("model", "0.1", "parameters", 1941233.0),
    ]
)[list(COLUMNS)]
SPEC = {
    "where": {"data": "d"},
    "heading": ["method", "sampled"],
    "rows": {"method": {"zero_filled": "zero-filled", "model": "ours"}, "rate": {0.1: "10 %", 0.2: "20 %"}},
    "columns": {"PSNR": "psnr"},
}


def lines(**changes):
    return table_lines({**SPEC, **changes}, FRAME, "here")


def test_a_row_for_each_combination():
    assert lines() == [
        "| method | sampled | PSNR |",
        "|---|---|---|",
        "| zero-filled | 10 % | 21.17 |",
        "| zero-filled | 20 % | 25.00, 2 undefined |",
        "| ours | 10 % | 30.50 |",
        "| ours | 20 % | 1,234.50 |",
    ]


def test_columns_may_be_any_selection():
    columns = {"10 %": {"rate": 0.1}, "20 %, coarse": {"rate": 0.2, "digits": 0, "show": "mean ± sd"}}
    found = lines(where={"metric": "psnr"}, rows={"method": ["model"]}, columns=columns, heading=[""])
    assert found == ["| | 10 % | 20 %, coarse |", "|---|---|---|", "| model | 30.50 | 1,234 ± 1 |"]


@pytest.mark.parametrize(
    ("show", "cell"),
    [
        ("mean", "21.17"),
        ("mean ± sd", "21.17 ± 1.26"),
        ("mean [interval]", "21.17 [20.00, 22.50]"),
        ("mean ± sd [interval]", "21.17 ± 1.26 [20.00, 22.50]"),
        ("mean (range)", "21.17 (19.04 to 23.00)"),
    ],
)
def test_what_a_cell_shows(show, cell):
    assert lines(show=show)[2] == f"| zero-filled | 10 % | {cell} |"


def test_texts_for_missing_and_undefined_cells():
    columns = {"SSIM": {"metric": "ssim", "show": "mean"}, "size": "parameters"}
    selection = {
        "rows": {"method": ["zero_filled", "model"]},
        "columns": columns,
        "where": {"rate": 0.1},
        "heading": [""],
    }
    found = lines(**selection, missing="", undefined="not measurable")
    assert found[2:] == ["| zero_filled | 0.334 | |", "| model | not measurable | 1,941,233 |"]
    with pytest.raises(ValueError, match=r"no row with .*method=zero_filled, metric=parameters"):
        lines(**selection, undefined="")
    with pytest.raises(ValueError, match="mean of model, ssim, is not known"):
        lines(**selection, missing="")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row": {}}, "here: unknown key 'row'"),
        ({"columns": []}, "here: columns: expected a mapping"),
        ({"columns": {"SSIM": "ssim"}}, "here: results.csv has no row with data=d, .*rate=0.2, metric=ssim"),
        ({"rows": {"method": ["model"]}}, "has 2 rows with data=d, method=model, metric=psnr: rate 0.1, 0.2"),
        ({"where": {"family": "radial"}}, "here: unknown key 'family', expected evaluation, data"),
        ({"show": "median"}, "here: show: unknown word 'median'"),
    ],
)
def test_descriptions_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        lines(**changes)


DOCUMENT = """# A
The network has 30.50<!-- {method: model, rate: 0.1, metric: psnr} --> dB,
+9.3<!-- {method: model, rate: 0.1, metric: psnr, minus: {method: zero_filled}} --> dB more.

<!-- table:
where: {rate: 0.1}
rows: {method: {model: "a, b"}}
columns: {PSNR: psnr}
-->
| | PSNR |
|---|---|
| a, b | 30.50 |
<!-- /table -->
end
"""


def test_a_document_is_rendered_in_place(tmp_path):
    def now(text):
        return rendered(text, tmp_path / "a.md", lambda name: FRAME)

    assert now(DOCUMENT) == DOCUMENT
    changed = DOCUMENT.replace("30.50<", "30.4<").replace("+9.3<", "+9.111<").replace("| a, b | 30.50 |\n", "")
    assert now(changed) == DOCUMENT.replace("30.50<", "30.5<").replace("+9.3<", "+9.334<")
    for wrong in ("<!-- table:\nrows: {}\n-->\n", "<!-- /table -->\n"):
        with pytest.raises(ValueError, match=r"a\.md: expected each table between"):
            now(DOCUMENT + wrong)
    with pytest.raises(ValueError, match=r"a\.md: the number 30.50.*no row with method=none"):
        now(DOCUMENT.replace("30.50<!-- {method: model", "30.50<!-- {method: none"))
    with pytest.raises(ValueError, match=r"a\.md:5: .*mend the YAML"):
        now(DOCUMENT.replace("rows: {method", "rows: }{method"))


def test_numbers_of_another_bundle_are_named(tmp_path):
    asked = []

    def results(name):
        asked.append(name)
        return FRAME

    text = DOCUMENT.replace("<!-- {method", "<!-- {bundle: other, method").replace("where:", "bundle: third\nwhere:")
    assert rendered(text, tmp_path, results) == text
    assert asked == ["third", "other", "other"]


def test_metrics_of_the_metadata_are_rows(tmp_path):
    key = "d/p/model/radial/0.1/psnr"
    text = '{\n    "version": "0.1.0",\n    "eval_metrics": {\n        "%s": 1\n    },\n  "list": [1, 2]}'
    new = with_metrics(text % key, tmp_path, FRAME)
    assert new == (text % key).replace(": 1\n", ": 30.5\n")
    assert json.loads(with_metrics('{\n"eval_metrics": {}\n}', tmp_path, FRAME)) == {"eval_metrics": {}}
    for wrong in ("d/p/model/radial/0.3/psnr", "d/p/model/radial/0.1/ssim"):
        with pytest.raises(ValueError, match=f"eval_metrics: {wrong}: results.csv has no such row with a finite mean"):
            with_metrics(text % wrong, tmp_path, FRAME)
    with pytest.raises(ValueError, match='expected a key "eval_metrics"'):
        with_metrics("{}", tmp_path, FRAME)
    assert "/".join(IDENTITY) == "data/protocol/method/mask/rate/metric"
