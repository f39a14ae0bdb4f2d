"""Opening: the format module that reads or writes a path."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from common.errors import DataError, given_options
from common.io.geometry import MILLIMETERS, Geometry, unit_name
from common.io.handed import release
from common.io.naming import FORMATS, SUFFIXES, WRITTEN, Format, output_suffix, split_suffix
from common.io.sink import Sink
from common.io.source import Source
from common.io.spec import Spec


def module_of(one: Format) -> Any:
    """Return the module of a format, imported at its first use: libraries of others stay out of the process."""
    return import_module(f"common.io.formats.{one.module}")


@lru_cache
def _options_of(one: Format) -> list[str]:
    return list(inspect.signature(module_of(one).open_source).parameters)[1:]


def format_of(path: Path | str) -> Format | None:
    """Return the format of a file or folder, or ``None`` if it is none that is known.

    Raises:
        FileNotFoundError: there is no such file or folder.
    """
    try:
        return _format_of(Path(path))
    finally:
        release()


def _format_of(path: Path) -> Format | None:
    """Format of a path, whose file may be left open for the reader."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; check the path")
    if path.is_dir():
        return next((one for one in FORMATS if one.in_folders and module_of(one).recognises(path)), None)
    suffix = split_suffix(path)[1].lower()
    if not suffix:
        return next((one for one in FORMATS if one.any_name and module_of(one).recognises(path)), None)
    candidates = [one for one in FORMATS if suffix in one.suffixes]
    return next((one for one in candidates[:-1] if module_of(one).recognises(path)), candidates[-1])


def open_source(
    path: Path | str,
    *,
    spacing: Sequence[float] | Mapping[str, float] | None = None,
    unit: str = "millimeter",
    frame: int | None = None,
    fill: float | None = None,
    **options: Any,
) -> Source:
    """Open an image or k-space of any format, by the suffix of its name or by its contents; headers only.

    Options that several formats have, see docs/DATA.md: ``axes``, names of the axes of the stored array, such as
    "coil,y,x" (:func:`~common.io.layout.layout_of`); ``kind``, "image" or "kspace", of complex values; ``dc``, "centre"
    or "corner" (:class:`~common.io.kspace.KspaceSource`); ``channel``, the entry of an axis "channel"; ``dataset``, the
    name of an array in a file of several.

    Args:
        path: the file or folder.
        spacing: pixel size along the axes of the source, (y, x) or (z, y, x), or by axis, in place of what the file
            gives; not for files with an orientation.
        unit: unit of ``spacing``.
        frame: the frame to take from an image with axis t, which it loses.
        fill: value that replaces NaN and infinite ones, which are refused else.
        options: keyword arguments of the function ``open_source`` of the format's module; ``None`` counts as not given.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: for an option that the format does not have, or a missing one.
        DataError: the file is not what its suffix says, or cannot be used.
    """
    path = Path(path)
    found = _format_of(path)
    if found is None:
        raise DataError(
            f"{path}: no image of a known format; expected a file that ends in {', '.join(SUFFIXES)}, a DICOM file, "
            "or a folder of one volume; convert it"
        )
    given = {name: value for name, value in options.items() if value is not None}
    own = _options_of(found)
    refused = [name for name in given if name not in own]
    if refused:
        release()
        raise ValueError(
            f"{path}: {found.title} has no option {', '.join(refused)}; it has "
            f"{', '.join([*own, 'spacing', 'unit', 'frame', 'fill'])}"
        )
    common = {"spacing": spacing, "unit": None if spacing is None else unit, "frame": frame, "fill": fill}
    advised = {**given, **{name: value for name, value in common.items() if value is not None}}
    try:
        with given_options(advised):
            source: Source = module_of(found).open_source(path, **given)
    finally:
        release()
    source.options = advised
    try:
        if spacing is not None:
            source.spec = replace(source.spec, geometry=_with_spacing(source, spacing, unit))
        source.fill = fill
        if frame is not None:
            if "t" not in source.spec.axes:
                raise ValueError(f"{source.name}: frame {frame} was asked for, but it has no axis t: {source.spec}")
            source = source.select(t=frame)
    except BaseException:
        source.close()
        raise
    return source


def _with_spacing(source: Source, spacing: Sequence[float] | Mapping[str, float], unit: str) -> Geometry:
    name, axes, before = unit_name(unit), source.spec.spatial_axes, source.spec.geometry
    if name is None:
        raise ValueError(f"unit must be one of {', '.join(MILLIMETERS)}, got {unit!r}")
    if before.affine is not None:
        raise ValueError(f"{source.name}: has an orientation and pixel size of its own, {before}; leave spacing out")
    sizes = dict(spacing) if isinstance(spacing, Mapping) else dict(zip(axes, spacing, strict=False))
    if sizes.keys() != set(axes) or len(spacing) != len(axes) or not all(0 < n < float("inf") for n in sizes.values()):
        raise ValueError(f"spacing must be positive numbers for the axes ({', '.join(axes)}), got {spacing!r}")
    return Geometry.of_spacing(axes, sizes, name, frame_times_s=before.frame_times_s)


def open_sink(path: Path | str, like: Spec) -> Sink:
    """Open a writer by the suffix of a path; without a suffix a folder of slices. Nothing is written yet.

    The type of the values is kept, and slope and intercept where the format has them; else what they stand for is
    stored, as floating-point numbers. `Sink.spec` is that of the file to be. Geometry is kept as far as the format has
    a place for it, see ``docs/DATA.md``.

    Args:
        path: the file or folder to be.
        like: what is written: commonly the spec of a source, enlarged or with another type.

    Raises:
        DataError: if the format is not written, or cannot hold such an image.
    """
    path = Path(path)
    suffix = split_suffix(path)[1].lower()
    found = next((one for one in FORMATS if suffix in one.written), None)
    if not suffix and not path.suffix[1:].isalnum():  # "1.2.840_x4" has no suffix, "out.gif" has one that is not known
        wanted = getattr(like.native, "folder_format", "slices")
        found = next(one for one in FORMATS if one.module == wanted)
    if found is None:
        like_it = output_suffix(suffix)
        raise DataError(
            f"{path}: {suffix or path.suffix} is not written; choose --output_suffix "
            f"{like_it if like_it in WRITTEN else '.tif'}, another of {', '.join(WRITTEN)}, or no suffix "
            "for a folder of slices"
        )
    sink: Sink = module_of(found).open_sink(path, like)
    return sink
