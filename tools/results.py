"""The metrics.csv of an evaluation or a comparison: values by method and case, what they sum up to, the extremes."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from common.metrics import PROTOCOLS, Summary, paired_difference, summarise

N_EXTREMES = 3
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
ANY = TypeVar("ANY")


class Case(NamedTuple):
    """A slice, or a volume if `slice_index` is empty."""

    file: str
    slice_index: str

    def __str__(self) -> str:
        name = Path(self.file).name
        return f"{name}, slice {self.slice_index}" if self.slice_index else name


Values = dict[str, dict[Case, dict[str, float]]]
"""Method to case to metric to value."""


def read_metrics(path: Path) -> dict[str, Values]:
    """Protocol to values, of a CSV file with a row per protocol, file, slice and method.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: columns are missing, there is no row, or a value is no number.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; evaluate first, or name the folder an evaluation wrote")
    keys = ("protocol", "file", "slice", "method")
    protocols: dict[str, Values] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        if missing := [key for key in (*keys, "psnr") if key not in columns]:
            raise ValueError(f"{path}: expected columns {', '.join(keys)}, psnr ..., missing {', '.join(missing)}")
        metrics = [column for column in columns if column not in (*keys, "rate")]
        for row in reader:
            try:
                numbers = {metric: float(row[metric] or "nan") for metric in metrics}
            except ValueError as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}; evaluate again") from None
            methods = protocols.setdefault(row["protocol"], {})
            methods.setdefault(row["method"], {})[Case(row["file"], row["slice"])] = numbers
    if not protocols:
        raise ValueError(f"{path}: holds no case; evaluate data that have targets")
    return protocols


def summaries(values: Values) -> dict[str, dict[str, Summary]]:
    """Method to metric to mean, standard deviation and interval."""
    return {
        method: {metric: summarise(_column(cases.values(), metric)) for metric in metrics_of(values)}
        for method, cases in values.items()
    }


def differences(values: Values, reference: str) -> dict[str, dict[str, Summary]]:
    """Method to metric to summary of the method minus the reference, case by case, over the cases that both have."""
    found = {}
    for method, cases in values.items():
        shared = [case for case in cases if case in values.get(reference, {})]
        if method != reference and shared:
            found[method] = {
                metric: paired_difference(
                    _column([cases[case] for case in shared], metric),
                    _column([values[reference][case] for case in shared], metric),
                )
                for metric in metrics_of(values)
            }
    return found


def gains(values: Values, method: str, reference: str) -> dict[Case, float]:
    """PSNR of the method minus that of the reference where both have one; finite ones only."""
    before, after = values.get(reference, {}), values.get(method, {})
    found = {case: after[case]["psnr"] - before[case]["psnr"] for case in after if case in before}
    return {case: gain for case, gain in found.items() if math.isfinite(gain)}


def leading_method(values: Values, reference: str) -> str:
    """The method, other than the reference, with the highest mean PSNR; the reference if it is alone."""
    means = {
        method: summarise(_column(cases.values(), "psnr"), n_bootstrap=1).mean
        for method, cases in values.items()
        if method != reference
    }
    return max(means, key=lambda method: means[method], default=reference)


def extremes(gain: Mapping[ANY, float], n: int = N_EXTREMES) -> tuple[list[ANY], list[ANY]]:
    """The `n` cases of the largest gain, largest first, and the `n` of the smallest, smallest last; none is in both."""
    order = sorted(gain, key=lambda case: gain[case], reverse=True)
    n = min(n, (len(order) + 1) // 2)
    return order[:n], order[n:][-n:] if n else []


def metrics_of(values: Values) -> list[str]:
    """All metrics, in the order of the file."""
    return list(dict.fromkeys(metric for cases in values.values() for row in cases.values() for metric in row))


def unit_of(protocol: str, n: int = 1) -> str:
    """What a value is of: "slice", "volume", "image" or "series"; the word for `n` of them."""
    scope = PROTOCOLS[protocol].scope if protocol in PROTOCOLS else "slice"
    return "series" if scope == "cine" else scope if n == 1 else f"{scope}s"


def heading(metric: str) -> str:
    """A metric's name with its unit."""
    return HEADINGS.get(metric, metric)


def shown(method: str) -> str:
    """A method's name in words."""
    return method.replace("zero_filled", "zero-filled")


def format_summary(summary: Summary, metric: str, sign: str = "") -> tuple[str, str]:
    """Mean and standard deviation; interval of the mean, and how many values were undefined."""
    places = DECIMALS.get(metric, 4)
    mean, low, high = (f"{value:{sign}.{places}f}" for value in (summary.mean, summary.low, summary.high))
    left_out = f", {summary.n_undefined} undefined" if summary.n_undefined else ""
    return f"{mean} ± {summary.std:.{places}f}", f"[{low}, {high}]{left_out}"


def _column(rows: Iterable[Mapping[str, float]], metric: str) -> np.ndarray:
    return np.array([row[metric] for row in rows], dtype=np.float64)
