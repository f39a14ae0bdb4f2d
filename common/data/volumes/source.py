"""Images on disk that are read region by region."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from common.data.volumes.spec import Region, VolumeSpec, checked_spec

_BLOCK = 2**24  # values that are read at once when a whole image is passed over
_CACHE = 2**28  # bytes


class VolumeSource(ABC):
    """A grey image or volume of which any region can be read, without the rest of it in memory.

    Opening reads headers only. The file stays open until `close`; use it in a ``with`` block.

    Attributes:
        path: the file or folder.
        name: for messages.
        spec: see :class:`~common.data.volumes.VolumeSpec`.

    Raises:
        DataError: if it is no image or volume of real numbers.
    """

    def __init__(self, path: Path, spec: VolumeSpec, *, name: str = "") -> None:
        self.path = path
        self.name = name or str(path)
        self.spec = checked_spec(self.name, spec)

    @abstractmethod
    def read(self, region: Region) -> np.ndarray:
        """Stored values of one region, axes as in ``spec``; any byte order and memory layout."""

    @abstractmethod
    def close(self) -> None:
        """Release the file."""

    def __enter__(self) -> VolumeSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def identity(self) -> str:
        """Changes when the file does: name inside it, size and time of change of the file, or of all in the folder."""
        shape = " x ".join(map(str, self.spec.shape))
        return f"{shape} {self.spec.dtype.str} {self.spec.dataset} {files_digest(self.path)}"

    def blocks(self) -> Iterator[Region]:
        """Regions of bounded size that together are the image, slice by slice."""
        height, width = self.spec.shape[:2]
        rows = max(_BLOCK // width, 1)
        depths: list[Region] = [(slice(n, n + 1),) for n in range(self.spec.shape[2])] if self.spec.shape[2:] else [()]
        for depth in depths:
            for start in range(0, height, rows):
                yield (slice(start, min(start + rows, height)), slice(0, width), *depth)


def files_digest(path: Path) -> str:
    """Changes with name, size and time of change of a file, or of any file in a folder."""
    files = [path]
    if path.is_dir():
        files = sorted(Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        relative = file.relative_to(path) if file != path else file.name
        digest.update(f"{relative}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


class RecentArrays:
    """The arrays last used, up to a number of bytes: what has to be decoded as a whole for one region of it."""

    def __init__(self, max_bytes: int = _CACHE) -> None:
        self._max_bytes = max_bytes
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._n_bytes = 0

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of a key, made if it is not at hand."""
        if key in self._arrays:
            self._arrays.move_to_end(key)
            return self._arrays[key]
        array = make()
        self._arrays[key] = array
        self._n_bytes += array.nbytes
        while self._n_bytes > self._max_bytes and len(self._arrays) > 1:
            self._n_bytes -= self._arrays.popitem(last=False)[1].nbytes
        return array
