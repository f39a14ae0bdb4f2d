"""A report as one HTML file that needs nothing else: images inside, light and dark, readable on a phone."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from common.io.atomic import atomic_path

_TEMPLATE = Path(__file__).with_name("report.html")
WIDE = 1000
"""Images of more pixels are scrolled on a narrow screen, not shrunk until nothing is seen."""


@dataclass(frozen=True)
class ReportTable:
    """A table; a cell is a text, or (text, small second line)."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | tuple[str, str]]]
    note: str = ""


@dataclass(frozen=True)
class ReportImage:
    """A PNG image with its caption, which is also the text for those who cannot see it."""

    caption: str
    png: bytes

    @classmethod
    def read(cls, path: str | Path, caption: str) -> ReportImage:
        """Take a PNG file."""
        return cls(caption, Path(path).read_bytes())

    @classmethod
    def draw(cls, figure: Figure, caption: str) -> ReportImage:
        """Take a matplotlib figure."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        return cls(caption, buffer.getvalue())


@dataclass(frozen=True)
class ReportCommand:
    """A command line to go on with, and what it is for."""

    purpose: str
    line: str


@dataclass(frozen=True)
class ReportSection:
    """A part of a report under a heading; a plain text is a paragraph."""

    heading: str
    parts: Sequence[str | ReportTable | ReportImage | ReportCommand]


def write_report(path: str | Path, *, title: str, intro: Sequence[str], sections: Sequence[ReportSection] = ()) -> Path:
    """Write a report; the file appears whole or not at all. All text is escaped.

    Args:
        path: of the HTML file.
        title: headline.
        intro: paragraphs: what was run, on which data, measured how.
        sections: the rest; those without parts are left out.

    Returns:
        The path.

    Raises:
        ValueError: an image is not PNG.
    """
    parts = [_part(paragraph) for paragraph in intro]
    for section in sections:
        if section.parts:
            parts += [f"<h2>{escape(section.heading)}</h2>", *map(_part, section.parts)]
    html = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(title=escape(title), body="\n".join(parts))
    with atomic_path(path) as temporary:
        # a file name that is not valid UTF-8 arrives as lone surrogates
        temporary.write_text(html, encoding="utf-8", errors="replace")
    return Path(path)


def _part(part: str | ReportTable | ReportImage | ReportCommand) -> str:
    if isinstance(part, ReportTable):
        return _table(part)
    if isinstance(part, ReportImage):
        return _figure(part)
    if isinstance(part, ReportCommand):
        return f"<p>{escape(part.purpose)}</p>\n<pre>{escape(part.line)}</pre>"
    return f"<p>{escape(part)}</p>"


def _table(table: ReportTable) -> str:
    header = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "\n".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in table.rows)
    note = f'\n<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll"><table><caption>{escape(table.caption)}</caption>\n'
        f"<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>{note}"
    )


def _cell(cell: str | tuple[str, str]) -> str:
    if isinstance(cell, str):
        return f"<td>{escape(cell)}</td>"
    text, small = cell
    return f"<td>{escape(text)}<small>{escape(small)}</small></td>"


def _figure(image: ReportImage) -> str:
    if not image.png.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError(f"expected a PNG image for {image.caption!r}, got bytes {image.png[:8]!r}")
    # the header of a PNG: its width is bytes 16 to 19
    wide = ' class="wide"' if int.from_bytes(image.png[16:20], "big") > WIDE else ""
    caption, data = escape(image.caption), base64.b64encode(image.png).decode("ascii")
    return (
        f'<figure><div class="scroll"><img{wide} alt="{caption}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
