"""PNG and TIFF. Rows are the height and columns the width, as the picture is shown."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from common.data.stacks import Stack, to_dtype
from common.errors import DataError, file_errors

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_GREY = 0
# What tifffile decodes without further packages: none, Deflate (two codes), PackBits, LZMA. The rest goes to Pillow.
_TIFFFILE_COMPRESSIONS = (1, 8, 32946, 32773, 34925)


def grey_channel(values: np.ndarray, name: str) -> np.ndarray:
    """The one channel of a colour array ``[height, width, samples]`` that is really grey and opaque.

    Args:
        values: 2 samples (grey, alpha), 3 (red, green, blue) or 4 (with alpha).
        name: for the error.

    Raises:
        DataError: the colour channels differ, or alpha is not full everywhere.
    """
    samples = values.shape[-1]
    if samples in (3, 4) and not (values[..., :1] == values[..., 1:3]).all():
        raise DataError(f"{name}: expected a grey image, got colours; save it as 8- or 16-bit grey")
    if samples in (2, 4) and not (values[..., -1] == np.iinfo(values.dtype).max).all():
        raise DataError(f"{name}: expected an opaque image, got transparent pixels; save it as grey without alpha")
    return values[..., 0]


class PngStack(Stack):
    """One PNG image: 8 or 16 bit grey; 1, 2 and 4 bit come as 8 bit; colour only if all channels are equal.

    Colour and palette images are decoded at once, since only the pixels tell whether they are grey.
    """

    def __init__(self, path: Path) -> None:
        with file_errors(path, "a PNG image"), open(path, "rb") as file:
            header = file.read(26)
        if header[:8] != _PNG_SIGNATURE:
            raise DataError(f"{path}: not a PNG image, it begins with {header[:8]!r}; replace or remove the file")
        with file_errors(path, "a PNG image"):
            bits, colour = header[24], header[25]
            with Image.open(path, formats=["PNG"]) as image:
                width, height = image.size
                frames = getattr(image, "n_frames", 1)
                self._dpi = image.info.get("dpi")
        if frames != 1:
            raise DataError(f"{path}: expected one picture, got an animation of {frames}; save them as one TIFF")
        if colour != _PNG_GREY and bits == 16:
            raise DataError(f"{path}: expected a grey image, got 16-bit colour; save it as 16-bit grey")
        super().__init__(path, (1, height, width), np.dtype(np.uint16 if bits == 16 else np.uint8))
        if colour != _PNG_GREY:
            with file_errors(path, "a PNG image"):
                self.load(0)

    def load(self, index: int) -> np.ndarray:
        """The picture's grey values; bilevel as 0 and 255."""
        with Image.open(self.path, formats=["PNG"]) as image:
            if image.mode == "P":
                values = np.asarray(image.convert("RGBA"))
            else:
                values = np.asarray(image.convert("L") if image.mode == "1" else image)
        if values.ndim == 3:
            values = grey_channel(values, self.name)
        return values.astype(self.dtype)

    def write(self, volume: np.ndarray, path: Path) -> None:
        """Writes grey of 8 or 16 bit, with the pixel density."""
        options: dict[str, Any] = {"dpi": self._dpi} if self._dpi else {}
        Image.fromarray(to_dtype(volume[0], self.dtype)).save(path, format="PNG", **options)


