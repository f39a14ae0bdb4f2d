"""What the gallery takes from a bundle's README, which is Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_HEADING = re.compile(r"(#+)\s+(.*?)\s*#*")
_RULE = re.compile(r"\|?(\s*:?-+:?\s*\|)*\s*:?-+:?\s*\|?")
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_BORDER = re.compile(r"(?<!\\)\|")
_FIGURE = re.compile(r"!\[([^\]]+)\]\([^)]*example\.png\)")


@dataclass(frozen=True)
class ResultsTable:
    """A table of results, and the paragraph above it that says what was measured."""

    intro: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def results_table(readme: str) -> ResultsTable | None:
    """The first table under the heading Performance; None if there is none."""
    lines = _section(readme, "performance")
    for i, (first, second) in enumerate(pairwise(lines)):
        if first.startswith("|") and "-" in second and _RULE.fullmatch(second):
            header, rows = table_cells(first), []
            for line in lines[i + 2 :]:
                if not line.startswith("|"):
                    break
                rows.append((table_cells(line) + [""] * len(header))[: len(header)])
            return ResultsTable(_paragraph_before(lines[:i]), header, rows)
    return None


def figure_caption(readme: str) -> str:
    """The description of the image example.png; empty if the README does not show it."""
    found = _FIGURE.search(readme)
    return found[1] if found else ""


def _section(readme: str, title: str) -> list[str]:
    """Lines from below a heading to the next of its level or above, without blocks of code and comments."""
    level, fenced, lines = 0, False, []
    for line in map(str.strip, _COMMENT.sub("", readme).splitlines()):
        if line.startswith("```"):
            fenced = not fenced
            continue
        heading = None if fenced else _HEADING.fullmatch(line)
        if heading and level and len(heading[1]) <= level:
            break
        if heading and not level and heading[2].lower() == title:
            level = len(heading[1])
        elif level and not fenced:
            lines.append(line)
    return lines


def _paragraph_before(lines: Sequence[str]) -> str:
    """The last paragraph, if no heading stands below it."""
    paragraph: list[str] = []
    for line in reversed(lines):
        if line and not _HEADING.fullmatch(line):
            paragraph.insert(0, line)
        elif line or paragraph:
            break
    return " ".join(paragraph)


def table_cells(line: str) -> list[str]:
    """The texts of a table's line, without borders and escapes."""
    inner = line.removeprefix("|").removesuffix("|")
    return [cell.strip().replace(r"\|", "|") for cell in _BORDER.split(inner)]
