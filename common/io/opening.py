"""The table of formats: which module reads and writes a path."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from common.errors import DataError
from common.io.geometry import MILLIMETERS, Geometry, unit_name
from common.io.sink import Sink
from common.io.source import Source
from common.io.spec import Spec


@dataclass(frozen=True)
class Format:
    """A format, one module of ``common.io.formats``.

    The module has ``open_source(path, *, <options>) -> Source``, and if the format is written
    ``open_sink(path, spec, block) -> Sink``. Where several formats share a suffix, or for folders and files of any
    name, it has ``recognises(path) -> bool`` too, which looks at the contents.

    Attributes:
        module: its name in ``common.io.formats``.
        title: for messages and documentation.
        suffixes: endings of file names, lower case; the first is that of outputs.
        in_folders: True if a folder can be one image of the format.
        any_name: True if files without a known suffix can be of the format.
    """

    module: str
    title: str
    suffixes: tuple[str, ...] = ()
    in_folders: bool = False
    any_name: bool = False

    def load(self) -> Any:
        """Return the module; libraries of formats that are not used stay out of the process."""
        return _modules()[self.module]

    @property
    def is_written(self) -> bool:
        """True if the format can be written."""
        return hasattr(self.load(), "open_sink")


def _modules() -> dict[str, ModuleType]:
    """Format modules by name, imported where they are needed: they import this module, too.

    They are written out, and not imported by name, so that packaging finds them.
    """
    from common.io.formats import (
        bart,
        cine_hdf5,
        dicom,
        fastmri,
        hdf5,
        ismrmrd,
        itk,
        matlab,
        nifti,
        npy,
        picture,
        raw,
        slices,
        tiff,
        zarr,
    )

    modules = (
        bart,
        cine_hdf5,
        dicom,
        fastmri,
        hdf5,
        ismrmrd,
        itk,
        matlab,
        nifti,
        npy,
        picture,
        raw,
        slices,
        tiff,
        zarr,
    )
    return {module.__name__.rpartition(".")[2]: module for module in modules}


# One line a format, and its module above. Of formats that share a suffix, and of folders, the first that recognises the
# path is taken, and the last one for a suffix takes the rest.
FORMATS = (
    Format("tiff", "TIFF", (".tif", ".tiff", ".btf")),
    Format("nifti", "NIfTI", (".nii", ".nii.gz")),
    Format("itk", "MetaImage or NRRD", (".mha", ".mhd", ".nrrd", ".nhdr")),
    Format("picture", "picture", (".png", ".jpg", ".jpeg", ".bmp")),
    Format("npy", "NumPy array", (".npy", ".npz")),
    Format("raw", "raw values", (".raw",)),
    Format("ismrmrd", "ISMRMRD", (".mrd", ".h5", ".hdf5")),
    Format("cine_hdf5", "cine HDF5", (".h5", ".hdf5")),
    Format("fastmri", "fastMRI HDF5", (".h5", ".hdf5")),
    Format("hdf5", "HDF5", (".h5", ".hdf5")),
    Format("matlab", "MATLAB", (".mat",)),
    Format("bart", "BART", (".cfl",)),
    Format("zarr", "OME-Zarr", (".zarr",), in_folders=True),
    Format("dicom", "DICOM", (".dcm",), in_folders=True, any_name=True),
    Format("slices", "folder of slices", in_folders=True),
)

SUFFIXES = tuple(dict.fromkeys(suffix for one in FORMATS for suffix in one.suffixes))
"""All suffixes that can be read."""


_WRITTEN_AS = {
    ".npz": ".npy",
    ".mhd": ".mha",
    ".nhdr": ".nrrd",
    ".jpg": ".png",
    ".jpeg": ".png",
    ".bmp": ".png",
}
"""Suffixes that are read and not written, of formats that are."""


def split_suffix(path: Path | str, suffixes: Sequence[str] = SUFFIXES) -> tuple[str, str]:
    """Stem and known suffix of a file name: ``a.b.nii.gz`` -> ``("a.b", ".nii.gz")``; suffix "" if unknown.

    The suffix keeps its spelling; compare it in lower case.
    """
    name = Path(path).name
    for suffix in sorted(suffixes, key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    return name, ""


def output_suffix(suffix: str) -> str:
    """Suffix of an output like an input of this suffix: the same, or of the same format one that is written."""
    return _WRITTEN_AS.get(suffix.lower(), suffix)


def natural_key(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Sort key: ``slice2.png`` before ``slice10.png``; letters compare without case, ties by the exact name."""
    parts = re.split(r"([0-9]+)", path.name.lower())
    return [(0, int(part)) if part.isascii() and part.isdigit() else (1, part) for part in parts], path.name


def format_of(path: Path | str) -> Format | None:
    """Return the format of a file or folder, or ``None`` if it is none that is known.

    Raises:
        FileNotFoundError: there is no such file or folder.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; check the path")
    if path.is_dir():
        return next((one for one in FORMATS if one.in_folders and one.load().recognises(path)), None)
    suffix = split_suffix(path)[1].lower()
    if not suffix:
        return next((one for one in FORMATS if one.any_name and one.load().recognises(path)), None)
    candidates = [one for one in FORMATS if suffix in one.suffixes]
    return next((one for one in candidates[:-1] if one.load().recognises(path)), candidates[-1])


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
    found = format_of(path)
    if found is None:
        raise DataError(
            f"{path}: no image of a known format; expected a file that ends in {', '.join(SUFFIXES)}, a DICOM file, "
            "or a folder of one volume; convert it"
        )
    given = {name: value for name, value in options.items() if value is not None}
    own = list(inspect.signature(found.load().open_source).parameters)[1:]
    refused = [name for name in given if name not in own]
    if refused:
        raise ValueError(
            f"{path}: {found.title} has no option {', '.join(refused)}; it has "
            f"{', '.join([*own, 'spacing', 'unit', 'frame', 'fill'])}"
        )
    source: Source = found.load().open_source(path, **given)
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


def open_sink(path: Path | str, like: Spec, block: Sequence[int] | None = None) -> Sink:
    """Open a writer by the suffix of a path; without a suffix a folder of slices. Nothing is written yet.

    The type of the values is kept, and slope and intercept where the format has them; else what they stand for is
    stored, as floating-point numbers. `Sink.spec` is that of the file to be. Geometry is kept as far as the format has
    a place for it, see ``docs/DATA.md``.

    Args:
        path: the file or folder to be.
        like: what is written: commonly the spec of a source, enlarged or with another type.
        block: shape of the regions that will be written, counted from the corner of the image; formats in chunks fit
            theirs to it.

    Raises:
        DataError: if the format is not written, or cannot hold such an image.
    """
    path = Path(path)
    suffix = split_suffix(path)[1].lower()
    if suffix:
        candidates = [one for one in FORMATS if suffix in one.suffixes]
    elif path.suffix[1:].isalnum():  # "1.2.840_x4" has no suffix, "out.gif" has one that is not known
        candidates = []
    else:
        wanted = getattr(like.native, "folder_format", "slices")
        candidates = [one for one in FORMATS if one.in_folders and one.module == wanted]
    found = next((one for one in candidates if one.is_written), None)
    if found is None:
        written = ", ".join(dict.fromkeys(suffix for one in FORMATS if one.is_written for suffix in one.suffixes))
        raise DataError(
            f"{path}: {suffix or path.suffix} is not written; choose one of {written}, or no suffix for a folder of "
            "slices: --output_suffix .tif"
        )
    return found.load().open_sink(path, like, None if block is None else tuple(block))
