"""The ISMRMRD header: which k-space was encoded, and which image is to be made of it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import h5py

from common.errors import DataError, file_errors

HEADER_KEY = "ismrmrd_header"  # the data set with the header's XML in fastMRI's files


@dataclass(frozen=True)
class Encoding:
    """The first ``encoding`` of a header. x is the readout, rows of our k-space; y the phase encoding, columns.

    Inati et al. 2017, ISMRM Raw data format, doi 10.1002/mrm.26089.

    Attributes:
        encoded: matrix (x, y, z) of the k-space, with oversampling and zero padding.
        recon: matrix (x, y, z) of the image; that of the k-space if the header lacks reconSpace.
        readout_fov: field of view along x of the k-space and of the image, mm; None if the header lacks one.
        trajectory: such as "cartesian"; "" if the header lacks it.
        line_limits: lowest, highest and central phase-encoding line; None if the header lacks them.
    """

    encoded: tuple[int, int, int]
    recon: tuple[int, int, int]
    readout_fov: tuple[float, float] | None
    trajectory: str
    line_limits: tuple[int, int, int] | None

    def recon_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the image, which never exceed those of the data.

        fastMRI: k-space of 640 x 372 and a recon matrix of 320 x 320 give (320, 320), of 640 x 260 (320, 260).
        """
        return min(self.recon[0], height), min(self.recon[1], width)

    @property
    def readout_pixels(self) -> int:
        """Pixels of the encoded grid in the image's field of view along x: 640 over 320 mm and 160 mm give 320."""
        if self.readout_fov is None:
            return min(self.recon[0], self.encoded[0])
        encoded_mm, recon_mm = self.readout_fov
        return min(max(round(self.encoded[0] * recon_mm / encoded_mm), 1), self.encoded[0])

    def check_fit(self, height: int, width: int, name: str) -> None:
        """Compares the header to k-space on a grid, as fastMRI's.

        Rows are the encoded x, or the recon's where oversampling was removed. Columns are the encoded y, or fewer,
        but not fewer than there are lines within the limits, where the padding was left out.

        Raises:
            DataError: they differ.
        """
        rows, columns, _ = self.encoded
        low, high, _ = self.line_limits or (0, columns - 1, 0)
        if height not in (rows, self.recon[0]) or not min(high - low + 1, columns) <= width <= columns:
            raise DataError(
                f"{name}: expected k-space of {rows} x {columns} (readout x phase encoding) as its {HEADER_KEY} says, "
                f"got {height} x {width}; transpose or pad the k-space, or correct or remove the header"
            )


def parse_encoding(xml: bytes, path: Path) -> Encoding | None:
    """The first encoding of a header; None if it has none.

    Args:
        xml: the header.
        path: the file it comes from, for errors.

    Raises:
        DataError: it is no XML, or the encoding lacks a matrix.
    """
    with file_errors(path, "an ISMRMRD header, XML"):
        root = ElementTree.fromstring(xml.rstrip(b"\0"))
    encoding = root.find("{*}encoding")
    if encoding is None:
        return None
    with file_errors(path, "an ISMRMRD header with its matrices"):
        limits = "encodingLimits/kspace_encoding_step_1"
        has_limits = _text(encoding, limits, required=False) is not None
        fov = [_text(encoding, f"{space}/fieldOfView_mm/x", required=False) for space in ("encodedSpace", "reconSpace")]
        sides = [float(side) for side in fov if side]
        return Encoding(
            _matrix(encoding, "encodedSpace"),
            _matrix(encoding, "encodedSpace" if encoding.find("{*}reconSpace") is None else "reconSpace"),
            (sides[0], sides[1]) if len(sides) == 2 and min(sides) > 0 else None,
            (_text(encoding, "trajectory", required=False) or "").strip().lower(),
            (
                _number(encoding, f"{limits}/minimum"),
                _number(encoding, f"{limits}/maximum"),
                _number(encoding, f"{limits}/center"),
            )
            if has_limits
            else None,
        )


def hdf5_encoding(path: Path) -> Encoding | None:
    """The encoding in the data set `HEADER_KEY` of an HDF5 file, if there is one."""
    with file_errors(path, "an HDF5 file"), h5py.File(path, "r") as file:
        if HEADER_KEY not in file:
            return None
        xml = file[HEADER_KEY][()]
    return parse_encoding(xml.encode() if isinstance(xml, str) else bytes(xml), path)


def _text(element: ElementTree.Element, place: str, *, required: bool = True) -> str | None:
    found = element.find("/".join(f"{{*}}{tag}" for tag in place.split("/")))
    if found is None and required:
        raise ValueError(f"it lacks {place}")
    return None if found is None else found.text or ""


def _number(element: ElementTree.Element, place: str) -> int:
    return int(_text(element, place) or "")


def _matrix(encoding: ElementTree.Element, space: str) -> tuple[int, int, int]:
    x, y, z = (_number(encoding, f"{space}/matrixSize/{axis}") for axis in "xyz")
    if min(x, y, z) < 1:
        raise ValueError(f"{space} is {x} x {y} x {z}")
    return x, y, z
