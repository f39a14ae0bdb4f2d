"""Images of formats that are encoded as a whole, when all values are there."""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path

import numpy as np

from common.data.volumes.arrays import RawSink
from common.data.volumes.sink import remove, removed_on_error


class EncodedSink(RawSink):
    """A file of one image, or a folder with a file for each slice; ``partial`` has the values flat until then."""

    def finish(self) -> None:
        """Encode, and give the file or folder its name."""
        self.close()
        self.resume()
        with removed_on_error(self.partial.with_name(f"{self.partial.name}{self._ending}")) as encoded:
            remove(encoded)
            if len(self.spec.shape) == 2:
                self._encode(0, encoded)
            else:
                encoded.mkdir()
                for index in range(self.spec.shape[2]):
                    self._encode(index, encoded / self._slice_name(index))
        self.close()
        os.replace(encoded, self.path)
        self.partial.unlink()

    _ending: str
    """Suffix of such a file."""

    @abstractmethod
    def _encode(self, index: int, path: Path) -> None:
        """Write a slice, or the image, which is slice 0, to a file."""

    @abstractmethod
    def _slice_name(self, index: int) -> str:
        """File name of a slice."""

    def _slice(self, index: int) -> np.ndarray:
        """Stored values of a slice, ``[height, width]``, native byte order."""
        height, width = self.spec.shape[:2]
        depth = (slice(index, index + 1),) if len(self.spec.shape) == 3 else ()
        values = self.read((slice(0, height), slice(0, width), *depth)).reshape(height, width)
        return values.astype(values.dtype.newbyteorder("="), copy=False)
