"""Which files of a folder are data: known suffixes, natural order, and errors that say where data comes from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

SUFFIXES = (".png", ".tif", ".tiff", ".nii", ".nii.gz", ".h5", ".hdf5", ".npy")
MASK_ENDING = "_mask.npy"
_DICOM_MAGIC, _DICOM_PREAMBLE = b"DICM", 128  # and the bytes before it
POINT_TO_DATA = "point dataset_dir to a folder of data files"


def split_suffix(path: Path | str, suffixes: Sequence[str] = SUFFIXES) -> tuple[str, str]:
    """Stem and known suffix of a file name: ``a.b.nii.gz`` -> ``("a.b", ".nii.gz")``; suffix "" if unknown.

    The suffix keeps its spelling; compare it in lower case.
    """
    name = Path(path).name
    for suffix in sorted(suffixes, key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    return name, ""


def mask_path(path: Path | str) -> Path:
    """Where a sampling mask kept beside a data file lies: ``folder/<stem>_mask.npy``."""
    return Path(path).parent / f"{split_suffix(path)[0]}{MASK_ENDING}"


def natural_key(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Sorts ``slice2.png`` before ``slice10.png``; letters compare without case, ties by the exact name."""
    parts = re.split(r"([0-9]+)", path.name.lower())
    return [(0, int(part)) if part.isascii() and part.isdigit() else (1, part) for part in parts], path.name


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM (PS3.10), whatever its name; the index DICOMDIR is not one."""
    if path.name == "DICOMDIR" or not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(_DICOM_PREAMBLE + len(_DICOM_MAGIC))[_DICOM_PREAMBLE:] == _DICOM_MAGIC


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files directly inside a folder, by name; hidden files and those of other known suffixes are not."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.name[0] != "." and not split_suffix(path)[1] and is_dicom(path)
    )


def data_folder(dataset_dir: Path | str | None, split: str | None, hint: str) -> Path:
    """``dataset_dir``, or its subfolder ``split``.

    Raises:
        FileNotFoundError: it is not set or not there; ``hint`` is the way out.
    """
    if dataset_dir is None or not str(dataset_dir):
        raise FileNotFoundError(f"dataset_dir is not set; {hint}")
    folder = Path(dataset_dir) / split if split else Path(dataset_dir)
    if not folder.exists():
        raise FileNotFoundError(f"dataset_dir: no folder {folder}; {hint}")
    return folder


def find_files(dataset_dir: Path | str | None, split: str | None = None, *, hint: str = "") -> list[Path]:
    """Data files directly inside a folder, in natural order, and DICOM series, each a folder.

    Subfolders are not searched, but one that holds DICOM files is a series; a folder that holds them itself is the
    only one. Hidden files, mask files (``*_mask.npy``) and files of other suffixes than `SUFFIXES` are passed over.

    Args:
        dataset_dir: the folder.
        split: a subfolder of it to read instead, for example "train".
        hint: the way out, appended to the error: the command that makes synthetic data and the real data that fit.

    Raises:
        FileNotFoundError: the folder is missing or holds no data file.
    """
    hint = hint or POINT_TO_DATA
    folder = data_folder(dataset_dir, split, hint)
    if not folder.is_dir():
        raise FileNotFoundError(f"dataset_dir must be a folder, got the file {folder}; {hint}")
    if dicom_files(folder):
        return [folder]
    files = [path for path in folder.iterdir() if path.name[0] != "." and _is_data(path)]
    if not files:
        raise FileNotFoundError(
            f"dataset_dir: no file of {', '.join(SUFFIXES)} and no DICOM series directly in {folder}; {hint}"
        )
    return sorted(files, key=natural_key)


def _is_data(path: Path) -> bool:
    if path.is_dir():
        return bool(dicom_files(path))
    return bool(split_suffix(path)[1]) and not path.name.lower().endswith(MASK_ENDING)
