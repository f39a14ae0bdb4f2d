"""The voxel size that an ISMRMRD header gives."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import h5py

from common.data.files import split_suffix
from common.data.ismrmrd_header import HEADER_KEY
from common.errors import file_errors

_PLACES = (HEADER_KEY, "dataset/xml")  # fastMRI's files, and ISMRMRD raw files


def header_voxel_size_mm(path: Path) -> tuple[float, float, float] | None:
    """Field of view over matrix of the header's reconSpace: for height (x, the readout), width (y) and slice (z).

    For instance 140 mm of 320 pixels and a slice of 4.5 mm: (0.4375, 0.4375, 4.5). A gap between slices is not in the
    header.

    Args:
        path: a data file of any format.

    Returns:
        mm; None for a file that is not HDF5, has no header, or whose header has no such field of view.

    Raises:
        DataError: if the header is not XML.
    """
    if split_suffix(path)[1].lower() not in (".h5", ".hdf5"):
        return None
    with file_errors(path, "an HDF5 file with an ISMRMRD header, XML"), h5py.File(path, "r") as file:
        place = next((place for place in _PLACES if place in file), None)
        if place is None:
            return None
        stored = file[place][()]
        text = stored[0] if getattr(stored, "ndim", 0) else stored
        root = ElementTree.fromstring(text if isinstance(text, str) else bytes(text).rstrip(b"\0"))
    space = root.find("{*}encoding/{*}reconSpace")
    if space is None:
        return None
    sides = [_step(space, axis) for axis in "xyz"]
    return (sides[0], sides[1], sides[2]) if all(0 < side < math.inf for side in sides) else None


def _step(space: ElementTree.Element, axis: str) -> float:
    """Mm per pixel, NaN if the header does not say it."""
    try:
        side, pixels = (
            float(space.findtext(f"{{*}}{element}/{{*}}{axis}", "")) for element in ("fieldOfView_mm", "matrixSize")
        )
        return side / pixels
    except (ValueError, ZeroDivisionError):
        return math.nan
