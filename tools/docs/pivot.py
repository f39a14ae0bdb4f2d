"""Tables of rows of `results.csv`, as a short description in the document asks for them.

where: {data: ixi, mask: radial, rate: 0.1}         # columns of results.csv and the values that rows must have
heading: [protocol, image]                          # of the first columns; empty if left out
rows:                                               # a row for each combination, value: text (or a list of values)
  protocol: [magnitude_slice, refinegan_shifted]
  method: {zero_filled: zero-filled, model: cascade}
columns:                                            # title: metric, or what else holds for its cells
  PSNR (dB): psnr
  "20 %, SSIM": {metric: ssim, rate: 0.2, show: mean, digits: 3}
show: mean ± sd [interval]                          # or mean (range); mean if left out
digits: {ssim: 4}                                   # after the point, where not as in DIGITS
missing: ""                                         # text of a cell without a row; refused if left out
undefined: not measurable                           # text of a cell whose metric is undefined in all cases
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from tools.docs.results import COLUMNS, IDENTITY, VALUES

DIGITS = {
    "psnr": 2,
    "ssim": 3,
    "nmse": 4,
    "mse": 5,
    "nrmse": 4,
    "perceptual": 2,
    "piqe": 0,
    "porosity_error": 4,
    "correlation_error": 4,
    "pore_size_error": 2,
    "spearman": 3,
    "spearman_magnitude": 3,
    "ejection_fraction_error": 1,
    "parameters": 0,
    "milliseconds": 0,
}
STATISTICS = {"mean": ("mean",), "sd": ("sd",), "interval": ("low", ", ", "high"), "range": ("min", " to ", "max")}
"""Words of `show`, and the columns that they stand for."""
_SPEC = ("where", "heading", "rows", "columns", "show", "digits", "missing", "undefined")


def table_lines(spec: Mapping[str, Any], frame: pd.DataFrame, where: str) -> list[str]:
    """Return the lines of a table in Markdown."""
    check_keys(spec, _SPEC, where)
    if missing := [key for key in ("rows", "columns") if not isinstance(spec.get(key), dict) or not spec[key]]:
        raise ValueError(f"{where}: {missing[0]}: expected a mapping that is not empty, got {spec.get(missing[0])!r}")
    axes = [
        [(name, value, str(label)) for value, label in _labelled(values).items()]
        for name, values in spec["rows"].items()
    ]
    header = [*spec.get("heading", [""] * len(axes)), *spec["columns"]]
    lines = [_line(header), "|" + "---|" * len(header)]
    for combination in product(*axes):
        chosen = {name: value for name, value, _ in combination}
        cells = [_cell(spec, chosen, column, frame, where) for column in spec["columns"].values()]
        lines.append(_line([*(label for _, _, label in combination), *cells]))
    return lines


def check_keys(found: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    """Refuse a key that is not known, with the place in which it stands."""
    if unknown := [key for key in found if key not in known]:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}, expected {', '.join(known)}; correct it")


def _labelled(values: Any) -> dict[Any, Any]:
    return dict(values) if isinstance(values, Mapping) else {value: value for value in values}


def _line(cells: list[str]) -> str:
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)


def _cell(spec: Mapping[str, Any], chosen: Mapping[str, Any], column: Any, frame: pd.DataFrame, where: str) -> str:
    """Return the text of a cell."""
    own = {"metric": column} if isinstance(column, str) else dict(column)
    show, digits = own.pop("show", spec.get("show", "mean")), own.pop("digits", None)
    wanted = {**spec.get("where", {}), **chosen, **own}
    rows = _select(wanted, frame, where)
    if rows.empty and "missing" in spec:
        return str(spec["missing"])
    row = _only(rows, wanted, where)
    if row["n"] == 0 and "undefined" in spec:
        return str(spec["undefined"])
    metric = str(row["metric"])
    digits = spec.get("digits", {}).get(metric, DIGITS.get(metric, 4)) if digits is None else digits
    return _statistics(str(show), row, digits, where)


def find_row(wanted: Mapping[str, Any], frame: pd.DataFrame, where: str) -> pd.Series:
    """Return the one row with these values."""
    return _only(_select(wanted, frame, where), wanted, where)


def _select(wanted: Mapping[str, Any], frame: pd.DataFrame, where: str) -> pd.DataFrame:
    check_keys(wanted, COLUMNS, where)
    selected = np.ones(len(frame), bool)
    for key, value in wanted.items():
        selected &= (frame[key] == as_text(value)).to_numpy()
    return frame[selected]


def _only(rows: pd.DataFrame, wanted: Mapping[str, Any], where: str) -> pd.Series:
    if len(rows) == 1:
        return rows.iloc[0]
    conditions = ", ".join(f"{key}={as_text(value)}" for key, value in wanted.items())
    if rows.empty:
        raise ValueError(f"{where}: results.csv has no row with {conditions}; correct it, or measure")
    differing = next(column for column in IDENTITY if rows[column].nunique() > 1)
    values = ", ".join(rows[differing].unique())
    raise ValueError(f"{where}: results.csv has {len(rows)} rows with {conditions}: {differing} {values}; choose one")


def as_text(value: Any) -> str:
    """Return a value of a description as `results.csv` spells it."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _statistics(show: str, row: pd.Series, digits: Any, where: str) -> str:
    def filled(word: re.Match[str]) -> str:
        if word[0] not in STATISTICS:
            raise ValueError(f"{where}: show: unknown word {word[0]!r} in {show!r}, expected {', '.join(STATISTICS)}")
        return "".join(number(part) if part in VALUES else part for part in STATISTICS[word[0]])

    def number(column: str) -> str:
        if math.isnan(row[column]):
            raise ValueError(f"{where}: {column} of {row['method']}, {row['metric']}, is not known; show another")
        text = f"{row[column]:,.{digits}f}"
        return text if text.strip("-0.") else text.removeprefix("-")  # no minus before a zero

    left_out = f", {row['undefined']} undefined" if row["undefined"] else ""
    return re.sub(r"[a-z]+", filled, show) + left_out
