"""DICOM series of single-frame grey images: which files they are, where the slices lie, what the values mean.

Needs the package ``pydicom``, version 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import min_version, optional_import

from common.data.files import dicom_files
from common.errors import DataError, file_errors

_UNEVEN = 0.05  # of the distance of slices: by how much a place may be off
_SAME_DIRECTION = 1e-3
_TAGS = [
    "SeriesInstanceUID",
    "SeriesDescription",
    "Modality",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "NumberOfFrames",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SpacingBetweenSlices",
    "SliceThickness",
    "InstanceNumber",
]


def pydicom_for(path: Path) -> Any:
    """The package pydicom.

    Raises:
        DataError: if it is not installed, naming what needed it.
    """
    pydicom, is_there = optional_import("pydicom", "3.0", min_version)
    if not is_there:
        raise DataError(f"{path}: DICOM needs the package pydicom, version 3; pip install 'pydicom>=3'")
    return pydicom


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """One image, or the slices of a volume in the order of their places along the normal.

    Attributes:
        path: the file or folder.
        uid: of the series.
        files: one for each slice.
        size: (height, width).
        dtype: of the stored values, native byte order.
        limits: smallest and largest value that may be stored (12 bits in 16, for one).
        rescale: slope and intercept from stored values to those they stand for. With MONOCHROME1, where the smallest
            is white, the values are mirrored in their range, so that more is brighter.
        spacing: distance in mm of rows, columns and slices; ``None`` where unknown.
        affine: from (row, column, slice) to mm in patient coordinates of DICOM (left, posterior, superior);
            ``None`` if the file does not say.
        rising_numbers: whether instance numbers rise along with the places.
    """

    path: Path
    uid: str
    files: tuple[Path, ...]
    size: tuple[int, int]
    dtype: np.dtype
    limits: tuple[int, int]
    rescale: tuple[float, float]
    spacing: tuple[float | None, float | None, float | None]
    affine: np.ndarray | None
    rising_numbers: bool = True

    def load(self, index: int) -> np.ndarray:
        """Stored values of one slice, ``[height, width]``."""
        file = self.files[index]
        pydicom = pydicom_for(file)
        with file_errors(file, "a DICOM image"):
            values = pydicom.dcmread(file).pixel_array
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if values.shape != self.size or values.dtype != self.dtype:
            raise DataError(f"{file}: changed since it was opened, it is now {list(values.shape)} {values.dtype}")
        return values


def open_series(path: Path, series: str | None = None) -> DicomSeries:
    """Reads the headers of a DICOM file, or of the one series in a folder.

    Args:
        path: a file is one image, a folder the slices of a volume.
        series: ``SeriesInstanceUID`` of the series to take, where the folder has several.

    Raises:
        DataError: for no series or several, images that are not grey or have several frames, compression without a
            decoder, slices that differ in size, type, meaning of values or orientation, that are not evenly spaced
            (one is missing) or do not say where they lie.
    """
    pydicom = pydicom_for(path)
    headers: list[tuple[Path, Any]] = []
    for file in [path] if path.is_file() else dicom_files(path):
        with file_errors(file, "a DICOM file"):
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
        if "Rows" in header:  # other objects of a study have no pixels
            headers.append((file, header))
    headers = _one_series(path, headers, series)
    for file, header in headers:
        _check_image(file, header, pydicom)
    _check_alike(headers)
    headers, affine = _in_order(path, headers) if len(headers) > 1 else (headers, _single_affine(headers[0][1]))
    return _series(path, headers, affine)


def _one_series(path: Path, headers: list[tuple[Path, Any]], series: str | None) -> list[tuple[Path, Any]]:
    if not headers:
        raise DataError(f"{path}: expected a DICOM image, found none; check the path")
    found: dict[str, list[tuple[Path, Any]]] = {}
    for file, header in headers:
        found.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((file, header))
    if series is None and len(found) == 1:
        return headers
    if series in found:
        return found[series]
    listed = "; ".join(
        f"{uid} ({members[0][1].get('SeriesDescription') or 'no description'}, {len(members)} images)"
        for uid, members in found.items()
    )
    if series is None:
        raise DataError(
            f"{path}: expected one DICOM series, found {len(found)}: {listed}; pass series='<one of these>', or keep "
            "one in a folder"
        )
    raise DataError(f"{path}: no DICOM series {series}, found {listed}; choose one of these")


def _check_image(file: Path, header: Any, pydicom: Any) -> None:
    kind = header.get("PhotometricInterpretation")
    if header.get("SamplesPerPixel", 1) != 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(f"{file}: expected a grey image, MONOCHROME1 or 2, got {kind}; convert it, or leave it out")
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise DataError(
            f"{file}: expected one image in a file, got {header.NumberOfFrames} frames (enhanced or multi-frame "
            "DICOM); split it, for instance with dcm4che's emf2sf, or convert it to NIfTI"
        )
    if header.get("BitsAllocated") not in (8, 16, 32) or header.get("PixelRepresentation") not in (0, 1):
        raise DataError(
            f"{file}: expected integer pixels of 8, 16 or 32 bits, got {header.get('BitsAllocated')} bits, pixel "
            f"representation {header.get('PixelRepresentation')}; convert it"
        )
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_compressed:
        try:
            decodable = pydicom.pixels.get_decoder(syntax).is_available
        except NotImplementedError:
            decodable = False
        if not decodable:
            raise DataError(
                f"{file}: compressed as {syntax.name}, for which no decoder is installed; pip install pylibjpeg "
                "pylibjpeg-libjpeg pylibjpeg-openjpeg, or uncompress it, for instance with gdcmconv --raw"
            )


def _check_alike(headers: Sequence[tuple[Path, Any]]) -> None:
    first_file, first = headers[0]
    for file, header in headers[1:]:
        for tag in (
            "Rows",
            "Columns",
            "BitsAllocated",
            "BitsStored",
            "PixelRepresentation",
            "PhotometricInterpretation",
            "RescaleSlope",
            "RescaleIntercept",
            "PixelSpacing",
        ):
            if header.get(tag) != first.get(tag):
                raise DataError(
                    f"{file}: expected {tag} {first.get(tag)} as {first_file.name} has, got {header.get(tag)}; keep "
                    "what differs in a folder of its own, or convert the series to NIfTI"
                )


def _in_order(path: Path, headers: list[tuple[Path, Any]]) -> tuple[list[tuple[Path, Any]], np.ndarray]:
    """Files along the normal of their plane, and the affine matrix."""
    first_file, first = headers[0]
    for file, header in headers:
        missing = [tag for tag in ("ImagePositionPatient", "ImageOrientationPatient") if not header.get(tag)]
        if missing:
            raise DataError(
                f"{file}: expected {' and '.join(missing)} in each file of a series, to know their order; give the "
                "files one at a time, or convert the series"
            )
        if not np.allclose(header.ImageOrientationPatient, first.ImageOrientationPatient, rtol=0, atol=_SAME_DIRECTION):
            raise DataError(
                f"{file}: expected the orientation {list(first.ImageOrientationPatient)} of {first_file.name}, got "
                f"{list(header.ImageOrientationPatient)}; keep one orientation in a folder"
            )
    rows, columns = _directions(first)
    normal = np.cross(columns, rows)
    places = np.array([header.ImagePositionPatient for _, header in headers], np.float64)
    order = np.argsort(places @ normal, kind="stable")
    headers, places = [headers[n] for n in order], places[order]
    steps = np.diff(places, axis=0)
    usual = np.median(steps, axis=0)
    distance = float(np.linalg.norm(usual))
    for index, step in enumerate(steps):
        if np.linalg.norm(step - usual) > _UNEVEN * distance or distance == 0:
            one, other = headers[index][0].name, headers[index + 1][0].name
            raise DataError(
                f"{path}: expected evenly spaced slices, got {np.linalg.norm(step):.4g} mm between {one} and {other} "
                f"and {distance:.4g} mm elsewhere; a slice is missing, there twice or of another series: add or "
                "remove it"
            )
    return headers, _affine(first, places[0], (places[-1] - places[0]) / (len(places) - 1))


def _single_affine(header: Any) -> np.ndarray | None:
    if not header.get("ImagePositionPatient") or not header.get("ImageOrientationPatient"):
        return None
    rows, columns = _directions(header)
    step = np.cross(columns, rows) * (_slice_distance(header) or 1.0)
    return _affine(header, np.array(header.ImagePositionPatient, np.float64), step)


def _directions(header: Any) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors along which the row index and the column index grow."""
    both = np.array(header.ImageOrientationPatient, np.float64)
    return both[3:], both[:3]


