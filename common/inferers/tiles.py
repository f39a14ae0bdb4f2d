"""Tiles of an image: parts on which a network is run one after the other, and the output pixels that each gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from common.io import Region


@dataclass(frozen=True)
class Tile:
    """One run of the network; one slice for each spatial axis.

    Attributes:
        read: region of the input that the network is given.
        kept: region of what it makes of ``read``.
        written: region of the output that ``kept`` goes to.
    """

    read: Region
    kept: Region
    written: Region


class TilePlan(Sequence[Tile]):
    """The tiles of an image: together they write every output pixel once, and all of them read regions of one shape.

    Along an axis tile ``k`` writes the input pixels ``k * step`` to ``(k + 1) * step``, enlarged. It reads ``halo``
    more to each side; a window that would leave the image is shifted back inside. So nothing is padded, the
    network's own padding acts at the true borders only, and as each pixel that is kept has its whole receptive
    field in the window or ends at the border, a tile's result is that of the whole image to rounding. Tiles are
    balanced: of 260 pixels in tiles of at most 256 with a halo of 6, two windows of 136 are read.

    Tiles are counted with the last axis of a volume outermost: files keep volumes slice by slice, (height, width,
    depth) here.

    Args:
        size: size of the input, one number for each spatial axis.
        tile_size: longest side of what is read, halo included; one number, or one for each axis.
        halo: input pixels on which an output pixel depends to each side; one number, or one for each axis.
        upscale: enlargement; one number, or one for each axis.

    Attributes:
        tile_shape: shape of the region each tile reads.
        block: shape of the region each tile writes; the last ones along an axis may be smaller.
        output_size: size of the output.

    Raises:
        ValueError: for sizes below 1, or a tile that has no room inside its halo.
    """

    def __init__(
        self,
        size: Sequence[int],
        tile_size: int | Sequence[int],
        halo: int | Sequence[int],
        upscale: int | Sequence[int],
    ) -> None:
        self.size = tuple(int(n) for n in size)
        self.halo = _for_each_axis("halo", halo, self.size, 0)
        self.upscale = _for_each_axis("upscale", upscale, self.size, 1)
        if min(self.size, default=0) < 1:
            raise ValueError(f"expected an image of at least one pixel along each axis, got {list(self.size)}")
        tiles = _for_each_axis("tile_size", tile_size, self.size, 1)
        axes = [_steps(*numbers) for numbers in zip(self.size, tiles, self.halo, strict=True)]
        self._step = tuple(step for step, _ in axes)
        self.tile_shape = tuple(window for _, window in axes)
        self.block = tuple(step * scale for step, scale in zip(self._step, self.upscale, strict=True))
        self.output_size = tuple(n * scale for n, scale in zip(self.size, self.upscale, strict=True))
        self._counts = tuple(-(-n // step) for n, step in zip(self.size, self._step, strict=True))
        self._order = (2, 0, 1) if len(self.size) == 3 else tuple(range(len(self.size)))

    def __len__(self) -> int:
        return int(np.prod(self._counts, dtype=np.int64))

    def __getitem__(self, index: int) -> Tile:  # type: ignore[override]  # no slices
        if not -len(self) <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        places = np.unravel_index(index % len(self), [self._counts[axis] for axis in self._order])
        read: list[slice] = [slice(0)] * len(self.size)
        kept, written = list(read), list(read)
        for axis, place in zip(self._order, places, strict=True):
            first = int(place) * self._step[axis]
            last = min(first + self._step[axis], self.size[axis])
            window, scale = self.tile_shape[axis], self.upscale[axis]
            start = min(max(first - self.halo[axis], 0), self.size[axis] - window)
            read[axis] = slice(start, start + window)
            kept[axis] = slice((first - start) * scale, (last - start) * scale)
            written[axis] = slice(first * scale, last * scale)
        return Tile(tuple(read), tuple(kept), tuple(written))


def _for_each_axis(name: str, value: int | Sequence[int], size: Sequence[int], least: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,) * len(size)
    if len(values) != len(size) or any(n != int(n) or n < least for n in values):
        raise ValueError(
            f"{name} must be a whole number of at least {least}, or one for each of {len(size)} axes, got {value!r}"
        )
    return tuple(int(n) for n in values)


def _steps(size: int, tile_size: int, halo: int) -> tuple[int, int]:
    """Input pixels that a tile gives along an axis, and those that it reads."""
    if size <= tile_size:
        return size, size
    if size <= 2 * (tile_size - halo):  # one has no halo to the left, the other none to the right
        step = -(-size // 2)
        return step, step + halo
    if tile_size <= 2 * halo:
        raise ValueError(
            f"tile_size must be more than twice the halo, {2 * halo}, to enlarge {size} pixels, got {tile_size}"
        )
    step = -(-size // -(-size // (tile_size - 2 * halo)))
    return step, min(size, step + 2 * halo)


def all_channels(region: Sequence[slice]) -> tuple[slice, ...]:
    """Index of a region in a tensor ``(batch, channels, *spatial)``."""
    return slice(None), slice(None), *region
