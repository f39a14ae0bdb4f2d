"""Parts of a bundle's README, which is Markdown, for the gallery."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_FIGURE = re.compile(r"!\[([^\]]+)\]\([^)]*example\.png\)")
_NOT_SHOWN = re.compile(r"^```.*?^```|<!--.*?-->", re.DOTALL | re.MULTILINE)
_TABLE = re.compile(
    r"(?P<intro>(?:^(?![#|])\S.*\n)*)\s*^(?P<header>\|.*)\n\|[-:| ]*-[-:| ]*\n(?P<rows>(?:^\|.*\n?)*)", re.M
)


@dataclass(frozen=True)
class ResultsTable:
    """A table of results, and the paragraph above it that says what was measured."""

    intro: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def results_table(readme: str) -> ResultsTable | None:
    """Return the first table under the heading Performance; None if there is none."""
    lines = _NOT_SHOWN.sub("", readme).splitlines(keepends=True)
    heading = next(
        (i for i, line in enumerate(lines) if re.fullmatch(r"#+ +performance\s*", line, re.IGNORECASE)), None
    )
    if heading is None:
        return None
    level = re.match("#+", lines[heading]).end()  # type: ignore[union-attr]
    ends = (i for i, line in enumerate(lines) if i > heading and re.match(rf"#{{1,{level}}} ", line))
    found = _TABLE.search("".join(lines[heading + 1 : next(ends, len(lines))]))
    if found is None:
        return None
    header, *rows = (_cells(line) for line in [found["header"], *found["rows"].splitlines()])
    return ResultsTable(
        " ".join(found["intro"].split()), header, [(row + [""] * len(header))[: len(header)] for row in rows]
    )


def figure_caption(readme: str) -> str:
    """Return the description of the image example.png; empty if the README does not show it."""
    found = _FIGURE.search(readme)
    return found[1] if found else ""


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]