def _affine(header: Any, origin: np.ndarray, step: np.ndarray) -> np.ndarray:
    row_distance, column_distance = (n or 1.0 for n in _pixel_distances(header))
    rows, columns = _directions(header)
    affine = np.eye(4)
    affine[:3] = np.stack([rows * row_distance, columns * column_distance, step, origin], axis=1)
    return affine


def _pixel_distances(header: Any) -> tuple[float | None, float | None]:
    said = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    if not said or min(said) <= 0:
        return None, None
    return float(said[0]), float(said[1])


def _slice_distance(header: Any) -> float | None:
    said = header.get("SpacingBetweenSlices") or header.get("SliceThickness")
    return float(said) if said and said > 0 else None


def _series(path: Path, headers: Sequence[tuple[Path, Any]], affine: np.ndarray | None) -> DicomSeries:
    header, last = headers[0][1], headers[-1][1]
    signed, bits = bool(header.PixelRepresentation), int(header.get("BitsStored") or header.BitsAllocated)
    limits = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope = float(header.get("RescaleSlope") or 1)
    intercept = float(header.get("RescaleIntercept") or 0)
    if header.PhotometricInterpretation == "MONOCHROME1":
        slope, intercept = -slope, slope * sum(limits) + intercept
    depth = _slice_distance(header) if len(headers) == 1 or affine is None else float(np.linalg.norm(affine[:3, 2]))
    return DicomSeries(
        path=path,
        uid=str(header.get("SeriesInstanceUID", "")),
        files=tuple(file for file, _ in headers),
        size=(int(header.Rows), int(header.Columns)),
        dtype=np.dtype(f"{'i' if signed else 'u'}{header.BitsAllocated // 8}"),
        limits=limits,
        rescale=(slope, intercept),
        spacing=(*_pixel_distances(header), depth),
        affine=affine,
        rising_numbers=int(header.get("InstanceNumber") or 0) <= int(last.get("InstanceNumber") or 0),
    )
