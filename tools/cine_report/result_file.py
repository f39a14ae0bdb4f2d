"""The result file of a cine prediction, read series by series."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from common.errors import DataError, file_errors

FloatArray = NDArray[np.float32]

INPUT, RESULT, TRUTH = "input", "result", "truth"


@dataclass(frozen=True)
class Series:
    """One series of a result file; images are `(height, width, frames)`.

    Attributes:
        index: its place in the file.
        source: where it came from, "file:slice", or "series 0" where the file does not tell.
        images: "input", "result" and, if there is one, "truth".
        frame_interval_s: between frames, if it is known.
    """

    index: int
    source: str
    images: dict[str, FloatArray]
    frame_interval_s: float | None

    @property
    def name(self) -> str:
        """Its source for people: the file's name and the slice."""
        path, colon, index = self.source.rpartition(":")
        return f"{Path(path).name}, slice {index}" if colon and index.isdigit() else self.source


class ResultFile:
    """`input`, `result` and perhaps `truth`, each `[series, height, width, frames]`; made by `open_result`."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._sets = {name: file[name] for name in (INPUT, RESULT, TRUTH) if isinstance(file.get(name), h5py.Dataset)}
        if missing := [name for name in (INPUT, RESULT) if name not in self._sets]:
            raise DataError(
                f"{path}: expected the data sets input and result, and truth if there is one, missing "
                f"{', '.join(missing)}, got {', '.join(file) or 'none'}; give the result.h5 of a prediction"
            )
        shapes = {name: part.shape for name, part in self._sets.items()}
        self.shape = shapes[RESULT]
        if len(self.shape) != 4 or 0 in self.shape or set(shapes.values()) != {self.shape}:
            told = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise DataError(
                f"{path}: expected data sets of one shape [series, height, width, frames], got {told}; predict again"
            )
        if wrong := [f"{name} {part.dtype}" for name, part in self._sets.items() if part.dtype.kind not in "fiu"]:
            raise DataError(f"{path}: expected real magnitudes, got {', '.join(wrong)}; write magnitudes")
        self.attributes = {name: _told(value) for name, value in file.attrs.items()} | _ranges(file)
        self._intervals = np.broadcast_to(_number(file, "frame_interval_s"), len(self))
        self._sources = self._read_sources(file)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: int) -> Series:
        """Read one series; one whose truth is NaN throughout has none.

        Raises:
            DataError: a value is not finite.
        """
        images = {name: np.asarray(part[index], np.float32) for name, part in self._sets.items()}
        if TRUTH in images and np.isnan(images[TRUTH]).all():
            del images[TRUTH]
        interval = float(self._intervals[index])
        known = interval if 0 < interval < np.inf else None
        series = Series(index, self._sources[index], images, known)
        for name, image in images.items():
            if not np.isfinite(image).all():
                raise DataError(
                    f"{self.path}: expected finite values, got NaN or infinity in {name}, series {index} "
                    f"({series.source}); look at the network, or at the data"
                )
        return series

    def _read_sources(self, file: h5py.File) -> list[str]:
        if "sources" not in file:
            return [f"series {index}" for index in range(len(self))]
        found = [_text(value) for value in np.ravel(file["sources"][()])]
        if len(found) != len(self):
            raise DataError(f"{self.path}: expected a source for each of {len(self)} series, got {len(found)} sources")
        return found


@contextmanager
def open_result(path: Path) -> Iterator[ResultFile]:
    """Open a result file; what goes wrong with it inside the block is one line that names it.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is not HDF5, or its data sets are not those of a result.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the result.h5 of a prediction")
    with file_errors(path, "the result of a prediction (HDF5)"), h5py.File(path, "r") as file:
        yield ResultFile(path, file)


def _number(file: h5py.File, name: str) -> NDArray[np.float64]:
    """A number of the file, or of each series; NaN if there is none."""
    found = file[name][()] if isinstance(file.get(name), h5py.Dataset) else file.attrs.get(name, np.nan)
    try:
        number = np.asarray(found, np.float64)
    except (TypeError, ValueError):
        return np.array(np.nan)
    return number if number.shape in ((), file[RESULT].shape[:1]) else np.array(np.nan)


def _ranges(file: h5py.File) -> dict[str, str]:
    """Of further data sets, which have a value or a few for each series: from what to what they go."""
    further = {name: file[name] for name in file if name not in (INPUT, RESULT, TRUTH)}
    return {
        name: f"{np.min(part[()]):.6g} to {np.max(part[()]):.6g}"
        for name, part in further.items()
        if isinstance(part, h5py.Dataset) and part.dtype.kind in "fiu" and 0 < part.size <= 1_000_000
    }


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _told(value: Any, longest: int = 4000) -> str:
    """An attribute's value in words."""
    if isinstance(value, np.ndarray):
        text = ", ".join(map(_text, value.ravel()[:64].tolist()))
    else:
        text = _text(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= longest else f"{text[:longest]} ..."
