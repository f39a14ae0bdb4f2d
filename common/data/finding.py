"""Search of folders for data files."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import DataError, joined_errors
from common.io import FORMATS, SUFFIXES, natural_key, split_suffix
from common.io.formats import dicom, slices
from common.io.masks import ENDING as MASK_ENDING
from common.io.noncartesian import is_trajectory
from common.io.opening import module_of

logger = logging.getLogger("recon")

POINT_TO_DATA = "point dataset_dir to a folder of data files"
PREVIEWS = (".jpg", ".jpeg", ".bmp")
"""Pictures that lie beside data to be looked at. They are read where they are named, and passed over in folders."""

_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}
DATA_SUFFIXES = tuple(suffix for suffix in SUFFIXES if suffix not in PREVIEWS)
_HEADERS = (".mhd", ".nhdr")  # of values in a file of their own, such as scan.raw


def mask_path(path: Path | str) -> Path:
    """Return the path of a sampling mask kept beside a data file: ``folder/<stem>_mask.npy``."""
    return Path(path).parent / f"{split_suffix(path)[0]}{MASK_ENDING}"


def data_folder(dataset_dir: Path | str | None, split: str | None, hint: str) -> Path:
    """Return ``dataset_dir``, or its subfolder ``split``.

    Raises:
        FileNotFoundError: it is not set or does not exist; ``hint`` says what to do.
    """
    if dataset_dir is None or not str(dataset_dir):
        raise FileNotFoundError(f"dataset_dir is not set; {hint}")
    folder = Path(dataset_dir) / split if split else Path(dataset_dir)
    if not folder.exists():
        raise FileNotFoundError(f"dataset_dir: no folder {folder}; {hint}")
    return folder


def find_files(
    dataset_dir: Path | str | Sequence[Path | str] | None, split: str | None = None, *, hint: str = ""
) -> list[Path]:
    """List the images, volumes and series directly inside a folder, in natural order.

    - Each file of a known suffix (`DATA_SUFFIXES`) is one of them.
    - Each subfolder is one if it is a Zarr, holds DICOM files (one series), or pictures only (slices, PNG or TIFF).
      Other subfolders are passed over, such as one of outputs of :class:`~common.inferers.FileInferer`, and pictures
      in ``train``, ``singlecoil_val`` and the like, which are the images of a split.
    - A folder that holds DICOM files directly is itself one series; if each file is a series of its own, as
      radiographs are, each is one. A file or a Zarr given in place of a folder is the only one.
    - Hidden and unfinished (``.partial``) entries, masks (``*_mask.npy``), trajectories (``*_traj.npy``) and the values
      of a ``.mhd`` or ``.nhdr`` header are passed over.

    No image is opened.

    Args:
        dataset_dir: the folder, or several folders whose files follow each other; a folder given twice counts twice.
        split: a subfolder of each to look into, for example "test", or files in it by a pattern: "test/patient07_*".
        hint: what to do, appended to errors: the command that makes synthetic data and the real data that fit.

    Raises:
        FileNotFoundError: the folder is missing or holds nothing of these.
    """
    hint = hint or POINT_TO_DATA
    if isinstance(dataset_dir, Sequence) and not isinstance(dataset_dir, str):
        return [path for folder in dataset_dir for path in find_files(folder, split, hint=hint)]
    place, pattern = os.path.split(split or "")
    if "*" in pattern:
        if named := sorted(data_folder(dataset_dir, place, hint).glob(pattern), key=natural_key):
            return find_files(named, hint=hint)
        raise FileNotFoundError(f"dataset_dir: no file {Path(str(dataset_dir)) / str(split)}; {hint}")
    folder = data_folder(dataset_dir, split, hint)
    if folder.is_file() or is_one_volume(folder):
        return _radiographs(folder) or [folder]
    headers = {split_suffix(path)[0] for path in folder.iterdir() if path.suffix.lower() in _HEADERS}
    found = [path for path in folder.iterdir() if _is_data(path, headers)]
    if not found:
        raise FileNotFoundError(
            f"dataset_dir: no image or volume ({', '.join(DATA_SUFFIXES)}, DICOM, folders of slices) directly in "
            f"{folder}; {hint}"
        )
    return sorted(found, key=natural_key)


def find_images(dataset_dir: Path | str | None, split: str | None = None, hint: str = "") -> list[dict[str, str]]:
    """The data list ``[{"path": ...}, ...]`` of :func:`find_files`, for inference from file to file."""
    return [{"path": str(path)} for path in find_files(dataset_dir, split, hint=hint)]


def list_entries(
    files: Sequence[Mapping[str, str]], describe: Callable[[Mapping[str, str]], Mapping[str, int]], skip_bad_files: bool
) -> list[dict[str, Any]]:
    """List the slices or series of files.

    Args:
        files: ``path`` of each file, and perhaps more, which its entries repeat.
        describe: opens a file and returns ``n_slices`` and sizes.
        skip_bad_files: True to list a file that cannot be opened as one slice: an error when it is read, for a loader
            that goes on then (:func:`~common.data.loading.evaluation_loader`).

    Returns:
        one entry for each slice, with ``slice``, its number in the file.

    Raises:
        DataError: for a file that cannot be opened; with ``skip_bad_files`` if none can.
    """
    entries: list[dict[str, Any]] = []
    errors: list[str] = []
    for file in files:
        try:
            sizes = describe(file)
        except (DataError, OSError) as error:
            if not skip_bad_files:
                raise
            errors.append(str(error))
            sizes = {"n_slices": 1}
        entries += [{**file, "slice": index, **sizes} for index in range(sizes["n_slices"])]
    if errors and len(errors) == len(files):
        for line in errors if len(errors) > 1 else ():
            logger.error(line)
        raise joined_errors(errors, "could not be opened")
    return entries


def is_one_volume(folder: Path) -> bool:
    """Return True for a folder in a format whose folders hold nothing else, such as Zarr and DICOM."""
    return any(one.in_folders and one.module != "slices" and module_of(one).recognises(folder) for one in FORMATS)


def _radiographs(folder: Path) -> list[Path]:
    """The files of a folder in which each is a DICOM series of its own; empty for other folders."""
    if not folder.is_dir() or not dicom.recognises(folder):
        return []
    series = dicom.series_of(folder)
    if len(series) < 2 or any(len(files) > 1 for files in series.values()):
        return []
    return sorted((files[0] for files in series.values()), key=natural_key)


def _is_data(path: Path, headers: set[str]) -> bool:
    if path.name[0] == "." or ".partial" in path.name or is_trajectory(path):
        return False
    if path.is_dir():
        if any(path.joinpath(record.name.removesuffix(".json")).exists() for record in path.glob("*.json")):
            return is_one_volume(path) and path.suffix.lower() == ".zarr"  # else outputs of an earlier run
        is_split = not _SPLITS.isdisjoint(re.split("[_-]", path.name.lower()))
        return is_one_volume(path) or (not is_split and slices.recognises(path))
    stem, suffix = split_suffix(path, DATA_SUFFIXES)
    is_values = suffix.lower() == ".raw" and stem in headers
    return bool(suffix) and not is_values and not path.name.lower().endswith(MASK_ENDING)
