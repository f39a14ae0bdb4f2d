"""Folders whose pictures are the slices of one volume, in natural order: PNG or TIFF of one page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from common.errors import DataError
from common.io.formats import picture, tiff
from common.io.geometry import Geometry
from common.io.naming import natural_key, split_suffix
from common.io.sink import EncodedSink, Sink
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
    """Open a folder of slices: the headers of all files are read."""
    return SlicesSource(path)


class SlicesSource(DecodedSource):
    """A volume whose slices are files.

    Raises:
        DataError: for slices of different size, type or pixel size, or with several pages.
    """

    kind_of_file = "a folder of slices"

    def __init__(self, path: Path) -> None:
        files = sorted((entry for entry in path.iterdir() if entry.name[0] != "."), key=natural_key)
        self._slices = [_open_slice(file) for file in files]
        first = self._slices[0]
        for other in self._slices[1:]:
            one, two = first.spec, other.spec
            alike = (one.shape, one.dtype) == (two.shape, two.dtype) and one.geometry.agrees(two.geometry)
            if not alike or one.intensity != two.intensity:
                raise DataError(
                    f"{path}: expected slices of one size, type and pixel size, got {one} {one.geometry} "
                    f"({first.path.name}) and {two} {two.geometry} ({other.path.name}); give one file at a time"
                )
        flat = first.spec.geometry
        geometry = Geometry(("z", "y", "x"), (None, *flat.spacing), flat.unit)
        suffix = ".png" if all(file.suffix.lower() in _PICTURES for file in files) else ".tif"
        native = SlicesNative(tuple(file.name for file in files), suffix)
        spec = replace(
            first.spec, axes=("z", "y", "x"), shape=(len(files), *first.spec.shape), geometry=geometry, native=native
        )
        super().__init__(path, spec, files=[path], axis="z")
        for source in self._slices:
            source.close()

    def _decode(self, index: int) -> np.ndarray:
        with self._slices[index] as source:
            return source.read()


def _open_slice(path: Path) -> Source:
    source = picture.open_source(path) if path.suffix.lower() in _PICTURES else tiff.open_source(path)
    if len(source.spec.shape) != 2:
        raise DataError(f"{path}: expected one page, got {source.spec}; give the file by itself")
    source.close()
    return source


def open_sink(path: Path, spec: Spec, block: tuple[int, ...] | None = None) -> Sink:
    """Open a writer of a folder of slices."""
    return SlicesSink(path, spec.as_meant())


class SlicesSink(EncodedSink):
    """A folder with a file for each slice: TIFF if the slices came so, or if PNG cannot hold them; else PNG.

    Slices have the names of the input where there are as many, and no two alike; else numbers.
    """

    def __init__(self, path: Path, spec: Spec) -> None:
        super().__init__(path, spec, axis="z")
        if spec.axes != ("z", "y", "x"):
            raise DataError(f"{path}: a folder holds the slices of a volume, got {spec}; choose a .tif")
        native = spec.native if isinstance(spec.native, SlicesNative) else None
        is_png = (
            spec.dtype.kind == "u" and spec.dtype.itemsize <= 2 and spec.shape[-2] * spec.shape[-1] <= picture.LARGEST
        )
        self._suffix = ".png" if is_png and (native is None or native.suffix == ".png") else ".tif"
        n_slices = spec.shape[0]
        stems = [split_suffix(name, _KNOWN)[0] for name in native.names] if native else []
        if len(set(stems)) != n_slices or len(stems) != n_slices:
            stems = [f"{n:0{len(str(n_slices - 1))}}" for n in range(n_slices)]
        self._stems = stems

    def _entry_name(self, index: int) -> str:
        return f"{self._stems[index]}{self._suffix}"

    def _encode(self, index: int, path: Path) -> None:
        if self._suffix == ".png":
            picture.write_png(self._entry(index), path)
            return
        geometry = self.spec.geometry.cropped({"z": index}).without("z")
        spec = replace(self.spec, axes=("y", "x"), shape=self.spec.shape[1:], geometry=geometry, native=None)
        tiff.open_sink(path, spec).write_all(self._entry(index))
