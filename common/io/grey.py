"""Colour pictures as grey ones."""

from __future__ import annotations

import numpy as np
from common.errors import DataError

_LUMA = np.array([19595, 38470, 7471])  # 0.299, 0.587, 0.114 (ITU-R 601) times 2^16, as Pillow has it


def grey_channel(values: np.ndarray, name: str, luma: bool = False) -> np.ndarray:
    """Return the one channel of a colour array ``[height, width, samples]`` that is really grey and opaque.

    Args:
        values: 1 sample, 2 (grey, alpha), 3 (red, green, blue) or 4 (with alpha).
        name: name for the error.
        luma: True to turn colours of 8 bit to their luma (ITU-R 601), and to pass over alpha.

    Raises:
        DataError: the colour channels differ, or alpha is not full everywhere.
    """
    samples = values.shape[-1]
    if samples > 4:
        raise DataError(f"{name}: expected a grey image, got {samples} samples for each pixel; save one by itself")
    if luma and values.dtype == np.uint8:
        return ((values[..., :3] @ _LUMA + 2**15) >> 16).astype(np.uint8) if samples > 2 else values[..., 0]
    if samples in (3, 4) and not (values[..., :1] == values[..., 1:3]).all():
        raise DataError(f"{name}: expected a grey image, got colours; save it as 8- or 16-bit grey")
    if samples in (2, 4):
        full = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1
        if not (values[..., -1] == full).all():
            raise DataError(f"{name}: expected an opaque image, got transparent pixels; save it as grey without alpha")
    return values[..., 0]
