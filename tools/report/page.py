"""An HTML page that needs nothing else: images inside, light and dark, readable on a phone."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from common.io.atomic import atomic_path

BUDGET = 2_100_000
"""Bytes of all images of a page: with base64 and the rest it stays below 3 MB."""
QUALITIES = (90, 75, 55)
"""Qualities of WebP that are tried until the images are within the budget."""


@dataclass(frozen=True)
class Table:
    """A table; a cell is a text, or (text, small second line)."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | tuple[str, ...]]]
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawing as SVG in the colours of the page, with a caption, which is also its alternative text."""

    caption: str
    svg: str


@dataclass(frozen=True)
class Picture:
    """One image, or the frames of a moving one, 8-bit grey or RGB; a flat one is drawn lower than it is."""

    name: str
    frames: Sequence[np.ndarray]
    milliseconds: int = 80
    flat: bool = False
    error: bool = False


@dataclass(frozen=True)
class Viewer:
    """Images of a case of one size, to be compared under a divider.

    Attributes:
        caption: name of the case for people.
        pictures: images in the order of display; those of errors are only shown beside the others.
        left: name of the picture left of the divider at first.
        right: name of the picture right of it.
        note: scales of the images.
    """

    caption: str
    pictures: Sequence[Picture]
    left: str
    right: str
    note: str = ""


@dataclass(frozen=True)
class Strip:
    """Pictures one below the other with a common caption, the moving ones with a still for those who want none."""

    caption: str
    pictures: Sequence[Picture]
    note: str = ""


@dataclass(frozen=True)
class Command:
    """A command line to go on with, and its purpose."""

    purpose: str
    line: str


Part = str | Table | Chart | Viewer | Strip | Command
Section = tuple[str, Sequence[Part]]
"""Heading and parts; a plain text is a paragraph. A section without parts is left out."""


def write_page(path: str | Path, title: str, intro: Sequence[str], sections: Sequence[Section]) -> Path:
    """Write a page; the file appears whole or not at all. All text is escaped.

    Images are WebP, of less quality and at last fewer cases where they are many.
    """
    illustrated = [part for _, parts in sections for part in parts if isinstance(part, Viewer | Strip)]
    for quality in QUALITIES:
        groups = [{id(picture): _encode(picture, quality) for picture in part.pictures} for part in illustrated]
        sizes = [sum(len(image) for images in group.values() for image in images) for group in groups]
        if sum(sizes) <= BUDGET:
            break
    n_kept = max(1, int((np.cumsum(sizes) <= BUDGET).sum())) if illustrated else 0
    left_out = {id(part) for part in illustrated[n_kept:]}
    notes = [f"{len(left_out)} further cases are not on this page, to keep it small; see panels/."] if left_out else []
    kept = [(heading, [part for part in parts if id(part) not in left_out]) for heading, parts in sections]
    encoded = {key: images for group in groups[:n_kept] for key, images in group.items()} if illustrated else {}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def source(picture: Picture, still: bool = False) -> str:
        return f"data:image/webp;base64,{base64.b64encode(encoded[id(picture)][0 if still else -1]).decode('ascii')}"

    environment.globals["source"] = source
    environment.filters["svg"] = Markup  # drawn here, of escaped texts
    content: dict[str, Any] = {"title": title, "intro": [*intro, *notes], "sections": [one for one in kept if one[1]]}
    html = environment.get_template("page.html").render(content)
    with atomic_path(path) as temporary:
        # a file name that is not valid UTF-8 arrives as lone surrogates
        temporary.write_text(html, encoding="utf-8", errors="replace")
    return Path(path)


def _encode(picture: Picture, quality: int) -> list[bytes]:
    """Return WebP of the first frame, and of all where there are several."""
    images = [Image.fromarray(frame).convert("RGB") for frame in picture.frames]
    found = []
    for frames in [images[:1]] if len(images) == 1 else [images[:1], images]:
        buffer = io.BytesIO()
        further: dict[str, Any] = {}
        if len(frames) > 1:
            further = {"save_all": True, "append_images": frames[1:], "duration": picture.milliseconds, "loop": 0}
        frames[0].save(buffer, "WEBP", quality=quality, method=4, **further)
        found.append(buffer.getvalue())
    return found
