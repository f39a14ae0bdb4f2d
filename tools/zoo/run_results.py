"""Checks of what a training and an inference have written: weights and images of finite numbers."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import tifffile
from PIL import Image

from common.io import split_suffix
from common.networks.weights import read_weights


def check_weights(folder: Path) -> str:
    """Check that a training has written model.pt, a plain state dict of finite numbers.

    Raises:
        ValueError: it has not.
    """
    path = folder / "model.pt"
    if not path.is_file():
        raise ValueError("expected that the training writes model.pt to its ckpt_dir, got no such file; add a handler")
    state = read_weights(path)
    if infinite := [name for name, value in state.items() if not value.isfinite().all()]:
        raise ValueError(f"model.pt of the training: expected finite numbers, got others in {', '.join(infinite)}")
    return f"model.pt, {len(state)} tensors"


def check_results(folder: Path) -> str:
    """Check that an inference has written images that are not all one value, and no number that is not finite.

    Raises:
        ValueError: it has not.
    """
    n_images, n_tables = 0, 0
    for path in sorted(folder.rglob("*")):
        name, suffix = path.relative_to(folder).as_posix(), split_suffix(path)[1].lower()
        if path.suffix == ".csv":
            n_tables += 1
            _check_table(path, name)
        for values in _IMAGES[suffix](path) if suffix in _IMAGES else ():
            n_images += 1
            if not np.isfinite(values).all():
                raise ValueError(f"{name} of the inference: expected finite numbers, got others")
            if values.size > 1 and (values == values.flat[0]).all():
                raise ValueError(f"{name} of the inference: expected an image, got {values.flat[0]} everywhere")
    if not n_images:
        raise ValueError(
            f"expected images ({', '.join(_IMAGES)}) in the output_dir of the inference, got none; add a handler that "
            "writes them"
        )
    return f"images: {n_images}, tables: {n_tables}"


def _check_table(path: Path, name: str) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        for i, row in enumerate(csv.reader(file), start=1):
            if bad := [cell for cell in row if cell.strip().lower().lstrip("+-") in ("nan", "inf", "infinity")]:
                raise ValueError(f"{name} of the inference: expected finite numbers, got {bad[0]} in line {i}")


def _hdf5(path: Path) -> Iterator[np.ndarray]:
    """Yield arrays of real or complex numbers; masks and headers are passed over."""
    found: list[np.ndarray] = []

    def collect(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fc":
            found.append(item[()])

    with h5py.File(path) as file:
        file.visititems(collect)
    yield from found


def _picture(path: Path) -> Iterator[np.ndarray]:
    with Image.open(path) as image:
        yield np.asarray(image)


def _nifti(path: Path) -> list[np.ndarray]:
    return [np.asarray(nibabel.nifti1.Nifti1Image.from_filename(path).dataobj)]


def _tiff(path: Path) -> list[np.ndarray]:
    return [tifffile.imread(path)]


_IMAGES: dict[str, Callable[[Path], Iterable[np.ndarray]]] = {
    ".png": _picture,
    **dict.fromkeys((".tif", ".tiff"), _tiff),
    ".npy": lambda path: [np.load(path)],
    **dict.fromkeys((".nii", ".nii.gz"), _nifti),
    **dict.fromkeys((".h5", ".hdf5"), _hdf5),
}
