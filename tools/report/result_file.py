"""The result file of a cine prediction, read series by series."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from common.errors import DataError, file_errors
from common.metrics.case import RECONSTRUCTION, Case

RESULT_FILE = "result.h5"
NAMES = {"input": "aliased", "result": RECONSTRUCTION, "truth": "target"}
"""Data set to the name of what it holds."""


class ResultFile:
    """`input`, `result` and perhaps `truth`, each `[series, height, width, frames]`; made by `open_result`."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._sets = {name: file[name] for name in NAMES if isinstance(file.get(name), h5py.Dataset)}
        shapes = {name: part.shape for name, part in self._sets.items()}
        self.shape = shapes.get("result", ())
        right = len(self.shape) == 4 and 0 not in self.shape and {*shapes.values()} == {self.shape}
        if "input" not in shapes or not right or any(part.dtype.kind not in "fiu" for part in self._sets.values()):
            raise DataError(
                f"{path}: expected real data sets input and result, and truth if there is one, of one shape [series, "
                f"height, width, frames], got {', '.join(f'{k} {list(v)}' for k, v in shapes.items()) or list(file)}; "
                "give the result.h5 of a prediction"
            )
        self.attributes = {name: _words(value) for name, value in file.attrs.items()}
        self._interval = np.broadcast_to(_number(file, "frame_interval_s", self.shape[0]), self.shape[0])
        sources = [_words(value) for value in np.ravel(file["sources"][()])] if "sources" in file else []
        if sources and len(sources) != len(self):
            raise DataError(f"{path}: expected a source for each of {len(self)} series, got {len(sources)} sources")
        self._sources = sources or [f"series:{index}" for index in range(len(self))]

    def __len__(self) -> int:
        return int(self.shape[0])

    def interval_s(self, index: int) -> float | None:
        """Time between the frames of a series, if it is known."""
        interval = float(self._interval[index])
        return interval if 0 < interval < np.inf else None

    def place(self, index: int) -> tuple[str, int]:
        """Source file of a series, and its number there."""
        path, _, number = self._sources[index].rpartition(":")
        return (path, int(number)) if path and number.isdigit() else (self._sources[index], index)

    def case(self, index: int) -> Case:
        """Read one series; one whose truth is NaN throughout has none.

        Raises:
            DataError: a value is not finite.
        """
        images = {NAMES[name]: np.asarray(part[index], np.float32) for name, part in self._sets.items()}
        if "target" in images and np.isnan(images["target"]).all():
            del images["target"]
        for name, image in images.items():
            if not np.isfinite(image).all():
                raise DataError(
                    f"{self.path}: expected finite values, got NaN or infinity in {name}, series {index}; look at the "
                    "network, or at the data"
                )
        tensors = {name: torch.from_numpy(image) for name, image in images.items()}
        target = tensors.pop("target", None)
        return Case(*self.place(index), tensors, target, baseline="aliased", series=True)


@contextmanager
def open_result(path: Path) -> Iterator[ResultFile]:
    """Open a result file; an error of it inside the block is one line that names it.

    Raises:
        DataError: it is not HDF5, or its data sets are not those of a result.
    """
    with file_errors(path, "the result of a prediction (HDF5)"), h5py.File(path, "r") as file:
        yield ResultFile(path, file)


def _number(file: h5py.File, name: str, n_series: int) -> np.ndarray:
    """A number of the file, or of each series; NaN if there is none."""
    found = file[name][()] if isinstance(file.get(name), h5py.Dataset) else file.attrs.get(name, np.nan)
    try:
        number = np.asarray(found, np.float64)
    except (TypeError, ValueError):
        return np.array(np.nan)
    return number if number.shape in ((), (n_series,)) else np.array(np.nan)


def _words(value: Any, longest: int = 1000) -> str:
    """The value of an attribute in words."""
    if isinstance(value, np.ndarray):
        text = ", ".join(map(_words, value.ravel()[:64].tolist()))
    else:
        text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= longest else f"{text[:longest]} ..."
