"""Headers and pixels of DICOM files: a `DicomFrame` for each image of a file, single-frame or enhanced multi-frame."""

from __future__ import annotations

import datetime
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from common.errors import DataError, file_errors
from common.io.bounded import check_piece, n_bytes_of
from common.io.packages import required

KIND = "a DICOM image"
ECHOES = ("EffectiveEchoTime", "EchoTime", "DiffusionBValue")
"""Tags whose values tell images of one place apart that are not frames of a series in time."""

_MAGIC, _PREAMBLE = b"DICM", 128
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_GROUPS = """
    PixelMeasuresSequence PlanePositionSequence PlaneOrientationSequence PixelValueTransformationSequence
    FrameVOILUTSequence FrameContentSequence MRImageFrameTypeSequence MREchoSequence MRDiffusionSequence
    CardiacSynchronizationSequence
""".split()  # noqa: SIM905  # a list of one name a line is a page
_TAGS = """
    ImageType SOPClassUID AcquisitionTime AcquisitionDateTime ContentTime SeriesInstanceUID SeriesDescription Modality
    Units Rows Columns SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored PixelRepresentation
    PixelPaddingValue NumberOfFrames FrameTime FrameTimeVector RescaleSlope RescaleIntercept RescaleType
    ModalityLUTSequence WindowCenter WindowWidth PixelSpacing ImagerPixelSpacing ImagePositionPatient
    ImageOrientationPatient SpacingBetweenSlices SliceThickness InstanceNumber TriggerTime
    NominalCardiacTriggerDelayTime TemporalPositionIdentifier ComplexImageComponent SharedFunctionalGroupsSequence
    PerFrameFunctionalGroupsSequence
""".split()  # noqa: SIM905  # a list of one name a line is a page
_PARTS = {
    "phase": {"P", "PHASE", "PHASE MAP", "VELOCITY", "VELOCITY MAP"},
    "real": {"R", "REAL"},
    "imaginary": {"I", "IMAGINARY"},
}
_DAY = 86400.0
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
# header of the element with the pixels, of uncompressed little-endian files: implicit, explicit
_PLAIN = {"1.2.840.10008.1.2": struct.Struct("<4xI"), "1.2.840.10008.1.2.1": struct.Struct("<8xI")}
_DECODERS = {  # functions of imagecodecs by transfer syntax
    "1.2.840.10008.1.2.4.50": "jpeg_decode",
    "1.2.840.10008.1.2.4.51": "jpeg_decode",
    "1.2.840.10008.1.2.4.57": "ljpeg_decode",
    "1.2.840.10008.1.2.4.70": "ljpeg_decode",
    "1.2.840.10008.1.2.4.80": "jpegls_decode",
    "1.2.840.10008.1.2.4.81": "jpegls_decode",
    "1.2.840.10008.1.2.4.201": "htj2k_decode",
    "1.2.840.10008.1.2.4.202": "htj2k_decode",
    "1.2.840.10008.1.2.4.203": "htj2k_decode",
}


