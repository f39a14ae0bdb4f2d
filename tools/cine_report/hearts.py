"""The ejection fractions beside a result file: known, and measured in truth, input and result."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from common.handlers.ejection_fraction import ALIASED, RECONSTRUCTION, SIMULATOR, TRUTH
from tools.report import ReportTable

FILE = "ejection_fraction.csv"
MEASURED = {ALIASED: "aliased", RECONSTRUCTION: "result", TRUTH: "truth"}
"""Method of the file to its name on the page."""
_COLUMNS = ("file", "method", "ejection_fraction")

Hearts = Mapping[str, Mapping[str, float]]
"""File to method to ejection fraction, NaN where it could not be measured."""


def read_hearts(path: Path) -> Hearts:
    """Read the file of `EjectionFractionReport`; hearts without a known fraction are left out.

    Raises:
        ValueError: it is not such a file.
    """
    hearts: dict[str, dict[str, float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        if missing := [column for column in _COLUMNS if column not in columns]:
            raise ValueError(
                f"{path}: expected columns {', '.join(_COLUMNS)}, missing {', '.join(missing)}; remove the file or "
                "evaluate again"
            )
        for row in reader:
            try:
                value = float(row["ejection_fraction"] or "nan")
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}, line {reader.line_num}: {error}; remove the file or evaluate again"
                ) from None
            hearts.setdefault(row["file"], {})[row["method"]] = value
    return {name: values for name, values in hearts.items() if math.isfinite(values.get(SIMULATOR, math.nan))}


def error_table(hearts: Hearts) -> ReportTable:
    """How far each image's ejection fraction is from the known one, in points (hundredths)."""
    rows = []
    for method, name in MEASURED.items():
        errors = np.array([values.get(method, math.nan) - values[SIMULATOR] for values in hearts.values()])
        seen = errors[np.isfinite(errors)]
        if len(seen):
            mean, bias = 100 * np.abs(seen).mean(), 100 * seen.mean()
            rows.append([name, f"{mean:.1f}", f"{bias:+.1f}", f"{100 * np.abs(seen).max():.1f}", f"{len(seen)}"])
        elif any(method in values for values in hearts.values()):
            rows.append([name, "", "", "", "0"])
    n = len(hearts)
    return ReportTable(
        caption=f"Error of the ejection fraction, points; {n} simulated heart{'s' if n > 1 else ''}",
        header=["in", "mean absolute", "mean", "largest", "hearts"],
        rows=rows,
        note="The known fraction is the simulator's. The row of the truth is the error of the segmentation alone. A "
        "heart is measured where a plausible blood pool was found in at least three quarters of the frames.",
    )


def hearts_table(hearts: Hearts) -> ReportTable:
    """Every heart."""
    rows = [
        [Path(name).name, *(f"{100 * values[key]:.1f}" if key in values else "" for key in (SIMULATOR, *MEASURED))]
        for name, values in hearts.items()
    ]
    return ReportTable(
        caption="Ejection fraction, %",
        header=["heart", "known", *(f"in {name}" for name in MEASURED.values())],
        rows=rows,
    )
