"""PIQE: how good an image looks, without a reference."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from common.metrics.measures import gaussian_window
from common.metrics.slices import mean_over_slices
from torch import Tensor

_BLOCK = 16
_SEGMENT = 6
_THRESHOLD = 0.1
"""Variance above which a block is looked at, and deviation below which a segment of its edge is an artefact."""


@torch.no_grad()
def piqe(image: Tensor) -> Tensor:
    """Perception-based image quality evaluator (Venkatanath et al. 2015, doi:10.1109/NCC.2015.7084843).

    Blocks of 16 x 16 pixels with some contrast count as distorted where a piece of their edge is flat (blocking, blur)
    or where they look like noise. 0 is excellent, 100 bad; a flat image has 100. It was made for photographs: compare
    methods on the same images by it, not sets of images. Noise is distortion to it even where the target has it, and
    the hard steps of nearest-neighbour enlargement are contrast: they score better than bicubic ones.

    The numbers are those of MATLAB's function, with its constants: grey values are scaled to a maximum of 255, sizes
    are mirrored up to a multiple of 16, and of the two middle columns of a block the one right of them is left out of
    its surround instead of the second.

    Args:
        image: real, at least 0, ``(batch, 1, height, width)``, or volumes ``(batch, 1, height, width, depth)``, which
            get the mean over the slices of the three axes.

    Returns:
        float64 ``(batch,)``.

    Raises:
        ValueError: for another shape.
    """
    if image.dim() not in (4, 5) or image.shape[1] != 1:
        raise ValueError(f"PIQE expects grey images (batch, 1, height, width[, depth]), got shape {list(image.shape)}")
    return _of_images(image) if image.dim() == 4 else mean_over_slices(_of_images, image)


def _of_images(image: Tensor) -> Tensor:
    image = image.double()
    for axis in (2, 3):
        n = image.shape[axis]
        mirrored = np.pad(np.arange(n), (0, -n % _BLOCK), mode="symmetric")
        image = image.index_select(axis, torch.from_numpy(mirrored).to(image.device))
    peak = image.amax(dim=(1, 2, 3), keepdim=True)
    grey = (255 * image / torch.where(peak > 0, peak, 1)).round()
    mean = _smooth(grey)
    deviation = (_smooth(grey.square()) - mean.square()).abs().sqrt()
    normal = ((grey - mean) / (deviation + 1))[:, 0]
    blocks = normal.unfold(1, _BLOCK, _BLOCK).unfold(2, _BLOCK, _BLOCK).flatten(1, 2)  # (batch, blocks, 16, 16)

    variance = blocks.flatten(2).var(2)
    active = variance > _THRESHOLD
    distortion = _has_flat_edge(blocks) * (1 - variance) + _is_noise(blocks, variance.sqrt()) * variance
    return 100 * ((active * distortion).sum(1) + 1) / (active.sum(1) + 1)


def _smooth(image: Tensor) -> Tensor:
    weights = gaussian_window(7, 7 / 6).to(image.device)
    padded = F.pad(image, (3, 3, 3, 3), mode="replicate")
    return F.conv2d(F.conv2d(padded, weights.view(1, 1, 7, 1)), weights.view(1, 1, 1, 7))


def _has_flat_edge(blocks: Tensor) -> Tensor:
    edges = torch.stack([blocks[..., 0, :], blocks[..., -1, :], blocks[..., :, 0], blocks[..., :, -1]], dim=2)
    return (edges.unfold(3, _SEGMENT, 1).std(-1) < _THRESHOLD).any(-1).any(-1)


def _is_noise(blocks: Tensor, deviation: Tensor) -> Tensor:
    surround = [column for column in range(_BLOCK) if column not in (7, 9)]
    ratio = blocks[..., 7:9].flatten(2).std(2) / blocks[..., surround].flatten(2).std(2)
    ratio = ratio.nan_to_num(0.0, posinf=torch.inf)  # 0 / 0: a flat block
    return deviation > 2 * (deviation - ratio).abs() / torch.maximum(deviation, ratio)
