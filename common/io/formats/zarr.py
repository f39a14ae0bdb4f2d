"""OME-Zarr and Zarr arrays, chunk by chunk; needs the package ``zarr``, version 3.

Moore et al.: OME-Zarr: a cloud-optimized bioimaging file format. Histochem Cell Biol 160, 2023,
doi 10.1007/s00418-023-02209-1; specification https://ngff.openmicroscopy.org, 0.5 (Zarr 3) written, 0.4 read too.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from common.errors import DataError, file_errors, source_option
from common.io.bounded import UNCHECKED, check_piece, n_bytes_of
from common.io.choice import chosen, listed
from common.io.geometry import SECONDS, Geometry, converted, even_times, unit_name
from common.io.intensity import to_dtype
from common.io.kspace import as_kspace
from common.io.layout import CHANNEL, Layout, kind_of, layout_of
from common.io.packages import required
from common.io.sink import Sink
from common.io.source import Opened, Source
from common.io.spec import Region, Spec

_KIND = "a Zarr array"
_CHUNK_SIDE = {2: 1024, 3: 128}
_COARSE_ENOUGH = 256  # pixels: longer axes are halved for the next level of the pyramid
_NAMES = {"c": CHANNEL, "t": "t", "z": "z", "y": "y", "x": "x"}
_METADATA = ("zarr.json", ".zgroup", ".zarray")
_LARGEST_METADATA = 2**24


def recognises(path: Path) -> bool:
    """Return True for a folder that is a Zarr group or array, of format 2 or 3."""
    return path.is_dir() and (path.suffix.lower() == ".zarr" or any((path / name).is_file() for name in _METADATA))


def open_source(
    path: Path,
    *,
    image: str | None = None,
    axes: str | None = None,
    kind: str | None = None,
    dc: str | None = None,
    channel: int | None = None,
) -> Source:
    """Open the full resolution of an OME-Zarr image, its axes by their names, or a Zarr array.

    ``image`` is the path of an image or array inside, for groups of several; ``axes`` are for arrays without OME
    metadata.
    """
    zarr = required("zarr", "3.0", path, "Zarr")
    with file_errors(path, _KIND):
        inside, array, metadata = _find(zarr, path, image)
        name = f"{path}:{inside}" if inside else str(path)
        _check_array(array, path, name)
        dtype, shape = np.dtype(array.dtype), tuple(int(n) for n in array.shape)
        given = _ome_axes(metadata, shape, name) if metadata else axes or _dimension_names(array)
        layout = layout_of(shape, dtype, name, given, channel)
        if CHANNEL in layout.stored and CHANNEL not in layout.taken:
            chosen(range(shape[layout.stored.index(CHANNEL)]), None, "channel", "channel", name)
        layout = _without_ones(layout, bool(metadata))
        geometry = _geometry(metadata, layout) if metadata else Geometry.unknown(layout.axes)
        found = kind_of(dtype, kind, name, inside, default="image" if metadata else None)
        spec = layout.spec(dtype, geometry, kind=found, dataset=inside or "image")
    source = Source(path, spec, partial(_open, path, inside), layout=layout, name=name, kind_of_file=_KIND)
    source.keep(_opened(array))
    return as_kspace(source, dc)


def _open(path: Path, inside: str) -> Opened:
    opened: Any = required("zarr", "3.0", path, "Zarr").open(str(path), mode="r")
    return _opened(opened[inside] if inside else opened)


def _opened(array: Any) -> Opened:
    return Opened(lambda region: np.asarray(array[region]))


def _find(zarr: Any, path: Path, image: str | None) -> tuple[str, Any, dict[str, Any]]:
    """Place of the array in the folder, the array, and the OME metadata of its image."""
    for name in (*_METADATA, ".zattrs"):
        file = path / (image or "") / name
        if file.is_file() and file.stat().st_size > _LARGEST_METADATA:
            raise ValueError(f"{name} has {file.stat().st_size} bytes")
    opened = zarr.open(str(path), mode="r")
    place = (image or "").strip("/")
    found = opened[place] if place else opened
    if not isinstance(found, zarr.Group):
        return place, found, {}
    attributes = found.attrs.asdict()
    metadata = attributes.get("ome", attributes)
    if not metadata.get("multiscales"):
        names = sorted(str(name) for name, _ in found.members())
        if "bioformats2raw.layout" in metadata and names and image is None:
            images = [name for name in names if name.isdigit()]
            if len(images) == 1:
                return _find(zarr, path, images[0])
            names = images
        raise DataError(
            f"{path}: expected an image (multiscales) or an array, got a group of {listed(names)}; choose one: "
            + source_option("image", names[0] if names else "0")
        )
    if len(metadata["multiscales"]) != 1:
        raise DataError(f"{path}: expected one image in the group, got {len(metadata['multiscales'])}; give its array")
    one = metadata["multiscales"][0]
    inside = "/".join(part for part in (place, str(one["datasets"][0]["path"])) if part)
    return inside, opened[inside], one


def _check_array(array: Any, path: Path, name: str) -> None:
    """Check sizes, and that no codec runs code that the file brings along."""
    if "pickle" in json.dumps(array.metadata.to_dict(), default=str):
        raise DataError(f"{name}: its values are pickled Python objects, which are not read; save numbers")
    dtype = np.dtype(array.dtype)
    for shape in (array.shape, array.chunks):
        n_bytes = n_bytes_of(shape, dtype, name)
        if n_bytes > UNCHECKED:
            check_piece(n_bytes, _stored_bytes(path, n_bytes), name)
    if math.prod(-(-n // max(chunk, 1)) for n, chunk in zip(array.shape, array.chunks, strict=True)) > 2**32:
        raise DataError(
            f"{name}: its header declares {list(array.shape)} in chunks of {list(array.chunks)}; replace it"
        )


def _stored_bytes(path: Path, enough: int) -> int:
    """Size of the files of a folder; counting ends where it is plausible for ``enough`` bytes."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            total += (Path(folder) / name).stat().st_size
            if total * 1000 > enough:
                return total
    return total


