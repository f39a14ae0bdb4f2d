"""Pages of labelled images, composed as arrays: panels in rows, with text above and below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from common.io.atomic import atomic_path
from common.metrics.case import Case
from common.metrics.cases import case_name
from common.metrics.protocols import Protocol
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

ByteArray = NDArray[np.uint8]

GREY, ERROR, STD = "gray", "inferno", "viridis"
LARGEST = 640
"""Pixels of the longer side of a panel; larger images are shrunk by whole factors."""
_USUAL = 256  # smaller images are enlarged by whole factors to about this size
_NARROWEST = 200  # of a column: room for text
_GAP, _LINE, _LETTERS = 8, 17, 13
_STRIP = 6  # height of a scale of colours

# A page has one byte a pixel: PNG has a third to encode of what RGB has. Black is the first grey, white the last.
_N_COLOURS = {GREY: 144, ERROR: 64, STD: 46}
_FIRST = {GREY: 0, ERROR: 144, STD: 208}
_WHITE, _ORANGE = 143, 254
_KNOTS = {  # eight equal steps of matplotlib's colour maps (CC0), linear between them
    GREY: "000000 ffffff",
    ERROR: "000004 210c4a 56106e 89226a bb3754 e35932 f98c0a f9c932 fcffa4",
    STD: "440154 472d7b 3b528b 2c728e 21908c 27ad81 5dc863 aadc32 fde725",
}


@dataclass
class Panel:
    """An image and the text above and below it.

    Attributes:
        image: real values ``(height, width)``.
        title: text above.
        colours: ``GREY``, ``ERROR`` or ``STD``; the latter two have a scale of colours below the image.
        end: value that is drawn in the last colour; 0 in the first.
        below: text below.
        size: height and width in pixels of the page; None: a whole factor of the image's.
        frame: rows and columns of the image with an orange frame.
        line: row of the image with an orange dashed line.
    """

    image: np.ndarray
    title: str = ""
    colours: str = GREY
    end: float = 1.0
    below: str = ""
    size: tuple[int, int] | None = None
    frame: tuple[slice, slice] | None = None
    line: int | None = None

    def pixels(self) -> ByteArray:
        """Colours of the panel as indices into the palette, ``(height, width)`` in pixels of the page."""
        values = self.image if self.size else shrunk(self.image)
        last = _N_COLOURS[self.colours] - 1
        indices = np.rint((values * (last / (self.end or 1e-6))).clip(0, last)).astype(np.uint8)
        height, width = indices.shape
        if self.size:
            rows, columns = (np.arange(n) * old // n for n, old in zip(self.size, (height, width), strict=True))
            factor = 1.0
        else:
            whole = max(1, round(_USUAL / max(height, width)))
            rows, columns = (np.arange(n * whole) // whole for n in (height, width))
            factor = whole * height / self.image.shape[0]
        drawn = indices[rows[:, None], columns] + np.uint8(_FIRST[self.colours])
        if self.frame:
            top, bottom, left, right = (int(factor * n) for s in self.frame for n in (s.start, s.stop))
            drawn[[top, bottom - 1], left:right] = _ORANGE
            drawn[top:bottom, [left, right - 1]] = _ORANGE
        if self.line is not None:
            drawn[int(factor * (self.line + 0.5)), np.arange(drawn.shape[1]) // 4 % 2 == 0] = _ORANGE
        if self.colours == GREY:
            return drawn
        scale = _FIRST[self.colours] + np.linspace(0, last, drawn.shape[1]).astype(np.uint8)
        white = np.full((3, drawn.shape[1]), _WHITE, np.uint8)
        return np.vstack([drawn, white, np.tile(scale, (_STRIP, 1))]).astype(np.uint8)


@dataclass
class Block:
    """Panels of one case with two lines of text above.

    Attributes:
        title: first line.
        notes: second line.
        rows: panels from left to right, as many in each row; None leaves a place empty.
    """

    title: str
    notes: str
    rows: list[list[Panel | None]]


def save_figure(blocks: Iterable[Block], path: str | Path) -> None:
    """Write blocks, one below the other, as PNG; the file appears whole or not at all, missing folders are made."""
    page = draw_blocks(blocks)
    with atomic_path(path) as temporary:
        page.save(temporary, "PNG", compress_level=1)


def draw_blocks(blocks: Iterable[Block]) -> Image.Image:
    """Draw blocks, one below the other, as a picture with a palette."""
    texts: list[tuple[int, int, str, int]] = []  # left, top, text, room
    images: list[tuple[int, int, ByteArray]] = []
    top = page_width = _GAP
    for block in blocks:
        drawn = [[None if panel is None else panel.pixels() for panel in row] for row in block.rows]
        columns = zip(*drawn, strict=True)
        widths = [max(_NARROWEST, *(0 if image is None else image.shape[1] for image in column)) for column in columns]
        lefts = [_GAP + sum(widths[:i]) + i * _GAP for i in range(len(widths))]
        room = sum(widths) + (len(widths) - 1) * _GAP
        page_width = max(page_width, room + 2 * _GAP)
        texts += [(_GAP, top, block.title, room), (_GAP, top + _LINE, block.notes, room)]
        top += 2 * _LINE + _GAP
        for row, arrays in zip(block.rows, drawn, strict=True):
            above = _LINE if any(panel and panel.title for panel in row) else 0
            height = max(0 if array is None else len(array) for array in arrays)
            for panel, array, left, width in zip(row, arrays, lefts, widths, strict=True):
                if panel is None or array is None:
                    continue
                texts.append((left, top, panel.title, width))
                texts.append((left, top + above + len(array) + 1, panel.below, width))
                images.append((left, top + above, array))
            top += above + height + _GAP + (_LINE if any(panel and panel.below for panel in row) else 0)
        top += _GAP
    page = Image.new("L", (page_width, top), 255)
    pen = ImageDraw.Draw(page)
    for left, upper, text, room in texts:
        pen.text((left, upper), _fitted(text, room), fill=0, font=_font())
    values: ByteArray = (np.asarray(page, np.uint16) * _WHITE // 255).astype(np.uint8)
    for left, upper, array in images:
        values[upper : upper + array.shape[0], left : left + array.shape[1]] = array
    picture = Image.fromarray(values)
    picture.putpalette(_palette())  # makes its mode "P"
    return picture


def colour_table(name: str, n: int = 256) -> ByteArray:
    """Return `n` colours ``(n, 3)`` of a colour map: ``GREY``, ``ERROR`` or ``STD``."""
    knots = np.array([list(bytes.fromhex(knot)) for knot in _KNOTS[name].split()])
    places = np.linspace(0, len(knots) - 1, n)
    return np.rint(np.stack([np.interp(places, np.arange(len(knots)), c) for c in knots.T], 1)).astype(np.uint8)


def shrunk(image: np.ndarray) -> np.ndarray:
    """Means of blocks of an image or a series ``(height, width[, frames])`` that is larger than `LARGEST`."""
    factor = -(-max(image.shape[:2]) // LARGEST)
    if factor == 1:
        return image
    height, width = (max(1, size // factor) for size in image.shape[:2])
    rows, columns = (min(factor, size) for size in image.shape[:2])
    blocks = image[: height * rows, : width * columns].reshape(height, rows, width, columns, *image.shape[2:])
    return blocks.mean(axis=(1, 3))


def block_of(case: Case, notes: Sequence[str], rows: list[list[Panel | None]], middle_plane: bool = False) -> Block:
    """Return the block of a case, with its name above."""
    return Block(
        case_name((case.path, case.slice_index)) + (", middle plane" if middle_plane else ""), "; ".join(notes), rows
    )


def quality(case: Case, method: str, protocol: Protocol) -> str:
    """PSNR and SSIM of a method in words."""
    values = case.values(protocol, method)
    return f"PSNR {values['psnr']:.2f} dB   SSIM {values['ssim']:.4f}"


def _fitted(text: str, room: int) -> str:
    """Text at most `room` pixels wide, without the middle of a longer one."""
    text = text.encode("utf-8", "replace").decode()  # names of files may not be UTF-8
    letters = len(text)
    shortened = text
    while _font().getlength(shortened) > room:
        letters -= 1
        shortened = f"{text[: letters // 2 - 2]} ... {text[4 - (letters + 1) // 2 :]}"
    return shortened


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_LETTERS)


@cache
def _palette() -> bytes:
    tables = b"".join(colour_table(name, n).tobytes() for name, n in _N_COLOURS.items())
    return tables + bytes.fromhex("ffa500")
