"""Charts of a page: gains, distributions, frames, ejection fractions and trainings, as SVG in the page's colours."""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.io.atomic import atomic_path
from common.metrics.cases import heading, label, methods_of, metrics_of
from tools.report.page import Chart

COLOURS = ("#b3541e", "#3b82c4", "#4d8b57", "#7a4fa3", "#8a6d1d")
"""Colours that are seen on light and dark ground."""
WIDTH = 8.0
FEW = 20
"""Number of cases below which a histogram says less than the points themselves."""
_INK = "#010203"
"""Colour that becomes that of the page's text."""


def as_svg(figure: Figure, caption: str) -> Chart:
    """Convert a figure made by `_figure`."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # one page has several drawings, whose names must differ
    prefix = f"c{zlib.crc32(caption.encode(errors='replace'))}_"
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{prefix}", svg)
    return Chart(caption, re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href"))


def _figure(height: float, rows: int = 1, ink: str = _INK, **options: Any) -> tuple[Figure, list[Axes]]:
    coloured = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    style: dict[Any, Any] = {**dict.fromkeys(coloured, ink), "font.size": 9, "text.parse_math": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        grid = figure.subplots(rows, 1, squeeze=False, **options)[:, 0].tolist()
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, grid


def gain_histograms(protocol: str, gains: Mapping[str, Mapping[Any, float]], reference: str) -> list[Chart]:
    """One histogram a method of the PSNR gain of each case on one axis; none for fewer than `FEW` cases."""
    rows = {method: list(row.values()) for method, row in gains.items() if len(row) >= FEW}
    if not rows:
        return []
    figure, grid = _figure(0.5 + 1.5 * len(rows), len(rows), sharex=True)
    n = max(map(len, rows.values()))
    everything = np.concatenate(list(rows.values()))
    bins = np.histogram_bin_edges(everything, bins=min(40, max(5, math.isqrt(n) * 2) * len(rows))).tolist()
    for axes, (method, row) in zip(grid, rows.items(), strict=True):
        mean = float(np.mean(row))
        axes.hist(row, bins=bins, color=COLOURS[1], alpha=0.8)
        axes.axvline(mean, color=COLOURS[0], linewidth=1.5)
        axes.set_title(f"{label(method)}: mean {mean:+.2f} dB (line)", fontsize=9, loc="left")
        axes.set_ylabel("cases")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    grid[-1].set_xlabel(f"PSNR gain over {label(reference)}, dB")
    return [as_svg(figure, f"PSNR gain of each case over {label(reference)}, protocol {protocol}")]


def distributions(protocol: str, table: pd.DataFrame) -> Chart:
    """Values of each metric: a row of points a method, and a box of the quartiles; those not finite are left out."""
    metrics, methods = metrics_of(table), methods_of(table)
    figure, grid = _figure(0.4 + len(metrics) * (0.5 + 0.3 * len(methods)), len(metrics))
    jitter, line = np.random.default_rng(0), {"color": _INK, "linewidth": 0.8}
    for axes, metric in zip(grid, metrics, strict=True):
        values = table[metric].where(np.isfinite(table[metric]))
        columns = [values[table["method"] == method].dropna().to_numpy(np.float64) for method in methods]
        places = list(range(len(methods), 0, -1))  # the first method on top
        for place, column in zip(places, columns, strict=True):
            height = place + jitter.uniform(-0.25, 0.25, len(column))
            axes.plot(column, height, ".", color=COLOURS[1], alpha=0.5, markersize=4, rasterized=len(column) > 200)
        axes.boxplot(
            columns,
            positions=places,
            orientation="horizontal",
            widths=0.6,
            whis=(0, 100),
            medianprops={"color": COLOURS[0]},
            boxprops=line,
            whiskerprops=line,
            capprops=line,
            tick_labels=[label(method) for method in methods],
        )
        axes.set_xlabel(heading(metric))
    return as_svg(figure, f"Values of each case, with median, quartiles and range, protocol {protocol}")


def hearts_chart(hearts: pd.DataFrame) -> list[Chart]:
    """Measured against known ejection fraction; none where nothing was measured.

    Args:
        hearts: a row per heart, a column per method, in percent; ``simulator`` is the known one.
    """
    measured = hearts.drop(columns="simulator").dropna(axis=1, how="all")
    if measured.empty:
        return []
    ends = (float(hearts.min(axis=None)) - 3, float(hearts.max(axis=None)) + 3)
    figure, (axes,) = _figure(5.0)
    axes.plot(ends, ends, color=_INK, linewidth=0.8, linestyle=":")
    for (method, column), colour, marker in zip(measured.items(), COLOURS, "^os*x", strict=False):
        axes.plot(hearts["simulator"], column, marker, color=colour, markersize=6, alpha=0.85, label=label(str(method)))
    axes.set(xlabel="known, %", ylabel="measured, %", xlim=ends, ylim=ends, aspect="equal")
    _legend(figure, axes, _INK)
    return [as_svg(figure, "Ejection fraction measured in each heart, against the known one; dotted: no error")]


Lines = Sequence[tuple[str, pd.Series, pd.Series]]
"""Label, places and values of each line; lines of one label have one colour."""


def line_figure(panels: Mapping[str, Lines], places: str, height: float = 1.6, ink: str = _INK) -> Figure:
    """Draw lines in panels one below the other.

    Args:
        panels: name of the values to the lines of a panel.
        places: name of the places, whole numbers.
        height: height of a panel, in inches.
        ink: colour of the text.
    """
    figure, grid = _figure(0.5 + height * len(panels), len(panels), ink, sharex=True)
    labels = dict.fromkeys(name for lines in panels.values() for name, _, _ in lines)
    colours = dict(zip(labels, COLOURS * len(labels), strict=False))
    for axes, (title, lines) in zip(grid, panels.items(), strict=True):
        for name, x, y in lines:
            seen = np.isfinite(y)
            axes.plot(x[seen], y[seen], color=colours[name], marker="." if seen.sum() < 40 else "", label=name)
        axes.set_ylabel(title)
    grid[-1].set_xlabel(places)
    grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    _legend(figure, grid[0], ink)
    return figure


def frame_chart(frames: pd.DataFrame, caption: str) -> Chart:
    """Each metric of one series by frame, a line per method."""
    frames = frames.sort_values("frame")
    methods = {method: frames[frames["method"] == method] for method in methods_of(frames)}
    panels = {
        heading(metric): [(label(method), rows["frame"], rows[metric]) for method, rows in methods.items()]
        for metric in metrics_of(frames)
    }
    return as_svg(line_figure(panels, "frame"), caption)


def training_curves(path: Path) -> list[Chart]:
    """Losses and validation metrics by epoch, from the `history.csv` of a training."""
    table = read_history(path)
    columns = [name for name in table if name not in ("epoch", "phase", "learning_rate")]
    # terms differ by orders of magnitude; adversarial ones begin later, cross zero, and say little by themselves
    losses = [name for name in columns if name.startswith("loss") and table[name].iloc[0] > 0]
    panels = {
        "loss / first epoch": [(name, table["epoch"], table[name] / table[name].iloc[0]) for name in losses],
        "PSNR in validation, dB": [(n, table["epoch"], table[n]) for n in columns if "psnr" in n.lower()],
    }
    return [as_svg(line_figure({n: p}, "epoch", 2.1), f"Training: {n}") for n, p in panels.items() if p]


def draw_histories(runs: Mapping[str, Sequence[Path]], columns: Sequence[str], out: str | Path) -> None:
    """Draw columns of the `history.csv` of several trainings as PNG: a panel a column, a colour a label."""
    panels: dict[str, list[tuple[str, pd.Series, pd.Series]]] = {}
    for column in columns:
        title = f"{column.removeprefix('loss_')} loss" if column.startswith("loss_") else heading(column)
        for name, path in ((name, path) for name, paths in runs.items() for path in paths):
            table = read_history(path)
            if column not in table or not table[column].notna().any():
                raise ValueError(f"{path}: no values in a column {column!r}; it has {', '.join(table)}")
            panels.setdefault(title, []).append((name, table["epoch"], table[column]))
    with atomic_path(out) as temporary:
        line_figure(panels, "epoch", 2.0, "black").savefig(temporary, format="png", dpi=130)


def read_history(path: Path) -> pd.DataFrame:
    """Read the table that a training writes; cells without a value are NaN."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the output_dir of a training")
    try:
        table = pd.read_csv(path, dtype=str)
        if "epoch" not in table or table.empty:
            raise ValueError(f"expected a column epoch with values, got {', '.join(table)}")
        for name in (name for name in table if name != "phase"):
            table[name] = pd.to_numeric(table[name]).astype(np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; remove the file or train again") from None
    return table


def _legend(figure: Figure, axes: Axes, ink: str) -> None:
    """Add one entry a label, where there are several."""
    handles, labels = axes.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))
    if len(entries) > 1:
        figure.legend(entries.values(), entries, loc="outside upper left", ncols=5, frameon=False, labelcolor=ink)
