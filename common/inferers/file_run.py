"""One file on its way through a network into another file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from common.errors import DataError
from common.inferers.group import Group
from common.inferers.progress import followed
from common.inferers.tile_network import TileNetwork
from common.inferers.tiles import Tile, TilePlan
from common.io import ClippedShare, IntensityScale, Sink, Source
from monai.networks import eval_mode
from torch import Tensor, nn

Item = TypeVar("Item")


@dataclass(frozen=True)
class FileRun:
    """Reads, enlarges and writes tile after tile.

    A network works in the range that becomes [0, 1]. What lies beyond it, such as metal above a CT window, is clipped
    for the network and added to its result, repeated for each of the enlarged pixels. Pixels outside of the image
    (`Intensity.padding`) keep the value that says so.

    Attributes:
        source: image or volume with the axes (y, x) or (z, y, x).
        network: network that enlarges, on its device.
        on_tile: the network, run for a tile.
        sink: output.
        plan: tiles, with the axes of the network: (y, x), or (y, x, z) of a volume.
        by_slice: True if a 2-D network enlarges the slices of a volume.
        ends: the meant values that become 0 and 1.
        group: processes that share the tiles.
        clipped: count of the values beyond the range.
    """

    source: Source
    network: nn.Module
    on_tile: TileNetwork
    sink: Sink
    plan: TilePlan
    by_slice: bool
    ends: tuple[float, float]
    group: Group
    clipped: ClippedShare = field(default_factory=ClippedShare)

    def __call__(self, identity: dict[str, str]) -> None:
        """Enlarge what is left of an output and give it its name.

        Each process of the group writes its share of the tiles; the first one begins and encodes the output.

        Args:
            identity: what the values depend on: input, weights and options of this run.
        """
        sink, group = self.sink, self.group
        with torch.inference_mode(), eval_mode(self.network):
            for turn in (group.rank == 0, group.rank > 0):
                with group.step():
                    if turn:
                        sink.begin(identity)
            left = [tile for tile in self.plan if not sink.holds(in_file_order(tile.written))]
            with group.step():
                self._write(left[group.rank :: group.size], len(self.plan) - len(left))
            with group.step():
                if group.rank == 0:
                    if group.size > 1:
                        sink.begin(identity)  # finds what the others have written
                    sink.finish()

    def _write(self, tiles: Sequence[Tile], n_done: int) -> None:
        progress = followed(tiles, done=n_done // self.group.size, unit="tiles")
        for tile in progress if self.group.rank == 0 else tiles:
            try:
                values = self._enlarged(tile)
            except DataError:
                if not self.sink.n_written and self.group.size == 1:  # there is no work to keep
                    self.sink.discard()
                raise
            self.sink.write(in_file_order(tile.written), values)

    def _enlarged(self, tile: Tile) -> np.ndarray:
        """Stored values of the region that a tile writes, in the order of the file."""
        region = in_file_order(tile.read)
        stored = self.source.read(region)
        unit = self.source.to_unit(stored, *self.ends)
        scale = in_file_order(self.plan.upscale)
        inner = tuple(
            slice(part.start // n, part.stop // n) for part, n in zip(in_file_order(tile.kept), scale, strict=True)
        )
        padding = self.source.spec.intensity.padding
        outside = np.zeros(stored[inner].shape, bool) if padding is None else stored[inner] == padding
        self.clipped.add(unit[inner][~outside])
        window = np.clip(unit, 0.0, 1.0)
        result = self._run_network(torch.from_numpy(window), tile).numpy()
        if not np.isfinite(result).all():
            where = " x ".join(f"{part.start}:{part.stop}" for part in region)
            raise DataError(f"{self.source.name}: the network makes NaN or infinite values of [{where}]; check it")
        beyond = (unit - window)[inner]
        if beyond.any():
            result = result + _repeated(beyond, scale)
        rule, dtype = self.sink.spec.intensity, self.sink.spec.dtype
        values = IntensityScale.between(*self.ends, rule).to_stored(result, dtype)
        values = values if rule.limits is None else values.clip(*rule.limits)
        if rule.padding is not None and outside.any():
            values[_repeated(outside, scale)] = rule.padding
        return values

    def _run_network(self, window: Tensor, tile: Tile) -> Tensor:
        """Result for a window, both in the order of the file: (height, width) or (depth, height, width)."""
        if self.by_slice:
            batch, kept = window[:, None], tile.kept[:2]
        else:
            batch, kept = window.permute(*([1, 2, 0] if window.ndim == 3 else [0, 1]))[None, None], tile.kept
        weights = next(self.network.parameters(), None)
        batch = batch.contiguous().to(None if weights is None else weights.device)
        try:
            part = self.on_tile(batch, kept)
        except torch.OutOfMemoryError as error:
            size = " x ".join(map(str, self.plan.tile_shape))
            raise ValueError(f"no room on {batch.device} for a tile of {size}; pass a smaller tile_size") from error
        if part.shape[1] != 1:
            raise ValueError(f"expected a network of grey images, one channel, got {part.shape[1]}")
        part = part[:, 0].cpu()
        if self.by_slice:
            return part
        return part[0].permute(2, 0, 1) if part.ndim == 4 else part[0]


def in_file_order(parts: Sequence[Item]) -> tuple[Item, ...]:
    """Something for each axis, from the order of networks, (y, x[, z]), to that of files, ([z,] y, x)."""
    return (*parts[2:], *parts[:2])


def _repeated(values: np.ndarray, scale: Sequence[int]) -> np.ndarray:
    """Each pixel repeated along each axis."""
    for axis, factor in enumerate(scale):
        values = values.repeat(factor, axis)
    return values
