"""Tables of metric values as data frames: means, spreads, bootstrap intervals and paired differences.

A case table has a row per case and method: the columns ``protocol``, ``file``, ``slice`` (missing for a volume),
perhaps ``frame`` and ``rate`` (the sampled fraction of k-space), ``method``, and one column per metric. The file
``metrics.csv`` of an evaluation is such a table:

    table = read_cases("eval/metrics.csv")
    summaries(table)                    # protocol, method, metric -> n, mean, std, low, high, n_undefined
    differences(table, "zero_filled")   # the same for each method minus "zero_filled", case by case
    format_summary(row, "psnr")         # ("33.12 ± 1.50", "[32.80, 33.44]"), digits as in all documents

Slices of one file are not independent. The intervals therefore resample files where a table has several.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common.io.atomic import atomic_path
from common.metrics.protocols import PROTOCOLS
from torch import Tensor

CaseKey = tuple[str, int | None]
"""File and slice; None for a volume."""

CASE = ("file", "slice", "frame")
KEYS = ("protocol", *CASE, "rate", "method")
OPTIONAL = ("frame", "rate")
DECIMALS = {"psnr": 2, "ssim": 4, "nmse": 4, "mse": 5, "nrmse": 4, "perceptual": 4, "piqe": 1}
HEADINGS = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "nmse": "NMSE",
    "mse": "MSE",
    "nrmse": "NRMSE",
    "perceptual": "perceptual distance",
    "piqe": "PIQE (0 best, 100 worst)",
}
LABELS = {"zero_filled": "zero-filled", "view_shared": "view sharing", "sample": "one sample"}
_CHUNK = 2**24  # indices drawn at a time: bounds the memory of many resamples of many values


@dataclass(frozen=True)
class Summary:
    """Statistics of a set of values.

    Attributes:
        mean: arithmetic mean; infinite if a value is (the PSNR of identical images).
        std: sample standard deviation (over n - 1); NaN for one value.
        low: lower end of the 95 % percentile bootstrap interval of the mean; NaN, as ``std``, if a value is infinite.
        high: upper end of that interval.
        n: number of values.
        n_undefined: number of NaN values that were left out: a metric is NaN where it is undefined.
    """

    mean: float
    std: float
    low: float
    high: float
    n: int
    n_undefined: int = 0


def summarise(
    values: Tensor | np.ndarray | pd.Series,
    files: Sequence[str] | pd.Series | None = None,
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Summary:
    """Return mean, standard deviation and 95 % percentile bootstrap interval of the mean.

    Args:
        values: real values of any shape, at least one. NaN (undefined) values are left out and counted.
        files: file of each value. Whole files are resampled where there are several; values of a single file, or
            without this argument, count as independent.
        n_bootstrap: number of resamples.
        seed: seed of the resampling, which is drawn on the CPU.

    Raises:
        ValueError: if there is no value, or ``n_bootstrap`` is not positive.
    """
    column = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    column = column.astype(np.float64).ravel()
    if len(column) == 0:
        raise ValueError("expected at least one value to summarise, got none; evaluate a case first")
    if n_bootstrap < 1:
        raise ValueError(f"n_bootstrap must be at least 1, got {n_bootstrap}; 1000 is usual")
    seen = ~np.isnan(column)
    defined, n_undefined = column[seen], int((~seen).sum())
    n = len(defined)
    if n == 0:
        return Summary(math.nan, math.nan, math.nan, math.nan, 0, n_undefined)
    mean = float(defined.mean())
    if not math.isfinite(mean):
        return Summary(mean, math.nan, math.nan, math.nan, n, n_undefined)
    std = float(defined.std(ddof=1)) if n > 1 else math.nan
    groups = np.arange(n) if files is None else pd.factorize(np.asarray(files, dtype=object)[seen])[0]
    if groups.max() == 0:
        groups = np.arange(n)
    means = _resampled_means(np.bincount(groups, defined), np.bincount(groups), n_bootstrap, seed)
    low, high = np.quantile(means, (0.025, 0.975))
    return Summary(mean, std, float(low), float(high), n, n_undefined)


def _resampled_means(sums: np.ndarray, counts: np.ndarray, n_bootstrap: int, seed: int) -> np.ndarray:
    n, generator = len(sums), torch.Generator().manual_seed(seed)
    chunk = max(1, _CHUNK // n)
    parts = []
    for start in range(0, n_bootstrap, chunk):
        chosen = torch.randint(n, (min(chunk, n_bootstrap - start), n), generator=generator).numpy()
        parts.append(sums[chosen].sum(1) / counts[chosen].sum(1))
    return np.concatenate(parts)


def paired_difference(a: Any, b: Any, files: Sequence[str] | None = None, **options: Any) -> Summary:
    """Summary of ``a - b``, case by case: positive where ``a`` is larger.

    Args:
        a: values of one method, ``(cases,)``.
        b: values of the other method for the same cases, in the same order.
        files: file of each case; see :func:`summarise`.
        options: ``n_bootstrap`` and ``seed`` of :func:`summarise`.

    Raises:
        ValueError: if the shapes differ.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise ValueError(
            f"a paired difference needs a value per case of both, got shapes {list(a.shape)} and {list(b.shape)}"
        )
    with np.errstate(invalid="ignore"):
        return summarise(a - b, files, **options)


