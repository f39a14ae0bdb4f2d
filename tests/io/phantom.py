"""A body whose flips, turns and scales show, its k-space, and the maps of coils around it, by numpy alone."""

from __future__ import annotations

import numpy as np


def body(height: int, width: int, variant: int = 0, oversampling: float = 1.0) -> np.ndarray:
    """Disc of 0.7 of the field of view with two inserts, float64 ``[height, width]``; rows may be oversampled."""
    y = (np.arange(height) - height // 2)[:, None] * (2 * oversampling / height)
    x = (np.arange(width) - width // 2)[None] * (2 / width)
    image = 0.6 * (y**2 + x**2 < 0.7**2) + 0.4 * ((y + 0.25) ** 2 + (x - 0.2) ** 2 < 0.15**2)
    return image - 0.3 * ((y - 0.3) ** 2 + (x + 0.1) ** 2 < (0.1 + 0.03 * variant) ** 2)


def coil_maps(count: int, height: int, width: int) -> np.ndarray:
    """Smooth complex maps ``[coils, height, width]`` whose squares add up to 1."""
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    angles = 2 * np.pi * np.arange(count)[:, None, None] / count
    far = (y - 1.1 * np.sin(angles)) ** 2 + (x - 1.1 * np.cos(angles)) ** 2
    maps = np.exp(-far / 1.5 + 1j * (0.6 * x * np.cos(angles) + 0.6 * y * np.sin(angles) + angles))
    return maps / np.sqrt((np.abs(maps) ** 2).sum(0))


def centred(image: np.ndarray) -> np.ndarray:
    """Centred orthonormal transform of the last two axes."""
    shifted = np.fft.fft2(np.fft.ifftshift(image, (-2, -1)), norm="ortho")
    return np.fft.fftshift(shifted, (-2, -1))


def image_of(kspace: np.ndarray) -> np.ndarray:
    """Its inverse."""
    shifted = np.fft.ifft2(np.fft.ifftshift(kspace, (-2, -1)), norm="ortho")
    return np.fft.fftshift(shifted, (-2, -1))
