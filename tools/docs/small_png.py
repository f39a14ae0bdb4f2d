"""Small PNG files for the repository, and the difference of two pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from common.io.atomic import atomic_path

COLOURS = 256


def write_small(source: Path, target: Path) -> None:
    """Copy a PNG picture with at most 256 colours, and without what its writer noted in it."""
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    # spread over all colours: by their numbers of pixels the few bright ones of errors would get too few
    method = Image.Quantize.MAXCOVERAGE
    small = picture.quantize(COLOURS, method=method, kmeans=3, dither=Image.Dither.NONE)
    with atomic_path(target) as temporary:
        small.save(temporary, format="PNG", optimize=True)


def difference(one: Path, other: Path) -> str:
    """Return how a picture differs from another, in words; empty if in no pixel."""
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
