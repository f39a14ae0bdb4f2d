"""Which data files are series of frames rather than slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import nibabel

from common.data import DataError, open_slices
from common.data.cine import CineReader, open_cine
from common.data.cine.finding import INPUT, TRUTH
from common.data.cine.hdf5 import KSPACE, RECON, SINGLE
from common.data.cine.hdf5 import TRUTH as TRUE_IMAGES
from common.data.cine.reader import HDF5_SUFFIXES, SUFFIXES
from common.data.files import split_suffix
from common.errors import file_errors


def open_series(path: Path, truth_path: Path | None = None) -> CineReader | None:
    """The series of a file or a folder of DICOM images; None if it is one of slices.

    Args:
        path: of the file.
        truth_path: of its truths, if they have a file of their own.

    Raises:
        DataError: it is meant to hold series, and cannot be read as such.
    """
    try:
        return open_cine(path, truth_path)
    except DataError:
        if truth_path is not None or _is_meant_for_series(path):
            raise
        return None


def split_of(path: Path) -> str:
    """The split that the name of a file of series tells, such as valid for `input_validation.h5`; empty if none."""
    kind, _, split = split_suffix(path, SUFFIXES)[0].partition("_")
    if f"{kind}_" not in (INPUT, TRUTH):
        return ""
    return {"train": "train", "validation": "valid", "valid": "valid", "test": "test"}.get(split, "")


def _is_meant_for_series(path: Path) -> bool:
    """By images that are no stack of slices, more than three axes, or the names of data sets."""
    if path.is_dir():
        try:
            open_slices(path)
        except DataError:
            return True
        return False
    suffix = split_suffix(path, SUFFIXES)[1].lower()
    if suffix in HDF5_SUFFIXES and h5py.is_hdf5(path):
        with h5py.File(path) as file:
            kspace = file.get(KSPACE)
            if not isinstance(kspace, h5py.Dataset):
                return bool({RECON, TRUE_IMAGES, SINGLE} & file.keys())
            return kspace.ndim == 5 or bool({RECON, TRUE_IMAGES} & file.keys())
    if suffix in (".nii", ".nii.gz"):
        with file_errors(path, "a NIfTI image"):
            header: Any = nibabel.load(path).header
        return any(n > 1 for n in header.get_data_shape()[3:])
    return False