def _ome_axes(image: Mapping[str, Any], shape: Sequence[int], name: str) -> list[str]:
    """Axes of an OME image by their names, which 0.4 and later give in any order, 0.3 as text, older not at all."""
    given = image.get("axes") or list("tczyx"[-len(shape) :])
    names = [str(axis["name"] if isinstance(axis, dict) else axis).lower() for axis in given]
    unknown = [axis for axis in names if axis not in _NAMES]
    if unknown or len(names) != len(shape):
        raise DataError(f"{name}: expected axes t, c, z, y, x for {list(shape)}, got {', '.join(names)}; rename them")
    return [_NAMES[axis] for axis in names]


def _dimension_names(array: Any) -> list[str] | None:
    names = getattr(array.metadata, "dimension_names", None)
    known = [_NAMES.get(str(name).lower(), str(name).lower()) for name in names or ()]
    return known if known and {"y", "x"} <= set(known) <= {*_NAMES.values(), "coil"} else None


def _without_ones(layout: Layout, is_ome: bool) -> Layout:
    """OME names all five axes of any image: time and channel of one entry are left out."""
    if not is_ome:
        return layout
    ones = {axis: 0 for axis, n in zip(layout.stored, layout.shape, strict=True) if n == 1 and axis in ("t", CHANNEL)}
    return Layout(layout.stored, layout.shape, {**ones, **layout.taken})


def _geometry(image: Mapping[str, Any], layout: Layout) -> Geometry:
    """Scales of the first level, times those of the whole image, and translations; frame times from axis t."""
    stored = [axis if isinstance(axis, dict) else {} for axis in image.get("axes", [])]
    if len(stored) != len(layout.stored):
        return Geometry.unknown(layout.axes)
    scale, origin = np.ones(len(stored)), np.zeros(len(stored))
    levels = image["datasets"][0].get("coordinateTransformations", [])
    for step in [*levels, *image.get("coordinateTransformations", [])]:
        if step.get("type") == "scale":
            scale, origin = scale * step["scale"], origin * step["scale"]
        elif step.get("type") == "translation":
            origin = origin + step["translation"]
    places = {axis: n for n, axis in enumerate(layout.stored)}
    times = None
    if "t" in layout.axes and (factor := SECONDS.get(str(stored[places["t"]].get("unit")))):
        first, interval = float(origin[places["t"]]) * factor, float(scale[places["t"]]) * factor
        times = even_times(layout.shape[places["t"]], interval, first)
    units = {axis: unit_name(stored[places[axis]].get("unit")) for axis in ("z", "y", "x") if axis in layout.axes}
    common = next((unit for unit in units.values() if unit), None)
    steps: dict[str, float | None] = {}
    starts: dict[str, float] = {}
    for axis, unit in units.items():
        if unit and common:
            steps[axis] = converted(float(scale[places[axis]]), unit, common)
            starts[axis] = converted(float(np.nan_to_num(origin[places[axis]], posinf=0, neginf=0)), unit, common)
    return Geometry.of_spacing(layout.axes, steps, common, starts, times)


