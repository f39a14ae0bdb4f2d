"""The measured values of a bundle: `docs/results.csv`, a row per evaluation, protocol, method and metric.

Columns:
    evaluation: name of the evaluation in the bundle's recipe.
    data: name of the data set in the recipe.
    protocol: named protocol of the metric, or "speed" for the size of a network and its time on one CPU core.
    method: stem of the file of weights ("model_paper"), with "_sample" for one of several samples, or a baseline.
    mask: sampling mask, or degradation, with its options.
    rate: sampling rate, acceleration, spokes per frame or upscale, as the bundle's configuration calls it.
    metric: name of the metric; "milliseconds" is the median of several runs, "ejection_fraction_error" is in points.
    n, undefined: number of cases with a value, and of cases without one.
    mean, sd: mean over the n cases, and sample standard deviation.
    low, high: 95 % bootstrap interval of the mean.
    min, max: smallest and largest value.
    weights: file in `models/`, "none" for a method without a network, or "not shipped".
    sha256: first 16 digits of the hash of the file of weights.
    date: day of the measurement.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.io.atomic import atomic_path
from common.metrics.case import RECONSTRUCTION
from common.metrics.cases import metrics_of, read_cases, summarise

FILE = "docs/results.csv"
IDENTITY = ("data", "protocol", "method", "mask", "rate", "metric")
"""Columns that tell rows apart."""
VALUES = ("mean", "sd", "low", "high", "min", "max")
COLUMNS = ("evaluation", *IDENTITY, "n", "undefined", *VALUES, "weights", "sha256", "date")
NOT_SHIPPED, NO_WEIGHTS = "not shipped", "none"
SPEED = "speed"
"""Protocol of the size and the speed of a network, which have no mask."""
NETWORK_ROWS = {RECONSTRUCTION: "", "sample": "_sample"}
"""Methods that an evaluation measures with the network: ending of their names in `results.csv`."""
SAMPLE = ", one sample"
"""End of the label that a comparison gives to one of several samples."""
TABLES = ("metrics.csv", "pore_space.csv", "fidelity.csv", "hallucination.csv", "ejection_fraction.csv", "speed.csv")
"""Files of an evaluation that are summed up."""
EJECTION_FRACTION_ERROR = "ejection_fraction_error"


def read_results(bundle: Path) -> pd.DataFrame:
    """Read the values of a bundle; keys are texts, values are numbers or NaN."""
    path = bundle / FILE
    if not path.is_file():
        raise ValueError(f"{path}: no such file; `python -m tools docs {bundle.name} --measure` writes it")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        if list(frame.columns) != list(COLUMNS):
            raise ValueError(f"expected the columns {', '.join(COLUMNS)}, got {', '.join(frame.columns)}")
        for column in (*VALUES, "n", "undefined"):
            frame[column] = pd.to_numeric(frame[column]).astype(float if column in VALUES else int)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; measure again") from None
    if (twice := frame.duplicated(list(IDENTITY))).any():
        raise ValueError(f"{path}: two rows of {', '.join(frame.loc[twice, list(IDENTITY)].iloc[0])}; remove one")
    return frame


def write_results(bundle: Path, frame: pd.DataFrame) -> None:
    """Write the values of a bundle: six digits, one line a row; the file appears whole or not at all."""
    texts = frame[list(COLUMNS)].copy()
    for column in VALUES:
        texts[column] = ["" if math.isnan(value) else _digits(value) for value in frame[column]]
    with atomic_path(bundle / FILE) as temporary:
        texts.to_csv(temporary, index=False, lineterminator="\n")


def _digits(value: float) -> str:
    """Format a value with six digits, a whole number with all of its digits."""
    return f"{value:.0f}" if value.is_integer() else f"{value:.6g}"


def replace_rows(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Return the old rows with those of the new rows' evaluations replaced, at the place of the first of them.

    What two evaluations measure alike, such as a baseline, stays with the one that stands first.
    """
    same = old["evaluation"].isin(set(new["evaluation"])).to_numpy()
    place = int(same.argmax()) if same.any() else len(old)
    parts = [old[:place], new, old[place:][~same[place:]]]
    frame = pd.concat([part for part in parts if len(part)], ignore_index=True)
    # a row of other weights gives way to a new one
    newest = frame.merge(new[[*IDENTITY, "sha256"]], on=list(IDENTITY), how="left", suffixes=("", "_new"))["sha256_new"]
    return frame[newest.isna() | (newest == frame["sha256"])].drop_duplicates(list(IDENTITY), ignore_index=True)


