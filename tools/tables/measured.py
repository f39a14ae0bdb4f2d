"""The tables and numbers of a definition, from the results of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tools.tables.definition import Cell, Definition
from tools.tables.difference import filled
from tools.tables.run import run_of
from tools.tables.values import cell_text, rounded, values_of

NUMBERS = "eval_metrics"
"""Name of the metadata's numbers among the tables."""


class Measured:
    """What the runs have given.

    Args:
        definition: of the tables.
        folders: of the results of the runs, by label.
    """

    def __init__(self, definition: Definition, folders: Mapping[str, Path]) -> None:
        self.definition = definition
        self.folders = folders

    def table(self, name: str, printed: Sequence[str]) -> list[list[str]]:
        """The cells of all rows of a table, titles first.

        Args:
            name: of the table.
            printed: its lines as they stand, for what is not measured.
        """
        table = self.definition.tables[name]
        texts = [
            [self._text(cell, f"table {name}, {' | '.join(row.titles)}") for cell in row.cells] for row in table.rows
        ]
        return filled(table, texts, printed)

    def numbers(self) -> dict[str, float]:
        """The metadata's numbers."""
        found = {}
        for key, cell in self.definition.numbers.items():
            where = f"{NUMBERS} {key}"
            found[key] = rounded(cell, self._values(cell, where), where)
        return found

    def _text(self, cell: Cell, where: str) -> str:
        if not cell.run:
            return cell.text or ""
        return cell_text(cell, self._values(cell, where))

    def _values(self, cell: Cell, where: str) -> np.ndarray:
        return values_of(cell, self.folders[run_of(self.definition, cell).label], where)


def names_of(definition: Definition, only: str) -> list[str]:
    """The names that are asked for, of tables, and `eval_metrics`; all if none is.

    Raises:
        ValueError: a name is unknown, or there is none.
    """
    known = [*definition.tables, *([NUMBERS] if definition.numbers else [])]
    wanted = [name.strip() for name in only.split(",") if name.strip()] or known
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"{definition.path}: no table {unknown[0]!r}, it has {', '.join(known) or 'none'}; correct it")
    if not wanted:
        raise ValueError(f"{definition.path}: expected `tables` or `{NUMBERS}`, got neither; define some")
    return [name for name in known if name in wanted]


def cells_of(definition: Definition, name: str) -> list[Cell]:
    """The cells of a table, or those of the metadata's numbers."""
    if name == NUMBERS:
        return list(definition.numbers.values())
    return [cell for row in definition.tables[name].rows for cell in row.cells]
