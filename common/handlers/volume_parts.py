"""Several images of each slice, put together to volumes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from common.data.assembler import VolumeAssembler


class VolumeParts:
    """A :class:`~common.data.assembler.VolumeAssembler` of named images: all slices of a file have the same names."""

    def __init__(self) -> None:
        self._parts: dict[str, VolumeAssembler] = {}

    def add(
        self, path: Path | str, index: int, n_slices: int, images: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Take one slice.

        Args:
            path: file of the slice.
            index: number of the slice in it.
            n_slices: number of slices of the file.
            images: name to ``[height, width]``.

        Returns:
            name to volume ``[slices, height, width]`` if this was the last slice, else nothing.

        Raises:
            DataError: as ``VolumeAssembler.add``.
        """
        volumes = {
            name: self._parts.setdefault(name, VolumeAssembler()).add(path, index, n_slices, image)
            for name, image in images.items()
        }
        return {name: volume for name, volume in volumes.items() if volume is not None}

    def finish(self) -> None:
        """Check that no volume is unfinished; raise DataError with those that are."""
        for assembler in self._parts.values():
            assembler.finish()
