"""Charts of a report: how gains and values are distributed, and how a training went."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tools.report import ReportImage
from tools.results import Case, Values, heading, metrics_of, shown

BAR, MARK = "#3b82c4", "#b3541e"
WIDTH = 6.4


def gain_histograms(protocol: str, gains: Mapping[str, Mapping[Case, float]], reference: str) -> ReportImage:
    """One histogram a method of the PSNR gain of each case, all on one axis of gains.

    Args:
        protocol: of the PSNR.
        gains: method to case to gain in dB, at least one case.
        reference: what is gained over.
    """
    figure = Figure(figsize=(WIDTH, 0.9 + 1.7 * len(gains)), layout="constrained")
    rows = figure.subplots(len(gains), 1, sharex=True, squeeze=False)[:, 0]
    everything = [gain for row in gains.values() for gain in row.values()]
    n = max(len(row) for row in gains.values())
    bins = np.histogram_bin_edges(everything, bins=min(40, max(5, math.isqrt(n) * 2) * len(gains)))
    for axes, (method, row) in zip(rows, gains.items(), strict=True):
        values = list(row.values())
        axes.hist(values, bins=bins, color=BAR, edgecolor="white")
        axes.axvline(float(np.mean(values)), color=MARK, linewidth=1.5, label=f"mean {np.mean(values):+.2f} dB")
        axes.set(ylabel="cases")
        axes.set_title(shown(method), fontsize=10, loc="left", parse_math=False)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    rows[-1].set_xlabel(f"PSNR gain over {shown(reference)}, dB")
    return ReportImage.draw(figure, f"PSNR gain of each case over {shown(reference)}, protocol {protocol}")


def distributions(protocol: str, values: Values) -> ReportImage:
    """How each metric is distributed over the cases: a row of points a method, and a box of the quartiles.

    Values that are not finite are left out.
    """
    metrics = metrics_of(values)
    methods = list(values)
    figure = Figure(figsize=(WIDTH, 0.5 + len(metrics) * (0.6 + 0.35 * len(methods))), layout="constrained")
    rows = figure.subplots(len(metrics), 1, squeeze=False)[:, 0]
    jitter = np.random.default_rng(0)
    for axes, metric in zip(rows, metrics, strict=True):
        columns = [_finite(values[method], metric) for method in methods]
        places = list(range(len(methods), 0, -1))  # the first method on top
        for place, column in zip(places, columns, strict=True):
            axes.plot(column, place + jitter.uniform(-0.25, 0.25, len(column)), ".", color=BAR, alpha=0.5, markersize=4)
        axes.boxplot(
            columns,
            positions=places,
            orientation="horizontal",
            widths=0.6,
            whis=(0, 100),
            medianprops={"color": MARK},
            tick_labels=[shown(method) for method in methods],
        )
        axes.set_xlabel(heading(metric))
        axes.spines[["top", "right"]].set_visible(False)
    return ReportImage.draw(figure, f"Values of each case, with median, quartiles and range, protocol {protocol}")


def training_curves(path: Path) -> list[ReportImage]:
    """Losses and validation metrics by epoch, from the table a training writes.

    Raises:
        ValueError: it is not such a table.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return []
    if "epoch" not in rows[0]:
        raise ValueError(f"{path}: expected a column epoch, got {', '.join(rows[0])}; remove the file or train again")
    columns = {name: _numbers(rows, name, path) for name in rows[0] if name not in ("phase", "learning_rate")}
    epochs = columns.pop("epoch")
    # terms differ by orders of magnitude; adversarial ones begin later, cross zero, and say little by themselves
    losses = {name: values / values[0] for name, values in columns.items() if name.startswith("loss") and values[0] > 0}
    qualities = {name: values for name, values in columns.items() if "psnr" in name.lower()}
    images = []
    for label, curves in (("loss / first epoch", losses), ("PSNR in validation, dB", qualities)):
        if curves:
            figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
            axes = figure.subplots()
            for name, values in curves.items():
                seen = np.isfinite(values)
                axes.plot(epochs[seen], values[seen], marker="." if seen.sum() < 30 else "", label=name)
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.spines[["top", "right"]].set_visible(False)
            figure.legend(loc="outside right upper", fontsize=8, frameon=False)
            images.append(ReportImage.draw(figure, f"Training: {label}"))
    return images


def _finite(cases: Mapping[Case, Mapping[str, float]], metric: str) -> np.ndarray:
    column = np.array([row[metric] for row in cases.values()], dtype=np.float64)
    return column[np.isfinite(column)]


def _numbers(rows: Sequence[dict[str, str]], name: str, path: Path) -> np.ndarray:
    try:
        return np.array([float(row[name] or "nan") for row in rows])
    except ValueError as error:
        raise ValueError(f"{path}: column {name}: {error}; remove the file or train again") from None
