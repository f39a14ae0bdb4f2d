"""What a cine file has to offer: series of stored values, and where they lie in space and time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common.errors import DataError

Part = Literal["recon", "truth", "phase", "kspace", "mask"]


@dataclass(frozen=True, eq=False)
class CineGeometry:
    """Where the pixels of a file's series lie; ``None`` where the file does not say.

    Attributes:
        pixel_size_mm: distance of rows and of columns.
        slice_distance_mm: distance of the series.
        frame_interval_s: time from frame to frame.
        affine: from (row, column, slice) to mm, right, anterior, superior, as NIfTI has it.
        nifti_header: of the file, if it is NIfTI.
    """

    pixel_size_mm: tuple[float, float] | None = None
    slice_distance_mm: float | None = None
    frame_interval_s: float | None = None
    affine: np.ndarray | None = None
    nifti_header: Any = None

    @property
    def attributes(self) -> dict[str, Any]:
        """What is known of distances and times, by name."""
        names = ("pixel_size_mm", "slice_distance_mm", "frame_interval_s")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class CineSource(ABC):
    """Series ``[height, width, frames]`` of stored values: one for each slice of a heart, or each of many hearts.

    Making one reads headers only, and it holds no open file: it can be pickled and shared with forked workers.

    Attributes:
        path: the file or folder.
        files: what the values depend on.
        n_series: how many series there are.
        size: ``(height, width, frames)`` of each.
        dtypes: the type of each part that there is: "recon" (aliased input) and "truth", real; "phase" of the truth in
            radians; "kspace", complex, and its "mask".
        in_unit_range: whether floating-point values are in [0, 1] by the format's convention.
        kspace_peak: largest magnitude of the image of "kspace", as the file says it, if it does.
    """

    files: tuple[Path, ...]
    in_unit_range = False
    kspace_peak: float | None = None

    def __init__(self, path: Path, n_series: int, size: tuple[int, ...], dtypes: Mapping[Part, np.dtype]) -> None:
        self.path = path
        self.files = (path,)
        self.n_series = n_series
        self.dtypes = dict(dtypes)
        if len(size) != 3 or 0 in (n_series, *size):
            raise DataError(
                f"{path}: expected series of at least one pixel, got {n_series} of {list(size)}; repair or remove the "
                "file"
            )
        self.size: tuple[int, int, int] = (int(size[0]), int(size[1]), int(size[2]))
        if self.size[2] < 2:
            raise DataError(
                f"{path}: expected series of 2 frames or more, [height, width, frames], got {self.size[2]} frame; for "
                "single images take a bundle of images, or give the series with its frames"
            )

    def name(self, part: Part) -> str:
        """The file, and the data set inside it if it has several; for error messages."""
        return str(self.path)

    @abstractmethod
    def load(self, part: Part, index: int) -> np.ndarray:
        """Stored values of a part of one series.

        ``[height, width, frames]``, k-space ``[n_coils, height, width, frames]``; reads no other series.
        """

    @abstractmethod
    def geometry(self) -> CineGeometry:
        """Where the pixels lie."""

    def attributes(self) -> dict[str, Any]:
        """What the file says about all its series."""
        return self.geometry().attributes
