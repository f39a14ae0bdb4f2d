"""HDF5 files in fastMRI's layout: ``kspace``, and perhaps a mask, reconstructions and an ISMRMRD header.

Zbontar et al. 2018, fastMRI: An open dataset and benchmarks for accelerated MRI, arXiv 1811.08839.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from common.errors import DataError, source_option
from common.io.choice import chosen
from common.io.formats import hdf5
from common.io.geometry import Geometry
from common.io.hdf5_file import (
    Hdf5Native,
    attributes_of,
    contents_of,
    described,
    dtype_of,
    find,
    hdf5_source,
    keep_open,
    positive_number,
    text_of,
)
from common.io.intensity import Intensity
from common.io.ismrmrd_header import HEADER, Encoding, parse_encoding
from common.io.kspace import KspaceSource, MeasuredColumns
from common.io.layout import Layout, layout_of
from common.io.noncartesian import TRAJECTORY
from common.io.source import Companion, Source
from common.io.spec import Spec

KSPACE = "kspace"
_TARGETS = {1: ("reconstruction_esc", "reconstruction_rss"), 2: ("reconstruction_rss", "reconstruction_esc")}


def recognises(path: Path) -> bool:
    """Return True for a file with a data set ``kspace`` on a grid; those of cine series are recognised before."""
    return KSPACE in (shapes := contents_of(path).shapes) and TRAJECTORY not in shapes


def open_source(
    path: Path,
    *,
    dataset: str = KSPACE,
    axes: str | None = None,
    average: int | None = None,
    target: str | None = None,
    kind: str | None = None,
    dc: str | None = None,
    channel: int | None = None,
) -> Source:
    """Open k-space, ``[slices, height, width]``, ``[slices, coils, height, width]`` or with averages before.

    Height is the readout. The order of three axes and more is what a header, a reconstruction or the attribute
    ``acquisition`` confirm; a file without those needs ``axes``. Pixels have the size that the header's encoded space
    gives; ``spec.recon_shape`` is the size of the target, else of the header's image. Companions are "mask" (data set
    ``mask``; of averages their measured columns) and "target": data set ``target``, by default ``reconstruction_rss``
    of several coils, ``reconstruction_esc`` of one, or the one that is there. ``average`` is the one to take of
    several. Another ``dataset`` is read as :func:`common.io.formats.hdf5.open_source` does.
    """
    if dataset != KSPACE:
        return hdf5.open_source(path, dataset=dataset, axes=axes, kind=kind, dc=dc, channel=channel)
    with described(path) as file:
        source, companions = _sources(path, file, axes, average, target)
        return KspaceSource(source, dc, companions=companions)


def _sources(
    path: Path, file: h5py.File, axes: str | None, average: int | None, target: str | None
) -> tuple[Source, dict[Companion, Source | None]]:
    stored: Any = find(file, KSPACE, path)
    shape, dtype, name = tuple(stored.shape or ()), dtype_of(stored), f"{path}:{KSPACE}"
    header = find(file, HEADER, path)
    text = text_of(header) if isinstance(header, h5py.Dataset) else None
    encoding = None if text is None else parse_encoding(text, path)
    attributes = attributes_of(file)
    n_coils = shape[-3] if len(shape) > 3 else 1
    reference = _target(path, file, target, n_coils)
    if axes is None and 3 <= len(shape) <= 5:
        layout = _layout(shape, dtype, name, encoding, reference, "acquisition" in attributes, average)
    else:
        layout = layout_of(shape, dtype, name, axes)
    height, width = layout.sizes[-2:]
    if encoding is not None:
        encoding.check_fit(height, width, name)
    spec = layout.spec(
        dtype,
        None if encoding is None else encoding.geometry(layout.axes, height, width),
        kind="kspace",
        intensity=Intensity(declared_max=positive_number(attributes.get("max"))),
        recon_shape=None if encoding is None else (encoding.wanted(0, height), encoding.wanted(1, width)),
        dataset=KSPACE,
        native=Hdf5Native("reconstruction", path, text),
    )
    companion = None
    if reference is not None:
        companion, spec = _fitted(path, reference, spec)
    source = hdf5_source(path, spec, layout, stored)
    keep_open(source, stored, file)
    mask = hdf5.mask_of(path, file, "mask", spec, name)
    if mask is None and "average" in layout.stored:
        mask = MeasuredColumns(source)
    return source, {"mask": mask, "target": companion}


def _layout(
    shape: tuple[int, ...],
    dtype: np.dtype,
    name: str,
    encoding: Encoding | None,
    reference: h5py.Dataset | None,
    is_named: bool,
    average: int | None,
) -> Layout:
    """Axes of k-space, if something in the file confirms fastMRI's order."""
    stored = {3: ("z", "y", "x"), 4: ("z", "coil", "y", "x"), 5: ("average", "z", "coil", "y", "x")}[len(shape)]
    slices = shape[stored.index("z")]
    if encoding is None and reference is None and not is_named:
        return layout_of(shape, dtype, name)
    if reference is not None and (len(reference.shape or ()) != 3 or reference.shape[0] != slices):
        raise DataError(
            f"{name} and {reference.name}: expected as many references as slices, {slices}, got "
            f"{list(reference.shape or ())}; remove one of the data sets, or name the axes of k-space: "
            + source_option("axes", "coil,y,x")
        )
    if len(shape) == 3 and reference is None and encoding is not None and slices == encoding.n_channels != 1:
        return layout_of(shape, dtype, name)  # as many slices as receivers: either
    taken = {"coil": 0} if "coil" in stored and shape[stored.index("coil")] == 1 else {}
    if "average" in stored:
        taken["average"] = chosen(range(shape[0]), average, "average", "average", f"{name} {list(shape)}")
    elif average is not None:
        raise ValueError(f"{name}: average {average} was asked for, but {list(shape)} has no averages; leave it out")
    return Layout(stored, shape, taken)


def _target(path: Path, file: h5py.File, name: str | None, n_coils: int) -> h5py.Dataset | None:
    for key in _TARGETS[min(n_coils, 2)] if name is None else (name,):
        item = find(file, key, path)
        if isinstance(item, h5py.Dataset):
            return item
    if name is not None:
        raise DataError(f"{path}: no data set {name!r}; choose another target, or leave it out")
    return None


def _fitted(path: Path, item: h5py.Dataset, spec: Spec) -> tuple[Source, Spec]:
    """The target as a source, and the spec of k-space that asks for an image of its size."""
    shape = tuple(item.shape or ())
    layout = Layout(("z", "y", "x")[3 - len(shape) :], shape) if len(shape) in (2, 3) else None
    if layout is None or layout.sizes[-2] > spec.size("y") or layout.sizes[-1] > spec.size("x"):
        raise DataError(
            f"{path}:{item.name}: expected a reconstruction [slices, height, width] within {spec}, got {list(shape)}; "
            f"remove it, or choose another: {source_option('target', 'reconstruction_rss')}"
        )
    geometry = Geometry.of_spacing(layout.axes, spec.geometry.steps, spec.geometry.unit)
    name = str(item.name).strip("/")
    own = layout.spec(item.dtype, geometry, intensity=spec.intensity, dataset=name)
    kspace = replace(spec, recon_shape=(layout.sizes[-2], layout.sizes[-1]))
    return hdf5_source(path, own, layout, item), kspace
