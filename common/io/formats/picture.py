"""Pictures: PNG, JPEG and BMP. Rows are the height and columns the width, as the picture is shown.

Read: one grey picture of 1 to 16 bits, or a colour picture whose channels are equal. Written: PNG of 8 or 16 bits.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from common.errors import DataError, file_errors
from common.io.bounded import check_piece, n_bytes_of
from common.io.geometry import Geometry
from common.io.grey import grey_channel
from common.io.orientation import is_transposed, known_orientation, shown
from common.io.sink import Sink
from common.io.source import DecodedSource, Source
from common.io.spec import Spec
from PIL import Image

LARGEST = 2**27
"""Pixels of a written picture, which is encoded as a whole."""

_KIND = "a PNG, JPEG or BMP picture"
_READ = ("PNG", "JPEG", "BMP")
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "YCbCr")
_ORIENTATION = 274
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_TAGS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
_COMPRESSION = 1  # of zlib: files a tenth larger than by its usual 6, written in a third of the time
_PNG_BITS = 24  # place of the bit depth in a PNG


@dataclass(frozen=True)
class PictureNative:
    """Metadata that a picture passes to a picture made of it.

    Attributes:
        dpi: pixels per inch along x and y; a density for printing, and no pixel size.
    """

    dpi: tuple[float, float] | None


def open_source(path: Path, *, luma: bool = False) -> Source:
    """Open a picture; its size and mode are read, not its pixels. It is decoded as a whole at the first read.

    1, 2 and 4 bit come as 8 bit. Whether a colour picture is really grey is seen when it is read; with ``luma`` colours
    become their luma.

    Raises:
        DataError: for animations, colour of 16 bit, and (when read) colours or transparent pixels.
    """
    with file_errors(path, _KIND), _any_size(), Image.open(path, formats=_READ) as image:
        mode, (width, height) = image.mode, image.size
        n_frames = getattr(image, "n_frames", 1)
        is_tagged = image.format != "PNG" or "exif" in image.info or not image.fp or _has_late_tags(image.fp)
        orientation = known_orientation(image.getexif().get(_ORIENTATION) if is_tagged else None)
        dpi = image.info.get("dpi")
        is_deep_colour = image.format == "PNG" and mode in ("RGB", "RGBA", "LA") and _png_bits(path) == 16
    if n_frames != 1:
        raise DataError(f"{path}: expected one picture, got an animation of {n_frames}; save them as one TIFF")
    if is_deep_colour:
        raise DataError(f"{path}: expected a grey image, got 16-bit colour; save it as 16-bit grey")
    if mode not in (*_SIXTEEN_BITS, *_EIGHT_BITS):
        raise DataError(f"{path}: expected grey pixels of 8 or 16 bits, got mode {mode}; save it as PNG of grey")
    dtype = np.dtype(np.uint16 if mode in _SIXTEEN_BITS else np.uint8)
    size = (width, height) if is_transposed(orientation) else (height, width)
    check_piece(4 * n_bytes_of(size, dtype, str(path)), path.stat().st_size, str(path))
    native = PictureNative(None if dpi is None else (float(dpi[0]), float(dpi[1])))
    spec = Spec(("y", "x"), size, dtype, Geometry.unknown("yx"), native=native)
    return DecodedSource(path, spec, partial(_decoded, path, dtype, orientation, luma), kind_of_file=_KIND)


def _decoded(path: Path, dtype: np.dtype, orientation: int, luma: bool) -> np.ndarray:
    with _any_size(), Image.open(path, formats=_READ) as image:
        if image.mode in ("P", "PA") or "transparency" in image.info:
            values = np.asarray(image.convert("RGBA"))
        elif image.mode == "1":
            values = np.asarray(image.convert("L"))
        else:
            values = np.asarray(image.convert("RGB") if image.mode == "YCbCr" else image)
    if values.ndim == 3:
        values = grey_channel(values, str(path), luma)
    return np.ascontiguousarray(shown(values.astype(dtype), orientation))


def _has_late_tags(file: IO[bytes]) -> bool:
    """Return True if a PNG has chunks that may tell an orientation; Pillow decodes the pixels to look behind them."""
    place = file.tell()
    file.seek(len(_PNG_SIGNATURE))
    found = False
    while not found and len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        found = kind in _PNG_TAGS
        file.seek(length + 4, 1)
    file.seek(place)
    return found


def _png_bits(path: Path) -> int:
    with open(path, "rb") as file:
        return file.read(_PNG_BITS + 1)[_PNG_BITS]


@contextmanager
def _any_size() -> Iterator[None]:
    """Leave the limit on sizes to `check_piece`: Pillow warns of any picture above 89 million pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def open_sink(path: Path, spec: Spec) -> Sink:
    """Open a writer of a PNG of 8 or 16 bits.

    Raises:
        DataError: for other types, more than one slice, or more than 2^27 pixels.
    """
    sink = Sink(path, spec.as_meant(), _encode)
    if len(spec.shape) != 2:
        raise DataError(f"{path}: expected a folder, without a suffix, or a .tif for {spec}; choose one of them")
    if not fits_png(sink.spec):
        raise DataError(
            f"{path}: PNG holds integers of 8 or 16 bits and at most 2^27 pixels, got {sink.spec}; choose a TIFF, "
            "which is written in tiles: --output_suffix .tif"
        )
    return sink


def fits_png(spec: Spec) -> bool:
    """Return True if slices of a spec can be PNGs."""
    height, width = spec.shape[-2:]
    return spec.dtype.kind == "u" and spec.dtype.itemsize <= 2 and height * width <= LARGEST


def _encode(path: Path, sink: Sink) -> None:
    write_png(sink.read(sink.spec.region()), path, sink.spec.native)


def write_png(values: np.ndarray, path: Path, native: object = None) -> None:
    """Write a grey picture ``[height, width]``, with the density of the picture that it was made of."""
    dpi = native.dpi if isinstance(native, PictureNative) else None
    options: dict[str, Any] = {"dpi": dpi} if dpi else {}
    Image.fromarray(values).save(path, format="PNG", compress_level=_COMPRESSION, **options)
