"""Grey micro-CT images simulated on segmented rock: the pores are measured, the grey values are synthetic."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from common.errors import DataError
from common.phantoms.rock_phantom import MINERALS
from numpy.typing import NDArray
from scipy import ndimage

SPLIT_SHARES = {"train": (0.0, 0.52), "valid": (0.52, 0.76), "test": (0.76, 1.0)}
"""Part of the first axis that each split is cut from, so that no two splits share a voxel."""


def scanned_rock(
    solid: NDArray[np.bool_], seed: int, *, blur: float = 0.4, noise: float = 0.014
) -> NDArray[np.float32]:
    """Simulate a micro-CT scan of segmented rock.

    The maxima of the distance to the pores become grains, each of a mineral of
    :data:`~common.phantoms.rock_phantom.MINERALS` with its grey value and texture. A voxel on a border has a share of
    grain and of pore; then come the point spread and the noise of the scanner. Brightness and contrast differ from
    seed to seed, as in :func:`~common.phantoms.rock_phantom.rock_phantom`.

    Args:
        solid: section or volume, true in the grains.
        seed: non-negative seed of the grey values.
        blur: standard deviation of the point spread function in voxels.
        noise: standard deviation of the noise relative to the grey value of quartz.

    Returns:
        float32 array of the shape of `solid`, in [0, 1].
    """
    rng = np.random.default_rng(seed)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(solid), 1.0)
    centres, n_grains = ndimage.label((depth == ndimage.maximum_filter(depth, 5)) & (depth > 1))
    nearest = ndimage.distance_transform_edt(centres == 0, return_distances=False, return_indices=True)
    owner = centres[tuple(nearest)] if n_grains else centres

    share, grey, spread = np.array(list(MINERALS.values())).T
    mineral = rng.choice(len(share), n_grains + 1, p=share / share.sum())
    texture = ndimage.gaussian_filter(rng.standard_normal(solid.shape, dtype=np.float32), 0.7)
    texture *= spread[mineral][owner] / texture.std()
    grains = (grey[mineral] * (1 + rng.normal(0, 0.008, n_grains + 1)))[owner] + texture

    quartz, dark = rng.uniform(0.20, 0.60), rng.uniform(0.30, 0.40)
    partial_volume = ndimage.gaussian_filter(solid.astype(np.float32), 0.5)
    image = dark + partial_volume * (grains - dark)
    image = ndimage.gaussian_filter(image, blur) if blur else image
    image += noise * rng.standard_normal(solid.shape, dtype=np.float32)
    return np.clip(quartz * image, 0, 1).astype(np.float32)


def cut_rock(path: str | Path, split: str, seed: int, size: int, dims: int) -> NDArray[np.bool_]:
    """Cut a random section or cube out of a segmented volume, turned and mirrored at random.

    Args:
        path: ``.npz`` file with ``solid_bits``, the packed bits of the volume (1 in the grains), and its ``shape``.
        split: "train", "valid" or "test"; each is cut from a part of the first axis of its own.
        seed: seed of the place.
        size: voxels per side.
        dims: 2 for a section across the first axis, 3 for a cube.

    Returns:
        Boolean array of `dims` axes of `size`.

    Raises:
        DataError: if the file is no segmented volume.
        ValueError: if the part of the split is smaller than `size`.
    """
    volume = _read(str(path))
    low, high = (round(share * len(volume)) for share in SPLIT_SHARES[split])
    part = volume[low:high]
    sides = (1 if dims == 2 else size, size, size)
    if any(there < wanted for there, wanted in zip(part.shape, sides, strict=True)):
        raise ValueError(f"{path}: {split} has {part.shape} voxels, fewer than --size {size}; give a smaller size")
    rng = np.random.default_rng((seed, dims))
    starts = [rng.integers(there - wanted + 1) for there, wanted in zip(part.shape, sides, strict=True)]
    cut = part[tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))]
    cut = cut[0] if dims == 2 else cut
    cut = cut.transpose(rng.permutation(dims))
    return np.ascontiguousarray(cut[tuple(slice(None, None, rng.choice([-1, 1])) for _ in range(dims))])


@cache
def _read(path: str) -> NDArray[np.bool_]:
    try:
        with np.load(path) as stored:
            shape = tuple(int(side) for side in stored["shape"])
            bits = np.unpackbits(stored["solid_bits"])[: int(np.prod(shape))]
            return bits.reshape(shape).astype(bool)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: expected an .npz file with solid_bits and a shape of three axes ({error})") from None
