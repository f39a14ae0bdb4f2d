"""DICOM files around new values: a series derived from another one, of the same place in the patient."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from common.data.dicom import DicomSeries, pydicom_for
from common.errors import file_errors

_LONG_STRING = 64  # characters of a SeriesDescription
# true of the pixels that were, or of files that were
_DROPPED = [
    "PixelData",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "IconImageSequence",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "DataSetTrailingPadding",
]


class DerivedSeries:
    """Writes the slices of a new series.

    A new series and instance UID, which follow from the values: the same values give the same bytes. Type DERIVED,
    the description appended, the source named. Kept: SOP class, study, frame of reference, patient, rescale, windows,
    bits. Changed with the size: rows, columns, distances, places of the first pixel's centre (pixels become smaller,
    so it moves towards the edge by half the difference), slice thickness. Dropped: private elements and overlays,
    which may describe the old pixels, and extremes and icons. Uncompressed, little-endian, explicit.

    Args:
        series: where it comes from.
        scale: pixels along (height, width, slices) that one became.
        digest: of all new values, see :func:`values_digest`.
        description: appended to that of the series.
    """

    def __init__(self, series: DicomSeries, scale: Sequence[int], digest: str, description: str) -> None:
        self.series = series
        self.scale = tuple(scale)
        self.description = description
        self.n_slices = len(series.files) * self.scale[2]
        self._entropy = [series.uid, str(self.scale), digest]

    def name(self, index: int) -> str:
        """Of the file of a slice: as it was where there are as many, else its number."""
        if self.scale[2] == 1:
            return self.series.files[index].name
        return f"{index:0{len(str(self.n_slices - 1))}}.dcm"

    def write(self, index: int, values: np.ndarray, path: Path) -> None:
        """One slice.

        Args:
            index: in the order of the places.
            values: stored values ``[height, width]``.
            path: the file to be.
        """
        pydicom = pydicom_for(path)
        origin, part = divmod(index, self.scale[2])
        file = self.series.files[origin]
        with file_errors(file, "a DICOM image"):
            header = pydicom.dcmread(file, stop_before_pixels=True)
        self._describe(header, pydicom)
        self._place(header, part, pydicom.valuerep.DSfloat)
        if self.scale[2] > 1:
            header.InstanceNumber = index + 1 if self.series.rising_numbers else self.n_slices - index
        header.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[*self._entropy, str(index)])
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        header.Rows, header.Columns = values.shape
        octets = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        header.add_new("PixelData", "OB" if values.itemsize == 1 else "OW", octets + b"\0" * (len(octets) % 2))
        encoded = BytesIO()  # pydicom makes another error of that of a full disk
        pydicom.dcmwrite(encoded, header, enforce_file_format=True)
        path.write_bytes(encoded.getbuffer())

    def _describe(self, header: Any, pydicom: Any) -> None:
        source = pydicom.Dataset()
        source.ReferencedSOPClassUID = header.SOPClassUID
        source.ReferencedSOPInstanceUID = header.SOPInstanceUID
        header.remove_private_tags()
        for tag in [element.tag for element in header if 0x6000 <= element.tag.group <= 0x60FF]:
            del header[tag]
        for keyword in _DROPPED:
            if keyword in header:
                del header[keyword]
        header.SourceImageSequence = [source]
        header.SeriesInstanceUID = pydicom.uid.generate_uid(entropy_srcs=self._entropy)
        kind = list(header.get("ImageType") or [])
        header.ImageType = ["DERIVED", *(kind[1:] or ["PRIMARY"])]
        before = str(header.get("SeriesDescription") or "")[: _LONG_STRING - 1 - len(self.description)]
        header.SeriesDescription = f"{before} {self.description}".strip()
        header.DerivationDescription = self.description

    def _place(self, header: Any, part: int, number: Any) -> None:
        """Distances and the place of a slice that is the ``part``-th of those that one became."""
        for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            if header.get(keyword):
                both = zip(header[keyword].value, self.scale[:2], strict=True)
                setattr(header, keyword, [number(float(n) / factor, auto_format=True) for n, factor in both])
        affine = self.series.affine
        if affine is not None:
            height, width, depth = self.scale
            shift = [(1 / height - 1) / 2, (1 / width - 1) / 2, (part + 0.5) / depth - 0.5]
            place = np.array(header.ImagePositionPatient, np.float64) + affine[:3, :3] @ shift
            header.ImagePositionPatient = [number(float(n), auto_format=True) for n in place]
        if self.scale[2] == 1:
            return
        for keyword in ("SliceThickness", "SpacingBetweenSlices"):
            if header.get(keyword):
                setattr(header, keyword, number(float(header[keyword].value) / self.scale[2], auto_format=True))
        if "SliceLocation" in header:  # of the slice that was
            del header["SliceLocation"]


def values_digest(values: Iterable[np.ndarray]) -> str:
    """Of stored values, slice by slice."""
    state = hashlib.sha256()
    for one in values:
        state.update(np.ascontiguousarray(one, one.dtype.newbyteorder("<")).data)
    return state.hexdigest()
