"""Plain data sets of HDF5 files: volumes, images, k-space; and the writer of all HDF5 files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from common.errors import DataError
from common.io.choice import chosen, listed
from common.io.geometry import Geometry, even_times
from common.io.hdf5_file import (
    Hdf5Native,
    attributes_of,
    check_dataset,
    check_inside,
    datasets,
    described,
    dtype_of,
    find,
    hdf5_source,
    keep_open,
    open_hdf5,
    positive_number,
)
from common.io.intensity import Intensity
from common.io.kspace import Mask, as_kspace
from common.io.layout import CHANNEL, MASK_AXES, Layout, kind_of, layout_of
from common.io.noncartesian import TRAJECTORY, ArrayOptions, array_source
from common.io.sink import Sink
from common.io.source import Source
from common.io.spec import AXES, Spec, slabs

ELEMENT_SIZE = "element_size_um"
"""Attribute of a data set as ilastik and Fiji keep it: micrometers, in the order of the spatial axes."""

AXES_ATTRIBUTE = "axes"
"""Attribute of a data set: names of its axes, "z,y,x", of fixed length: the way to others may be endless if damaged."""

INTERVAL = "frame_interval_s"
"""Attribute of a data set or a file: time from frame to frame."""


def open_source(
    path: Path,
    *,
    dataset: str | None = None,
    axes: str | None = None,
    kind: str | None = None,
    dc: str | None = None,
    channel: int | None = None,
    usual: str | None = None,
    size: Sequence[int] | None = None,
    trajectory_unit: str | None = None,
    spokes: int | None = None,
) -> Source:
    """Open a data set of an HDF5 file, by default the only one of two axes or more.

    Axes are those of its attribute ``axes``; else two are y, x and three of real values those of ``usual``, "z,y,x" or
    "t,y,x", by default z, y, x (t, y, x if a frame interval is given); others must be named, for MATLAB in its order.
    The pixel size is that of the attribute ``element_size_um``. A data set ``mask`` beside k-space is its mask.

    A data set ``trajectory`` beside k-space has the places of its samples, real ``[(frames,) readouts, samples, 2]``:
    then y are the readouts and x their samples. ``size`` (else the attribute ``image_size``), ``trajectory_unit`` and
    ``spokes`` are those of :class:`~common.io.noncartesian.ArrayOptions`.
    """
    if usual not in (None, "z,y,x", "t,y,x"):
        raise ValueError(f"{path}: usual must be 'z,y,x' or 't,y,x', got {usual!r}; others are named by axes")
    with described(path) as file:
        name, stored = _chosen(file, path, dataset)
        source = _source(path, file, name, stored, axes, kind, channel, usual)
        places = find(file, "/".join([*source.spec.dataset.split("/")[:-1], TRAJECTORY]), path)
        if source.spec.kind == "kspace" and isinstance(places, h5py.Dataset):
            check_dataset(places, f"{path}:{places.name}")
            size = size if size is not None else _image_size(attributes_of(file))
            load = partial(_values, path, str(places.name))
            file.close()
            return array_source(source, load, ArrayOptions(size, trajectory_unit, spokes))
        if (size, trajectory_unit, spokes) != (None, None, None):
            raise ValueError(f"{source.name}: size, trajectory_unit and spokes are for k-space beside a {TRAJECTORY}")
        keep_open(source, stored, file)
        mask = _mask(path, file, source) if source.spec.kind == "kspace" else None
        return as_kspace(source, dc, {"mask": mask})


def _chosen(file: h5py.File, path: Path, name: str | None) -> tuple[str, h5py.Dataset]:
    if name is not None:
        item = find(file, name, path)
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            raise DataError(f"{path}: no data set {name!r}, it holds {listed(datasets(file, path))}")
        return name, item
    found = {key: item for key, item in datasets(file, path).items() if _is_image(key, item)}
    found = {key: item for key, item in found.items() if item.size > 1} or found  # numbers beside an image
    if len(found) != 1:
        for key in file:
            find(file, key, path)  # a link out of the file is the reason
    sizes = {key: list(item.shape) for key, item in found.items()}
    key = chosen(sizes, None, "dataset", "data set with rows and columns", path)
    check_inside(found[key], key, path)
    return key, found[key]


def _is_image(key: str, item: h5py.Dataset) -> bool:
    shape = item.shape or ()
    is_matlab_text = not {"MATLAB_empty", "MATLAB_int_decode"}.isdisjoint(item.attrs)
    is_hidden = key.startswith("#") or key.rsplit("/", 1)[-1] in ("mask", TRAJECTORY) or is_matlab_text
    return not is_hidden and len(shape) >= 2 and dtype_of(item).kind in "buifc"


def _source(
    path: Path,
    file: h5py.File,
    name: str,
    dataset: h5py.Dataset,
    axes: str | Sequence[str] | None,
    kind: str | None,
    channel: int | None,
    usual: str | None,
) -> Source:
    shape, dtype, title = tuple(dataset.shape), dtype_of(dataset), f"{path}:{name}"
    attributes = {**attributes_of(file), **attributes_of(dataset)}
    interval = positive_number(attributes.get(INTERVAL))
    if _is_matlab(path, dataset):
        layout = layout_of(shape[::-1], dtype, title, axes, channel, usual="y,x,z").reversed
    else:
        usual = usual or ("z,y,x" if interval is None else "t,y,x")
        layout = layout_of(shape, dtype, title, axes or _labels(attributes), channel, usual)
    times = even_times(layout.sizes[layout.axes.index("t")], interval) if "t" in layout.axes else None
    found = kind_of(dtype, kind, title, name)
    rule = Intensity(declared_max=positive_number(attributes.get("max"))) if found == "kspace" else Intensity()
    geometry = _geometry(attributes, layout, times)
    spec = layout.spec(dtype, geometry, kind=found, intensity=rule, dataset=name.strip("/"))
    return hdf5_source(path, spec, layout, dataset)


def _image_size(attributes: dict[str, Any]) -> list[int] | None:
    stored = np.ravel(attributes.get("image_size", ()))
    return [int(n) for n in stored] if stored.dtype.kind in "ui" else None


def _values(path: Path, name: str) -> np.ndarray:
    with open_hdf5(path) as file:
        values: np.ndarray = file[name][()]
    return values


def _is_matlab(path: Path, dataset: h5py.Dataset) -> bool:
    """Return True if MATLAB wrote a data set: it stores its axes in the opposite order, the first one fastest."""
    return path.suffix.lower() == ".mat" or "MATLAB_class" in dataset.attrs


def _labels(attributes: dict[str, Any]) -> str | None:
    """Names of the axes in the attribute ``axes`` of a data set, as this module writes them."""
    stored = attributes.get(AXES_ATTRIBUTE)
    names = stored.decode("ascii", "replace") if isinstance(stored, bytes) else ""
    return names if {"y", "x"} <= set(names.split(",")) <= {*AXES, CHANNEL} else None


def _geometry(attributes: dict[str, Any], layout: Layout, times: list[float] | None) -> Geometry:
    order = [axis for axis in layout.stored if axis in ("z", "y", "x")]
    sizes = np.ravel(attributes.get(ELEMENT_SIZE, ()))
    if sizes.dtype.kind not in "uif" or len(sizes) not in (len(order), 3):
        return Geometry.unknown(layout.axes, times)
    steps = dict(zip(order, (float(n) for n in sizes[-len(order) :]), strict=True))
    return Geometry.of_spacing(layout.axes, steps, "micrometer", frame_times_s=times)


def _mask(path: Path, file: h5py.File, source: Source) -> Source | None:
    place = "/".join([*source.spec.dataset.split("/")[:-1], "mask"])
    item = find(file, place, path)
    reversed_axes = None
    if isinstance(item, h5py.Dataset) and _is_matlab(path, item):
        reversed_axes = _MATLAB_MASK_AXES.get(item.ndim)
    return mask_of(path, file, place, source.spec, source.name, reversed_axes)


_MATLAB_MASK_AXES = {2: ("x", "y"), 3: ("z", "x", "y")}


def mask_of(
    path: Path, file: h5py.File, place: str, data: Spec, name: str, axes: tuple[str, ...] | None = None
) -> Source | None:
    """Return the data set ``place`` as the mask of k-space ``data`` of a name, ``None`` if there is none.

    ``axes`` are those of the mask; ``None``: ``[W]``, ``[H, W]`` or ``[slices, H, W]``.

    Raises:
        DataError: for a mask of other axes, or that does not fit.
    """
    item = find(file, place, path)
    if not isinstance(item, h5py.Dataset):
        return None
    shape = tuple(item.shape or ())
    names = axes or MASK_AXES.get(len(shape), ())
    if len(names) != len(shape) or item.dtype.kind not in "buif":
        wanted = f"[{', '.join(axes)}]" if axes else "[W], [H, W] or [slices, H, W]"
        raise DataError(f"{path}:{place}: expected a mask {wanted}, got {list(shape)} {item.dtype}; reshape it")
    layout = Layout(names, shape)
    return Mask(hdf5_source(path, layout.spec(item.dtype, dataset=place), layout, item), data, name)


def open_sink(path: Path, spec: Spec) -> Sink:
    """Open a writer of an HDF5 file with one data set, its axes in the attribute ``axes``.

    The data set has the name it came with, else ``image``. Values with a slope are written as what they stand for. An
    image of a file of k-space goes into the data set ``reconstruction``, ``[slices, height, width]``, as fastMRI's
    evaluation reads it, beside the attributes and the ISMRMRD header of the input.
    """
    if isinstance(spec.native, Hdf5Native) and spec.kind == "image":
        spec = replace(spec, dataset=spec.native.dataset)
    return Sink(path, spec.as_meant(), _encode)


def _encode(path: Path, sink: Sink) -> None:
    spec = sink.spec
    native = spec.native if isinstance(spec.native, Hdf5Native) and spec.kind == "image" else None
    axes, shape = spec.axes, spec.shape
    if native is not None and "z" not in axes:
        axes, shape = (*axes[:-2], "z", *axes[-2:]), (*shape[:-2], 1, *shape[-2:])
    steps = spec.geometry.in_unit("millimeter").in_unit("micrometer").spacing
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(spec.dataset, shape=shape, dtype=spec.dtype)
        dataset.attrs[AXES_ATTRIBUTE] = np.bytes_(",".join(axes))
        if spec.geometry.unit is not None and None not in steps:
            known = steps if spec.geometry.affine is None else [1e3 * (n or 0.0) for n in spec.geometry.spacing_mm]
            dataset.attrs[ELEMENT_SIZE] = known
        if spec.geometry.frame_interval_s is not None:
            dataset.attrs[INTERVAL] = spec.geometry.frame_interval_s
        if native is not None and native.path is not None:
            with open_hdf5(native.path) as given:
                file.attrs.update(attributes_of(given, texts=True))
        if native is not None and native.header is not None:
            file["ismrmrd_header"] = native.header
        for region in slabs(spec.shape):
            inside = region if axes == spec.axes else (*region[:-2], slice(0, 1), *region[-2:])
            values = sink.read(region)
            dataset[inside] = values.reshape([part.stop - part.start for part in inside])
