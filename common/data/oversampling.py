"""Readout oversampling: rows of the image outside of the field of view that was asked for."""

from __future__ import annotations

import numpy as np


def central_rows(height: int, wanted: int) -> slice:
    """The ``wanted`` rows whose centre ``wanted // 2`` lies at ``height // 2``."""
    start = height // 2 - wanted // 2
    return slice(start, start + wanted)


def crop_readout(kspace: np.ndarray, height: int) -> np.ndarray:
    """K-space of the central ``height`` rows of the image.

    Columns are independent of each other, so this is exact for data sampled along whole columns. The transforms are
    orthonormal: pixels keep their values.

    Args:
        kspace: complex, ``[..., rows, columns]``, centred.
        height: rows to keep.

    Returns:
        complex of the same precision, ``[..., height, columns]``.
    """
    if kspace.shape[-2] == height:
        return kspace
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, -2), axis=-2, norm="ortho"), -2)
    image = image[..., central_rows(kspace.shape[-2], height), :]
    return np.fft.fftshift(np.fft.fft(np.fft.ifftshift(image, -2), axis=-2, norm="ortho"), -2)
