"""One run of a definition, its variables filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.tables.definition import PLACES, Cell, Definition
from tools.tables.template import fill, variables_of


@dataclass(frozen=True)
class TableRun:
    """An evaluation of the bundle, or a comparison.

    Attributes:
        label: its name and its variables, `masks family=radial rate=0.1`.
        data: name of its data.
        config: names of configuration files; none of a comparison.
        overrides: keys of the configuration to values; `{data}` and `{bundle}` still stand for folders.
        compare: what a comparison is told besides, with the same variables; None for an evaluation.
    """

    label: str
    data: str
    config: Sequence[str]
    overrides: Mapping[str, Any]
    compare: Mapping[str, Any] | None

    @property
    def folder_name(self) -> str:
        """Name of the folder of its results."""
        return re.sub(r"[^\w.=+-]+", "_", self.label)

    def told(self, data: Path, bundle: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """Overrides and comparison, with the folders in place."""
        places = {"data": str(data), "bundle": str(bundle)}
        overrides, compare = fill([dict(self.overrides), dict(self.compare or {})], places, self.label)
        return overrides, compare


def run_of(definition: Definition, cell: Cell) -> TableRun:
    """The run that a cell's number comes from.

    Raises:
        ValueError: a variable of the run is not set.
    """
    template = definition.runs[cell.run]
    spec = {"config": list(template.config), "overrides": dict(template.overrides), "compare": template.compare}
    names = variables_of(spec) - set(PLACES)
    used = {name: value for name, value in cell.variables.items() if name in names}
    filled = fill(spec, {**used, **{name: f"{{{name}}}" for name in PLACES}}, f"{definition.path}: run {cell.run}")
    label = " ".join([cell.run, *(f"{name}={used[name]}" for name in sorted(used))])
    return TableRun(label, template.data, filled["config"], filled["overrides"], filled["compare"])


def runs_of(definition: Definition, cells: Sequence[Cell]) -> list[TableRun]:
    """The different runs of cells, in the order of these."""
    runs = (run_of(definition, cell) for cell in cells if cell.run)
    return list({run.label: run for run in runs}.values())
