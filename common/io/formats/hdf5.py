"""Plain data sets of HDF5 files: volumes, images, k-space; and the writer of all HDF5 files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from common.errors import DataError, file_errors, source_option
from common.io.flat import FlatArray
from common.io.geometry import Geometry
from common.io.hdf5_file import (
    KIND,
    Hdf5Native,
    Hdf5Source,
    attributes_of,
    datasets,
    dtype_of,
    find,
    open_hdf5,
    positive_number,
)
from common.io.intensity import Intensity
from common.io.kspace import Mask, as_kspace, known_companions, listed
from common.io.layout import CHANNEL, Layout, kind_of, layout_of
from common.io.sink import OneArraySink, Sink
from common.io.source import Source
from common.io.spec import AXES, Spec

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
) -> Source:
    """Open a data set of an HDF5 file.

    Axes are those of its attribute ``axes``; else two are y, x and three of real values those of ``usual``, by default
    z, y, x (t, y, x if a frame interval is given); others must be named. The pixel size is that of the attribute
    ``element_size_um``. A data set ``mask`` beside k-space is its mask.

    Args:
        path: the file.
        dataset: its name, with its groups; ``None``: the only one of two axes or more.
        axes: names of its axes, see :func:`~common.io.layout.layout_of`; for MATLAB files in MATLAB's order.
        kind: "image" or "kspace", for complex values.
        dc: see :class:`~common.io.kspace.KspaceSource`.
        channel: the entry of an axis "channel" to take.
        usual: "z,y,x" or "t,y,x", for three axes of real values that the file does not name.
    """
    if usual not in (None, "z,y,x", "t,y,x"):
        raise ValueError(f"{path}: usual must be 'z,y,x' or 't,y,x', got {usual!r}; others are named by axes")
    file = open_hdf5(path)
    try:
        with file_errors(path, KIND):
            name, stored = _chosen(file, path, dataset)
            source = _source(path, file, name, stored, axes, kind, channel, usual)
        source._keep(file)
    except BaseException:
        file.close()
        raise
    mask = _mask(path, file, source) if source.spec.kind == "kspace" else None
    return as_kspace(source, dc, known_companions({"mask": mask}))


def _chosen(file: h5py.File, path: Path, name: str | None) -> tuple[str, h5py.Dataset]:
    if name is not None:
        item = find(file, name, path)
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            raise DataError(f"{path}: no data set {name!r}, it holds {listed(list(datasets(file, path))) or 'nothing'}")
        return name, item
    found = {key: item for key, item in datasets(file, path).items() if _is_image(key, item)}
    found = {key: item for key, item in found.items() if item.size > 1} or found  # numbers beside an image
    if len(found) != 1:
        for key in file:
            find(file, key, path)  # a link out of the file is the reason
        sizes = [f"{key} {list(item.shape)}" for key, item in found.items()]
        raise DataError(
            f"{path}: expected one data set with rows and columns, found {listed(sizes) or 'none'}; choose one: "
            f"{source_option('dataset', next(iter(found), 'name'))}"
        )
    ((key, item),) = found.items()
    find(file, key, path)
    return key, item


def _is_image(key: str, item: h5py.Dataset) -> bool:
    shape = item.shape or ()
    is_matlab_text = not {"MATLAB_empty", "MATLAB_int_decode"}.isdisjoint(item.attrs)
    is_hidden = key.startswith("#") or key.rsplit("/", 1)[-1] == "mask" or is_matlab_text
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
) -> Hdf5Source:
    shape, dtype, title = tuple(dataset.shape), dtype_of(dataset), f"{path}:{name}"
    attributes = {**attributes_of(file), **attributes_of(dataset)}
    interval = positive_number(attributes.get(INTERVAL))
    if _is_matlab(path, dataset):
        layout = layout_of(shape[::-1], dtype, title, axes, channel, usual="y,x,z")
        layout = replace(layout, stored=layout.stored[::-1], shape=shape)
    else:
        usual = usual or ("z,y,x" if interval is None else "t,y,x")
        layout = layout_of(shape, dtype, title, axes or _labels(attributes), channel, usual)
    times = None
    if "t" in layout.axes and interval is not None:
        times = [n * interval for n in range(layout.sizes[layout.axes.index("t")])]
    spec = Spec(
        layout.axes,
        layout.sizes,
        dtype,
        _geometry(attributes, layout, times),
        kind=kind_of(dtype, kind, title, name),
        dataset=name.strip("/"),
    )
    if spec.kind == "kspace":
        spec = replace(spec, intensity=Intensity(declared_max=positive_number(attributes.get("max"))))
    return Hdf5Source(path, spec, layout, file)


def _is_matlab(path: Path, dataset: h5py.Dataset) -> bool:
    """Whether MATLAB wrote a data set: it stores its axes in the opposite order, the first one fastest."""
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
    with file_errors(path, KIND):
        item = find(file, place, path)
        reversed_axes = None
        if isinstance(item, h5py.Dataset) and _is_matlab(path, item):
            reversed_axes = _MATLAB_MASK_AXES.get(item.ndim)
    return mask_of(path, file, place, source.spec, source.name, reversed_axes)


_MASK_AXES = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}
_MATLAB_MASK_AXES = {2: ("x", "y"), 3: ("z", "x", "y")}


def mask_of(
    path: Path, file: h5py.File, place: str, data: Spec, name: str, axes: tuple[str, ...] | None = None
) -> Source | None:
    """Return a data set as the mask of k-space, ``None`` if there is none.

    Args:
        path: the file.
        file: the same, open.
        place: name of the data set.
        data: the k-space.
        name: of that, for errors.
        axes: those of the mask; ``None``: ``[W]``, ``[H, W]`` or ``[slices, H, W]``.

    Raises:
        DataError: for a mask of other axes, or that does not fit.
    """
    with file_errors(path, KIND):
        item = find(file, place, path)
        if not isinstance(item, h5py.Dataset):
            return None
        shape = tuple(item.shape or ())
        names = axes or _MASK_AXES.get(len(shape), ())
        if len(names) != len(shape) or item.dtype.kind not in "buif":
            wanted = f"[{', '.join(axes)}]" if axes else "[W], [H, W] or [slices, H, W]"
            raise DataError(f"{path}:{place}: expected a mask {wanted}, got {list(shape)} {item.dtype}; reshape it")
        layout = Layout(names, shape)
        spec = Spec(layout.axes, layout.sizes, item.dtype, Geometry.unknown(layout.axes), dataset=place)
        return Mask(Hdf5Source(path, spec, layout, file), data, name)


def open_sink(path: Path, spec: Spec, block: tuple[int, ...] | None = None) -> Sink:
    """Open a writer of an HDF5 file; values with a slope are written as what they stand for.

    An image of a file of k-space goes into the data set ``reconstruction``, ``[slices, height, width]``, as fastMRI's
    evaluation reads it, beside the attributes and the ISMRMRD header of the input.
    """
    return Hdf5Sink(path, spec.as_meant())


class Hdf5Sink(OneArraySink):
    """A contiguous data set of the name it came with, else ``image``; its axes in the attribute ``axes``.

    The HDF5 library only lays the file out. Values are written to where the data set lies, so that a process which is
    killed leaves no open HDF5 file behind, whose tables might be lost.
    """

    def __init__(self, path: Path, spec: Spec) -> None:
        self._native = spec.native if isinstance(spec.native, Hdf5Native) and spec.kind == "image" else None
        super().__init__(path, spec if self._native is None else replace(spec, dataset=self._native.dataset))

    def _begin(self, path: Path) -> None:
        reserved = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        reserved.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        reserved.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        spec, native = self.spec, self._native
        axes, shape = spec.axes, spec.shape
        if native is not None and "z" not in axes:
            axes, shape = (*axes[:-2], "z", *axes[-2:]), (*shape[:-2], 1, *shape[-2:])
        options: dict[str, Any] = {"shape": shape, "dtype": spec.dtype, "dcpl": reserved}
        steps = spec.geometry.in_unit("millimeter").in_unit("micrometer").spacing
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset(spec.dataset, **options)
            dataset.attrs[AXES_ATTRIBUTE] = np.bytes_(",".join(axes))
            if spec.geometry.unit is not None and None not in steps:
                known = steps if spec.geometry.affine is None else [1e3 * (n or 0.0) for n in spec.geometry.spacing_mm]
                dataset.attrs[ELEMENT_SIZE] = known
            times = spec.geometry.frame_times_s
            if times is not None and len(times) > 1:
                dataset.attrs[INTERVAL] = (times[-1] - times[0]) / (len(times) - 1)
            if native is not None:
                if native.path is not None:
                    with open_hdf5(native.path) as given:
                        file.attrs.update(attributes_of(given, texts=True))
                if native.header is not None:
                    file["ismrmrd_header"] = native.header

    def _layout(self, path: Path) -> FlatArray:
        with h5py.File(path, "r") as file:
            return FlatArray.of(self.spec, file[self.spec.dataset].id.get_offset())
