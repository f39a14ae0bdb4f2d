"""Folders whose pictures are the slices of one volume, in natural order: PNG or TIFF of one page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from common.errors import DataError
from common.io.formats import picture, tiff
from common.io.geometry import Geometry
from common.io.naming import natural_key, split_suffix
from common.io.sink import Sink
from common.io.source import DecodedSource, Source
from common.io.spec import Spec

_PICTURES, _TIFFS = (".png",), (".tif", ".tiff")
_KNOWN = (*_PICTURES, *_TIFFS)


@dataclass(frozen=True)
class SlicesNative:
    """Names and format of the slices that a volume came in.

    Attributes:
        names: file names, in the order of the slices.
        suffix: ".png" or ".tif".
    """

    folder_format: ClassVar[str] = "slices"
    names: tuple[str, ...]
    suffix: str


def recognises(path: Path) -> bool:
    """Return True for a folder that holds pictures and nothing else (hidden files aside)."""
    names = [entry.name for entry in path.iterdir() if entry.name[0] != "."]
    return bool(names) and all(split_suffix(name, _KNOWN)[1] for name in names)


def open_source(path: Path) -> Source:
    """Open a folder of slices: the headers of all files are read.

    Raises:
        DataError: for slices of different size, type or pixel size, or with several pages.
    """
    files = sorted((entry for entry in path.iterdir() if entry.name[0] != "."), key=natural_key)
    opened = [_open_slice(file) for file in files]
    first = opened[0]
    for other in opened[1:]:
        one, two = first.spec, other.spec
        alike = (one.shape, one.dtype) == (two.shape, two.dtype) and one.geometry.agrees(two.geometry)
        if not alike or one.intensity != two.intensity:
            raise DataError(
                f"{path}: expected slices of one size, type and pixel size, got {one} {one.geometry} "
                f"({first.path.name}) and {two} {two.geometry} ({other.path.name}); give one file at a time"
            )
    flat = first.spec.geometry
    suffix = ".png" if all(file.suffix.lower() in _PICTURES for file in files) else ".tif"
    spec = replace(
        first.spec,
        axes=("z", "y", "x"),
        shape=(len(files), *first.spec.shape),
        geometry=Geometry(("z", "y", "x"), (None, *flat.spacing), flat.unit),
        native=SlicesNative(tuple(file.name for file in files), suffix),
    )
    return DecodedSource(path, spec, partial(_read_slice, opened), 1, files=[path], kind_of_file="a folder of slices")


def _open_slice(path: Path) -> Source:
    source = picture.open_source(path) if path.suffix.lower() in _PICTURES else tiff.open_source(path)
    source.close()
    if len(source.spec.shape) != 2:
        raise DataError(f"{path}: expected one page, got {source.spec}; give the file by itself")
    return source


def _read_slice(sources: list[Source], index: int) -> np.ndarray:
    with sources[index] as source:
        return source.read()


def open_sink(path: Path, spec: Spec) -> Sink:
    """Open a writer of a folder with a file for each slice: PNG, or TIFF if they came so or PNG cannot hold them.

    Slices have the names of the input where there are as many, and no two alike; else numbers.
    """
    spec = spec.as_meant()
    if spec.axes != ("z", "y", "x"):
        raise DataError(f"{path}: a folder holds the slices of a volume, got {spec}; choose a .tif")
    native = spec.native if isinstance(spec.native, SlicesNative) else None
    suffix = ".png" if picture.fits_png(spec) and (native is None or native.suffix == ".png") else ".tif"
    stems = [split_suffix(name, _KNOWN)[0] for name in native.names] if native else []
    if len(set(stems)) != spec.shape[0] or len(stems) != spec.shape[0]:
        stems = [f"{n:0{len(str(spec.shape[0] - 1))}}" for n in range(spec.shape[0])]
    return Sink(path, spec, partial(_encode, [f"{stem}{suffix}" for stem in stems]))


def _encode(names: list[str], folder: Path, sink: Sink) -> None:
    folder.mkdir()
    for index, name in enumerate(names):
        values = sink.read(sink.spec.region(z=index))[0]
        if name.endswith(".png"):
            picture.write_png(values, folder / name)
            continue
        geometry = sink.spec.geometry.cropped({"z": index}).without("z")
        spec = replace(sink.spec, axes=("y", "x"), shape=values.shape, geometry=geometry, native=None)
        tiff.open_sink(folder / name, spec).write_all(values)