@dataclass(frozen=True, eq=False)
class DicomFrame:
    """One image.

    Attributes:
        file: the file that holds it.
        number: its place in the file, from 0.
        n_in_file: number of images in the file.
        offset: place of the first pixel of the file; ``None`` if they need a decoder.
        series: ``SeriesInstanceUID``.
        description: description of the series.
        size: (height, width).
        dtype: type of the stored values, native byte order.
        limits: smallest and largest value that may be stored (12 bits in 16, for one).
        rescale: slope and intercept from stored values to what they mean. With MONOCHROME1, where the smallest is
            white, the values are mirrored in their range, so that more is brighter.
        padding: stored value of pixels outside of the image.
        window: display window, (low, high) of meant values.
        quantity: unit of meant values, such as "HU" or "BQML".
        spacing: distance in mm of rows and of columns; ``None`` if unknown.
        depth: distance of slices in mm, or their thickness; ``None`` if unknown.
        directions: ``(2, 3)`` unit vectors along a row and along a column, left, posterior, superior; ``None`` if
            unknown.
        position: place of the centre of the first pixel in mm, in the same coordinates; ``None`` if unknown.
        part: "magnitude", "phase", "real" or "imaginary" of MR images.
        times: values that may order frames in time, by name of the tag; TriggerTime in ms, times of day in seconds.
        echoes: values of `ECHOES`.
    """

    file: Path
    number: int
    n_in_file: int
    offset: int | None
    series: str
    description: str
    size: tuple[int, int]
    dtype: np.dtype
    limits: tuple[int, int]
    rescale: tuple[float, float]
    padding: float | None
    window: tuple[float, float] | None
    quantity: str | None
    spacing: tuple[float, float] | None
    depth: float | None
    directions: np.ndarray | None
    position: np.ndarray | None
    part: str
    times: dict[str, float]
    echoes: tuple[float | None, ...]

    def load(self) -> np.ndarray:
        """Stored values ``[height, width]``."""
        if self.offset is None:
            values = _decoded(self)
        else:
            with file_errors(self.file, KIND), open(self.file, "rb") as file:
                count = self.size[0] * self.size[1]
                file.seek(self.offset + self.number * count * self.dtype.itemsize)
                octets = bytearray(file.read(count * self.dtype.itemsize))
                values = _signed(np.frombuffer(octets, self.dtype.newbyteorder("<")).reshape(self.size), self)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if values.shape != self.size or values.dtype != self.dtype:
            raise DataError(
                f"{self.file}: expected {list(self.size)} {self.dtype}, got {list(values.shape)} {values.dtype}; "
                "it changed, or is damaged: copy it again"
            )
        return values


def is_dicom(path: Path) -> bool:
    """Return True for a DICOM file (PS3.10), whatever its name; the index DICOMDIR is none."""
    if path.name == "DICOMDIR" or not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC


def read_frames(file: Path) -> list[DicomFrame]:
    """Read the header of a file; objects without pixels have no frames.

    Raises:
        DataError: for images that are not grey, values of another type than integers, a lookup table instead of a
            slope, and damaged files.
    """
    pydicom = required("pydicom", "3.0", file, "DICOM")
    with file_errors(file, KIND):
        with open(file, "rb") as opened:
            if _DEFLATED in opened.read(2048):  # pydicom would inflate the whole file, whatever its size
                raise DataError(f"{file}: the data set is deflated; uncompress it, for instance with gdcmconv --raw")
            opened.seek(0)
            header = pydicom.dcmread(opened, stop_before_pixels=True, specific_tags=[*_TAGS, *ECHOES])
            offset = _plain_offset(opened, str(header.file_meta.get("TransferSyntaxUID", "")))
        if "Rows" not in header:
            return []
        _check_image(file, header)
        count = int(header.get("NumberOfFrames") or 1)
        _check_size(file, header, count)
        groups = header.get("PerFrameFunctionalGroupsSequence") or [None] * count
        if len(groups) != count:
            raise ValueError(f"{count} frames and {len(groups)} descriptions of frames")
        shared = _items((header.get("SharedFunctionalGroupsSequence") or [None])[0])
        return [
            _frame(file, offset, header, [*_items(group), *shared, header], n, count) for n, group in enumerate(groups)
        ]


def _plain_offset(file: Any, syntax: str) -> int | None:
    """Place of the first pixel in a file that is read up to its pixels; ``None`` if they need a decoder."""
    form = _PLAIN.get(syntax)
    element = file.read(form.size) if form else b""
    if form is None or len(element) < form.size or element[: len(_PIXEL_DATA)] != _PIXEL_DATA:
        return None
    length = form.unpack(element)[0]
    place = int(file.tell())
    return place if place + length <= file.seek(0, 2) else None


def _items(group: Any) -> list[Any]:
    """The descriptions of one frame, or of all, in a functional group."""
    return [] if group is None else [group[name][0] for name in _GROUPS if name in group and group[name].value]


def _get(items: Sequence[Any], *names: str) -> Any:
    """Value of the first name that one of the data sets has."""
    for name in names:
        for item in items:
            if name in item and item[name].value not in (None, ""):
                return item[name].value
    return None


def _number(items: Sequence[Any], *names: str) -> float | None:
    value = _get(items, *names)
    number = None if value is None else float(value)
    if number is not None and not np.isfinite(number):
        raise ValueError(f"{' or '.join(names)} {value}")
    return number


