"""Charts of a page: gains, distributions, frames, ejection fractions and trainings, as SVG in the page's colours."""

from __future__ import annotations

import csv
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


def draw(figure: Figure, caption: str) -> Chart:
    """Take a figure that was made by `_figure`."""
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


def _figure(height: float, rows: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    ink = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    style: dict[Any, Any] = {**dict.fromkeys(ink, _INK), "font.size": 9, "text.parse_math": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        grid = figure.subplots(rows, 1, squeeze=False, **options)[:, 0].tolist()
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, grid


def gain_histograms(protocol: str, gains: Mapping[str, Mapping[Any, float]], reference: str) -> list[Chart]:
    """One histogram a method of the PSNR gain of each case on one axis; none for fewer than `FEW` cases.

    Args:
        protocol: protocol of the PSNR.
        gains: method to case to gain in dB.
        reference: method that is gained over.
    """
    gains = {method: row for method, row in gains.items() if len(row) >= FEW}
    if not gains:
        return []
    figure, grid = _figure(0.5 + 1.5 * len(gains), len(gains), sharex=True)
    everything = [gain for row in gains.values() for gain in row.values()]
    n = max(map(len, gains.values()))
    bins = np.histogram_bin_edges(everything, bins=min(40, max(5, math.isqrt(n) * 2) * len(gains))).tolist()
    for axes, (method, row) in zip(grid, gains.items(), strict=True):
        mean = float(np.mean(list(row.values())))
        axes.hist(list(row.values()), bins=bins, color=COLOURS[1], alpha=0.8)
        axes.axvline(mean, color=COLOURS[0], linewidth=1.5)
        axes.set_title(f"{label(method)}: mean {mean:+.2f} dB (line)", fontsize=9, loc="left")
        axes.set_ylabel("cases")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    grid[-1].set_xlabel(f"PSNR gain over {label(reference)}, dB")
    return [draw(figure, f"PSNR gain of each case over {label(reference)}, protocol {protocol}")]


def distributions(protocol: str, table: pd.DataFrame) -> Chart:
    """Values of each metric: a row of points a method, and a box of the quartiles; those not finite are left out."""
    metrics, methods = metrics_of(table), methods_of(table)
    figure, grid = _figure(0.4 + len(metrics) * (0.5 + 0.3 * len(methods)), len(metrics))
    jitter = np.random.default_rng(0)
    for axes, metric in zip(grid, metrics, strict=True):
        columns = [_finite(table.loc[table["method"] == method, metric]) for method in methods]
        places = list(range(len(methods), 0, -1))  # the first method on top
        for place, column in zip(places, columns, strict=True):
            height = place + jitter.uniform(-0.25, 0.25, len(column))
            axes.plot(column, height, ".", color=COLOURS[1], alpha=0.5, markersize=4, rasterized=len(column) > 200)
        line = {"color": _INK, "linewidth": 0.8}
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
    return draw(figure, f"Values of each case, with median, quartiles and range, protocol {protocol}")


def frame_chart(frames: pd.DataFrame, caption: str) -> Chart:
    """Each metric of one series by frame, a line per method.

    Args:
        frames: case table of the series with a column ``frame``.
        caption: caption of the chart.
    """
    metrics = metrics_of(frames)
    figure, grid = _figure(0.4 + 1.3 * len(metrics), len(metrics), sharex=True)
    for axes, metric in zip(grid, metrics, strict=True):
        for method, colour in zip(methods_of(frames), COLOURS, strict=False):
            rows = frames[frames["method"] == method].sort_values("frame")
            values = rows[metric].where(np.isfinite(rows[metric]))
            axes.plot(rows["frame"], values, color=colour, marker="." if len(rows) < 40 else "", label=label(method))
        axes.set_ylabel(heading(metric))
    _frames_axis(grid[-1], "frame")
    _legend(figure, grid[0])
    return draw(figure, caption)


def hearts_chart(hearts: pd.DataFrame) -> Chart | None:
    """Measured against known ejection fraction; None where nothing was measured.

    Args:
        hearts: a row per heart, a column per method, in percent; ``simulator`` is the known one.
    """
    measured = hearts.drop(columns="simulator").dropna(axis=1, how="all")
    if measured.empty or not measured.notna().any(axis=None):
        return None
    low, high = float(hearts.min(axis=None)) - 3, float(hearts.max(axis=None)) + 3
    figure, (axes,) = _figure(5.0)
    axes.plot([low, high], [low, high], color=_INK, linewidth=0.8, linestyle=":")
    for (method, column), colour, marker in zip(measured.items(), COLOURS, "^os*x", strict=False):
        axes.plot(hearts["simulator"], column, marker, color=colour, markersize=6, alpha=0.85, label=label(str(method)))
    axes.set(xlabel="known, %", ylabel="measured, %", xlim=(low, high), ylim=(low, high), aspect="equal")
    _legend(figure, axes)
    return draw(figure, "Ejection fraction measured in each heart, against the known one; dotted: no error")


def training_curves(path: Path) -> list[Chart]:
    """Losses and validation metrics by epoch, from the `history.csv` of a training.

    Raises:
        ValueError: it is not such a table.
    """
    table = read_history(path)
    columns = [name for name in table if name not in ("epoch", "phase", "learning_rate")]
    # terms differ by orders of magnitude; adversarial ones begin later, cross zero, and say little by themselves
    losses = {n: table[n] / table[n].iloc[0] for n in columns if n.startswith("loss") and table[n].iloc[0] > 0}
    qualities = {name: table[name] for name in columns if "psnr" in name.lower()}
    charts = []
    for name, curves in (("loss / first epoch", losses), ("PSNR in validation, dB", qualities)):
        if not curves:
            continue
        figure, (axes,) = _figure(2.6)
        for (column, values), colour in zip(curves.items(), COLOURS * len(curves), strict=False):
            seen = np.isfinite(values)
            axes.plot(
                table["epoch"][seen], values[seen], color=colour, marker="." if seen.sum() < 30 else "", label=column
            )
        axes.set_ylabel(name)
        _frames_axis(axes, "epoch")
        _legend(figure, axes)
        charts.append(draw(figure, f"Training: {name}"))
    return charts


def draw_histories(runs: Sequence[str], columns: Sequence[str], out: str | Path) -> None:
    """Draw columns of the `history.csv` of several trainings as PNG, one panel a column, trainings of one label alike.

    Args:
        runs: `LABEL=PATH` each; PATH is an `output_dir` of a training, or the file itself.
        columns: columns of the files, for example `psnr`.
        out: the picture.

    Raises:
        ValueError: a file or a column is missing.
    """
    entries = [_labelled(text) for text in runs]
    colours = dict(zip(dict.fromkeys(name for name, _ in entries), COLOURS * len(entries), strict=False))
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(WIDTH, 0.5 + 2.0 * len(columns)), layout="constrained")
        grid = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
    for axes, column in zip(grid, columns, strict=True):
        for name, path in entries:
            table = read_history(path)
            if column not in table or not table[column].notna().any():
                raise ValueError(f"{path}: no values in a column {column!r}; it has {', '.join(table)}")
            rows = table[table[column].notna()]
            axes.plot(rows["epoch"], rows[column], color=colours[name], marker=".", linewidth=1.2, label=name)
        axes.set_ylabel(f"{column.removeprefix('loss_')} loss" if column.startswith("loss_") else heading(column))
        axes.spines[["top", "right"]].set_visible(False)
    _frames_axis(grid[-1], "epoch")
    _legend(figure, grid[0], "black")
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def read_history(path: Path) -> pd.DataFrame:
    """Read the table that a training writes; cells without a value are NaN.

    Raises:
        ValueError: there is no such file, or it is not such a table.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the output_dir of a training")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        table = pd.DataFrame(list(reader), columns=reader.fieldnames or [], dtype=object)
    if "epoch" not in table or table.empty:
        raise ValueError(f"{path}: expected a column epoch, got {', '.join(table)}; remove the file or train again")
    for name in (name for name in table if name != "phase"):
        try:
            table[name] = table[name].map(lambda cell: float(cell or "nan")).astype(np.float64)
        except ValueError as error:
            raise ValueError(f"{path}: column {name}: {error}; remove the file or train again") from None
    return table


def _labelled(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not equals or not name or not folder:
        raise ValueError(f"expected LABEL=DIR, got {text!r}; for example srgan=runs/srgan_0")
    return name, Path(folder) if folder.endswith(".csv") else Path(folder) / "history.csv"


def _finite(column: pd.Series) -> np.ndarray:
    values = column.to_numpy(np.float64)
    return values[np.isfinite(values)]


def _frames_axis(axes: Axes, name: str) -> None:
    axes.set_xlabel(name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def _legend(figure: Figure, axes: Axes, ink: str = _INK) -> None:
    """One entry a label, where there are several."""
    handles, labels = axes.get_legend_handles_labels()
    entries = dict(zip(reversed(labels), reversed(handles), strict=True))
    names = list(dict.fromkeys(labels))
    if len(names) > 1:
        handles = [entries[name] for name in names]
        figure.legend(handles, names, loc="outside upper left", ncols=5, frameon=False, labelcolor=ink)
