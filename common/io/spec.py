"""Description of an image on disk: axes, size, type, geometry and meaning of its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal

import numpy as np
from common.errors import DataError
from common.io.geometry import SPATIAL, Geometry
from common.io.intensity import Intensity

AXES = ("coil", "t", "z", "y", "x")
"""Names and order of the axes of every source; x runs along a row."""

Region = tuple[slice, ...]
"""One slice for each axis, with start and stop and without a step."""

Kind = Literal["image", "kspace", "noncartesian"]

_SLAB = 2**24  # values that are read at once when a whole image is passed over


@dataclass(frozen=True, eq=False)
class Spec:
    """Everything about an image or k-space on disk but its values.

    Attributes:
        axes: names of the axes, some of `AXES` in that order; y and x are always there.
        shape: size along each axis.
        dtype: type of the stored values, native byte order; complex for k-space and complex images.
        geometry: place of the pixels and frames. For k-space it is that of the image which the inverse Fourier
            transform of the whole matrix gives: field of view over matrix, both of the encoded space. For non-Cartesian
            samples it is that of the image of ``recon_shape``.
        kind: "image"; "kspace": centred (DC at H//2, W//2), orthonormal; or "noncartesian": samples of k-space along
            readouts, y the readouts and x the samples of each, whose places are the companion "trajectory".
        intensity: meaning of the stored values, see :class:`~common.io.Intensity`.
        recon_shape: (height, width) of the image that the header of k-space asks for, cropped at the centre from
            that of the whole matrix; ``None``: the whole. Non-Cartesian samples always have it.
        dataset: name inside of a file that holds several images.
        native: what only the same format can take over to an output, such as a NIfTI header or DICOM tags; an object
            of a class of the format's module, which other formats leave alone.
    """

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    geometry: Geometry
    kind: Kind = "image"
    intensity: Intensity = field(default_factory=Intensity)
    recon_shape: tuple[int, int] | None = None
    dataset: str = "image"
    native: Any = None

    def size(self, axis: str) -> int:
        """Size along an axis; 1 if there is no such axis."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def region(self, **parts: int | slice) -> Region:
        """The region of some parts of some axes, whole along the others; a number is one entry.

        Example: ``spec.region(z=3, y=slice(0, 256))``.

        Raises:
            ValueError: for an axis that the image lacks, or a part outside of it.
        """
        if unknown := [axis for axis in parts if axis not in self.axes]:
            raise ValueError(f"expected parts of the axes {', '.join(self.axes)}, got {', '.join(unknown)}")
        given = [parts.get(axis, slice(None)) for axis in self.axes]
        return self.checked_region([part if isinstance(part, slice) else slice(part, part + 1) for part in given])

    def checked_region(self, region: Sequence[slice]) -> Region:
        """The same region with start and stop of each axis.

        Raises:
            ValueError: for another number of axes, a step, nothing, or a part outside of the image.
        """
        if len(region) != len(self.shape):
            raise ValueError(f"expected a region of {len(self.shape)} axes ({', '.join(self.axes)}), got {len(region)}")
        parts = []
        for axis, part, size in zip(self.axes, region, self.shape, strict=True):
            start, stop = part.start or 0, size if part.stop is None else part.stop
            if part.step not in (None, 1) or not 0 <= start < stop <= size:
                raise ValueError(f"expected a part of 0:{size} along {axis}, got {part.start}:{part.stop}")
            parts.append(slice(int(start), int(stop)))
        return tuple(parts)

    @property
    def spatial_axes(self) -> tuple[str, ...]:
        """``("z", "y", "x")`` or ``("y", "x")``."""
        return tuple(axis for axis in self.axes if axis in SPATIAL)

    @property
    def n_values(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def n_bytes(self) -> int:
        """Size of the values, uncompressed."""
        return self.n_values * self.dtype.itemsize

    def enlarged(self, scale: Mapping[str, int]) -> Spec:
        """The same field of view in ``scale`` times as many pixels along some spatial axes."""
        shape = tuple(n * scale.get(axis, 1) for axis, n in zip(self.axes, self.shape, strict=True))
        return replace(self, shape=shape, geometry=self.geometry.enlarged(scale))

    def as_image(self, dtype: Any, **changes: Any) -> Spec:
        """Spec of one image for all coils, such as a mask or a reconstruction."""
        axes = tuple(axis for axis in self.axes if axis != "coil")
        shape = tuple(self.size(axis) for axis in axes)
        if self.kind == "noncartesian" and self.recon_shape is not None:
            shape = (*shape[:-2], *self.recon_shape)
        own = {"shape": shape, "recon_shape": None, **changes}
        return replace(self, axes=axes, dtype=np.dtype(dtype), kind="image", **own)

    def as_meant(self) -> Spec:
        """The spec of an output whose format has no slope: of the values that the stored ones stand for.

        Unchanged without slope and intercept; else float32, or float64 if the stored type has more than 24 bits.
        """
        if not self.intensity.is_scaled:
            return self
        wide = self.dtype.itemsize > (4 if self.dtype.kind == "f" else 2)
        dtype = np.dtype(np.float64 if wide else np.float32)
        return replace(self, dtype=dtype, intensity=self.intensity.as_meant())

    def __str__(self) -> str:
        """Axes, size and type for a person, such as ``12 x 256 x 256 (z, y, x) uint16``."""
        return f"{' x '.join(map(str, self.shape))} ({', '.join(self.axes)}) {self.dtype.name}"


def checked_spec(name: str, spec: Spec) -> Spec:
    """Return the spec itself, in native byte order, if it can be that of an image.

    Args:
        name: the file, for errors.
        spec: to be checked.

    Raises:
        DataError: for an image without pixels, values that are no numbers, or k-space that is not complex.
    """
    ordered = tuple(axis for axis in AXES if axis in spec.axes)
    if spec.axes != ordered or spec.axes[-2:] != ("y", "x") or len(spec.shape) != len(spec.axes):
        raise ValueError(f"{name}: expected some of the axes {', '.join(AXES)}, got {', '.join(spec.axes)}")
    if min(spec.shape) < 1:
        raise DataError(f"{name}: expected an image of at least one pixel, got {list(spec.shape)}; remove the file")
    dtype = np.dtype(spec.dtype)
    if dtype.kind not in "buifc" or dtype.itemsize > (16 if dtype.kind == "c" else 8):
        raise DataError(f"{name}: expected real or complex numbers of at most 64 bits, got {dtype}; convert them")
    if spec.kind != "image" and dtype.kind != "c":
        raise DataError(
            f"{name}: expected complex k-space, got {dtype}; store complex64, or pass kind='image' if these are images"
        )
    if spec.geometry.axes != spec.spatial_axes:
        raise ValueError(f"{name}: geometry of {spec.geometry.axes} for an image of {spec.axes}")
    times = spec.geometry.frame_times_s
    if times is not None and len(times) != spec.size("t"):
        raise ValueError(f"{name}: {len(times)} frame times for {spec.size('t')} frames")
    return replace(spec, dtype=dtype.newbyteorder("="), shape=tuple(int(n) for n in spec.shape))


def slabs(shape: Sequence[int]) -> Iterator[Region]:
    """Regions of bounded size that together are an array, in the order of its values."""
    axis = next((n for n in range(len(shape)) if np.prod(shape[n + 1 :], dtype=object) <= _SLAB), len(shape) - 1)
    step = max(_SLAB // int(np.prod(shape[axis + 1 :], dtype=object)), 1)
    rest = [slice(0, n) for n in shape[axis + 1 :]]
    for index in product(*(range(n) for n in shape[:axis])):
        for start in range(0, shape[axis], step):
            yield (*(slice(n, n + 1) for n in index), slice(start, min(start + step, shape[axis])), *rest)
