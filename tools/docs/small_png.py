"""Small PNG files for the repository, and the difference of two pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

from common.io.atomic import atomic_path

COLOURS = 256
WEIGHT_EXPONENT = 0.7


def write_small(source: Path, target: Path) -> None:
    """Copy a PNG picture with at most 256 colours, and without what its writer noted in it.

    Each colour counts for the palette by its number of pixels to the power of 0.7: by pixels alone the few bright
    colours of errors, and their colour bar, would get too few. White and black stay as they are.
    """
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    counted = picture.getcolors(picture.width * picture.height)
    assert counted is not None  # there are no more colours than pixels
    if len(counted) > COLOURS:
        picture = _with_palette(picture, _palette(counted))
    with atomic_path(target) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


def _palette(counted: Sequence[tuple[int, Any]]) -> np.ndarray:
    """Colours `(256, 3)` for a picture of these, each with its number of pixels."""
    colours = np.array([colour for _, colour in counted], np.uint8)
    weights = np.ceil(np.power([count for count, _ in counted], WEIGHT_EXPONENT)).astype(int)
    sample = Image.fromarray(np.repeat(colours, weights, axis=0)[None])
    quantised = sample.quantize(COLOURS - 2, kmeans=1, dither=Image.Dither.NONE)
    found = np.array(quantised.getpalette(), np.uint8).reshape(-1, 3)[: COLOURS - 2]
    return np.vstack([found, [[0, 0, 0], [255, 255, 255]]]).astype(np.uint8)


def _with_palette(picture: Image.Image, palette: np.ndarray) -> Image.Image:
    """Each pixel in the nearest colour; Pillow's own search is coarser, and makes white grey."""
    pixels = np.asarray(picture)
    _, nearest = cKDTree(palette).query(pixels.reshape(-1, 3))
    found = Image.fromarray(nearest.reshape(pixels.shape[:2]).astype(np.uint8))
    found.putpalette(palette.tobytes())
    return found


def difference(one: Path, other: Path) -> str:
    """How a picture differs from another, in words; empty if in no pixel."""
    first, second = (_pixels(path) for path in (one, other))
    if first.shape != second.shape:
        sizes = [f"{pixels.shape[1]} x {pixels.shape[0]}" for pixels in (first, second)]
        return f"{sizes[0]} pixels and not {sizes[1]}"
    differences = np.abs(first - second).max(axis=-1)
    if not differences.any():
        return ""
    return f"{np.count_nonzero(differences) / differences.size:.2%} of the pixels, by up to {differences.max()} of 255"


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB"), dtype=np.int16)
