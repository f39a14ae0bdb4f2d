"""Sampling masks in files of their own."""

from __future__ import annotations

from pathlib import Path

from common.errors import DataError
from common.io.formats import npy
from common.io.kspace import Mask
from common.io.naming import split_suffix
from common.io.opening import open_source
from common.io.source import Source
from common.io.spec import Spec

ENDING = "_mask.npy"
_PICTURES = (".png", ".tif", ".tiff")


def open_mask(path: Path, data: Spec, name: str) -> Source:
    """Open the mask of k-space ``data`` of a name in a file of its own: ``.npy``, ``.npz``, PNG or TIFF.

    Its shape is ``[W]``, ``[H, W]`` or ``[slices, H, W]``.

    Raises:
        FileNotFoundError: no such file.
        DataError: for other files, and masks that do not fit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such mask file; check the path")
    suffix = split_suffix(path)[1].lower()
    if suffix in (".npy", ".npz"):
        return Mask(npy.open_mask(path), data, name)
    if suffix in _PICTURES:
        return Mask(open_source(path), data, name)
    raise DataError(f"{path}: a mask file must be .npy, .npz, .png or .tif, got {suffix or path.suffix!r}; convert it")
