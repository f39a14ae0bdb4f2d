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
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

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
SHOWN = {"mean": ("mean",), "sd": ("sd",), "interval": ("low", ", ", "high"), "range": ("min", " to ", "max")}
"""Words of `show`, and the columns that they stand for."""
_SPEC = ("where", "heading", "rows", "columns", "show", "digits", "missing", "undefined")


def table_lines(spec: Mapping[str, Any], frame: pd.DataFrame, where: str) -> list[str]:
    """Return the lines of a table in Markdown.

    Args:
        spec: the description, see above.
        frame: rows of `results.csv`.
        where: place of the description, for errors.

    Raises:
        ValueError: the description has an unknown key, or asks for a row that is missing or not the only one.
    """
    check_keys(spec, _SPEC, where)
    if missing := [key for key in ("rows", "columns") if not isinstance(spec.get(key), dict) or not spec[key]]:
        raise ValueError(f"{where}: {missing[0]}: expected a mapping that is not empty, got {spec.get(missing[0])!r}")
    axes = [
        [({name: value}, str(label)) for value, label in _labelled(values).items()]
        for name, values in spec["rows"].items()
    ]
    header = [*spec.get("heading", [""] * len(axes)), *spec["columns"]]
    columns = [_column(spec, column, frame, where) for column in spec["columns"].values()]
    lines = []
    for combination in product(*axes):
        chosen = {key: value for part, _ in combination for key, value in part.items()}
        lines.append([*(label for _, label in combination), *(cell(chosen) for cell in columns)])
    return [_line(header), "|" + "---|" * len(header), *map(_line, lines)]


def check_keys(found: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    """Refuse a key that is not known, with the place in which it stands."""
    if unknown := [key for key in found if key not in known]:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}, expected {', '.join(known)}; correct it")


def _labelled(values: Any) -> dict[Any, Any]:
    return dict(values) if isinstance(values, Mapping) else {value: value for value in values}


def _line(cells: list[str]) -> str:
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)


def _column(
    spec: Mapping[str, Any], column: Any, frame: pd.DataFrame, where: str
) -> Callable[[Mapping[str, Any]], str]:
    """Return a function that gives the cell of a column for what its row says."""
    own = {"metric": column} if isinstance(column, str) else dict(column)
    options = {key: own.pop(key) for key in ("show", "digits") if key in own}
    varying = [key for key in spec["rows"] if key not in own]
    fixed = {key: value for key, value in {**spec.get("where", {}), **own}.items() if key not in varying}
    cases: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in _select({**fixed, **dict.fromkeys(varying)}, frame, where).to_dict("records"):
        cases.setdefault(tuple(row[key] for key in varying), []).append({str(key): row[key] for key in row})

    def cell(chosen: Mapping[str, Any]) -> str:
        rows = cases.get(tuple(as_text(chosen[key]) for key in varying), [])
        if not rows and "missing" in spec:
            return str(spec["missing"])
        row = _only(rows, {**fixed, **{key: chosen[key] for key in varying}}, where)
        if row["n"] == 0 and "undefined" in spec:
            return str(spec["undefined"])
        metric = str(row["metric"])
        digits = options.get("digits", spec.get("digits", {}).get(metric, DIGITS.get(metric, 4)))
        return _shown(str(options.get("show", spec.get("show", "mean"))), row, digits, where)

    return cell


def find_row(wanted: Mapping[str, Any], frame: pd.DataFrame, where: str) -> Mapping[str, Any]:
    """Return the one row with these values.

    Raises:
        ValueError: a key is no column, or there is no such row, or there are several.
    """
    rows = _select(wanted, frame, where).to_dict("records")
    return _only([{str(key): row[key] for key in row} for row in rows], wanted, where)


def _select(wanted: Mapping[str, Any], frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the rows with these values; None stands for any value."""
    check_keys(wanted, COLUMNS, where)
    for key, value in wanted.items():
        if value is not None:
            frame = frame[frame[key] == as_text(value)]
    return frame


def _only(rows: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    if len(rows) == 1:
        return rows[0]
    conditions = ", ".join(f"{key}={as_text(value)}" for key, value in wanted.items())
    if not rows:
        raise ValueError(f"{where}: results.csv has no row with {conditions}; correct it, or measure")
    differing = next(column for column in IDENTITY if len({row[column] for row in rows}) > 1)
    values = ", ".join(dict.fromkeys(row[differing] for row in rows))
    raise ValueError(f"{where}: results.csv has {len(rows)} rows with {conditions}: {differing} {values}; choose one")


def as_text(value: Any) -> str:
    """Return a value of a description as `results.csv` spells it."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _shown(show: str, row: Mapping[str, Any], digits: int, where: str) -> str:
    def filled(word: re.Match[str]) -> str:
        if word[0] not in SHOWN:
            raise ValueError(f"{where}: show: unknown word {word[0]!r} in {show!r}, expected {', '.join(SHOWN)}")
        return "".join(number(part) if part in VALUES else part for part in SHOWN[word[0]])

    def number(column: str) -> str:
        if math.isnan(row[column]):
            raise ValueError(f"{where}: {column} of {row['method']}, {row['metric']}, is not known; show another")
        return f"{row[column]:,.{digits}f}"

    left_out = f", {row['undefined']} undefined" if row["undefined"] else ""
    return re.sub(r"[a-z]+", filled, show) + left_out
