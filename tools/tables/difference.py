"""What is printed, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tools.tables.definition import Table
from tools.tables.readme import parse


def filled(table: Table, texts: Sequence[Sequence[str]], printed: Sequence[str]) -> list[list[str]]:
    """The cells of a table, its first ones are titles; timings are those that are printed.

    Args:
        table: its definition.
        texts: of all cells, row by row.
        printed: lines of the table as it stands.
    """
    header, *rows = parse(printed) or [[]]
    n_titles = _n_titles(table)
    before = {(tuple(row[:n_titles]), title): text for row in rows for title, text in zip(header, row, strict=False)}
    return [
        [
            *row.titles,
            *(
                before.get((tuple(row.titles), title), "") if cell.timing else text
                for cell, text, title in zip(row.cells, line, table.header[n_titles:], strict=True)
            ),
        ]
        for row, line in zip(table.rows, texts, strict=True)
    ]


def table_differences(name: str, table: Table, measured: Sequence[Sequence[str]], printed: Sequence[str]) -> list[str]:
    """A line for each cell that is printed otherwise, and for rows and columns that are not those of the definition."""
    header, *rows = parse(printed) or [[]]
    if header != list(table.header):
        return [f"{name}: columns printed as {_listed(header)}, defined as {_listed(table.header)}"]
    n_titles = _n_titles(table)
    before = {tuple(row[:n_titles]): row for row in rows}
    now = {tuple(row[:n_titles]): row for row in measured}
    found = []
    for titles, row in now.items():
        if titles not in before:
            found.append(f"{name}: row {_listed(titles)} is not printed")
            continue
        for title, old, new in zip(header, before[titles], row, strict=False):
            if old != new:
                found.append(f"{name}: {_listed(titles)}, {title}: printed {old or 'nothing'}, now {new or 'nothing'}")
    found += [f"{name}: row {_listed(titles)} is printed, but not defined" for titles in before if titles not in now]
    if not found and list(before) != list(now):
        found.append(f"{name}: the rows are printed in another order than they are defined")
    return found


def number_differences(measured: Mapping[str, float], printed: Mapping[str, Any]) -> list[str]:
    """A line for each of the metadata's numbers that is another, is missing, or is not defined."""
    found = []
    for key in dict.fromkeys([*measured, *printed]):
        if measured.get(key) != printed.get(key):
            old, new = printed.get(key, "nothing"), measured.get(key, "nothing")
            found.append(f"eval_metrics: {key}: printed {old}, now {new}")
    return found


def _n_titles(table: Table) -> int:
    return len(table.header) - len(table.rows[0].cells)


def _listed(titles: Sequence[str]) -> str:
    return " | ".join(titles) or "none"
