"""Names of files: the table of formats, suffixes, and the order of names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Format:
    """A format, one module of ``common.io.formats``.

    The module has ``open_source(path, *, <options>) -> Source``, and if the format is written
    ``open_sink(path, spec) -> Sink``. Where several formats share a suffix, or for folders and files of any
    name, it has ``recognises(path) -> bool`` too, which looks at the contents.

    Attributes:
        module: its name in ``common.io.formats``.
        title: name for messages and documentation.
        suffixes: endings of file names that are read, lower case.
        written: those of them that are written, the usual one first.
        in_folders: True if a folder can be one image of the format.
        any_name: True if files without a known suffix can be of the format.
    """

    module: str
    title: str
    suffixes: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    in_folders: bool = False
    any_name: bool = False


# One line a format. Of formats that share a suffix, and of folders, the first that recognises the path is taken, and
# the last one for a suffix takes the rest.
FORMATS = (
    Format("tiff", "TIFF", (".tif", ".tiff", ".btf"), (".tif", ".tiff", ".btf")),
    Format("nifti", "NIfTI", (".nii", ".nii.gz"), (".nii", ".nii.gz")),
    Format("itk", "MetaImage", (".mha", ".mhd"), (".mha",)),
    Format("itk", "NRRD", (".nrrd", ".nhdr"), (".nrrd",)),
    Format("picture", "picture", (".png", ".jpg", ".jpeg", ".bmp"), (".png",)),
    Format("npy", "NumPy array", (".npy", ".npz"), (".npy",)),
    Format("raw", "raw values", (".raw",), (".raw",)),
    Format("ismrmrd", "ISMRMRD", (".mrd", ".h5", ".hdf5")),
    Format("cine_hdf5", "cine HDF5", (".h5", ".hdf5")),
    Format("fastmri", "fastMRI HDF5", (".h5", ".hdf5")),
    Format("hdf5", "HDF5", (".h5", ".hdf5"), (".h5", ".hdf5")),
    Format("matlab", "MATLAB", (".mat",)),
    Format("bart", "BART", (".cfl",)),
    Format("zarr", "OME-Zarr", (".zarr",), (".zarr",), in_folders=True),
    Format("dicom", "DICOM", (".dcm",), (".dcm",), in_folders=True, any_name=True),
    Format("slices", "folder of slices", in_folders=True),
)

SUFFIXES = tuple(dict.fromkeys(suffix for one in FORMATS for suffix in one.suffixes))
"""All suffixes that can be read."""

WRITTEN = tuple(dict.fromkeys(suffix for one in FORMATS for suffix in one.written))
"""All suffixes that can be written."""


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
    """Suffix of an output like an input of this suffix: the same, or that which its format writes.

    Example: ".mhd" gives ".mha", ".jpg" gives ".png"; ".mat" stays, because MATLAB files are not written.
    """
    if suffix.lower() in WRITTEN:
        return suffix
    return next((one.written[0] for one in FORMATS if suffix.lower() in one.suffixes and one.written), suffix)


def natural_key(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Sort key: ``slice2.png`` before ``slice10.png``; letters compare without case, ties by the exact name."""
    parts = re.split(r"([0-9]+)", path.name.lower())
    return [(0, int(part)) if part.isascii() and part.isdigit() else (1, part) for part in parts], path.name
