"""OME-Zarr, chunk by chunk; needs the package ``zarr``, version 3.

Moore et al.: OME-Zarr: a cloud-optimized bioimaging file format. Histochem Cell Biol 160, 2023,
doi 10.1007/s00418-023-02209-1; specification https://ngff.openmicroscopy.org, 0.5 (Zarr 3) written, 0.4 read too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import min_version, optional_import

from common.data.stacks import to_dtype
from common.data.volumes.flat import SLICES_FIRST
from common.data.volumes.geometry import Geometry, unit_name
from common.data.volumes.sink import VolumeSink
from common.data.volumes.source import VolumeSource
from common.data.volumes.spec import Region, VolumeSpec
from common.errors import DataError, file_errors

_CHUNK_SIDE = {2: 1024, 3: 128}
_COARSE_ENOUGH = 256  # pixels: longer axes are halved for the next level of the pyramid


def _zarr(path: Path) -> Any:
    zarr, is_there = optional_import("zarr", "3.0", min_version)
    if not is_there:
        raise DataError(f"{path}: Zarr needs the package zarr, version 3; pip install 'zarr>=3', or choose a .tif")
    return zarr


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group or array, of format 2 or 3."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


class ZarrSource(VolumeSource):
    """The full resolution of an OME-Zarr image, or a Zarr array ``[height, width]`` or ``[slices, height, width]``.

    Axes for time and channels may have one entry each.
    """

    def __init__(self, path: Path) -> None:
        zarr = _zarr(path)
        if not is_zarr(path):
            raise DataError(f"{path}: expected a Zarr group or array, found none in the folder; check the path")
        with file_errors(path, "a Zarr array"):
            found = zarr.open(str(path), mode="r")
            if isinstance(found, zarr.Group):
                said = found.attrs.asdict()
                image = _multiscale(said.get("ome", said), path)
                self._array = found[image["datasets"][0]["path"]]
            else:
                image, self._array = {}, found
        sizes = self._array.shape
        self._kept = [axis for axis, n in enumerate(sizes) if n > 1 or axis >= len(sizes) - 2]
        names = [axis["name"] if isinstance(axis, dict) else axis for axis in image.get("axes", [])]
        if len(names) == len(sizes):
            self._kept = [axis for axis in range(len(sizes)) if names[axis] in "zyx"]
        dropped = [n for axis, n in enumerate(sizes) if axis not in self._kept]
        if any(n > 1 for n in dropped) or len(self._kept) not in (2, 3):
            raise DataError(
                f"{path}: expected an image or a volume of one channel and time, got {list(sizes)} with axes "
                f"{', '.join(names) or 'unnamed'}; save one channel by itself"
            )
        order = self._kept if len(self._kept) == 2 else [*self._kept[1:], self._kept[0]]
        shape = tuple(int(sizes[axis]) for axis in order)
        super().__init__(path, VolumeSpec(shape, np.dtype(self._array.dtype), _zarr_geometry(image, order)))

    def read(self, region: Region) -> np.ndarray:
        """Values of the region."""
        wanted: list[Any] = [0] * len(self._array.shape)
        for axis, part in zip(self._kept, region if len(region) == 2 else (region[2], *region[:2]), strict=True):
            wanted[axis] = part
        with file_errors(self.path, "a Zarr array"):
            values = np.asarray(self._array[tuple(wanted)])
        return values if values.ndim == 2 else values.transpose(1, 2, 0)

    def close(self) -> None:
        """Nothing is open between reads."""


def _multiscale(said: dict[str, Any], path: Path) -> dict[str, Any]:
    if not said.get("multiscales"):
        raise DataError(
            f"{path}: expected an OME-Zarr image or an array, got a group without multiscales; give its path"
        )
    return said["multiscales"][0]


def _zarr_geometry(image: dict[str, Any], order: Sequence[int]) -> Geometry:
    """Scales of the first level, times those of the whole image, and translations."""
    axes = image.get("axes", [])
    if len(axes) <= max(order) or not all(isinstance(axis, dict) for axis in axes):
        return Geometry.unknown(len(order))
    units = [unit_name(axes[axis].get("unit")) for axis in order]
    scale, origin = np.ones(len(axes)), np.zeros(len(axes))
    levels = image["datasets"][0].get("coordinateTransformations", [])
    for step in [*levels, *image.get("coordinateTransformations", [])]:
        if step.get("type") == "scale":
            scale, origin = scale * step["scale"], origin * step["scale"]
        elif step.get("type") == "translation":
            origin = origin + step["translation"]
    known = next((unit for unit in units if unit), None)
    spacing, start = [], []
    for axis, unit in zip(order, units, strict=True):
        one = Geometry((float(scale[axis]),), (float(origin[axis]),), unit).in_unit(known or "meter")
        spacing.append(one.spacing[0] if unit or known is None else None)
        start.append(one.origin[0])
    return Geometry(tuple(spacing), tuple(start), known)


class ZarrSink(VolumeSink):
    """OME-Zarr 0.5: axes (z,) y, x, chunks compressed by Zarr's default (Zstandard), a pyramid of halved levels.

    Chunks are such that each lies in one block of ``block``: then no two writers share one, and a kill costs nothing
    that was written before. The levels are means over 2 pixels along each axis longer than 256, made when the full
    resolution is whole.

    Args:
        path: the folder.
        spec: see :class:`~common.data.volumes.VolumeSpec`.
        block: shape of the regions that are written, counted from the corner of the image.
    """

    def __init__(self, path: Path, spec: VolumeSpec, block: Sequence[int]) -> None:
        self._zarr = _zarr(path)
        super().__init__(path, replace(spec, dtype=spec.dtype.newbyteorder("=")))
        self._axes = SLICES_FIRST if len(spec.shape) == 3 else (0, 1)
        side = _CHUNK_SIDE[len(spec.shape)]
        self._chunks = tuple(_chunk(*numbers, side) for numbers in zip(spec.shape, block, strict=True))
        self._levels: list[Any] = []

    def create(self) -> None:
        """A group with the metadata and empty levels."""
        self._make_way()
        shapes, factors = _pyramid(self.spec.shape)
        image: dict[str, Any] = {
            "name": self.path.name,
            "axes": self._axis_names(),
            "datasets": [self._described(level, factor) for level, factor in enumerate(factors)],
            "type": "mean",
        }
        said = {"ome": {"version": "0.5", "multiscales": [image]}}
        group = self._zarr.create_group(str(self.partial), zarr_format=3, attributes=said)
        for level, shape in enumerate(shapes):
            group.create_array(
                str(level),
                shape=self._stored(shape),
                chunks=self._stored([min(pair) for pair in zip(self._chunks, shape, strict=True)]),
                dtype=self.spec.dtype,
                dimension_names=[axis["name"] for axis in image["axes"]],
            )
        self.resume()

    def resume(self) -> None:
        """Open the levels."""
        with file_errors(self.partial, "an unfinished output"):
            group = self._zarr.open_group(str(self.partial), mode="r+")
            self._levels = [group[str(level)] for level in range(len(_pyramid(self.spec.shape)[0]))]

    def write(self, region: Region, block: np.ndarray) -> None:
        """To the full resolution."""
        self._levels[0][self._stored(region)] = np.ascontiguousarray(block.transpose(self._axes))

    def read(self, region: Region) -> np.ndarray:
        """From the full resolution."""
        return np.asarray(self._levels[0][self._stored(region)]).transpose(np.argsort(self._axes))

    def close(self) -> None:
        """Nothing is open between writes."""

    def finish(self) -> None:
        """Make the levels, and give the folder its name."""
        for fine, coarse in zip(self._levels, self._levels[1:], strict=False):
            _halve(fine, coarse)
        for left in self.partial.rglob("*.partial"):  # of a chunk that was being written when the process was killed
            left.unlink()
        super().finish()

    def _stored(self, values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[axis] for axis in self._axes)

    def _axis_names(self) -> list[dict[str, str]]:
        unit = self.spec.geometry.unit
        known = [unit if unit and step is not None else None for step in self.spec.geometry.spacing]
        names = self._stored(["y", "x", "z"][: len(self._axes)])
        return [
            {"name": name, "type": "space", **({"unit": one} if one else {})}
            for name, one in zip(names, self._stored(known), strict=True)
        ]

    def _described(self, level: int, factor: Sequence[int]) -> dict[str, Any]:
        """Path, pixel size and first centre of a level; its outer edges are those of the full resolution."""
        geometry = self.spec.geometry
        steps = [1.0 if step is None else step for step in geometry.spacing]
        sizes = [step * n for step, n in zip(steps, factor, strict=True)]
        starts = [start + step * (n - 1) / 2 for start, step, n in zip(geometry.origin, steps, factor, strict=True)]
        scale = {"type": "scale", "scale": list(self._stored(sizes))}
        move = {"type": "translation", "translation": list(self._stored(starts))}
        return {"path": str(level), "coordinateTransformations": [scale, move]}


def _chunk(size: int, block: int, side: int) -> int:
    """Side of the chunks along an axis: at most ``side`` if the block can be cut so, whole chunks in each block."""
    if block >= size:
        return min(size, side)
    parts = [n for n in range(1, 17) if block % n == 0]
    return block // next((n for n in parts if block // n <= side), parts[-1])


def _pyramid(shape: Sequence[int]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Sizes of the levels, and how many pixels of the first one of each is."""
    shapes, factors = [tuple(shape)], [(1,) * len(shape)]
    while max(shapes[-1]) > _COARSE_ENOUGH:
        halved = [n > _COARSE_ENOUGH for n in shapes[-1]]
        shapes.append(tuple(n // 2 if half else n for n, half in zip(shapes[-1], halved, strict=True)))
        factors.append(tuple(n * 2 if half else n for n, half in zip(factors[-1], halved, strict=True)))
    return shapes, factors


def _halve(fine: Any, coarse: Any) -> None:
    """Means of neighbours, chunk by chunk; the last pixel of an odd axis is left out."""
    factors = [a // b for a, b in zip(fine.shape, coarse.shape, strict=True)]
    starts = [range(0, n, chunk) for n, chunk in zip(coarse.shape, coarse.chunks, strict=True)]
    for corner in product(*starts):
        target = [slice(a, min(a + chunk, n)) for a, chunk, n in zip(corner, coarse.chunks, coarse.shape, strict=True)]
        source = tuple(slice(part.start * n, part.stop * n) for part, n in zip(target, factors, strict=True))
        values = np.asarray(fine[source])
        split = [n for part, factor in zip(target, factors, strict=True) for n in (part.stop - part.start, factor)]
        kind = np.float64 if values.dtype.itemsize > 2 else np.float32
        mean = values.reshape(split).mean(axis=tuple(range(1, len(split), 2)), dtype=kind)
        coarse[tuple(target)] = to_dtype(mean, values.dtype)
