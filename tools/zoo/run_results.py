"""Checks of what a training and an inference have written: weights and images of finite numbers."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
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
    """Check that a folder has a model.pt, a plain state dict of finite numbers; nothing in it is executed.

    Raises:
        ValueError: it has not.
    """
    path = folder / "model.pt"
    if not path.is_file():
        raise ValueError(f"expected that the training writes {path.name} to its ckpt_dir, got none; add a handler")
    state = read_weights(path)
    if infinite := [name for name, value in state.items() if not value.isfinite().all()]:
        raise ValueError(f"{path}: expected finite numbers, got others in {', '.join(infinite)}; train again")
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
            for i, row in enumerate(csv.reader(path.read_text(encoding="utf-8").splitlines()), start=1):
                if bad := {"nan", "inf", "-inf"} & {cell.strip().lower() for cell in row}:
                    raise ValueError(f"{name} of the inference: expected finite numbers, got {bad} in line {i}")
        for values in _ARRAYS[suffix](path) if suffix in _ARRAYS else ():
            n_images += 1
            if not np.isfinite(values).all():
                raise ValueError(f"{name} of the inference: expected finite numbers, got others")
            if values.size > 1 and (values == values.flat[0]).all():
                raise ValueError(f"{name} of the inference: expected an image, got {values.flat[0]} everywhere")
    if not n_images:
        raise ValueError(
            f"expected images ({', '.join(_ARRAYS)}) in the output_dir of the inference, got none; add a handler that "
            "writes them"
        )
    return f"images: {n_images}, tables: {n_tables}"


def _hdf5(path: Path) -> list[np.ndarray]:
    """Return the arrays of real or complex numbers; masks and headers are passed over."""
    found: list[np.ndarray] = []

    def collect(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fc":
            found.append(item[()])

    with h5py.File(path) as file:
        file.visititems(collect)
    return found


def _picture(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        return [np.asarray(image)]


_ARRAYS: dict[str, Callable[[Path], Iterable[np.ndarray]]] = {
    ".png": _picture,
    **dict.fromkeys((".tif", ".tiff"), lambda path: [tifffile.imread(path)]),
    ".npy": lambda path: [np.load(path)],
    **dict.fromkeys((".nii", ".nii.gz"), lambda path: [np.asarray(nibabel.nifti1.load(path).dataobj)]),
    **dict.fromkeys((".h5", ".hdf5"), _hdf5),
}
