"""Which files of a folder are data: known suffixes, natural order, and errors that say where data comes from."""

from __future__ import annotations

import re
from pathlib import Path

SUFFIXES = (".png", ".tif", ".tiff", ".nii", ".nii.gz", ".h5", ".hdf5", ".npy")
MASK_ENDING = "_mask.npy"


def split_suffix(path: Path | str) -> tuple[str, str]:
    """Stem and known suffix of a file name: ``a.b.nii.gz`` -> ``("a.b", ".nii.gz")``; suffix "" if unknown.

    The suffix keeps its spelling; compare it in lower case.
    """
    name = Path(path).name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
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


def find_files(dataset_dir: Path | str | None, split: str | None = None, *, hint: str = "") -> list[Path]:
    """Data files directly inside a folder, in natural order.

    Subfolders are not searched. Hidden files, mask files (``*_mask.npy``) and files of other suffixes than
    `SUFFIXES` are passed over.

    Args:
        dataset_dir: the folder.
        split: a subfolder of it to read instead, for example "train".
        hint: the way out, appended to the error: the command that makes synthetic data and the real data that fit.

    Raises:
        FileNotFoundError: the folder is missing or holds no data file.
    """
    hint = hint or "point dataset_dir to a folder of data files"
    if dataset_dir is None or not str(dataset_dir):
        raise FileNotFoundError(f"dataset_dir is not set; {hint}")
    folder = Path(dataset_dir) / split if split else Path(dataset_dir)
    if not folder.exists():
        raise FileNotFoundError(f"dataset_dir: no folder {folder}; {hint}")
    if not folder.is_dir():
        raise FileNotFoundError(f"dataset_dir must be a folder, got the file {folder}; {hint}")
    files = [
        path
        for path in folder.iterdir()
        if split_suffix(path)[1]
        and path.name[0] != "."
        and not path.name.lower().endswith(MASK_ENDING)
        and path.is_file()
    ]
    if not files:
        raise FileNotFoundError(f"dataset_dir: no file of {', '.join(SUFFIXES)} directly in {folder}; {hint}")
    return sorted(files, key=natural_key)