def disagreements(old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """Return a line for each new value that an other evaluation of the old rows has otherwise, by more than 0.1 %."""
    others = old[~old["evaluation"].isin(set(new["evaluation"]))]
    both = new.merge(others, on=[*IDENTITY, "sha256"], suffixes=("", "_other"))
    return [
        f"{row.method}, {row.metric}: {row.mean:.6g} in {row.evaluation}, {row.mean_other:.6g} in "
        f"{row.evaluation_other}; measure {row.evaluation_other} again"
        for row in both.itertuples()
        if not np.isclose(row.mean, row.mean_other, rtol=1e-3, equal_nan=True)
    ]


def rows_of_evaluation(folder: Path, bundle: Path, weights: Path | None, **keys: str) -> pd.DataFrame:
    """Sum up the tables that an evaluation, or a comparison, has written into a folder.

    Args:
        folder: the folder with `metrics.csv`.
        bundle: folder of the bundle.
        weights: file of weights that the evaluation ran with. None for a comparison, whose labels are the stems of
            files in `models/`, and for a method without a network, which gets the name of the evaluation.
        keys: the columns `evaluation`, `data`, `mask` and `rate` of all rows.
    """
    if not (folder / "metrics.csv").is_file():
        raise ValueError(f"{folder}: expected metrics.csv, got none; evaluate data that have targets")
    rows = [
        {**keys, **row}
        for name in TABLES
        if (folder / name).is_file()
        for row in _summed_up(read_cases(folder / name, ()), bundle, weights)
    ]
    frame = pd.DataFrame(rows)[list(COLUMNS)]
    if weights is None:
        frame["method"] = frame["method"].replace(RECONSTRUCTION, keys["evaluation"])
    return frame


def _summed_up(table: pd.DataFrame, bundle: Path, weights: Path | None) -> Iterator[dict[str, Any]]:
    metrics = metrics_of(table)
    if set(table["protocol"]) == {"ejection_fraction"}:
        table = table[~table["method"].isin(["simulator", "truth"])]  # the reference itself, which is no method
        table = table.assign(**{EJECTION_FRACTION_ERROR: 100 * table["error"].abs()})
        metrics = [EJECTION_FRACTION_ERROR]
    for (protocol, method), group in table.groupby(["protocol", "method"], sort=False):
        named = {"protocol": protocol, **_weights_of(str(method), bundle, weights)}
        further = {"mask": "", "rate": ""} if protocol == SPEED else {}
        for metric in metrics:
            # undefined in all cases, or not a metric of this protocol
            if group[metric].notna().any() or metric == EJECTION_FRACTION_ERROR:
                statistics = _statistics(group[metric], group["file"])
                yield {**named, "metric": metric, **statistics, **further, "date": date.today().isoformat()}


def _statistics(values: pd.Series, files: pd.Series) -> dict[str, float]:
    found = summarise(values, files)
    counts = {"n": found.n, "undefined": found.n_undefined, "min": values.min(), "max": values.max()}
    return {**counts, "mean": found.mean, "sd": found.std, "low": found.low, "high": found.high}


def _weights_of(method: str, bundle: Path, weights: Path | None) -> dict[str, str]:
    """Return the columns `method`, `weights` and `sha256` of a method as an evaluation, or a comparison, calls it."""
    if weights is not None and method in NETWORK_ROWS:
        file, name = weights, weights.stem + NETWORK_ROWS[method]
    else:
        file = bundle / "models" / f"{method.removesuffix(SAMPLE)}.pt"
        name = method.replace(SAMPLE, NETWORK_ROWS["sample"])
        if weights is not None or not file.is_file():
            return {"method": method, "weights": NO_WEIGHTS, "sha256": ""}
    shipped = bundle / "models" / file.name
    ships = shipped.is_file() and digest(shipped) == digest(file)
    return {"method": name, "weights": file.name if ships else NOT_SHIPPED, "sha256": digest(file)}


def digest(path: Path) -> str:
    """Return the first 16 digits of the SHA-256 hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def stale_rows(frame: pd.DataFrame, bundle: Path) -> list[str]:
    """Return a line for each file of weights that rows name, and that is not the file in `models/`."""
    found = []
    for (name, noted), rows in frame.groupby(["weights", "sha256"], sort=False):
        if name in (NO_WEIGHTS, NOT_SHIPPED):
            continue
        path = bundle / "models" / str(name)
        now = digest(path) if path.is_file() else "no such file"
        if now != noted:
            evaluations = ", ".join(rows["evaluation"].unique())
            found.append(
                f"{bundle / FILE}: {len(rows)} rows of {name} with the hash {noted}, in models/ is {now}; measure "
                f"again with --only {evaluations.replace(', ', ',')}, or say `{NOT_SHIPPED}`"
            )
    return found
