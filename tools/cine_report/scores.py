"""What the series of a result are worth: values of each series and frame, and tables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from common.metrics import get_protocol, paired_difference, summarise
from tools.cine_report.result_file import INPUT, RESULT, TRUTH, ResultFile, Series
from tools.report import ReportTable
from tools.results import DECIMALS, format_summary, heading

METRICS = ("mse", "nrmse", "psnr", "ssim")
"""In the order they are shown."""
METHODS = {INPUT: "aliased", RESULT: "result"}
"""Data set to the name of its row."""
BY_SERIES, BY_FRAME = "cine_series", "cine_frame"

Scores = dict[str, dict[str, NDArray[np.float64]]]
"""Metric to method to values."""


def series_scores(result: ResultFile) -> Scores | None:
    """Values of each series, by protocol `cine_series`, NaN for a series without a truth; None if none has one.

    The file is read once, one series at a time.

    Raises:
        DataError: a value is not finite.
        ValueError: images are too small for SSIM.
    """
    protocol = get_protocol(BY_SERIES)
    scores = {metric: {name: np.full(len(result), np.nan) for name in METHODS} for metric in METRICS}
    measured = False
    for index in range(len(result)):
        images = {name: torch.from_numpy(image)[None] for name, image in result[index].images.items()}
        if TRUTH not in images:
            continue
        measured = True
        for name in METHODS:
            values = protocol.evaluate(images[name], images[TRUTH], METRICS)
            for metric, value in values.items():
                scores[metric][name][index] = value.item()
    return scores if measured else None


def frame_scores(series: Series) -> Scores:
    """Values of each frame, by protocol `cine_frame`."""
    protocol = get_protocol(BY_FRAME)
    frames = {name: torch.from_numpy(image).movedim(-1, 0) for name, image in series.images.items()}
    values = {name: protocol.evaluate(frames[name], frames[TRUTH]) for name in METHODS}
    return {metric: {name: values[name][metric].numpy() for name in METHODS} for metric in METRICS}


def best_and_worst(values: Sequence[float] | NDArray[np.float64]) -> list[tuple[str, int]]:
    """("Best", index) and ("Worst", index) of the result's SSIM, at least one of them not NaN; one alone is "Only"."""
    order = np.argsort(values, kind="stable")  # NaN comes last
    n = int(np.isfinite(values).sum())
    return [("Only", int(order[0]))] if n == 1 else [("Best", int(order[n - 1])), ("Worst", int(order[0]))]


def n_measured(scores: Scores) -> int:
    """How many series have a truth."""
    return int(np.isfinite(scores["ssim"][RESULT]).sum())


def summary_table(scores: Scores) -> ReportTable:
    """Mean of each metric over the series, of both methods and their difference, with 95 % intervals."""
    protocol = get_protocol(BY_SERIES)
    rows: list[list[str | tuple[str, str]]] = []
    for metric in METRICS:
        values = scores[metric]
        found = [format_summary(summarise(values[method]), metric) for method in METHODS]
        gain = format_summary(paired_difference(values[RESULT], values[INPUT]), metric, sign="+")
        rows.append([heading(metric), *found, gain])
    return ReportTable(
        caption=f"Protocol {protocol.name}, {n_measured(scores)} series",
        header=["", *METHODS.values(), "difference"],
        rows=rows,
        note=f"{protocol.description[0].upper()}{protocol.description[1:]}. Mean ± standard deviation over series, and "
        "below it the 95 % bootstrap interval of the mean. MSE and NRMSE are better when lower, PSNR and SSIM when "
        "higher.",
    )


def values_table(scores: Scores, index: int) -> ReportTable:
    """Values of one series."""
    rows = [
        [name, *(number(scores[metric][method][index], metric) for metric in METRICS)]
        for method, name in METHODS.items()
    ]
    return ReportTable(caption=f"Protocol {BY_SERIES}", header=["", *map(heading, METRICS)], rows=rows)


def number(value: float, metric: str) -> str:
    """A value with the decimals of its metric."""
    return f"{value:.{DECIMALS[metric]}f}"


def finite(values: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """The same without what cannot be drawn: PSNR of equal images is infinite."""
    return {method: column[np.isfinite(column)] for method, column in values.items()}