def _vector(items: Sequence[Any], name: str, length: int) -> np.ndarray | None:
    value = _get(items, name)
    if value is None:
        return None
    vector = np.array(value, np.float64)
    if vector.shape != (length,) or not np.isfinite(vector).all():
        raise ValueError(f"{name} {value}")
    return vector


def _check_image(file: Path, header: Any) -> None:
    kind = header.get("PhotometricInterpretation")
    if header.get("SamplesPerPixel", 1) != 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(f"{file}: expected a grey image, MONOCHROME1 or 2, got {kind}; convert it, or leave it out")
    if header.get("BitsAllocated") not in (8, 16, 32) or header.get("PixelRepresentation") not in (0, 1):
        raise DataError(
            f"{file}: expected integer pixels of 8, 16 or 32 bits, got {header.get('BitsAllocated')} bits, pixel "
            f"representation {header.get('PixelRepresentation')}; convert it"
        )
    if header.get("ModalityLUTSequence"):
        raise DataError(f"{file}: expected a rescale slope, got a lookup table of values; convert it")


def _check_size(file: Path, header: Any, count: int) -> None:
    stored = file.stat().st_size
    n_bytes = n_bytes_of((header.Rows, header.Columns), np.dtype(f"u{header.BitsAllocated // 8}"), str(file))
    if not header.file_meta.TransferSyntaxUID.is_compressed and n_bytes * count > stored:
        raise DataError(
            f"{file}: truncated, or its header is damaged: {n_bytes * count} bytes of pixels are needed, it has "
            f"{stored} in all; copy it again"
        )
    if not 1 <= count <= stored // 8:  # a compressed frame has a header of its own
        raise DataError(f"{file}: its header declares {count} frames; it is damaged, replace or remove it")
    check_piece(n_bytes, stored, str(file))


def _frame(file: Path, offset: int | None, header: Any, items: Sequence[Any], number: int, count: int) -> DicomFrame:
    signed, bits = bool(header.PixelRepresentation), int(header.get("BitsStored") or header.BitsAllocated)
    if not 1 <= bits <= header.BitsAllocated:
        raise ValueError(f"{bits} bits stored in {header.BitsAllocated}")
    limits = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = _number(items, "RescaleSlope") or 1.0, _number(items, "RescaleIntercept") or 0.0
    is_mirrored = header.PhotometricInterpretation == "MONOCHROME1"
    modality, quantity = str(header.get("Modality", "")), _get(items, "RescaleType", "Units")
    directions = _vector(items, "ImageOrientationPatient", 6)
    spacing = _vector(items, "PixelSpacing", 2)
    if spacing is None:
        spacing = _vector(items, "ImagerPixelSpacing", 2)
    depth = _number(items, "SpacingBetweenSlices", "SliceThickness")
    return DicomFrame(
        file=file,
        number=number,
        n_in_file=count,
        offset=offset,
        series=str(header.get("SeriesInstanceUID", "")),
        description=str(header.get("SeriesDescription") or "no description"),
        size=(int(header.Rows), int(header.Columns)),
        dtype=np.dtype(f"{'i' if signed else 'u'}{header.BitsAllocated // 8}"),
        limits=limits,
        rescale=(-slope, slope * sum(limits) + intercept) if is_mirrored else (slope, intercept),
        padding=_padding(header, signed),
        window=None if is_mirrored else _window(items),
        quantity=str(quantity) if quantity not in (None, "US") else "HU" if modality == "CT" else None,
        spacing=None if spacing is None or spacing.min() <= 0 else (float(spacing[0]), float(spacing[1])),
        depth=depth if depth is not None and depth > 0 else None,
        directions=None if directions is None else _unit_vectors(directions),
        position=_vector(items, "ImagePositionPatient", 3),
        part=_part(items) if modality == "MR" else "magnitude",
        times=_times(items, number, count),
        echoes=tuple(_number(items, name) for name in ECHOES),
    )


def _unit_vectors(directions: np.ndarray) -> np.ndarray:
    vectors = directions.reshape(2, 3)
    if not np.allclose(vectors @ vectors.T, np.eye(2), atol=1e-3):
        raise ValueError(f"ImageOrientationPatient {directions.tolist()} are not two perpendicular unit vectors")
    return vectors


