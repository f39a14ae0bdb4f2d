"""One file on its way through a network into another file."""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from monai.networks import eval_mode
from torch import Tensor, nn

from common.data.volumes import IntensityScale, VolumeSink, VolumeSource, disk_errors
from common.errors import DataError
from common.inferers.journal import Journal
from common.inferers.progress import followed
from common.inferers.record import OutputRecord
from common.inferers.tile_network import TileNetwork
from common.inferers.tiles import Tile, TilePlan

logger = logging.getLogger("recon")


@dataclass(frozen=True)
class FileRun:
    """Reads, enlarges and writes tile after tile, and keeps account of it.

    Attributes:
        source: what is read.
        network: what enlarges, where it is.
        on_tile: the network, run for a tile.
        sink: what is written.
        plan: the tiles.
        by_slice: whether a 2-D network enlarges the slices of a volume.
        to_unit: stored values of the source to [0, 1].
        to_stored: [0, 1] to stored values of the sink.
        record: of the output, if one is kept.
    """

    source: VolumeSource
    network: nn.Module
    on_tile: TileNetwork
    sink: VolumeSink
    plan: TilePlan
    by_slice: bool
    to_unit: IntensityScale
    to_stored: IntensityScale
    record: OutputRecord | None = None

    def __call__(self, journal: Journal, identity: dict[str, str]) -> None:
        """Do what the journal says is left, and give the output its name.

        Args:
            journal: of this output; its file may be there.
            identity: of this run: input, weights and options.
        """
        sink = self.sink
        with sink, disk_errors(sink.path, sink.spec.n_bytes), torch.inference_mode(), eval_mode(self.network):
            if self._lacks_only_the_name(journal, identity):
                self._end(journal, identity)
                return
            self._begin(journal, identity)
            left = [index for index in range(len(self.plan)) if index not in journal.done]
            for index in followed(left, done=len(journal.done), unit="tiles"):
                tile = self.plan[index]
                try:
                    block = self._enlarged(tile)
                except DataError:
                    if not journal.done:  # there is no work to keep
                        sink.discard()
                        journal.remove()
                    raise
                sink.write(tile.written, block)
                journal.add(index, _checksum(block))
            sink.finish()
            self._end(journal, identity)

    def _end(self, journal: Journal, identity: dict[str, str]) -> None:
        if self.record is not None:
            self.record.write(identity)
        journal.remove()

    def _lacks_only_the_name(self, journal: Journal, identity: dict[str, str]) -> bool:
        """Whether a run was killed between giving the output its name and removing the journal."""
        if not journal.path.exists() or self.sink.partial.exists() or not self.sink.path.exists():
            return False
        journal.resume(identity)
        return len(journal.done) == len(self.plan)

    def _begin(self, journal: Journal, identity: dict[str, str]) -> None:
        if journal.path.exists():
            journal.resume(identity)
            if journal.done and self.sink.partial.exists():
                self.sink.resume()
                journal.begin(identity, self._verified(journal.done))
                return
        journal.begin(identity)
        try:
            self.sink.create()
        except BaseException:
            self.sink.discard()
            journal.remove()
            raise

    def _verified(self, done: dict[int, int]) -> dict[int, int]:
        """Those of the finished tiles whose values are the ones that were written."""
        sound = {index: checksum for index, checksum in done.items() if self._found(index) == checksum}
        lost = len(done) - len(sound)
        logger.info(
            f"{self.sink.path}: going on, {len(sound)} of {len(self.plan)} tiles are done"
            + (f", {lost} had not reached the disk" if lost else "")
        )
        return sound

    def _found(self, index: int) -> int | None:
        try:
            return _checksum(self.sink.read(self.plan[index].written))
        except EOFError:
            return None

    def _enlarged(self, tile: Tile) -> np.ndarray:
        """Stored values of what a tile writes."""
        where = " x ".join(f"{part.start}:{part.stop}" for part in tile.read)
        stored = self.source.read(tile.read)
        if not np.isfinite(stored).all():
            raise DataError(f"{self.source.name}: has NaN or infinite values in [{where}]; replace them")
        unit = self._run_network(torch.from_numpy(self.to_unit.to_unit(stored)), tile).numpy()
        if not np.isfinite(unit).all():
            raise DataError(f"{self.source.name}: the network makes NaN or infinite values of [{where}]; check it")
        values = self.to_stored.to_stored(unit, self.sink.spec.dtype)
        limits = self.sink.spec.limits
        return values if limits is None else values.clip(*limits)

    def _run_network(self, window: Tensor, tile: Tile) -> Tensor:
        """``window`` and result (height, width[, depth])."""
        batch = window.permute(2, 0, 1)[:, None] if self.by_slice else window[None, None]
        kept = tile.kept[:2] if self.by_slice else tile.kept
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
        return part.permute(1, 2, 0) if self.by_slice else part[0]


def _checksum(block: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(block, block.dtype.newbyteorder("=")).data)
