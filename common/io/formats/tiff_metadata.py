"""Metadata of TIFF: axes, calibration and geometry of OME-XML, ImageJ and the tags."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from common.errors import DataError, source_option
from common.io.choice import chosen
from common.io.formats.tiff_file import OpenTiff
from common.io.geometry import SECONDS, Geometry, converted, even_times, unit_name
from common.io.intensity import Intensity
from common.io.orientation import is_transposed

logger = logging.getLogger("recon")


_NAMES = {"T": "t", "Z": "z", "Y": "y", "X": "x"}
_UNNAMED = "IQ"  # pages in a row, of which the file says no more: slices
_TAG_UNITS = {2: "inch", 3: "centimeter"}
_STRAIGHT_LINE, _NO_CALIBRATION = 0, 20  # ImageJ's function codes


def axes_of(series: Any, channel: int | None, path: Path) -> tuple[tuple[str, ...], tuple[int, ...], list[int]]:
    """Axes before y and x, their sizes, and the pages of the image in that order."""
    sizes = dict(zip(series.axes, series.shape, strict=True))
    leading = [axis for axis in series.axes if axis not in "YXS"]
    described = f"{' x '.join(map(str, series.shape))} with axes {series.axes}"
    if not series.axes.replace("S", "").endswith("YX") or len(set(series.axes)) != len(series.axes):
        raise DataError(f"{path}: expected pages of rows and columns, got {described}; save it as grey pages")
    if "S" in series.axes and not series.axes.endswith("S"):
        raise DataError(f"{path}: expected the samples of a pixel side by side, got {described}; save it as grey")
    unknown = [axis for axis in leading if sizes[axis] > 1 and axis not in ("T", "Z", "C", *_UNNAMED)]
    stacks = [axis for axis in leading if sizes[axis] > 1 and axis in ("Z", *_UNNAMED)]
    if unknown or len(stacks) > 1:
        raise DataError(
            f"{path}: expected axes for slices (Z) and time (T), got {described}; save one of them by itself"
        )
    channel = chosen(range(sizes.get("C", 1)), channel, "channel", "channel", f"{path} ({described})")
    numbers = np.arange(math.prod(sizes[axis] for axis in leading)).reshape([sizes[axis] for axis in leading])
    if "C" in leading:
        place = leading.index("C")
        numbers, leading = numbers.take(channel, axis=place), leading[:place] + leading[place + 1 :]
    names = ["z" if axis in _UNNAMED else _NAMES.get(axis, "") for axis in leading]
    kept = [n for n in range(len(leading)) if numbers.shape[n] > 1]  # OME names all five axes of any image
    kept.sort(key=lambda n: "tz".index(names[n]))
    order = [*kept, *(n for n in range(len(leading)) if n not in kept)]
    ordered = numbers.transpose(order)
    shape = ordered.shape[: len(kept)]
    return tuple(names[n] for n in kept), shape, [int(n) for n in ordered.ravel()]


def calibration_of(tiff: tifffile.TiffFile, page: Any, path: Path) -> tuple[Intensity, int]:
    """Meaning of the stored values, and what is added to read uint16 as the int16 that ImageJ means (else 0)."""
    metadata = (tiff.imagej_metadata or {}) if tiff.is_imagej else {}
    function = int(metadata.get("cf", _NO_CALIBRATION))
    if function == _NO_CALIBRATION:
        return Intensity(), 0
    if function != _STRAIGHT_LINE:
        raise DataError(
            f"{path}: expected no calibration or a straight line, got ImageJ's function {function}; convert the values "
            "(in ImageJ: Process, Math, Apply calibration), or remove the calibration"
        )
    intercept, slope = float(metadata.get("c0", 0.0)), float(metadata.get("c1", 1.0))
    if page.dtype == np.uint16 and (intercept, slope) == (-32768.0, 1.0):
        return Intensity(), -32768
    quantity = str(metadata.get("vunit") or "") or None
    return Intensity(slope=slope, intercept=intercept, quantity=quantity), 0


def geometry_of(opened: OpenTiff, leading: tuple[str, ...], orientation: int) -> Geometry:
    """Pixel size from OME's or ImageJ's metadata, else from resolution tags with a unit."""
    tiff, axes = opened.tiff, (*leading, "y", "x")
    steps: dict[str, float | None] = {}
    unit: str | None = None
    interval: float | None = None
    if tiff.is_ome and tiff.ome_metadata:
        try:
            steps, unit, interval = _ome_sizes(tiff.ome_metadata, opened.index)
        except (ElementTree.ParseError, ValueError) as error:
            logger.warning(
                f"{opened.path}: pixel sizes are unknown, as its OME-XML cannot be read ({error}); pass them: "
                + source_option("spacing", [1.0, 1.0])
            )
    else:
        page: Any = opened.series.keyframe
        for axis, tag in (("y", "YResolution"), ("x", "XResolution")):
            ratio = page.tags.valueof(tag)  # pixels per unit
            steps[axis] = None if ratio is None or 0 in ratio else ratio[1] / ratio[0]
        unit = _TAG_UNITS.get(int(page.tags.valueof("ResolutionUnit") or 0))
        if tiff.is_imagej:
            metadata = tiff.imagej_metadata or {}
            unit = unit_name(str(metadata.get("unit") or "")) or unit
            steps["z"] = float(metadata.get("spacing") or 0)
            factor = SECONDS.get(str(metadata.get("tunit") or "s").strip().lower())
            interval = None if factor is None else float(metadata.get("finterval") or 0) * factor
    if is_transposed(orientation):
        steps["y"], steps["x"] = steps.get("x"), steps.get("y")
    is_timed = "t" in leading
    times = even_times(opened.series.shape[opened.series.axes.index("T")], interval) if is_timed else None
    if unit is None:
        return Geometry.unknown(axes, times)
    return Geometry.of_spacing(axes, steps, unit, frame_times_s=times)


def _ome_sizes(text: str, image: int) -> tuple[dict[str, float | None], str | None, float | None]:
    """Pixel sizes in micrometers by axis, their unit, and the time from frame to frame in seconds."""
    pixels = ElementTree.fromstring(text).findall(".//{*}Pixels")[image:]
    if not pixels:
        return {}, None, None
    steps: dict[str, float | None] = {}
    for axis in "YXZ":
        size = float(pixels[0].get(f"PhysicalSize{axis}", 0))
        unit = unit_name(pixels[0].get(f"PhysicalSize{axis}Unit", "um"))
        steps[axis.lower()] = converted(size, unit, "micrometer") if unit else None
    factor = SECONDS.get(pixels[0].get("TimeIncrementUnit", "s"))
    interval = float(pixels[0].get("TimeIncrement", 0)) * factor if factor else None
    return steps, "micrometer", interval