class TiffStack(Stack):
    """A TIFF of one or more equal grey pages, each a slice; 8, 16, 32 bit integer, float or complex.

    Written back with the type, the resolution tags and ImageJ's calibration, uncompressed. OME-XML is not copied,
    because it may name the original file as the place of the pixels.
    """

    def __init__(self, path: Path) -> None:
        with file_errors(path, "a TIFF image"), _reported_damage(path), tifffile.TiffFile(path) as tiff:
            pages = [self._check_page(page, path, index) for index, page in enumerate(tiff.pages)]
            first = pages[0]
            for index, page in enumerate(pages):
                if (page.shape, page.dtype) != (first.shape, first.dtype):
                    raise DataError(
                        f"{path}: expected pages of one size and type, got {list(first.shape)} {first.dtype} and, "
                        f"page {index}, {list(page.shape)} {page.dtype}; save the pages in files of their own"
                    )
            self._check_single_page_stack(tiff, len(pages))
            self._in_pillow = first.compression not in _TIFFFILE_COMPRESSIONS
            self._file_options: dict[str, Any] = {"bigtiff": tiff.is_bigtiff, "byteorder": tiff.byteorder}
            self._page_options = _resolution(first)
            self._description = first.description.encode() if tiff.is_imagej else None
        super().__init__(path, (len(pages), *first.shape[:2]), first.dtype)
        if len(first.shape) == 3:
            for index in range(len(pages)):
                with file_errors(path, "a TIFF image"):
                    self.load(index)

    @staticmethod
    def _check_page(page: Any, path: Path, index: int) -> Any:
        if page.axes not in ("YX", "YXS") or page.photometric not in (1, 2):
            raise DataError(
                f"{path}: expected grey pages (photometric MINISBLACK), page {index} has axes {page.axes} and "
                f"photometric {getattr(page.photometric, 'name', page.photometric)}; save it as grey"
            )
        end = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
        size = path.stat().st_size
        if end > size:
            raise DataError(f"{path}: truncated, page {index} ends at byte {end} of {size}; copy the file again")
        return page

    def _check_single_page_stack(self, tiff: tifffile.TiffFile, n_pages: int) -> None:
        # ImageJ stacks above 4 GB describe all slices in the text of one page
        images = (tiff.imagej_metadata or {}).get("images", 1) if tiff.is_imagej else 1
        if n_pages == 1 and images > 1:
            raise DataError(f"{tiff.filehandle.path}: {images} images in one page; save it as BigTIFF with pages")

    def load(self, index: int) -> np.ndarray:
        """Grey values of one page."""
        if self._in_pillow:
            with Image.open(self.path, formats=["TIFF"]) as image:
                image.seek(index)
                values = np.asarray(image)
        else:
            with tifffile.TiffFile(self.path) as tiff:
                values = tiff.pages[index].asarray(maxworkers=1)
        if values.dtype.newbyteorder("=") != self.dtype.newbyteorder("="):
            raise DataError(f"{self.name}: this compression of {self.dtype} is not supported; save it uncompressed")
        return grey_channel(values, self.name) if values.ndim == 3 else values

    def write(self, volume: np.ndarray, path: Path) -> None:
        """Writes one page a slice, in the type that came."""
        pages = to_dtype(volume, self.dtype)
        with tifffile.TiffWriter(path, **self._file_options) as tiff:
            for index, page in enumerate(pages):
                description = self._description if index == 0 else None
                tiff.write(page, photometric="minisblack", metadata=None, description=description, **self._page_options)


def _resolution(page: Any) -> dict[str, Any]:
    """Resolution tags of a page as arguments of the writer; none if absent or not a number."""
    tags = {name: page.tags.valueof(name) for name in ("XResolution", "YResolution", "ResolutionUnit")}
    ratios = (tags["XResolution"], tags["YResolution"])
    if any(ratio is None or 0 in ratio for ratio in ratios):
        return {}
    unit = {} if tags["ResolutionUnit"] is None else {"resolutionunit": int(tags["ResolutionUnit"])}
    return {"resolution": ratios, **unit}


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = " ".join(record.getMessage().split())
        if "TiffPages" in message:  # other errors are odd tags of a vendor, which harm no pixel
            self.messages.append(message)


@contextmanager
def _reported_damage(path: Path) -> Iterator[None]:
    """Makes an error of what tifffile only logs: a page chain that leaves the file, whose pages it then drops."""
    logger, collector = logging.getLogger("tifffile"), _Collector()
    propagate = logger.propagate
    logger.addHandler(collector)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate
    if collector.messages:
        raise DataError(f"{path}: damaged or truncated TIFF ({collector.messages[0]}); copy the file again")
