"""DICOM files of MR series that come from no DICOM source, such as the reconstruction of raw data."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from common.errors import DataError, source_option
from common.io.geometry import LPS_TO_RAS
from common.io.intensity import Intensity, to_dtype
from common.io.packages import required
from common.io.sink import Sink
from common.io.spec import Spec

logger = logging.getLogger("recon")

_LARGEST = 2**16 - 1
_SHEARED = 1e-4  # cosine of the angle between rows and columns
_LONG_STRING = 63  # characters of a PatientID and one of padding
# required of an MR image, and unknown here
_UNKNOWN = """
    PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID AccessionNumber SeriesNumber
    Manufacturer PositionReferenceIndicator ScanOptions EchoTime EchoTrainLength RepetitionTime
""".split()  # noqa: SIM905  # a list of one name a line is a page


@dataclass(frozen=True)
class NewMrSeries:
    """Description of an MR series to be, as `Spec.native` of :func:`new_sink`.

    Attributes:
        name: identifier of the patient and of the study, such as the stem of the source file.
        description: SeriesDescription.
    """

    folder_format: ClassVar[str] = "dicom"
    name: str
    description: str


def new_sink(path: Path, spec: Spec, series: NewMrSeries) -> Sink:
    """Open a writer of a folder of MR images, one file per slice and frame.

    Values are stored in 16 bits with one slope, so that the largest value of the series has the largest number. Each
    frame has its TemporalPositionIdentifier and, where frame times are known, its TriggerTime in ms from the first
    frame. UIDs follow from name and values: the same values give the same bytes. Without an orientation slices are
    axial, about the origin, and a warning is logged.

    Args:
        path: the folder to be.
        spec: description of the image, real values of at least 0, with the axes y and x and perhaps t and z.
        series: names.

    Raises:
        DataError: for an image with coils, with an unknown pixel size, or whose rows and columns are not perpendicular;
            when it is written, for negative values.
    """
    if "coil" in spec.axes or path.suffix.lower() == ".dcm":
        raise DataError(f"{path}: expected a folder of images without coils, got {spec}; choose another format")
    affine = _affine(path, spec)
    rows, columns = affine[:3, 0], affine[:3, 1]
    if abs(rows @ columns) > _SHEARED * np.linalg.norm(rows) * np.linalg.norm(columns):
        raise DataError(f"{path}: DICOM has no place for the shear of the source; choose another format")
    pydicom = required("pydicom", "3.0", path, "DICOM")
    spec = replace(spec, dtype=np.dtype(np.float32), intensity=Intensity())
    return Sink(path, spec, partial(_encode, pydicom, series, affine))


def _affine(path: Path, spec: Spec) -> np.ndarray:
    """Matrix from index (x, y, z, 1) to mm, left, posterior, superior."""
    geometry = spec.geometry
    if geometry.affine is not None:
        return LPS_TO_RAS @ geometry.affine
    steps = dict(zip(geometry.axes, geometry.spacing_mm, strict=True))
    if "z" not in steps or spec.size("z") == 1:
        steps["z"] = steps.get("z") or 1.0
    if missing := [axis for axis, step in steps.items() if step is None]:
        raise DataError(
            f"{path}: DICOM needs the distance of pixels and slices, unknown along {', '.join(missing)}; give it: "
            f"{source_option('spacing', [2.0] * len(geometry.axes))}, or choose another format"
        )
    logger.warning(f"{path}: the source has no orientation; written as axial slices about the origin")
    x, y, z = (float(steps[axis] or 0.0) for axis in "xyz")
    affine = np.diag([x, y, z, 1.0])
    affine[:2, 3] = -x * (spec.size("x") // 2), -y * (spec.size("y") // 2)
    return affine


def _encode(pydicom: Any, series: NewMrSeries, affine: np.ndarray, folder: Path, sink: Sink) -> None:
    spec = sink.spec
    places = list(np.ndindex(spec.size("t"), spec.size("z")))

    def image(t: int, z: int) -> np.ndarray:
        parts = {axis: n for axis, n in (("t", t), ("z", z)) if axis in spec.axes}
        return sink.read(spec.region(**parts)).reshape(spec.shape[-2:])

    digest, largest = hashlib.sha256(), 0.0
    for place in places:
        values = image(*place)
        digest.update(values.tobytes())
        if values.min() < 0:
            raise DataError(f"{sink.path}: expected magnitudes, got {values.min():g}; choose another format")
        largest = max(largest, float(values.max()))
    slope = float(f"{largest / _LARGEST:.8e}") or 1.0  # as many digits as fit into the tag
    entropy = [series.name, str(spec.shape), digest.hexdigest()]
    folder.mkdir()
    for index, (t, z) in enumerate(places):
        data = _header(pydicom, series, affine, entropy)
        data.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[*entropy, str(index)])
        data.InstanceNumber = index + 1
        data.ImagePositionPatient = [_text(pydicom, n) for n in (affine @ [0, 0, z, 1])[:3]]
        if "t" in spec.axes:
            data.TemporalPositionIdentifier, data.NumberOfTemporalPositions = t + 1, spec.size("t")
        if (times := spec.geometry.frame_times_s) is not None:
            data.TriggerTime = _text(pydicom, 1000 * (times[t] - times[0]))
        data.Rows, data.Columns = spec.shape[-2:]
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = _text(pydicom, slope), 0, "US"
        data.WindowCenter, data.WindowWidth = _text(pydicom, largest / 2), _text(pydicom, max(largest, slope))
        stored = to_dtype(image(t, z) / slope, np.dtype(np.uint16))
        data.add_new("PixelData", "OW", stored.astype("<u2").tobytes())
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        encoded = BytesIO()  # pydicom makes another error of that of a full disk
        pydicom.dcmwrite(encoded, data, enforce_file_format=True)
        (folder / f"{index:0{len(str(len(places) - 1))}}.dcm").write_bytes(encoded.getbuffer())


def _header(pydicom: Any, series: NewMrSeries, affine: np.ndarray, entropy: list[str]) -> Any:
    """Elements that all images of the series have."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    name = series.name.replace("\\", "_")[:_LONG_STRING]
    data = pydicom.Dataset()
    values = {
        **dict.fromkeys(_UNKNOWN),
        "SOPClassUID": pydicom.uid.MRImageStorage,
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientName": name,
        "PatientID": name,
        "StudyInstanceUID": pydicom.uid.generate_uid(entropy_srcs=[series.name, "study"]),
        "SeriesInstanceUID": pydicom.uid.generate_uid(entropy_srcs=entropy),
        "FrameOfReferenceUID": pydicom.uid.generate_uid(entropy_srcs=[series.name, "frame of reference"]),
        "Modality": "MR",
        "SeriesDescription": series.description,
        "ImageType": ["DERIVED", "PRIMARY", "M"],
        "ScanningSequence": "RM",
        "SequenceVariant": "NONE",
        "MRAcquisitionType": "2D",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelSpacing": [_text(pydicom, y), _text(pydicom, x)],
        "SliceThickness": _text(pydicom, z),
        "ImageOrientationPatient": [_text(pydicom, n) for n in [*affine[:3, 0] / x, *affine[:3, 1] / y]],
    }
    for name, value in values.items():
        setattr(data, name, value)
    return data


def _text(pydicom: Any, number: float) -> Any:
    return pydicom.valuerep.DSfloat(float(number), auto_format=True)
