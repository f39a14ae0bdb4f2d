"""A network as tiling sees it: how far it looks, how much it enlarges, and how it is run on a tile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from common.inferers.tiles import all_channels
from common.io import Region
from common.networks.receptive_field import receptive_halo
from common.networks.sr_blocks import check_image
from common.networks.super_resolution import SrGenerator
from torch import Tensor, nn

_PIECE = {2: 128, 3: 24}
# by spatial dims, a tile's least side and what it has at least inside its halo
_TILE = {2: (384, 256), 3: (64, 24)}
_TILE_ENLARGED_WHOLE = {2: (256, 128), 3: (32, 12)}
_TILE_DIRECT = {2: (512, 384), 3: (96, 48)}


class TileNetwork:
    """A network that enlarges, run for a part of its output.

    What a tile costs are the feature maps after the enlargement, 64 times as large as before it with 3-D images at
    upscale 4, while the halo is needed before it. So of a :class:`~common.networks.super_resolution.SrGenerator` (not
    scripted) all that works at low resolution is run on the whole tile, and the rest on what is kept, in pieces of at
    most 128 x 128 or 24 x 24 x 24 input pixels with a halo of their own. Other networks are run on the whole tile,
    which is larger where their attribute ``direct`` is true: no feature maps after the enlargement.

    Args:
        network: network that maps ``(batch, channels, *spatial)`` to images ``network.upscale`` times as large along
            each spatial axis. ``network.halo()`` is the number of input pixels on which an output pixel depends, to
            each side of the one it lies in; with less than that tiles have seams.

    Raises:
        ValueError: if the network lacks one of the two.
    """

    def __init__(self, network: Callable[..., Tensor]) -> None:
        inner: Any = network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
        upscale, halo = getattr(inner, "upscale", None), getattr(inner, "halo", None)
        if upscale is None or halo is None:
            missing = "an attribute upscale" if upscale is None else "a method halo()"
            raise ValueError(f"expected a network with {missing}, got {type(inner).__name__}; give it one")
        self.network = network
        self.upscale = int(upscale)
        self.halo = int(halo())
        self._direct = bool(getattr(inner, "direct", False))
        self._generator = inner if isinstance(inner, SrGenerator) else None
        if self._generator is not None:
            late = nn.Sequential(self._generator.upsampling, self._generator.tail, self._generator.output)
            self._late_halo = receptive_halo(late)

    def __call__(self, window: Tensor, kept: Region) -> Tensor:
        """Return a region of the network's result for a tile.

        Args:
            window: the tile, ``(batch, channels, *spatial)``.
            kept: one slice for each spatial axis, in pixels of the result.

        Returns:
            ``(batch, output channels, *kept)``.

        Raises:
            ValueError: if the network does not enlarge as it should.
        """
        if self._generator is not None:
            return self._in_two_steps(self._generator, window, kept)
        result = self.network(window)
        expected = [n * self.upscale for n in window.shape[2:]]
        if list(result.shape[2:]) != expected:
            raise ValueError(
                f"expected a network that enlarges {list(window.shape[2:])} to {expected}, got "
                f"{list(result.shape[2:])}; correct its upscale"
            )
        return result[all_channels(kept)]

    def default_tile_size(self, spatial_dims: int) -> int:
        """Side of a tile, halo included, that takes about 1 GiB with 64 feature maps at upscale 4.

        In 3-D a network that is run on the whole tile takes more if it looks further than 10 pixels, or, where it is
        ``direct``, further than 24.
        """
        whole = _TILE_DIRECT if self._direct else _TILE_ENLARGED_WHOLE
        sizes = whole if self._generator is None else _TILE
        least, inside = sizes[spatial_dims]
        return max(least, inside + 2 * self.halo)

    def _in_two_steps(self, network: SrGenerator, window: Tensor, kept: Region) -> Tensor:
        check_image(window, network.channels, network.spatial_dims)
        features = network.trunk(network.head(window))
        wanted = [slice(part.start // self.upscale, part.stop // self.upscale) for part in kept]
        side, margin = _PIECE[network.spatial_dims], self._late_halo
        result: Tensor | None = None
        for corner in product(*(range(part.start, part.stop, side) for part in wanted)):
            pieces = [slice(n, min(n + side, part.stop)) for n, part in zip(corner, wanted, strict=True)]
            read = [
                slice(max(piece.start - margin, 0), min(piece.stop + margin, n))
                for piece, n in zip(pieces, window.shape[2:], strict=True)
            ]
            late = network.tail(network.upsampling(features[all_channels(read)])).to(window.dtype)
            inside = _enlarged_within(read, pieces, self.upscale)
            values = network.output(late)[all_channels(inside)]
            if result is None:
                sizes = [(part.stop - part.start) * self.upscale for part in wanted]
                result = values.new_empty((*values.shape[:2], *sizes))
            result[all_channels(_enlarged_within(wanted, pieces, self.upscale))] = values
        assert result is not None  # a region has pixels
        return result


def _enlarged_within(outer: list[slice], inner: list[slice], upscale: int) -> list[slice]:
    """Return the place of an input region in the enlargement of another that contains it."""
    return [
        slice((b.start - a.start) * upscale, (b.stop - a.start) * upscale) for a, b in zip(outer, inner, strict=True)
    ]


def network_digest(network: nn.Module) -> str:
    """Changes with the layers, their weights and their buffers."""
    digest = hashlib.sha256(repr(network).encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
