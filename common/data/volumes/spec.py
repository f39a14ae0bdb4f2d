"""What there is to know of an image on disk before its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from common.data.dicom import DicomSeries
from common.data.volumes.geometry import Geometry
from common.errors import DataError

Region = tuple[slice, ...]


@dataclass(frozen=True)
class VolumeSpec:
    """Size, type and geometry of a grey image or volume. Axes are (height, width) or (height, width, depth).

    Of formats that keep slices one after the other the slices are the depth. A NIfTI array is taken as it is: first
    axis height, second width, third depth.

    Attributes:
        shape: pixels along each axis.
        dtype: of the stored values, real; the byte order is that of the file.
        geometry: see :class:`~common.data.volumes.Geometry`.
        rescale: slope and intercept from stored values to those they stand for.
        dataset: name inside of files that hold several images.
        slice_names: file names of the slices, where each is a file.
        limits: smallest and largest value that may be stored, where they are not those of the type.
        series: the DICOM series that it comes from, of the size that it had there.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    geometry: Geometry
    rescale: tuple[float, float] = (1.0, 0.0)
    dataset: str = "image"
    slice_names: tuple[str, ...] | None = None
    limits: tuple[int, int] | None = None
    series: DicomSeries | None = None

    def enlarged(self, scale: Sequence[int]) -> VolumeSpec:
        """Of the same field of view in ``scale`` times as many pixels along each axis."""
        shape = tuple(n * factor for n, factor in zip(self.shape, scale, strict=True))
        names = self.slice_names if len(scale) == 3 and scale[2] == 1 else None
        return replace(self, shape=shape, geometry=self.geometry.enlarged(scale), slice_names=names)

    @property
    def n_bytes(self) -> int:
        """Size of the values, uncompressed."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def checked_spec(name: str, spec: VolumeSpec) -> VolumeSpec:
    """The spec itself, if it is that of a real image or volume.

    Raises:
        DataError: for other numbers of axes, no pixels, or values that are not real numbers.
    """
    if len(spec.shape) not in (2, 3) or 0 in spec.shape:
        raise DataError(f"{name}: expected an image or a volume of at least one pixel, got {list(spec.shape)}")
    if spec.dtype.kind not in "uif" or spec.dtype.itemsize > 8:
        raise DataError(f"{name}: expected real numbers of 8 to 64 bits, got {spec.dtype}; convert them")
    return spec