def case_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Make a case table of rows with the keys ``protocol``, ``file``, ``method``, the metrics and perhaps further ones.

    ``slice`` and ``frame`` are integers, or None. Columns ``frame`` and ``rate`` without any value are left out.

    Raises:
        ValueError: if there is no row.
    """
    table = pd.DataFrame(list(rows))
    if table.empty:
        raise ValueError("there is no metric value for a table; evaluate cases that have a target")
    for key in ("slice", "frame"):
        table[key] = pd.array(table.get(key, pd.Series([None] * len(table))), dtype="Int64")
    keys = [key for key in KEYS if key not in OPTIONAL or (key in table and table[key].notna().any())]
    return table[[*keys, *metrics_of(table)]]


def write_cases(path: str | Path, table: pd.DataFrame) -> None:
    """Write a case table as a CSV file, which appears whole or not at all.

    Values have six digits, "inf" is spelled so. A cell is empty where a metric is undefined or not one of the protocol.
    """
    with atomic_path(Path(path)) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n", errors="surrogateescape")


def read_cases(path: str | Path, needs: Sequence[str] = ("psnr",)) -> pd.DataFrame:
    """Read a case table.

    Args:
        path: the CSV file.
        needs: metrics that it must have.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: columns are missing, there is no row, or a value is not a number.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; evaluate first, or name the folder an evaluation wrote")
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        reader = csv.DictReader(file)  # pandas' own reader fails on names that are not UTF-8
        table = pd.DataFrame(list(reader), columns=reader.fieldnames or [], dtype=object)
    required = ("protocol", "file", "slice", "method", *needs)
    if missing := [column for column in required if column not in table]:
        raise ValueError(f"{path}: expected columns {', '.join(required)} ..., missing {', '.join(missing)}")
    if table.empty:
        raise ValueError(f"{path}: holds no case; evaluate data that have targets")
    for column in [name for name in table if name not in ("protocol", "file", "method")]:
        try:
            table[column] = table[column].map(lambda cell: float(cell or "nan")).astype(np.float64)
            if column in CASE:
                table[column] = table[column].astype("Int64")
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: column {column}: {error}; evaluate again") from None
    return table


def metrics_of(table: pd.DataFrame) -> list[str]:
    """Metrics of a table, in its order: those of its protocols, and columns with a value."""
    known = {m for name in table["protocol"].unique() if name in PROTOCOLS for m in PROTOCOLS[name].metrics}
    return [name for name in table if name not in KEYS and (name in known or table[name].notna().any())]


def methods_of(table: pd.DataFrame) -> list[str]:
    """Methods of a table, in its order."""
    return list(table["method"].unique())


def n_cases(table: pd.DataFrame) -> int:
    """Number of different cases of a table."""
    return len(table.drop_duplicates([key for key in CASE if key in table]))


def summaries(table: pd.DataFrame) -> pd.DataFrame:
    """Statistics of each protocol, method and metric (the index): the fields of :class:`Summary` as columns."""
    return _frame(
        {
            (protocol, method, metric): summarise(cases[metric], cases["file"])
            for protocol, part in table.groupby("protocol", sort=False)
            for method, cases in part.groupby("method", sort=False)
            for metric in metrics_of(part)
        }
    )


