"""Files of reconstructed series: what went in, what came out, and the truth, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from common.io.atomic import atomic_path

IMAGES = ("input", "result", "truth")


@dataclass(frozen=True)
class KeptSeries:
    """The images of one series in a file of their own, until all are there.

    Attributes:
        file: NumPy's ``.npy`` of `IMAGES`, the last one perhaps missing: float32 ``[2 or 3, height, width, frames]``.
        path: the file that the series comes from.
        truth_path: that of its truth, if it has one of its own.
        index: its number in that.
        intensity_range: the values in that file that are 0 and 1 here.
        size: height, width, frames.
    """

    file: Path
    path: str
    truth_path: str | None
    index: int
    intensity_range: tuple[float, float]
    size: tuple[int, int, int]

    def load(self) -> dict[str, np.ndarray]:
        """The images by name."""
        return dict(zip(IMAGES, np.load(self.file), strict=False))


def write_results(path: Path, series: Sequence[KeptSeries], attributes: Sequence[Mapping[str, Any]]) -> None:
    """Writes series of one size to an HDF5 file, which appears whole or not at all.

    ================  ==================================================================================
    input             float32 ``[N, H, W, T]``, magnitudes, in [0, 1] as the network saw them
    result, truth     likewise; ``truth`` where one series has it at least, NaN for the others
    sources           ``"<file>:<number of the series in it>"``
    intensity_range   float64 ``[N, 2]``: the values in the source file that are 0 and 1 here
    ================  ==================================================================================

    One chunk is one series. An attribute that all sources have is one of the result if they agree, and a data set of
    its name, ``[N, ...]``, if they differ in numbers.

    Args:
        path: the file to be.
        series: at least one.
        attributes: what the sources of each say, such as ``pixel_size_mm`` and ``frame_interval_s``.
    """
    size = series[0].size
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for n, kept in enumerate(series):
            for name, values in kept.load().items():
                if name not in file:
                    shape, chunks = (len(series), *size), (1, *size)
                    file.create_dataset(name, shape, np.float32, chunks=chunks, fillvalue=np.nan)
                file[name][n] = values
        file["sources"] = [f"{one.path}:{one.index}" for one in series]
        file["intensity_range"] = np.array([one.intensity_range for one in series], np.float64)
        for name in sorted(set.intersection(*map(set, attributes)) - set(file)):
            told = [np.asarray(said[name]) for said in attributes]
            if all(np.array_equal(told[0], other) for other in told):
                file.attrs[name] = attributes[0][name]
            elif len({(one.shape, one.dtype.kind) for one in told}) == 1 and told[0].dtype.kind in "biuf":
                file[name] = np.stack(told)
