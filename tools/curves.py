"""`python -m tools curves`: the course of several trainings in one figure."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.io.atomic import atomic_path
from tools.charts import WIDTH
from tools.results import heading

COLOURS = ("#3b82c4", "#b3541e", "#4d8b57", "#7a4fa3")


def curves(runs: str | Sequence[str], values: str | Sequence[str] = "psnr", out: str = "curves.png") -> None:
    """Draw columns of the `history.csv` of several trainings, one panel a column.

    Trainings of one label share a colour, for example those of one method with other seeds.

    Args:
        runs: `LABEL=DIR,...`; DIR is an `output_dir` of a training, or the file itself.
        values: columns, for example `psnr,loss_critic`.
        out: the figure, PNG.
    """
    entries = [_entry(text) for text in _listed(runs)]
    columns = _listed(values)
    colours = dict(zip(dict.fromkeys(label for label, _ in entries), COLOURS * len(entries), strict=False))
    figure = Figure(figsize=(WIDTH, 0.5 + 2.0 * len(columns)), layout="constrained")
    panels = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
    for axes, column in zip(panels, columns, strict=True):
        for label, path in entries:
            epochs, numbers = read_column(path, column)
            axes.plot(epochs, numbers, color=colours[label], linewidth=1.2, marker=".", alpha=0.8, label=label)
        axes.set_ylabel(_name(column))
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[-1].set_xlabel("epoch")
    figure.align_ylabels(panels)
    _legend(figure, panels[0].get_legend_handles_labels())
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(Path(out)) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def read_column(path: Path, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs that have a value in a column of a `history.csv`, and the values.

    Raises:
        ValueError: there is no such file, column or value.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the output_dir of a training")
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[Mapping[str, str]] = list(csv.DictReader(file))
    known = list(rows[0]) if rows else []
    found = [(float(row["epoch"]), float(row[column])) for row in rows if row.get(column)]
    if not found:
        raise ValueError(f"{path}: no values in a column {column!r}; it has {', '.join(known) or 'no columns'}")
    epochs, numbers = np.array(found).T
    return epochs, numbers


def _listed(texts: str | Sequence[str]) -> list[str]:
    return texts.split(",") if isinstance(texts, str) else list(texts)


def _entry(text: str) -> tuple[str, Path]:
    label, equals, folder = text.partition("=")
    if not equals or not label or not folder:
        raise ValueError(f"expected LABEL=DIR, got {text!r}; for example srgan=runs/srgan_0")
    return label, Path(folder) if folder.endswith(".csv") else Path(folder) / "history.csv"


def _name(column: str) -> str:
    return f"{column.removeprefix('loss_')} loss" if column.startswith("loss_") else heading(column)


def _legend(figure: Figure, handles_and_labels: tuple[list, list]) -> None:
    """One entry a label."""
    handles, labels = handles_and_labels
    first = dict(reversed(list(zip(labels, handles, strict=True))))
    ordered = list(dict.fromkeys(labels))
    figure.legend([first[label] for label in ordered], ordered, loc="outside upper center", ncols=4, frameon=False)
