"""Tiled inference with the whole output in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from common.inferers.tile_network import TileNetwork
from common.inferers.tiles import TilePlan, all_channels
from common.io import enlargement_matrix
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor


class TiledInferer(Inferer):
    """Runs a network that enlarges images on tiles; the result is that for the whole image, to rounding (1e-5).

    For outputs that fit into memory when the network's feature maps do not. Larger ones:
    :class:`~common.inferers.StreamingInferer`.

    MONAI's ``SlidingWindowInferer`` (1.6.1) blends overlapping windows by weights: pixels at a window's edge, where the
    network saw its own padding in place of the image, stay in the result (differences of up to 0.69 without overlap,
    0.37 with Gaussian weights and half overlap, with a random network); it pads images that are smaller than a window;
    and a ``MetaTensor`` keeps the affine matrix of the input. This one keeps from each tile what the tile's edge does
    not touch, writes it once, and scales the matrix.

    The network must be in evaluation mode, as MONAI's evaluators set it: batch norm looks at the whole image else. On
    CUDA devices convolutions are rounded to TF32 unless ``torch.backends.cudnn.allow_tf32`` is off, and then differ
    with the shape they are given.

    Args:
        tile_size: longest side of a tile in input pixels, halo included; one number, or one for each spatial axis;
            ``None``: see :meth:`~common.inferers.TileNetwork.default_tile_size`.
    """

    def __init__(self, tile_size: int | Sequence[int] | None = None) -> None:
        self.tile_size = tile_size

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor]) -> Tensor:
        """Enlarge.

        Args:
            inputs: ``(batch, channels, *spatial)``.
            network: network that enlarges, see :class:`~common.inferers.TileNetwork`.

        Returns:
            ``(batch, output channels, *enlarged)``; a ``MetaTensor``, with its affine matrix scaled, if one came.

        Raises:
            ValueError: if the tiles are too small for the halo, or the network enlarges by another factor.
        """
        on_tile = TileNetwork(network)
        tile_size = on_tile.default_tile_size(inputs.ndim - 2) if self.tile_size is None else self.tile_size
        plan = TilePlan(inputs.shape[2:], tile_size, on_tile.halo, on_tile.upscale)
        image = inputs.as_subclass(Tensor)
        output: Tensor | None = None
        for tile in plan:
            part = on_tile(image[all_channels(tile.read)], tile.kept)
            if output is None:
                output = part.new_empty((*part.shape[:2], *plan.output_size))
            output[all_channels(tile.written)] = part
        assert output is not None  # a plan has a tile
        return _enlarged_meta(output, inputs, on_tile.upscale) if isinstance(inputs, MetaTensor) else output


def _enlarged_meta(output: Tensor, inputs: MetaTensor, upscale: int) -> MetaTensor:
    enlarged = MetaTensor(output)
    enlarged.copy_meta_from(inputs)
    affine = inputs.affine
    matrix = enlargement_matrix((upscale,) * (inputs.ndim - 2), affine.shape[-1] - 1)
    enlarged.affine = affine @ torch.from_numpy(matrix).to(affine)
    return enlarged