def open_sink(path: Path, spec: Spec) -> Sink:
    """Open a writer of an OME-Zarr 0.5 image; values with a slope are written as what they stand for.

    Chunks are compressed by Zarr's default (Zstandard). The levels of a pyramid are means over 2 pixels along each
    spatial axis longer than 256. An orientation in space has no place in OME-Zarr 0.5.
    """
    if "coil" in spec.axes:
        raise DataError(f"{path}: OME-Zarr is written of images, got {spec}; choose .h5 or .npy")
    required("zarr", "3.0", path, "Zarr")
    return Sink(path, spec.as_meant(), _encode)


def _encode(path: Path, sink: Sink) -> None:
    zarr, spec = required("zarr", "3.0", path, "Zarr"), sink.spec
    shapes, factors = _pyramid(spec)
    image: dict[str, Any] = {
        "name": sink.path.name,
        "axes": _described_axes(spec),
        "datasets": [_described(spec, level, factor) for level, factor in enumerate(factors)],
        "type": "mean",
    }
    metadata = {"ome": {"version": "0.5", "multiscales": [image]}}
    group = zarr.create_group(str(path), zarr_format=3, attributes=metadata)
    side = _CHUNK_SIDE[len(spec.spatial_axes)]
    levels = []
    for level, shape in enumerate(shapes):
        chunks = tuple(1 if axis == "t" else min(side, n) for axis, n in zip(spec.axes, shape, strict=True))
        names = list(spec.axes)
        levels.append(
            group.create_array(str(level), shape=shape, chunks=chunks, dtype=spec.dtype, dimension_names=names)
        )
    for region in _chunk_regions(levels[0]):
        levels[0][region] = np.ascontiguousarray(sink.read(region))
    for fine, coarse in pairwise(levels):
        _halve(fine, coarse)


def _chunk_regions(array: Any) -> Iterator[Region]:
    starts = [range(0, n, chunk) for n, chunk in zip(array.shape, array.chunks, strict=True)]
    for corner in product(*starts):
        yield tuple(slice(a, min(a + chunk, n)) for a, chunk, n in zip(corner, array.chunks, array.shape, strict=True))


def _described_axes(spec: Spec) -> list[dict[str, str]]:
    units = {axis: spec.geometry.unit for axis, step in spec.geometry.steps.items() if step is not None}
    units["t"] = "second" if spec.geometry.frame_interval_s else None
    axes = []
    for axis in spec.axes:
        unit = units.get(axis)
        axes.append({"name": axis, "type": "time" if axis == "t" else "space", **({"unit": unit} if unit else {})})
    return axes


def _described(spec: Spec, level: int, factor: Sequence[int]) -> dict[str, Any]:
    """Path, pixel size and first centre of a level; its outer edges are those of the full resolution."""
    geometry = spec.geometry
    known = {**geometry.steps, "t": geometry.frame_interval_s}
    first = dict(zip(geometry.axes, geometry.origin, strict=True))
    first["t"] = geometry.frame_times_s[0] if geometry.frame_times_s else 0.0
    steps = [known[axis] or 1.0 for axis in spec.axes]
    starts = [first[axis] + step * (n - 1) / 2 for axis, step, n in zip(spec.axes, steps, factor, strict=True)]
    scale = {"type": "scale", "scale": [step * n for step, n in zip(steps, factor, strict=True)]}
    return {"path": str(level), "coordinateTransformations": [scale, {"type": "translation", "translation": starts}]}


def _pyramid(spec: Spec) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Sizes of the levels, and how many pixels of the first one of each is."""
    shapes, factors = [spec.shape], [(1,) * len(spec.shape)]
    while True:
        halved = [n > _COARSE_ENOUGH and axis != "t" for axis, n in zip(spec.axes, shapes[-1], strict=True)]
        if not any(halved):
            return shapes, factors
        shapes.append(tuple(n // 2 if half else n for n, half in zip(shapes[-1], halved, strict=True)))
        factors.append(tuple(n * 2 if half else n for n, half in zip(factors[-1], halved, strict=True)))


def _halve(fine: Any, coarse: Any) -> None:
    """Means of neighbours, chunk by chunk; the last pixel of an odd axis is left out."""
    factors = [a // b for a, b in zip(fine.shape, coarse.shape, strict=True)]
    for target in _chunk_regions(coarse):
        source = tuple(slice(part.start * n, part.stop * n) for part, n in zip(target, factors, strict=True))
        values = np.asarray(fine[source])
        split = [n for part, factor in zip(target, factors, strict=True) for n in (part.stop - part.start, factor)]
        wide = np.complex128 if values.dtype.kind == "c" else np.float64 if values.dtype.itemsize > 2 else np.float32
        mean = values.reshape(split).mean(axis=tuple(range(1, len(split), 2)), dtype=wide)
        coarse[target] = mean.astype(values.dtype) if values.dtype.kind == "c" else to_dtype(mean, values.dtype)
