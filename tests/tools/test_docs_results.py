"""Rows of `results.csv` from the tables that evaluations write."""

import numpy as np
import pandas as pd
import pytest

from common.metrics import case_table, summarise, write_cases
from tools.docs.results import (
    COLUMNS,
    FILE,
    digest,
    disagreements,
    read_results,
    replace_rows,
    rows_of_evaluation,
    stale_rows,
    write_results,
)

KEYS = {"evaluation": "seen", "data": "slices", "mask": "radial", "rate": "0.1"}
PSNR = {"zero_filled": [20.0, 21.0, 22.5], "reconstruction": [30.0, 31.0, 33.0], "sample": [28.0, np.nan, 30.0]}


@pytest.fixture
def bundle(tmp_path):
    for folder in ("models", "docs"):
        (tmp_path / "toy" / folder).mkdir(parents=True)
    (tmp_path / "toy" / "models" / "model.pt").write_bytes(b"weights")
    (tmp_path / "toy" / "models" / "model_small.pt").write_bytes(b"other weights")
    return tmp_path / "toy"


def evaluation(folder, methods):
    folder.mkdir(exist_ok=True)
    rows = [
        {"protocol": "p", "file": f"{i}.png", "slice": 0, "method": method, "psnr": value}
        for method, values in methods.items()
        for i, value in enumerate(values)
    ]
    write_cases(folder / "metrics.csv", case_table(rows))
    return folder


def find(frame, **wanted):
    for key, value in wanted.items():
        frame = frame[frame[key] == value]
    (row,) = frame.to_dict("records")
    return row


def test_an_evaluation_gives_a_row_for_each_method_and_metric(bundle, tmp_path):
    folder = evaluation(tmp_path / "run", PSNR)
    frame = rows_of_evaluation(folder, bundle, bundle / "models" / "model.pt", **KEYS)
    assert list(frame.columns) == list(COLUMNS)
    assert frame["method"].tolist() == ["zero_filled", "model", "model_sample"]
    assert frame["weights"].tolist() == ["none", "model.pt", "model.pt"]
    hashed = digest(bundle / "models" / "model.pt")
    assert len(hashed) == 16
    assert frame["sha256"].tolist() == ["", hashed, hashed]
    row, summary = find(frame, method="model"), summarise(np.array(PSNR["reconstruction"]))
    assert {key: row[key] for key in KEYS} == KEYS
    assert (row["mean"], row["sd"], row["low"], row["high"]) == (summary.mean, summary.std, summary.low, summary.high)
    assert (row["min"], row["max"], row["n"], row["undefined"]) == (30.0, 33.0, 3, 0)
    sample = find(frame, method="model_sample")
    assert (sample["mean"], sample["n"], sample["undefined"]) == (29.0, 2, 1)


def test_weights_that_are_not_shipped_are_said_to_be(bundle, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"trained further")
    frame = rows_of_evaluation(evaluation(tmp_path / "run", PSNR), bundle, tmp_path / "model.pt", **KEYS)
    assert frame["weights"].tolist() == ["none", "not shipped", "not shipped"]
    assert frame["sha256"].iloc[1] == digest(tmp_path / "model.pt")


def test_labels_of_a_comparison_are_the_names_of_weights(bundle, tmp_path):
    labels = {"tv": [25.0], "model": [30.0], "model, one sample": [28.0], "model_small": [27.0]}
    frame = rows_of_evaluation(evaluation(tmp_path / "run", labels), bundle, None, **KEYS)
    assert frame["method"].tolist() == ["tv", "model", "model_sample", "model_small"]
    assert frame["weights"].tolist() == ["none", "model.pt", "model.pt", "model_small.pt"]


def test_a_method_without_weights_has_the_name_of_its_evaluation(bundle, tmp_path):
    frame = rows_of_evaluation(evaluation(tmp_path / "run", PSNR), bundle, None, **KEYS)
    assert frame["method"].tolist()[:2] == ["zero_filled", "seen"]
    assert set(frame["weights"]) == {"none"}