def _padding(header: Any, signed: bool) -> float | None:
    value = header.get("PixelPaddingValue")
    if value in (None, ""):
        return None
    if isinstance(value, bytes):  # of unknown type, because the file does not say which
        value = int.from_bytes(value[:2], "little", signed=signed)
    return float(value)


def _window(items: Sequence[Any]) -> tuple[float, float] | None:
    """Display window (PS3.3 C.11.2.1.2), the first of several."""
    both = [_get(items, name) for name in ("WindowCenter", "WindowWidth")]
    if None in both:
        return None
    centre, width = (float(np.atleast_1d(np.array(value, np.float64))[0]) for value in both)
    return (centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2) if 1 < width < np.inf else None


def _part(items: Sequence[Any]) -> str:
    kinds = _get(items, "FrameType", "ImageType") or []
    words = {str(word).upper() for word in ([kinds] if isinstance(kinds, str) else list(kinds)[2:])}
    words.add(str(_get(items, "ComplexImageComponent") or "").upper())
    return next((name for name, known in _PARTS.items() if words & known), "magnitude")


def _times(items: Sequence[Any], number: int, count: int) -> dict[str, float]:
    instance = _number(items, "InstanceNumber")
    trigger = _number(items, "NominalCardiacTriggerDelayTime", "TriggerTime")
    if trigger is None and count > 1:
        step, steps = _number(items, "FrameTime"), _get(items, "FrameTimeVector")
        if steps is not None:
            trigger = float(np.sum(np.array(steps, np.float64)[: number + 1]))
        elif step:
            trigger = number * step
    found = {
        "TriggerTime": trigger,
        "TemporalPositionIdentifier": _number(items, "TemporalPositionIndex", "TemporalPositionIdentifier"),
        "AcquisitionTime": _seconds(_get(items, "FrameAcquisitionDateTime", "AcquisitionDateTime", "AcquisitionTime")),
        "ContentTime": _seconds(_get(items, "ContentTime")),
        "InstanceNumber": number / count + (instance or 0) if count > 1 else instance,
    }
    return {name: value for name, value in found.items() if value is not None}


def _seconds(value: Any) -> float | None:
    """Seconds of a time of day, hhmmss.ffffff, or of a date with it."""
    text = str(value or "").replace(":", "").strip()
    if not text:
        return None
    day = 0
    if len(text.split(".")[0].split("+")[0].split("-")[0]) > 6:
        day = datetime.date(int(text[:4]), int(text[4:6]), int(text[6:8])).toordinal()
        text = text[8:].split("+")[0].split("-")[0]
    return day * _DAY + int(text[:2]) * 3600 + int(text[2:4] or 0) * 60 + float(text[4:] or 0)


def _decoded(frame: DicomFrame) -> np.ndarray:
    """Pixels of a frame by pydicom, or by imagecodecs where pydicom has no decoder."""
    pydicom: Any = required("pydicom", "3.0", frame.file, "DICOM")
    with file_errors(frame.file, KIND):
        try:
            return pydicom.pixels.pixel_array(frame.file, index=frame.number, raw=True)
        except RuntimeError:  # no decoder is installed, or none takes these bits
            syntax = pydicom.filereader.read_file_meta_info(frame.file).TransferSyntaxUID
            if not syntax.is_compressed:
                raise
        decoder = _DECODERS.get(str(syntax))
        if decoder is None:
            raise DataError(
                f"{frame.file}: compressed as {syntax.name}, for which there is no decoder; uncompress it, for "
                "instance with gdcmconv --raw"
            )
        header = pydicom.dcmread(frame.file)
        pieces = pydicom.encaps.generate_frames(header.PixelData, number_of_frames=frame.n_in_file)
        values = np.asarray(getattr(imagecodecs, decoder)(next(islice(pieces, frame.number, None))))
        return _signed(values, frame)


def _signed(values: np.ndarray, frame: DicomFrame) -> np.ndarray:
    """Values without what stands in bits beyond those stored, the highest of which is the sign of signed ones."""
    unused = 8 * frame.dtype.itemsize - int(frame.limits[1] - frame.limits[0]).bit_length()
    values = values.astype(frame.dtype, copy=False)
    return (values << unused) >> unused if unused else values
