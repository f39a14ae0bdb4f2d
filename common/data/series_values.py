"""Values of single series: images, k-space with its mask, and non-Cartesian samples with their places."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from common.io import AXES, Region, Source
from common.io.source import DerivedSource
from common.operators.coils import root_sum_of_squares
from common.operators.fourier import ifft2c
from common.operators.gridding import average_coil_images
from common.operators.series import frames_to_batch


class SeriesImages(DerivedSource):
    """Images of a source a series at a time, for one pass over them; of k-space the zero-filled magnitudes.

    Of non-Cartesian samples each frame is the mean of all. Blocks of other sources are single frames, whose values lie
    far from each other where time is stored last.

    Args:
        source: images, k-space or samples.
        beside: mask of k-space or trajectory of samples.
    """

    def __init__(self, source: Source, beside: Source | None) -> None:
        self._beside, spec = beside, source.spec
        if spec.kind != "image":
            spec = spec.as_image(np.float32)
        super().__init__(source, spec)

    def blocks(self) -> Iterator[Region]:
        """One region for each series."""
        for index in range(self.spec.size("z")):
            yield series_region(self, index)

    def _read(self, region: Region) -> np.ndarray:
        kind = self._source.spec.kind
        if kind == "image":
            return self._source.read(region)
        index = region[self.spec.axes.index("z")].start if "z" in self.spec.axes else 0
        if kind == "noncartesian" and self._beside is not None:
            samples, trajectory = map(torch.from_numpy, read_noncartesian(self._source, self._beside, index))
            images = average_coil_images(samples, trajectory, (self.spec.size("y"), self.spec.size("x")))
            values = root_sum_of_squares(images)[:, 0].expand(len(samples), -1, -1).numpy()
        else:
            kspace, _ = read_measured(self._source, self._beside, index)
            frames = frames_to_batch(torch.from_numpy(kspace.astype(np.complex64))[None])
            values = root_sum_of_squares(ifft2c(frames))[:, 0].numpy()
        return values[:, None] if "z" in self.spec.axes else values


def series_region(source: Source, index: int) -> Region:
    """Region of one series, whole along all axes but z."""
    if "z" not in source.spec.axes:
        return source.spec.region()
    return source.spec.region(z=index if source.spec.size("z") > 1 else 0)  # one mask may be that of all series


def read_series(source: Source, index: int) -> np.ndarray:
    """Stored values of one series as `time_last` has them."""
    return time_last(source, source.read(series_region(source, index)))


def time_last(source: Source, values: np.ndarray) -> np.ndarray:
    """Values of one series as ``[n_coils, height, width, frames]``; axes that are not there have one entry."""
    missing = tuple(n for n, axis in enumerate(AXES) if axis not in source.spec.axes)
    return np.moveaxis(np.expand_dims(values, missing)[:, :, 0], 1, -1)


def read_measured(kspace: Source, mask: Source | None, index: int) -> tuple[np.ndarray, np.ndarray]:
    """K-space of one series, 0 where not sampled, and its mask, bool ``[1, height, width, frames]``.

    Without a mask the samples are what is not 0 in all coils.
    """
    values = read_series(kspace, index)
    if mask is None:
        sampled = (values != 0).any(0, keepdims=True)
    else:
        sampled = np.broadcast_to(read_series(mask, index), (1, *values.shape[1:]))
    return values * sampled, sampled


def read_noncartesian(samples: Source, trajectory: Source, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of one series, complex64 ``[frames, n_coils, readouts, samples]``, and their places, row and column."""
    values = read_series(samples, index).transpose(3, 0, 1, 2)
    places = read_series(trajectory, index)[0].transpose(2, 0, 1)
    return values.astype(np.complex64), np.stack((places.imag, places.real), axis=-1)
