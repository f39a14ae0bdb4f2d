"""Orientation tag of TIFF and EXIF: which corner of the shown picture the first stored pixel is."""

from __future__ import annotations

import numpy as np

# transposed, then rows reversed, then columns reversed, of the shown picture
_STEPS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def known_orientation(tag: object) -> int:
    """Return the tag's value, 1 to 8; 1 (as stored) for a missing or unknown one, as viewers take it."""
    return int(tag) if isinstance(tag, (int, np.integer)) and int(tag) in _STEPS else 1


def is_transposed(orientation: int) -> bool:
    """Return True if stored rows are shown as columns."""
    return _STEPS[orientation][0]


def shown(values: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels ``[..., rows, columns]`` as the picture is shown."""
    transposed, down, across = _STEPS[orientation]
    if transposed:
        values = values.swapaxes(-1, -2)
    return values[..., :: -1 if down else 1, :: -1 if across else 1]


def stored_region(rows: slice, columns: slice, size: tuple[int, int], orientation: int) -> tuple[slice, slice]:
    """Stored rows and columns of a region of the shown picture, whose height and width are ``size``."""
    transposed, down, across = _STEPS[orientation]
    rows = slice(size[0] - rows.stop, size[0] - rows.start) if down else rows
    columns = slice(size[1] - columns.stop, size[1] - columns.start) if across else columns
    return (columns, rows) if transposed else (rows, columns)
