"""Sampling masks that came with the data."""

from __future__ import annotations

import numpy as np

from common.data.stacks import Slices
from common.errors import DataError, file_errors


class StoredMask:
    """A sampling mask from a file: one other value than 0 where sampled, centre of k-space at (H//2, W//2).

    Args:
        stack: the stored values, ``[W]``, ``[H, W]`` or ``[slices, H, W]``; a size of 1 stands for all.
        shape: (slices, height, width) of the data to be masked.
        data_name: the data's name, for errors.

    Raises:
        DataError: the mask does not fit the data.
    """

    def __init__(self, stack: Slices, shape: tuple[int, int, int], data_name: str) -> None:
        fits = all(have in (1, want) for have, want in zip(stack.shape, shape, strict=True))
        if not fits or (stack.shape[1:] == (1, 1) and shape[1:] != (1, 1)):
            raise DataError(
                f"image and mask of different size: {data_name} is {list(shape)} [slices, height, width], "
                f"{stack.name} is {list(stack.shape)}; give a mask of shape [W], [H, W] or [slices, H, W]"
            )
        self.stack = stack
        self._size = shape[1:]

    def read(self, index: int) -> np.ndarray:
        """The mask of one slice, bool ``[height, width]``."""
        with file_errors(self.stack.path, "a mask"):
            values = self.stack.load(index if self.stack.shape[0] > 1 else 0)
        levels = np.unique(values)
        if not np.isfinite(levels).all() or len(levels[levels != 0]) > 1:
            raise DataError(
                f"{self.stack.name}, slice {index}: expected a mask of 0 and one other value, got {len(levels)} values "
                f"from {levels[0]} to {levels[-1]}; write 0 and 1"
            )
        if not levels.any():
            raise DataError(f"{self.stack.name}, slice {index}: the mask samples nothing; write 1 where sampled")
        return np.broadcast_to(values != 0, self._size).copy()
