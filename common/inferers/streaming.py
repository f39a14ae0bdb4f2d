"""Tiled inference from file to file, for images and volumes larger than memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.data.volumes import one_image
from common.errors import DataError
from common.inferers.file_run import FileRun, in_file_order
from common.inferers.group import Group
from common.inferers.progress import duration
from common.inferers.record import OutputRecord
from common.inferers.tile_network import TileNetwork, network_digest
from common.inferers.tiles import TilePlan
from common.io import ClippedShare, IntensityRange, Source, find_range, open_sink, open_source
from torch import nn

logger = logging.getLogger("recon")


class StreamingInferer:
    """Enlarges a file into another one, tile by tile; one tile and what the network makes of it are in memory.

    The values are those that the network gives for the whole image, to rounding, see
    :class:`~common.inferers.TilePlan`, in the type of the input. Values beyond the intensity range are clipped for the
    network and added back after it, and their share is logged. A 2-D network enlarges each slice of a volume, and keeps
    their number. A 3-D network sees a volume as (height, width, depth).

    An unfinished output is called ``<output>.partial``, see :class:`~common.io.Sink`. After a kill, a full disk or a
    crash the same call resumes after the last finished tile and gives the same bytes as a run in one go; with another
    input, other weights or other options it refuses to. Another kind of device or version of torch, and two runs of one
    output at a time, are not noticed.

    Measured with the default tiles, 64 feature maps and upscale 4: 0.25 GiB (EDSR) and 0.45 GiB (RRDB) in 2-D, 0.9 to
    1.1 GiB in 3-D.

    Args:
        tile_size: longest side of a tile in input pixels, halo included; one number, or one for each spatial axis of
            the network; ``None``: see :meth:`~common.inferers.TileNetwork.default_tile_size`.
        intensity_range: values that become 0 and 1, as :func:`~common.io.find_range` takes them.
        record: True to keep in ``<output>.json`` of what a whole output was made. The same run again then leaves the
            output as it is; after any change it makes a file anew, and refuses to replace a folder.
        shared: True if the processes of a group (``torch.distributed``), all of which call this with the same file,
            share its tiles, through one file system. The bytes are those of one process, and any number of processes
            resumes an unfinished output.
    """

    def __init__(
        self,
        tile_size: int | Sequence[int] | None = None,
        intensity_range: IntensityRange = "auto",
        record: bool = False,
        shared: bool = False,
    ) -> None:
        self.tile_size = tile_size
        self.intensity_range = intensity_range
        self.record = record
        self.shared = shared

    def __call__(self, source: Source | Path | str, network: nn.Module, output: Path | str, **options: Any) -> Path:
        """Enlarge one file.

        Args:
            source: a path, or an open source, which stays open.
            network: network of grey images in [0, 1], see :class:`~common.inferers.TileNetwork`, with an attribute
                ``spatial_dims``; run where its weights are, in evaluation mode.
            output: the file or folder to be; its suffix chooses the format. A file of that name is replaced at the end.
            options: options of :func:`~common.io.open_source`.

        Returns:
            ``output``.

        Raises:
            DataError: for an input that cannot be read or is no image, an output that cannot be written
                (DiskFullError for a full disk), an unfinished output of another run, or values that are not finite.
            ValueError: for options that do not fit the network or the image.
        """
        if isinstance(source, Source):
            return self._enlarge(source, network, Path(output))
        with open_source(source, **options) as opened:
            return self._enlarge(opened, network, Path(output), options)

    def _enlarge(
        self, source: Source, network: nn.Module, output: Path, options: Mapping[str, Any] | None = None
    ) -> Path:
        if output.exists() and output.samefile(source.path):
            raise ValueError(f"{output}: the output would replace its input; choose another one")
        source = one_image(source)
        on_tile = TileNetwork(network)
        dims = self._spatial_dims(source, network)
        plan = self._plan(source.spec.shape, dims, on_tile)
        low, high = find_range(source, self.intensity_range)
        scale = dict(zip(source.spec.axes, in_file_order(plan.upscale), strict=True))
        sink = open_sink(output, source.spec.enlarged(scale))
        run = FileRun(
            source=source,
            network=network,
            sink=sink,
            plan=plan,
            on_tile=on_tile,
            by_slice=len(source.spec.shape) > dims,
            ends=(low, high),
            group=(group := Group(self.shared)),
        )
        identity = {**self._identity(run, low, high), "options": _text(options or {})}
        record = OutputRecord(output) if self.record else None
        if record is not None and record.holds(identity):
            return output
        start = time.monotonic()
        run(identity)
        clipped = ClippedShare.sum(group.gather(run.clipped))
        if group.rank == 0:
            if record is not None:
                record.write(identity)
            clipped.warn(source.name, low, high)
            logger.info(f"{output}: {sink.spec}, in {duration(time.monotonic() - start)}")
        return output

    def _spatial_dims(self, source: Source, network: nn.Module) -> int:
        dims = getattr(network, "spatial_dims", None)
        if dims not in (2, 3):
            raise ValueError(f"expected a network with spatial_dims 2 or 3, got {type(network).__name__} of {dims}")
        if len(source.spec.shape) < dims:
            raise DataError(
                f"{source.name}: expected a volume for a network of 3 spatial dimensions, got one image of "
                f"{source.spec}; take a network of 2, or put the slices of one volume into a folder of their own"
            )
        return int(dims)

    def _plan(self, shape: Sequence[int], dims: int, on_tile: TileNetwork) -> TilePlan:
        """Tiles of an image of ``shape`` (z, y, x) or (y, x); of a volume for a 2-D network one slice deep."""
        size = (*shape[-2:], *shape[:-2])
        halo, upscale = on_tile.halo, on_tile.upscale
        tile_size = on_tile.default_tile_size(dims) if self.tile_size is None else self.tile_size
        if len(size) == dims:
            return TilePlan(size, tile_size, halo, upscale)
        sides = tuple(tile_size) if isinstance(tile_size, Sequence) else (tile_size, tile_size)
        return TilePlan(size, (*sides, 1), (halo, halo, 0), (upscale, upscale, 1))

    @staticmethod
    def _identity(run: FileRun, low: float, high: float) -> dict[str, str]:
        plan, spec = run.plan, run.sink.spec
        return {
            "input": run.source.identity(),
            "weights": network_digest(run.network),
            "upscale": str(list(plan.upscale)),
            "halo": str(list(plan.halo)),
            "tiles": f"{len(plan)} of {list(plan.tile_shape)}",
            "intensity_range": f"[{low!r}, {high!r}]",
            "pixel_size": f"{spec.geometry.spacing} {spec.geometry.unit}",
            "values": f"{spec} {spec.intensity.slope} {spec.intensity.intercept}",
        }


def _text(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={options[name]!r}" for name in sorted(options) if options[name] is not None)
