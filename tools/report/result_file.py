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
    """`input`, `result` and perhaps `truth`, each `[series, height, width, frames]`; made by `open_result`.

    Attributes:
        path: the file.
        attributes: attributes of the file as texts.
        places: source file of each series, and its number there.
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._sets = {name: file[name] for name in NAMES if isinstance(file.get(name), h5py.Dataset)}
        shapes = {name: part.shape for name, part in self._sets.items()}
        shape = shapes.get("result", ())
        right = len(shape) == 4 and 0 not in shape and {*shapes.values()} == {shape}
        if "input" not in shapes or not right or any(part.dtype.kind not in "fiu" for part in self._sets.values()):
            raise DataError(
                f"{path}: expected real data sets input and result, and truth if there is one, of one shape [series, "
                f"height, width, frames], got {', '.join(f'{k} {list(v)}' for k, v in shapes.items()) or list(file)}; "
                "give the result.h5 of a prediction"
            )
        self.attributes = {name: _text(value) for name, value in file.attrs.items()}
        stored = file.get("frame_interval_s", file.attrs.get("frame_interval_s", np.nan))
        self._interval = np.broadcast_to(np.asarray(stored, np.float64), shape[0])
        sources = [_text(value) for value in np.ravel(file["sources"][()])] if "sources" in file else []
        if sources and len(sources) != shape[0]:
            raise DataError(f"{path}: expected a source for each of {shape[0]} series, got {len(sources)} sources")
        parts = [source.rpartition(":") for source in sources or [f"series:{index}" for index in range(shape[0])]]
        self.places = [(name, int(number)) for name, _, number in parts]

    def interval_s(self, place: tuple[str, int]) -> float | None:
        """Time between the frames of a series, if it is known."""
        interval = float(self._interval[self.places.index(place)]) if place in self.places else 0.0
        return interval if 0 < interval < np.inf else None

    def case(self, place: tuple[str, int]) -> Case:
        """Read one series; one whose truth is NaN throughout has none."""
        index = self.places.index(place)
        images = {NAMES[name]: torch.from_numpy(part[index].astype(np.float32)) for name, part in self._sets.items()}
        if "target" in images and images["target"].isnan().all():
            del images["target"]
        for name, image in images.items():
            if not image.isfinite().all():
                raise DataError(
                    f"{self.path}: expected finite values, got NaN or infinity in {name}, series {index}; look at the "
                    "network, or at the data"
                )
        target = images.pop("target", None)
        return Case(*place, images, target, baseline="aliased", series=True)


@contextmanager
def open_result(path: Path) -> Iterator[ResultFile]:
    """Open a result file; an error of it inside the block is one line that names it."""
    with file_errors(path, "the result of a prediction (HDF5)"), h5py.File(path, "r") as file:
        yield ResultFile(path, file)


def _text(value: Any) -> str:
    text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= 1000 else f"{text[:1000]} ..."
