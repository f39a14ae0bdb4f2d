"""Draws one figure of a bundle's documentation."""

from __future__ import annotations

import inspect
from functools import singledispatch
from pathlib import Path

from tools.compare import compare_entries
from tools.curves import curves
from tools.data import DATA_SETS
from tools.figures.spec import PLACEHOLDER, CompareFigure, CurvesFigure, Figure, RunFigure
from tools.tasks.configurations import find_config
from tools.tasks.process import run_process
from tools.tasks.records import locked
from tools.tasks.task_list import PREDICT, Run, Task

_ONE_FOLDER = {"split": "", "device": "cpu"}


@singledispatch
def draw(figure: Figure, bundle: Path, scratch: Path) -> Path:
    """Draw a figure on the CPU, so that it comes out the same on every machine, up to rounding.

    Args:
        figure: how it is made.
        bundle: folder of the bundle.
        scratch: an empty folder.

    Returns:
        The picture, in `scratch`.

    Raises:
        ValueError: the bundle, the data or a training's history does not give it.
    """
    raise TypeError(type(figure).__name__)


@draw.register
def _(figure: RunFigure, bundle: Path, scratch: Path) -> Path:
    configs = tuple(find_config(name, bundle, figure.file) for name in figure.config)
    overrides = {**_ONE_FOLDER, **figure.overrides, "dataset_dir": str(_make_data(figure, scratch))}
    run = Run(PREDICT, configs, overrides, definition={})
    with locked(scratch) as lock:
        end = run_process(Task(figure.panel, bundle, (run,), scratch, mail=False), run, lock, lambda line: None)
    if end.error:
        raise ValueError(f"{bundle.name}: {end.error}")
    return _panel(scratch / PREDICT / "panels", figure.panel)


@draw.register
def _(figure: CompareFigure, bundle: Path, scratch: Path) -> Path:
    entries = [entry.replace(PLACEHOLDER, str(bundle)) for entry in figure.entries]
    overrides = {**_ONE_FOLDER, **figure.overrides}
    compare_entries(_make_data(figure, scratch), entries, scratch / "compare", overrides=overrides)
    return _panel(scratch / "compare" / "panels", figure.panel)


@draw.register
def _(figure: CurvesFigure, bundle: Path, scratch: Path) -> Path:
    histories = {label: [bundle / "docs" / name for name in names] for label, names in figure.curves.items()}
    runs = [f"{label}={path}" for label, paths in histories.items() for path in paths]
    curves(runs, figure.values, str(scratch / "curves.png"))
    return scratch / "curves.png"


def _make_data(figure: RunFigure | CompareFigure, scratch: Path) -> Path:
    """A folder with the figure's file alone."""
    inspect.unwrap(DATA_SETS[figure.make])(str(scratch / "set"), **figure.options)
    file, folder = scratch / "set" / figure.file, scratch / "data"
    if not file.is_file():
        raise ValueError(f"{figure.file}: the set {figure.make} with {figure.options} has no such file")
    folder.mkdir()
    return file.rename(folder / file.name).parent


def _panel(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        there = ", ".join(sorted(path.name for path in folder.glob("*.png"))) or "none"
        raise ValueError(f"{name}: no such panel was drawn, but {there}; correct `panel`")
    return folder / name