def test_ejection_fractions_are_absolute_errors_in_points(bundle, tmp_path):
    folder = evaluation(tmp_path / "run", PSNR)
    values = {"simulator": [0.0, 0.0], "aliased": [np.nan, np.nan], "reconstruction": [-0.02, 0.04]}
    rows = [
        {"protocol": "ejection_fraction", "file": f"{i}.h5", "method": method, "ejection_fraction": 0.5, "error": error}
        for method, errors in values.items()
        for i, error in enumerate(errors)
    ]
    write_cases(folder / "ejection_fraction.csv", case_table(rows))
    frame = rows_of_evaluation(folder, bundle, bundle / "models" / "model.pt", **KEYS)
    frame = frame[frame["protocol"] == "ejection_fraction"]
    assert frame["method"].tolist() == ["aliased", "model"]
    assert frame["metric"].unique().tolist() == ["ejection_fraction_error"]
    assert frame["mean"].iloc[1] == pytest.approx(3.0)
    assert frame[["n", "undefined"]].to_numpy().tolist() == [[0, 2], [2, 0]]


def rows(bundle, tmp_path, name, **methods):
    keys = {**KEYS, "evaluation": name}
    return rows_of_evaluation(evaluation(tmp_path / name, methods), bundle, bundle / "models" / "model.pt", **keys)


def test_rows_of_an_evaluation_are_replaced_in_place(bundle, tmp_path):
    first = rows(bundle, tmp_path, "a", zero_filled=[20.0], reconstruction=[30.0])
    second = rows(bundle, tmp_path, "b", zero_filled=[20.0], sample=[29.0])
    both = replace_rows(first, second)
    # the baseline stays with the first
    assert both[["evaluation", "method"]].to_numpy().tolist() == [
        ["a", "zero_filled"],
        ["a", "model"],
        ["b", "model_sample"],
    ]
    again = replace_rows(both, rows(bundle, tmp_path, "a", reconstruction=[31.0]))
    assert again[["evaluation", "mean"]].to_numpy().tolist() == [["a", 31.0], ["b", 29.0]]


def test_a_baseline_that_two_evaluations_measure_otherwise_is_told(bundle, tmp_path):
    first = rows(bundle, tmp_path, "a", zero_filled=[20.0], reconstruction=[30.0])
    assert disagreements(first, rows(bundle, tmp_path, "b", zero_filled=[20.01])) == []
    (line,) = disagreements(first, rows(bundle, tmp_path, "b", zero_filled=[20.5]))
    assert line.startswith("zero_filled, psnr: 20.5 in b, 20 in a")
    assert disagreements(first, rows(bundle, tmp_path, "a", zero_filled=[20.5])) == []


def test_the_file_is_read_as_it_was_written(bundle, tmp_path):
    frame = rows(bundle, tmp_path, "a", zero_filled=[20.0, np.nan], reconstruction=[1234567.0, 1234568.0])
    write_results(bundle, frame)
    found = read_results(bundle)
    pd.testing.assert_frame_equal(found, frame, check_dtype=False, rtol=1e-5)
    write_results(bundle, found)
    pd.testing.assert_frame_equal(read_results(bundle), found)
    lines = (bundle / FILE).read_text().splitlines()
    assert ",1234570," in lines[2]  # six digits of each case, all digits of a whole number
    (bundle / FILE).write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(ValueError, match=r"results\.csv: two rows of slices, p, zero_filled"):
        read_results(bundle)
    (bundle / FILE).write_text("\n".join(lines).replace("protocol", "by"))
    with pytest.raises(ValueError, match=r"results\.csv: expected the columns evaluation, data, protocol"):
        read_results(bundle)
    (bundle / FILE).unlink()
    with pytest.raises(ValueError, match=r"results\.csv: no such file"):
        read_results(bundle)


def test_rows_of_other_weights_are_stale(bundle, tmp_path):
    frame = rows(bundle, tmp_path, "a", zero_filled=[20.0], reconstruction=[30.0])
    assert stale_rows(frame, bundle) == []
    (bundle / "models" / "model.pt").write_bytes(b"new weights")
    (line,) = stale_rows(frame, bundle)
    assert "1 rows of model.pt" in line
    assert "--only a" in line
    (bundle / "models" / "model.pt").unlink()
    assert "no such file" in stale_rows(frame, bundle)[0]
