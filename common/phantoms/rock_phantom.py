"""Random packs of sandstone grains as micro-CT shows them: training data for super-resolution of rock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from common.errors import require_at_least
from common.phantoms.canvas import Field
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

MINERALS: dict[str, tuple[float, float, float]] = {
    "quartz": (0.925, 1.00, 0.012),
    "feldspar": (0.055, 1.05, 0.050),
    "clay": (0.017, 0.74, 0.120),
    "heavy": (0.003, 1.70, 0.050),
}
"""Share of the grains, grey value relative to quartz, and relative standard deviation of the grain's texture."""

MISSING = 0.05
"""Share of the grains taken out of the pack again, which leaves the large pores between the small ones."""

REACH = 1.75
"""Extent, in radii, to which a grain's distance is known: beyond it a point is deep in a pore."""


def rock_phantom(
    seed: int,
    size: int = 256,
    *,
    dims: int = 2,
    porosity: float = 0.24,
    grain_size: float = 12.0,
    blur: float = 0.4,
    noise: float = 0.014,
) -> NDArray[np.float32]:
    """Draw a random pack of grains, or a plane section through one.

    Balls of random sizes are pushed apart until they hardly overlap, made ellipsoids, bent by noise, and grown to
    the porosity, so that they touch in flat walls as compacted ones do; some contacts stay open as thin seams. Each
    grain is of one mineral with its grey value and texture; a voxel on a border has its share of grain and pore; then
    come the point spread and noise of the scanner. Brightness and contrast differ from seed to seed. Proportions
    follow Bentheimer sandstone; at the default grain size so do its lengths in a coarse scan of about ten voxels a
    grain. Nothing in it is measured data.

    Args:
        seed: non-negative number of the pack.
        size: voxels per side, 16 or more.
        dims: 2 for a section through a three-dimensional pack, 3 for a volume.
        porosity: share of the pores, in [0.05, 0.6]; met by the grains before blur and noise.
        grain_size: mean diameter of a grain in voxels, from 4 to `size`.
        blur: standard deviation of the point spread function in voxels.
        noise: standard deviation of the noise relative to the grey value of quartz.

    Returns:
        float32 array of `dims` axes of `size`, in [0, 1].

    Raises:
        ValueError: for a number out of range.
    """
    require_at_least(0, seed=seed, blur=blur, noise=noise)
    require_at_least(16, size=size)  # a smaller pack has hardly a grain
    if dims not in (2, 3):
        raise ValueError(f"dims must be 2 (a section) or 3 (a volume), got {dims}")
    if not 0.05 <= porosity <= 0.6:
        raise ValueError(f"porosity must be in [0.05, 0.6], got {porosity}")
    if not 4 <= grain_size <= size:
        raise ValueError(f"grain_size must be in [4, {size}] voxels for {size=}, got {grain_size}")
    rng = np.random.default_rng(seed)
    shape = (size,) * dims
    pack = _random_pack(rng, size, dims, grain_size)
    gap, wall, owner = _nearest_grains(pack, _bent_axes(rng, shape, grain_size))

    # open contacts: a groove along the walls, as deep as slow noise says
    opening = np.clip(1.1 + 0.8 * _smooth_noise(rng, shape, 0.35 * grain_size), 0, 3) * (0.055 * grain_size)
    roughness = 0.022 * grain_size * _smooth_noise(rng, shape, max(0.6, 0.06 * grain_size))
    surface = gap + roughness + opening * np.exp(-((wall / (0.05 * grain_size + 0.3)) ** 2))
    surface = np.quantile(surface, 1 - porosity) - surface  # positive in the solid
    solid = np.clip(surface / np.maximum(_slope(surface), 0.3) + 0.5, 0, 1)

    quartz, dark = rng.uniform(0.20, 0.60), rng.uniform(0.30, 0.40)
    texture = _smooth_noise(rng, shape, 0.7)
    pore = dark * (1 + 0.02 * _smooth_noise(rng, shape, 1.0))
    grains = pack.grey[owner] + pack.texture[owner] * texture
    grains += 0.006 * _smooth_noise(rng, shape, grain_size)
    image = pore + solid * (grains - pore)
    _add_specks(rng, image, solid, grain_size)
    image = ndimage.gaussian_filter(image, blur) if blur else image
    image += noise * rng.standard_normal(shape, dtype=np.float32)
    return np.clip(quartz * image, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class _Pack:
    """Ellipsoids in space, in voxels; the section of a two-dimensional image is at 0 on the first axis."""

    centre: Field  # (grains, 3)
    radius: Field  # (grains,)
    shape: Field  # (grains, 3, 3): maps a ball of the same volume onto the ellipsoid's frame
    grey: Field  # (grains,) relative to quartz
    texture: Field  # (grains,)


def _random_pack(rng: np.random.Generator, size: int, dims: int, grain_size: float) -> _Pack:
    margin = grain_size
    box = np.array([4 * grain_size if dims == 2 else size + 2 * margin, *[size + 2 * margin] * 2])
    mean_radius = grain_size / 2
    mean_volume = 4 / 3 * np.pi * mean_radius**3 * 1.22  # the sizes' spread adds a fifth
    n_grains = max(8, round(0.66 * float(box.prod()) / mean_volume))
    radius = mean_radius * np.clip(np.exp(rng.normal(0, 0.30, n_grains)), 0.45, 1.8)
    centre = _push_apart(rng.uniform(0, 1, (n_grains, 3)) * box, radius, box)

    kept = rng.random(n_grains) > MISSING
    centre, radius = centre[kept], radius[kept]
    centre -= np.array([box[0] / 2 if dims == 2 else margin, margin, margin])
    axes = np.exp(rng.normal(0, 0.20, (len(radius), 3)))
    axes /= axes.prod(axis=1, keepdims=True) ** (1 / 3)
    frames = np.linalg.qr(rng.standard_normal((len(radius), 3, 3)))[0]
    shape = frames / axes[:, :, None]
    shares = np.array([share for share, _, _ in MINERALS.values()])
    mineral = rng.choice(len(shares), len(radius), p=shares / shares.sum())
    grey = np.array([grey for _, grey, _ in MINERALS.values()])[mineral] * (1 + rng.normal(0, 0.008, len(radius)))
    texture = np.array([texture for _, _, texture in MINERALS.values()])[mineral]
    return _Pack(centre, radius, shape, grey.astype(np.float32), texture.astype(np.float32))


def _push_apart(centre: Field, radius: Field, box: Field, steps: int = 12) -> Field:
    """Balls in a periodic box, moved out of each other step by step."""
    for _ in range(steps):
        wrapped = centre % box
        tree = cKDTree(np.where(wrapped < box, wrapped, 0), boxsize=box)  # -1e-17 % 1 is 1, which the tree refuses
        first, second = tree.query_pairs(2 * float(np.quantile(radius, 0.98)), output_type="ndarray").T
        between = centre[second] - centre[first]
        between -= box * np.rint(between / box)
        distance = np.maximum(np.linalg.norm(between, axis=1), 1e-6)
        overlap = radius[first] + radius[second] - distance
        push = between * (0.35 * np.maximum(overlap, 0) / distance)[:, None]
        for axis in range(3):
            centre[:, axis] += np.bincount(second, push[:, axis], len(centre))
            centre[:, axis] -= np.bincount(first, push[:, axis], len(centre))
    return centre % box


def _bent_axes(rng: np.random.Generator, shape: tuple[int, ...], grain_size: float) -> Field:
    """Coordinates of each voxel in the space of the pack, `(3, *shape)`: bent, so that no grain is an ellipsoid."""
    axes = np.zeros((3, *shape), np.float32)
    axes[3 - len(shape) :] = np.indices(shape, np.float32)
    for axis in axes:
        axis += 0.07 * grain_size * _smooth_noise(rng, shape, 0.22 * grain_size)
    return axes


def _nearest_grains(pack: _Pack, axes: Field) -> tuple[Field, Field, NDArray[np.intp]]:
    """Signed distance to the nearest grain (negative inside), to the wall with its neighbour, and its number."""
    shape = axes.shape[1:]
    far = (REACH - 1) * float(pack.radius.mean())
    nearest, second = np.full(shape, far, np.float32), np.full(shape, far, np.float32)
    owner = np.zeros(shape, np.intp)
    for number, (centre, radius, frame) in enumerate(zip(pack.centre, pack.radius, pack.shape, strict=True)):
        reach = REACH * radius
        if len(shape) == 2 and abs(centre[0]) > reach:
            continue
        low = np.maximum(np.floor(centre - reach).astype(int), 0)[-len(shape) :]
        high = np.minimum(np.ceil(centre + reach).astype(int) + 1, shape[0])[-len(shape) :]
        if (low >= high).any():
            continue
        box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
        offset = axes[(slice(None), *box)].reshape(3, -1) - centre[:, None].astype(np.float32)
        distance = np.sqrt(np.square(frame.astype(np.float32) @ offset).sum(0)) - np.float32(radius)
        distance = distance.reshape(tuple(high - low))
        closer = distance < nearest[box]
        second[box] = np.where(closer, nearest[box], np.minimum(second[box], distance))
        nearest[box] = np.where(closer, distance, nearest[box])
        owner[box][closer] = number
    return nearest, (second - nearest) / 2, owner


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], length: float) -> Field:
    """Noise of unit variance, smoothed by a Gaussian of `length` voxels."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, length, mode="wrap", truncate=3.0)
    return noise / noise.std()


def _slope(values: Field) -> Field:
    """Length of the gradient per voxel."""
    squares: Any = sum(np.square(step) for step in np.gradient(values))
    return np.sqrt(squares)


def _add_specks(rng: np.random.Generator, image: Field, solid: Field, grain_size: float) -> None:
    """Bright inclusions of a voxel in some grains."""
    where = tuple(
        rng.integers(0, image.shape[0], (image.ndim, rng.poisson(image.size / (3 * grain_size) ** image.ndim)))
    )
    image[where] += rng.uniform(0.1, 0.6, len(where[0])) * solid[where]
