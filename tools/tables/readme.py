"""Tables in a README between `<!-- table: NAME -->` and `<!-- /table -->`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.zoo.readme import table_cells

_BEGIN = re.compile(r"<!-- table: (\S+) -->")
_END = "<!-- /table -->"


def marked_tables(text: str, path: Path) -> dict[str, list[str]]:
    """Name to the lines between the marks.

    Raises:
        ValueError: a mark without its other one, or two tables of one name.
    """
    tables: dict[str, list[str]] = {}
    open_table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        begin = _BEGIN.fullmatch(line.strip())
        if begin and (open_table or begin[1] in tables):
            raise ValueError(f"{path}:{number}: expected {_END} before, or another name, got {line.strip()}; mend it")
        if line.strip() == _END:
            if not open_table:
                raise ValueError(f"{path}:{number}: {_END} without <!-- table: NAME --> before; mend it")
            open_table = ""
        elif begin:
            open_table = begin[1]
            tables[open_table] = []
        elif open_table:
            tables[open_table].append(line)
    if open_table:
        raise ValueError(f"{path}: expected {_END} after <!-- table: {open_table} -->, got the end; add it")
    return tables


def replace_tables(text: str, tables: Mapping[str, Sequence[str]]) -> str:
    """The text with other lines between marks; all else as it is."""
    lines: list[str] = []
    name = ""
    for line in text.splitlines(keepends=True):
        begin = _BEGIN.fullmatch(line.strip())
        if line.strip() == _END:
            name = ""
        if name not in tables:
            lines.append(line)
        if begin and begin[1] in tables:
            name = begin[1]
            lines += [f"{one}\n" for one in tables[name]]
    return "".join(lines)


def render(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    rule = f"|{'---|' * len(header)}"
    return [_line(header), rule, *map(_line, rows)]


def parse(lines: Sequence[str]) -> list[list[str]]:
    """The cells of the header and of each row; nothing where there is no table."""
    found = [table_cells(line.strip()) for line in lines if line.strip()]
    return [*found[:1], *found[2:]]


def _line(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", r"\|") for cell in cells]
    return f"|{''.join(f' {cell} |' if cell else ' |' for cell in escaped)}"
