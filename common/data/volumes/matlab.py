"""MATLAB files up to version 7."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat, whosmat

from common.data.volumes.geometry import Geometry
from common.data.volumes.source import VolumeSource
from common.data.volumes.spec import Region, VolumeSpec
from common.errors import DataError, file_errors


class MatlabSource(VolumeSource):
    """An array ``(height, width)`` or ``(height, width, depth)`` of a MATLAB file, in MATLAB's order of axes.

    The array is read as a whole.

    Args:
        path: the file.
        dataset: name of the variable; ``None``: the only one with two or three axes and more than one value.
    """

    def __init__(self, path: Path, dataset: str | None = None) -> None:
        with file_errors(path, "a MATLAB file up to version 7 (save later ones as HDF5)"):
            found = {name: shape for name, shape, _ in whosmat(path)}
        arrays = [name for name, shape in found.items() if len(shape) in (2, 3) and np.prod(shape) > 1]
        if dataset is None and len(arrays) != 1:
            listed = ", ".join(arrays) or "none"
            raise DataError(f"{path}: expected one array with two or three axes, found {listed}; pass dataset=...")
        name = arrays[0] if dataset is None else dataset
        if name not in found:
            raise DataError(f"{path}: no array {name!r}, it holds {', '.join(found) or 'nothing'}")
        with file_errors(path, "a MATLAB file"):
            values: Any = loadmat(path, variable_names=[name])[name]
        self._values = np.asarray(values)
        shape = self._values.shape
        super().__init__(path, VolumeSpec(shape, self._values.dtype, Geometry.unknown(len(shape)), dataset=name))

    def read(self, region: Region) -> np.ndarray:
        """Values of the region."""
        return self._values[region]

    def close(self) -> None:
        """Nothing is open between reads."""
