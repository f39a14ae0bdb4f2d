"""PNG pictures and folders of slices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from common.data.files import find_files, split_suffix
from common.data.images import PngStack, TiffStack
from common.data.stacks import Stack
from common.data.volumes.encoded import EncodedSink
from common.data.volumes.geometry import Geometry
from common.data.volumes.source import RecentArrays, VolumeSource
from common.data.volumes.spec import Region, VolumeSpec
from common.errors import DataError

SUFFIXES = (".png", ".tif", ".tiff")
_LARGEST = 2**27  # pixels of a PNG, which is encoded as a whole


class PictureSource(VolumeSource):
    """A PNG, or a folder whose pictures (PNG, or TIFF of one page) are the slices of a volume in natural order.

    A picture is decoded as a whole; those last used are kept, up to 256 MiB.
    """

    def __init__(self, path: Path) -> None:
        files = find_files(path) if path.is_dir() else [path]
        others = [file.name for file in files if split_suffix(file)[1].lower() not in SUFFIXES]
        if others:
            raise DataError(f"{path}: expected pictures only, PNG or TIFF, found {others[0]}; give one file at a time")
        self._slices: list[Stack] = [_picture(file) for file in files]
        first = self._slices[0]
        for other in self._slices[1:]:
            if (other.shape, other.dtype) != (first.shape, first.dtype):
                raise DataError(
                    f"{path}: expected slices of one size and type, got {list(first.shape[1:])} {first.dtype} "
                    f"({first.path.name}) and {list(other.shape[1:])} {other.dtype} ({other.path.name}); give one "
                    "file at a time"
                )
        shape = (*first.shape[1:], len(files)) if path.is_dir() else first.shape[1:]
        names = tuple(file.name for file in files) if path.is_dir() else None
        super().__init__(path, VolumeSpec(shape, first.dtype, Geometry.unknown(len(shape)), slice_names=names))
        self._recent = RecentArrays()

    def read(self, region: Region) -> np.ndarray:
        """Values of the region."""
        rows, columns = region[:2]
        if len(region) == 2:
            return self._load(0)[rows, columns]
        return np.stack([self._load(index)[rows, columns] for index in range(region[2].start, region[2].stop)], axis=-1)

    def close(self) -> None:
        """Nothing is open between reads."""

    def _load(self, index: int) -> np.ndarray:
        return self._recent.get(index, partial(self._decode, index))

    def _decode(self, index: int) -> np.ndarray:
        picture = self._slices[index]
        try:
            return picture.load(0)
        except OSError as error:
            raise DataError(f"{picture.path}: cannot be decoded ({error}); replace or remove the file") from error


def _picture(path: Path) -> Stack:
    stack: Stack = PngStack(path) if path.suffix.lower() == ".png" else TiffStack(path)
    if stack.shape[0] != 1:
        raise DataError(f"{path}: expected one page, got {stack.shape[0]}; give the file by itself")
    return stack


class PictureSink(EncodedSink):
    """A PNG, or a folder of one for each slice, 8 or 16 bits.

    Slices are called as those of the input where there are as many, and no two alike; else by number.
    """

    _ending = ".png"

    def __init__(self, path: Path, spec: VolumeSpec) -> None:
        super().__init__(path, spec)
        if spec.dtype.kind != "u" or spec.dtype.itemsize > 2:
            raise DataError(f"{path}: PNG holds integers of 8 or 16 bits, got {spec.dtype.name}; choose a .tif")
        if spec.shape[0] * spec.shape[1] > _LARGEST:
            size = " x ".join(map(str, spec.shape[:2]))
            raise DataError(f"{path}: {size} pixels are too many for a PNG; choose a .tif, which is written in tiles")
        if (path.suffix.lower() == ".png") != (len(spec.shape) == 2):
            raise DataError(
                f"{path}: expected a .png for one image and a folder for {list(spec.shape)} slices, or a .tif"
            )
        self._names = self._stems()

    def _encode(self, index: int, path: Path) -> None:
        Image.fromarray(self._slice(index)).save(path, format="PNG")

    def _slice_name(self, index: int) -> str:
        return f"{self._names[index]}.png"

    def _stems(self) -> Sequence[str]:
        depth = (*self.spec.shape, 1)[2]
        given = [split_suffix(name, (*SUFFIXES, ".dcm"))[0] for name in self.spec.slice_names or ()]
        return given if len(set(given)) == depth else [f"{n:0{len(str(depth - 1))}}" for n in range(depth)]
