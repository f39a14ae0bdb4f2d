"""Where the pixels of an image lie, and where those of the enlarged image do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

MILLIMETERS = {
    "nanometer": 1e-6,
    "micrometer": 1e-3,
    "millimeter": 1.0,
    "centimeter": 10.0,
    "inch": 25.4,
    "meter": 1e3,
}
_SPELLINGS = {
    "nm": "nanometer",
    "um": "micrometer",
    "\u00b5m": "micrometer",  # micro sign
    "\u03bcm": "micrometer",  # Greek mu
    "\\u00b5m": "micrometer",  # as ImageJ writes it
    "micron": "micrometer",
    "microns": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "in": "inch",
    "m": "meter",
}


def unit_name(text: str | None) -> str | None:
    """A unit of length by its full name, or ``None`` if ``text`` is not one of `MILLIMETERS`."""
    name = (text or "").strip().strip("\0").lower()
    name = _SPELLINGS.get(name, name)
    return name if name in MILLIMETERS else None


@dataclass(frozen=True)
class Geometry:
    """Where the pixel centres of an image lie. Axes are (height, width) or (height, width, depth).

    Attributes:
        spacing: distance of neighbours along each axis, ``None`` where unknown.
        origin: place of the first pixel's centre along each axis.
        unit: of both, one of `MILLIMETERS`; ``None`` if unknown.
        nifti_header: header of a NIfTI file, with its affine matrices and all else it says.
    """

    spacing: tuple[float | None, ...]
    origin: tuple[float, ...]
    unit: str | None = None
    nifti_header: Any = None

    @staticmethod
    def unknown(n_axes: int) -> Geometry:
        """Of an image that says nothing."""
        return Geometry((None,) * n_axes, (0.0,) * n_axes)

    def enlarged(self, scale: Sequence[int]) -> Geometry:
        """Of the same field of view in ``scale`` times as many pixels: the outer edges stay where they are.

        Pixels become smaller, so the first centre moves towards the edge by half the difference: an axis of spacing
        1 mm from 0 mm, enlarged four times, has spacing 0.25 mm from -0.375 mm.
        """
        spacing = tuple(None if step is None else step / n for step, n in zip(self.spacing, scale, strict=True))
        origin = tuple(
            start if step is None else start + step * (1 / n - 1) / 2
            for start, step, n in zip(self.origin, self.spacing, scale, strict=True)
        )
        header = None if self.nifti_header is None else enlarged_nifti_header(self.nifti_header, scale)
        return replace(self, spacing=spacing, origin=origin, nifti_header=header)

    def in_unit(self, unit: str) -> Geometry:
        """The same in another unit; unchanged if the unit is unknown or that one already."""
        if self.unit is None or self.unit == unit:
            return self
        factor = MILLIMETERS[self.unit] / MILLIMETERS[unit]
        spacing = tuple(None if step is None else step * factor for step in self.spacing)
        return replace(self, spacing=spacing, origin=tuple(n * factor for n in self.origin), unit=unit)


def enlargement_matrix(scale: Sequence[int], n_axes: int = 3) -> np.ndarray:
    """Homogeneous matrix from pixel indices of the enlarged image to those of the image, edges kept.

    An affine matrix of the image times this one is that of the enlarged image. Axes beyond ``scale`` stay.

    Args:
        scale: enlargement along the first axes.
        n_axes: axes of the affine matrix, which has one row and column more.

    Returns:
        float64 ``(n_axes + 1, n_axes + 1)``; for example ``index / 4 - 0.375`` along an axis enlarged four times.
    """
    matrix = np.eye(n_axes + 1)
    for axis, factor in enumerate(scale[:n_axes]):
        matrix[axis, axis] = 1 / factor
        matrix[axis, -1] = (1 / factor - 1) / 2
    return matrix


def enlarged_nifti_header(header: Any, scale: Sequence[int]) -> Any:
    """A copy of a nibabel header with the affine matrices of the enlarged image.

    Numbers and sizes of voxels are left to the writer. What is said of the order in which slices were measured
    is dropped, since they are other slices now.
    """
    header = header.copy()
    matrix = enlargement_matrix(scale)
    sform, qform = header.get_sform(coded=True), header.get_qform(coded=True)
    for (affine, code), put in ((sform, header.set_sform), (qform, header.set_qform)):
        if code:
            put(affine @ matrix, int(code))
    for field in ("slice_start", "slice_end", "slice_code", "slice_duration"):
        header[field] = 0
    return header
