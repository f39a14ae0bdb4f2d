"""Metric values on paper: the CSV file of all cases, and the table of their summaries."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from common.metrics.protocols import Protocol
from common.metrics.statistics import Summary


class CaseRow(NamedTuple):
    """The values of one method on one slice or series, on one ``frame`` of a series, or on one volume.

    ``slice_index`` is None for a volume; ``rate`` is the sampled fraction of k-space, None where it is unknown.
    """

    protocol: str
    path: str
    slice_index: int | None
    method: str
    values: dict[str, float]
    frame: int | None = None
    rate: float | None = None


def write_csv(path: str | Path, rows: Iterable[CaseRow]) -> None:
    """Write rows as protocol, file, slice (empty for a volume), frame and rate (if a row has one), method, and metrics.

    The file appears whole or not at all. Values have six digits; "inf" and "nan" are spelled so.

    Raises:
        ValueError: if there is no row.
    """
    path, rows = Path(path), list(rows)
    if not rows:
        raise ValueError(f"there is no metric value to write to {path}; evaluate cases that have a target")
    metrics = list(dict.fromkeys(metric for row in rows for metric in row.values))
    further = [name for name in ("frame", "rate") if any(getattr(row, name) is not None for row in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["protocol", "file", "slice", *further, "method", *metrics])
            for row in rows:
                numbers = [f"{row.values[metric]:.6g}" if metric in row.values else "" for metric in metrics]
                index = "" if row.slice_index is None else row.slice_index
                own = [f"{value:.6g}" if (value := getattr(row, name)) is not None else "" for name in further]
                writer.writerow([row.protocol, row.path, index, *own, row.method, *numbers])
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def format_summaries(
    protocol: Protocol, summaries: Mapping[str, Mapping[str, Summary]], differences: Mapping[str, Mapping[str, Summary]]
) -> str:
    """Aligned plain text: the protocol, a line per method, and a line per difference between methods.

    Args:
        protocol: printed in the first line.
        summaries: method to metric to summary.
        differences: label ("reconstruction - zero_filled") to metric to summary, printed with a sign.
    """
    metrics = list(dict.fromkeys(metric for row in summaries.values() for metric in row))
    lines = [["method", "n", *metrics]]
    for rows, sign in ((summaries, ""), (differences, "+")):
        for label, row in rows.items():
            count = max(summary.n + summary.n_undefined for summary in row.values())
            lines.append([label, str(count), *(_format_summary(row[metric], sign) for metric in metrics)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    notes = [f"n: {protocol.units}; mean ± standard deviation [95 % bootstrap interval of the mean]"]
    notes += [
        f"{label}: {metric} is undefined for {summary.n_undefined} and left out of its mean"
        for label, row in (*summaries.items(), *differences.items())
        for metric, summary in row.items()
        if summary.n_undefined
    ]
    return "\n".join([f"protocol {protocol.name}: {protocol.description}", *table, *notes])


def _format_summary(summary: Summary, sign: str) -> str:
    mean, std, low, high = (
        f"{value:{flag}#.4g}"
        for value, flag in ((summary.mean, sign), (summary.std, ""), (summary.low, sign), (summary.high, sign))
    )
    return mean if summary.n == 1 else f"{mean} ± {std} [{low}, {high}]"  # one case has no spread
