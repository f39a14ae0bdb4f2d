"""Charts of a result, each drawn twice: for a light page and for a dark one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.handlers.ejection_fraction import SIMULATOR
from tools.charts import BAR, MARK, WIDTH
from tools.cine_report.hearts import MEASURED, Hearts
from tools.cine_report.scores import METHODS, METRICS, Scores, finite, number
from tools.report import ReportImage
from tools.results import heading


@dataclass(frozen=True)
class Theme:
    """Colours of a page: of text, lines, ground, and of what belongs to the input, the result and the truth."""

    ink: str
    ground: str
    input: str
    result: str
    truth: str


LIGHT = Theme("#1c2127", "#ffffff", MARK, BAR, "#5b6570")
DARK = Theme("#e4e8ec", "#14181c", "#e8935c", "#6cb2ff", "#9aa5b1")


@dataclass(frozen=True)
class Chart:
    """One chart in two colours; both images have its caption."""

    light: ReportImage
    dark: ReportImage

    @classmethod
    def draw(cls, figure: Callable[[Theme], Figure], caption: str) -> Chart:
        """Draw a figure in both."""
        images = []
        for theme in (LIGHT, DARK):
            text = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), theme.ink)
            ground = dict.fromkeys(("figure.facecolor", "axes.facecolor"), theme.ground)
            # letters are large since the image is shown at about two thirds of its size
            style: dict[Any, Any] = {**text, **ground, "axes.edgecolor": theme.ink, "font.size": 13}
            with mpl.rc_context(style):
                images.append(ReportImage.draw(figure(theme), caption))
        return cls(*images)


def frame_chart(scores: Scores, caption: str) -> Chart:
    """Each metric of one series by frame, aliased and result."""

    def figure(theme: Theme) -> Figure:
        drawn = Figure(figsize=(WIDTH, 0.6 + 1.65 * len(METRICS)), layout="constrained")
        rows = drawn.subplots(len(METRICS), 1, sharex=True)
        for axes, metric in zip(rows, METRICS, strict=True):
            for method, name in METHODS.items():
                values = np.where(np.isfinite(scores[metric][method]), scores[metric][method], np.nan)
                marker = "o" if len(values) < 40 else ""
                axes.plot(values, color=getattr(theme, method), marker=marker, markersize=3.5, label=name)
            axes.set_ylabel(heading(metric))
            _plain(axes)
        rows[-1].set_xlabel("frame")
        rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        drawn.legend(*rows[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
        return drawn

    return Chart.draw(figure, caption)


def histogram(scores: Scores, metric: str) -> Chart | None:
    """How one metric is distributed over the series, aliased and result; None where no value is finite."""
    values = finite(scores[metric])
    everything = np.concatenate(list(values.values()))
    if not len(everything):
        return None
    n = max(map(len, values.values()))
    bins = np.histogram_bin_edges(everything, bins=min(60, max(16, 5 * math.isqrt(n)))).tolist()

    def figure(theme: Theme) -> Figure:
        drawn = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        axes = drawn.subplots()
        for method, name in METHODS.items():
            if len(values[method]):
                mean = float(values[method].mean())
                colour = getattr(theme, method)
                label = f"{name}, mean {number(mean, metric)}"
                axes.hist(values[method], bins=bins, color=colour, alpha=0.65, edgecolor=theme.ground, label=label)
                axes.axvline(mean, color=colour, linewidth=2, linestyle="--")
        axes.set(xlabel=heading(metric), ylabel="series")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        _plain(axes)
        drawn.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False, fontsize=12)
        return drawn

    return Chart.draw(figure, f"{heading(metric)} of each series, aliased and result")


def hearts_chart(hearts: Hearts) -> Chart | None:
    """Measured against known ejection fraction; None where nothing was measured."""
    known = np.array([100 * values[SIMULATOR] for values in hearts.values()])
    found = {
        method: np.array([100 * values.get(method, math.nan) for values in hearts.values()]) for method in MEASURED
    }
    everything = np.concatenate([known, *found.values()])
    everything = everything[np.isfinite(everything)]
    if not any(np.isfinite(column).any() for column in found.values()):
        return None
    low, high = float(everything.min()) - 3, float(everything.max()) + 3

    def figure(theme: Theme) -> Figure:
        drawn = Figure(figsize=(WIDTH, 5.6), layout="constrained")
        axes = drawn.subplots()
        axes.plot([low, high], [low, high], color=theme.ink, linewidth=1, linestyle=":")
        styles = zip(found.items(), (theme.input, theme.result, theme.truth), ("^", "o", "x"), strict=True)
        for (method, column), colour, marker in styles:
            if not np.isfinite(column).any():
                continue
            axes.plot(known, column, marker, color=colour, markersize=8, alpha=0.85, label=f"in {MEASURED[method]}")
        axes.set(xlabel="known, %", ylabel="measured, %", xlim=(low, high), ylim=(low, high), aspect="equal")
        _plain(axes)
        drawn.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False)
        return drawn

    return Chart.draw(figure, "Ejection fraction measured in each heart, against the known one; dotted: no error")


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
