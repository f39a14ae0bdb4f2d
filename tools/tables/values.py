"""From the CSV file of a run to what stands in a cell."""

from __future__ import annotations

import csv
import math
from functools import lru_cache
from pathlib import Path

import numpy as np

from common.metrics import Summary, summarise
from tools.tables.definition import Cell

_CASE = ("file", "slice", "frame")
"""Columns that tell cases apart."""


def values_of(cell: Cell, folder: Path, where: str) -> np.ndarray:
    """The numbers that a cell is made of, one of each case.

    Raises:
        ValueError: the run wrote no such file, column or row, or several rows of one case.
    """
    path = folder / cell.file
    columns, rows = _read(path, where)
    if unknown := [column for column in (*cell.where, cell.metric) if column not in columns]:
        raise ValueError(f"{where}: {path} has no column {unknown[0]!r}, it has {', '.join(columns)}; correct it")
    chosen = [row for row in rows if all(row[column] == value for column, value in cell.where.items())]
    if not chosen:
        there = "; ".join(f"{column} {', '.join(dict.fromkeys(row[column] for row in rows))}" for column in cell.where)
        raise ValueError(f"{where}: {path} has no row of {_told(cell)}, there is {there}; correct `where`")
    cases = [tuple(row[column] for column in _CASE if column in columns) for row in chosen]
    if len(set(cases)) < len(cases):
        raise ValueError(f"{where}: {path} has several rows a case of {_told(cell)}; say more in `where`, as `method`")
    try:
        found = np.array([float(row[cell.metric] or "nan") for row in chosen])
    except ValueError as error:
        raise ValueError(f"{where}: {path}: {cell.metric}: {error}; name a column of numbers") from None
    return (np.abs(found) if cell.absolute else found) * cell.scale


def cell_text(cell: Cell, values: np.ndarray) -> str:
    """A cell's text."""
    summary = summarise(values)
    if not summary.n:
        return cell.undefined
    left_out = f", {summary.n_undefined} undefined" if summary.n_undefined else ""
    return _styled(cell, summary, values[~np.isnan(values)]) + left_out


def _styled(cell: Cell, summary: Summary, defined: np.ndarray) -> str:
    def number(value: float) -> str:
        return f"{value:.{cell.digits}f}"

    if cell.style == "count":
        return f"{summary.mean:,.{cell.digits}f}"
    if cell.style == "largest":
        return number(defined.max())
    mean = number(summary.mean)
    if cell.style == "mean (range)":
        return f"{mean} ({number(defined.min())} to {number(defined.max())})"
    spread = f" ± {number(summary.std)}" if "± sd" in cell.style else ""
    interval = f" [{number(summary.low)}, {number(summary.high)}]" if "[interval]" in cell.style else ""
    return f"{mean}{spread}{interval}"


def rounded(cell: Cell, values: np.ndarray, where: str) -> float:
    """The mean, as the metadata hold it.

    Raises:
        ValueError: it is not finite, which the metadata cannot hold.
    """
    summary = summarise(values)
    if not math.isfinite(summary.mean):
        raise ValueError(f"{where}: expected a finite number, got {summary.mean}; leave it out of the metadata")
    return float(f"{summary.mean:.{cell.digits}f}")


def _told(cell: Cell) -> str:
    return ", ".join(f"{column} {value}" for column, value in cell.where.items()) or "any kind"


@lru_cache(maxsize=64)
def _read(path: Path, where: str) -> tuple[list[str], list[dict[str, str]]]:
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.csv"))) or "none"
        raise ValueError(f"{where}: the run wrote no {path.name}, of tables it wrote {there}; correct `file`")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or []), list(reader)