def differences(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Statistics, as :func:`summaries`, of each method minus the reference over the cases that both have."""
    keys = [key for key in CASE if key in table]
    found = {}
    for protocol, part in table.groupby("protocol", sort=False):
        before = part[part["method"] == reference]
        for method in methods_of(part):
            if method == reference:
                continue
            pairs = part[part["method"] == method].merge(before, on=keys, suffixes=("", " before"))
            for metric in metrics_of(part) if len(pairs) else ():
                found[protocol, method, metric] = paired_difference(
                    pairs[metric], pairs[f"{metric} before"], pairs["file"]
                )
    return _frame(found)


def _frame(found: Mapping[tuple[Any, Any, str], Summary]) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples(found, names=("protocol", "method", "metric")) if found else None
    return pd.DataFrame([asdict(summary) for summary in found.values()], index=index)


def by_method(found: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Statistics of one protocol, see :func:`summaries`, as a table by metric for each method in order."""
    return [(str(name), found.xs(name, level="method").droplevel("protocol")) for name in found.index.unique("method")]


def gains(table: pd.DataFrame, method: str, reference: str, metric: str = "psnr") -> dict[CaseKey, float]:
    """Metric of a method minus that of the reference for each case that both have; finite differences only."""
    columns = [
        dict(zip(case_keys(part), part[metric], strict=True))
        for part in (table[table["method"] == name] for name in (method, reference))
    ]
    found = {case: float(value - columns[1][case]) for case, value in columns[0].items() if case in columns[1]}
    return {case: gain for case, gain in found.items() if math.isfinite(gain)}


def case_keys(table: pd.DataFrame) -> list[CaseKey]:
    """File and slice of each row."""
    slices = [None if pd.isna(index) else int(index) for index in table["slice"]]
    return list(zip(table["file"], slices, strict=True))


def leading_method(table: pd.DataFrame, reference: str, metric: str = "psnr") -> str:
    """Return the method, other than the reference, with the highest mean; the reference if it is alone."""
    means = table[table["method"] != reference].groupby("method", sort=False)[metric].mean()
    return str(means.idxmax()) if means.notna().any() else reference


def extremes(gain: Mapping[Any, float], n: int = 3) -> tuple[list[Any], list[Any]]:
    """Return the `n` cases of the largest gain, largest first, and the `n` of the smallest, smallest last.

    No case is in both.
    """
    order = sorted(gain, key=lambda case: gain[case], reverse=True)
    n = min(n, (len(order) + 1) // 2)
    return order[:n], order[n:][-n:] if n else []


def case_name(case: CaseKey) -> str:
    """Name of a case for people: its file without folders, and its slice."""
    file, index = case
    return Path(file).name if index is None else f"{Path(file).name}, slice {index}"


def label(method: str) -> str:
    """Name of a method in pictures, tables and pages."""
    return LABELS.get(method, method)


def heading(metric: str) -> str:
    """Name of a metric with its unit."""
    return HEADINGS.get(metric, metric)


def unit_of(protocol: str, n: int = 1) -> str:
    """Word for one value, or for `n`, of a protocol: "slice", "volumes", "image", "series"."""
    scope = PROTOCOLS[protocol].scope if protocol in PROTOCOLS else "slice"
    return "series" if scope == "cine" else scope if n == 1 else f"{scope}s"


def format_summary(summary: Summary | Mapping[str, float] | pd.Series, metric: str, sign: str = "") -> tuple[str, str]:
    """Texts of mean and standard deviation, and of the interval with the number of undefined values.

    Args:
        summary: statistics of the metric, or a row of :func:`summaries`.
        metric: name of the metric, which decides the digits.
        sign: "+" prints the sign of means.
    """
    values, places = asdict(summary) if isinstance(summary, Summary) else summary, DECIMALS.get(metric, 4)
    mean, low, high = (f"{values[name]:{sign}.{places}f}" for name in ("mean", "low", "high"))
    left_out = f", {int(values['n_undefined'])} undefined" if values["n_undefined"] else ""
    if values["n"] + values["n_undefined"] == 1:  # one case has no spread
        return mean, left_out.removeprefix(", ")
    return f"{mean} ± {values['std']:.{places}f}", f"[{low}, {high}]{left_out}"


def format_table(table: pd.DataFrame, protocol: str, baseline: str, description: str = "") -> str:
    """Aligned plain text of a protocol: a line per method, and a line per difference to the baseline.

    Numbers have four significant digits: mean ± standard deviation [95 % bootstrap interval of the mean].
    """
    part = table[table["protocol"] == protocol]
    metrics, lines, notes = metrics_of(part), [], []
    for found, sign in ((summaries(part), ""), (differences(part, baseline), "+")):
        for method, rows in by_method(found) if len(found) else ():
            name = f"{method} - {baseline}" if sign else method
            count = int((rows["n"] + rows["n_undefined"]).max())
            lines.append([name, str(count), *(_significant(rows.loc[metric], sign) for metric in metrics)])
            notes += [
                f"{name}: {metric} is undefined for {rows.loc[metric, 'n_undefined']} and left out of its mean"
                for metric in metrics
                if rows.loc[metric, "n_undefined"]
            ]
    lines.insert(0, ["method", "n", *metrics])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    note = f"n: {unit_of(protocol, 2)}; mean ± standard deviation [95 % bootstrap interval of the mean]"
    return "\n".join([f"protocol {protocol}: {description}", *aligned, note, *notes])


def _significant(row: pd.Series, sign: str) -> str:
    mean, low, high = (f"{row[name]:{sign}#.4g}" for name in ("mean", "low", "high"))
    return mean if row["n"] == 1 else f"{mean} ± {row['std']:#.4g} [{low}, {high}]"  # one case has no spread
