"""Place of pixels in space and of frames in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

MILLIMETERS = {"nanometer": 1e-6, "micrometer": 1e-3, "millimeter": 1.0, "centimeter": 10.0, "inch": 25.4, "meter": 1e3}
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
SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond"), 1e-3),
    **dict.fromkeys(("us", "usec", "microsecond"), 1e-6),
    **dict.fromkeys(("min", "minute"), 60.0),
    **dict.fromkeys(("h", "hour"), 3600.0),
}
"""Units of time, in the spellings of files."""

SPATIAL = ("z", "y", "x")
"""Names of the spatial axes, in the order in which a source has them."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From the coordinates of DICOM and ITK (left, posterior, superior) to those of NIfTI, or back."""


def unit_name(text: str | None) -> str | None:
    """Return the full name of a unit of length, or ``None`` if ``text`` is none of `MILLIMETERS`."""
    name = (text or "").strip().strip("\0").lower()
    name = _SPELLINGS.get(name, name)
    return name if name in MILLIMETERS else None


@dataclass(frozen=True, eq=False)
class Geometry:
    """Place of the pixel centres of an image, as its file gives it; never guessed.

    A file gives one of three: an affine matrix (position and orientation), spacing alone (with or without the
    position of the first pixel), or nothing.

    Attributes:
        axes: the spatial axes, ``("y", "x")`` or ``("z", "y", "x")``.
        spacing: distance of neighbouring pixel centres along each axis, in ``unit``; ``None`` where unknown.
        unit: unit of ``spacing`` and ``origin``, one of `MILLIMETERS`; ``None`` if the file gives none.
        origin: position of the first pixel's centre along each axis, in ``unit``; without meaning beside ``affine``.
        affine: float64 ``(4, 4)``, from index (x, y, z, 1) to mm, right, anterior, superior; ``None`` if the file gives
            no orientation. The third column of a 2-D image is the normal times the slice thickness. ``spacing`` is in
            mm then, and agrees with it.
        frame_times_s: time of each frame of an image with axis t; ``None`` if unknown.
    """

    axes: tuple[str, ...]
    spacing: tuple[float | None, ...]
    unit: str | None = None
    origin: tuple[float, ...] = ()
    affine: np.ndarray | None = None
    frame_times_s: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.axes != SPATIAL[-len(self.axes) :] or len(self.spacing) != len(self.axes):
            raise ValueError(
                f"expected a spacing for each of the axes (z, y, x) or (y, x), got {list(self.spacing)} for "
                f"{', '.join(self.axes)}"
            )
        if self.origin == ():
            object.__setattr__(self, "origin", (0.0,) * len(self.axes))

    @staticmethod
    def unknown(axes: Sequence[str], frame_times_s: Sequence[float] | None = None) -> Geometry:
        """Geometry of an image without spatial metadata; ``axes`` may include others than the spatial ones."""
        spatial = tuple(axis for axis in axes if axis in SPATIAL)
        times = None if frame_times_s is None else tuple(frame_times_s)
        return Geometry(spatial, (None,) * len(spatial), frame_times_s=times)

    @staticmethod
    def of_spacing(
        axes: Sequence[str],
        spacing: Mapping[str, float | None],
        unit: str | None,
        origin: Mapping[str, float] | None = None,
        frame_times_s: Sequence[float] | None = None,
    ) -> Geometry:
        """Geometry of an image whose file gives distances and no orientation.

        Args:
            axes: axes of the image; others than the spatial ones are left out.
            spacing: distance of pixel centres for some of the axes; values that are not positive and finite count as
                unknown, because files write 0 for that.
            unit: a unit of length in any spelling; ``None`` or another text: unknown.
            origin: position of the first centre for some of the axes.
            frame_times_s: time of each frame.
        """
        spatial = tuple(axis for axis in axes if axis in SPATIAL)
        steps = tuple(_positive(spacing.get(axis)) for axis in spatial)
        known = unit_name(unit) if any(step is not None for step in steps) else None
        start = tuple(float((origin or {}).get(axis, 0.0)) for axis in spatial)
        times = None if frame_times_s is None else tuple(float(n) for n in frame_times_s)
        return Geometry(spatial, steps, known, start, None, times)

    @staticmethod
    def of_affine(axes: Sequence[str], affine: np.ndarray, frame_times_s: Sequence[float] | None = None) -> Geometry:
        """Geometry of an image whose file gives an affine matrix in mm, see the class.

        Raises:
            ValueError: if the matrix is not finite, or maps two directions to one.
        """
        matrix = np.array(affine, np.float64)
        steps = np.linalg.norm(matrix[:3, :3], axis=0)
        if (
            matrix.shape != (4, 4)
            or not np.isfinite(matrix).all()
            or abs(np.linalg.det(matrix[:3, :3])) < 1e-12 * max(float(np.prod(steps)), 1e-300)
        ):
            raise ValueError(f"expected an invertible affine matrix (4, 4), got {matrix.tolist()}")
        matrix.setflags(write=False)
        spatial = tuple(axis for axis in axes if axis in SPATIAL)
        spacing = tuple(float(steps["xyz".index(axis)]) for axis in spatial)
        times = None if frame_times_s is None else tuple(float(n) for n in frame_times_s)
        return Geometry(spatial, spacing, "millimeter", (0.0,) * len(spatial), matrix, times)

    @property
    def spacing_mm(self) -> tuple[float | None, ...]:
        """Distance of neighbouring pixel centres in mm along each axis; ``None`` where distance or unit is unknown."""
        if self.unit is None:
            return (None,) * len(self.spacing)
        factor = MILLIMETERS[self.unit]
        return tuple(None if step is None else step * factor for step in self.spacing)

    @property
    def steps(self) -> dict[str, float | None]:
        """Spacing by axis, in ``unit``."""
        return dict(zip(self.axes, self.spacing, strict=True))

    @property
    def frame_interval_s(self) -> float | None:
        """Mean time from frame to frame; ``None`` if unknown, and of one frame."""
        times = self.frame_times_s
        return (times[-1] - times[0]) / (len(times) - 1) if times is not None and len(times) > 1 else None

    def in_unit(self, unit: str) -> Geometry:
        """The same geometry in another unit; unchanged if the unit is unknown, that one, or given by an affine."""
        if self.unit is None or self.unit == unit or self.affine is not None:
            return self
        spacing = tuple(None if step is None else converted(step, self.unit, unit) for step in self.spacing)
        origin = tuple(converted(n, self.unit, unit) for n in self.origin)
        return replace(self, spacing=spacing, origin=origin, unit=unit)

    def enlarged(self, scale: Mapping[str, int]) -> Geometry:
        """The same field of view in ``scale`` times as many pixels: the outer edges stay where they are.

        Pixels become smaller, so the first centre moves towards the edge by half the difference: an axis of spacing
        1 mm from 0 mm, enlarged four times, has spacing 0.25 mm from -0.375 mm. Frames are not enlarged.
        """
        factors = [scale.get(axis, 1) for axis in self.axes]
        spacing = tuple(None if step is None else step / n for step, n in zip(self.spacing, factors, strict=True))
        origin = tuple(
            start if step is None else start + step * (1 / n - 1) / 2
            for start, step, n in zip(self.origin, self.spacing, factors, strict=True)
        )
        affine = self.affine
        if affine is not None:
            affine = affine @ enlargement_matrix([scale.get(axis, 1) for axis in "xyz"])
            affine.setflags(write=False)
        return replace(self, spacing=spacing, origin=origin, affine=affine)

    def cropped(self, start: Mapping[str, int], frames: slice | None = None) -> Geometry:
        """Geometry of the part of an image that begins at pixel ``start`` along some axes, and of some frames."""
        origin = tuple(
            first if step is None else first + step * start.get(axis, 0)
            for axis, first, step in zip(self.axes, self.origin, self.spacing, strict=True)
        )
        affine = self.affine
        if affine is not None:
            affine = affine.copy()
            affine[:3, 3] += affine[:3, :3] @ [start.get(axis, 0) for axis in "xyz"]
            affine.setflags(write=False)
        times = None if self.frame_times_s is None else self.frame_times_s[frames or slice(None)]
        return replace(self, origin=origin, affine=affine, frame_times_s=times)

    def without(self, axis: str) -> Geometry:
        """Geometry of one slice, the first one along ``z``, or of one frame, if ``axis`` is ``"t"``.

        Raises:
            ValueError: for another axis.
        """
        if axis == "t":
            return replace(self, frame_times_s=None)
        if axis != "z" or "z" not in self.axes:
            raise ValueError(f"expected an image of one slice or frame, along z or t, got {axis!r}")
        return replace(self, axes=self.axes[1:], spacing=self.spacing[1:], origin=self.origin[1:])

    def agrees(self, other: Geometry, rtol: float = 1e-5) -> bool:
        """Return True if both give the same places and times, to a relative tolerance, whatever their units."""
        if self.axes != other.axes or (self.affine is None) != (other.affine is None):
            return False
        if (self.frame_times_s is None) != (other.frame_times_s is None):
            return False
        if self.frame_times_s is not None and not np.allclose(self.frame_times_s, other.frame_times_s or (), rtol=rtol):
            return False
        if self.affine is not None and other.affine is not None:
            size = float(np.abs(self.affine).max())
            return np.allclose(self.affine, other.affine, rtol=rtol, atol=rtol * size)
        one, two = self.in_unit("millimeter"), other.in_unit("millimeter")
        if one.unit != two.unit or [n is None for n in one.spacing] != [n is None for n in two.spacing]:
            return False
        pairs = [*zip(one.spacing, two.spacing, strict=True), *zip(one.origin, two.origin, strict=True)]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        return all(np.isclose(a, b, rtol=rtol, atol=rtol * max(map(abs, (*one.origin, 1e-9)))) for a, b in known)

    def __str__(self) -> str:
        """Spacing for a person, such as ``0.5 x 0.5 x 2 mm (x, y, z)``."""
        if all(step is None for step in self.spacing):
            return "pixel size unknown"
        steps = " x ".join("?" if step is None else f"{step:.6g}" for step in self.spacing[::-1])
        return f"{steps} {self.unit or 'of unknown unit'} ({', '.join(self.axes[::-1])})"


def even_times(n: int, interval_s: float | None, first_s: float = 0.0) -> list[float] | None:
    """Times of ``n`` frames with one interval; ``None`` for an interval that is unknown or cannot be one."""
    if interval_s is None or not 0 < interval_s < np.inf:
        return None
    return [first_s + k * interval_s for k in range(n)]


def converted(length: float, unit: str, other: str) -> float:
    """Return a length in another unit, both of `MILLIMETERS`."""
    return _rounded(length * (MILLIMETERS[unit] / MILLIMETERS[other])) if unit != other else length


def _positive(value: float | None) -> float | None:
    return float(value) if value is not None and 0 < value < np.inf else None


def _rounded(value: float) -> float:
    """A number free of what a change of units leaves in its last digits: 650.0000000000001 becomes 650."""
    return float(f"{value:.14g}")


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
