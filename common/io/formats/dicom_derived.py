"""DICOM files around new values: a series derived from another one, of the same place in the patient."""

from __future__ import annotations

import copy
import hashlib
import math
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from common.errors import DataError, file_errors
from common.io.formats.dicom_header import KIND, DicomFrame
from common.io.formats.dicom_order import DicomSeries
from common.io.geometry import LPS_TO_RAS
from common.io.intensity import Intensity, to_dtype
from common.io.packages import required
from common.io.sink import Sink
from common.io.spec import Spec

_SUFFIX = ".dcm"
_DESCRIPTION = "derived"
_LONG_STRING = 64  # characters of a SeriesDescription
_LARGEST = 2**32 - 2  # bytes of pixels in one file
# true of the pixels that were, or of files that were
_DROPPED = """
    PixelData SmallestImagePixelValue LargestImagePixelValue SmallestPixelValueInSeries LargestPixelValueInSeries
    IconImageSequence InstanceCreationDate InstanceCreationTime DigitalSignaturesSequence MACParametersSequence
    DataSetTrailingPadding
""".split()  # noqa: SIM905  # a list of one name a line is a page
_TIMES = ["TriggerTime", "TemporalPositionIdentifier", "NumberOfTemporalPositions", "FrameTime", "FrameTimeVector"]
_DIMENSIONS = ["DimensionOrganizationSequence", "DimensionIndexSequence", "DimensionOrganizationType"]


def derived_sink(path: Path, spec: Spec, series: DicomSeries) -> Sink:
    """Open a writer of a new series: a folder of files as the input has them, or one file (``.dcm``).

    A new series and instance UID, which follow from the values: the same values give the same bytes. Type DERIVED,
    the description appended, the source named. Kept: SOP class, study, frame of reference, patient, rescale, windows,
    padding value, bits. Changed with the size: rows, columns, distances, places of the first pixel's centre, slice
    thickness. Dropped: private elements and overlays, which may describe the old pixels, and extremes and icons.
    Uncompressed, little-endian, explicit. Where each image of the input has a slope of its own (PET), each output has
    one that fills its bits.

    Raises:
        DataError: for a file of several single-frame images, a volume of several multi-frame files, other axes, and
            more than 4 GiB in one file.
    """
    first = series.first
    if series.has_one_rescale:
        rule = Intensity(*first.rescale, first.limits, padding=first.padding, quantity=first.quantity)
        spec = replace(spec, dtype=first.dtype, intensity=rule)
    else:
        spec = replace(spec, dtype=np.dtype(np.float32), intensity=Intensity(quantity=first.quantity))
    is_file, is_multi = path.suffix.lower() == _SUFFIX, first.n_in_file > 1
    n_images = spec.size("t") * spec.size("z")
    if "coil" in spec.axes:
        raise DataError(f"{path}: DICOM has no axis for coils, got {spec}; choose another --output_suffix")
    if is_multi and len({frame.file for frames in series.frames for frame in frames}) > 1:
        raise DataError(f"{path}: not written of several multi-frame files; choose another --output_suffix")
    if not is_multi and is_file and n_images > 1:
        raise DataError(f"{path}: expected a folder, without a suffix, for {n_images} DICOM images")
    if math.prod(spec.shape if is_multi else spec.shape[-2:]) * first.dtype.itemsize > _LARGEST:
        raise DataError(f"{path}: {spec} needs more than 4 GiB in one DICOM file; choose another --output_suffix")

    def encode(new: Path, sink: Sink) -> None:
        writer = _Writer(sink, series, required("pydicom", "3.0", path, "DICOM"))
        if is_file:
            writer.write(0, new)
            return
        new.mkdir()
        for index in range(1 if is_multi else n_images):
            writer.write(index, new / writer.name(index))

    return Sink(path, spec, encode)


class _Writer:
    """Writes the files of a derived series."""

    def __init__(self, sink: Sink, series: DicomSeries, pydicom: Any) -> None:
        self.sink, self.spec, self._series, self._pydicom = sink, sink.spec, series, pydicom
        self._shape = (self.spec.size("t"), self.spec.size("z"))
        self._is_multi = series.first.n_in_file > 1
        self._n_before = len(series.frames) * len(series.frames[0])
        digest = hashlib.sha256()
        for index in range(math.prod(self._shape)):
            digest.update(self._image(index).tobytes())
        self._entropy = [series.first.series, str(self.spec.shape), digest.hexdigest()]

    def name(self, index: int) -> str:
        """File name of one image, or of the only file."""
        count = math.prod(self._shape)
        if self._is_multi or count == self._n_before:
            return self._origin(index).file.name
        return f"{index:0{len(str(count - 1))}}{_SUFFIX}"

    def _origin(self, index: int) -> DicomFrame:
        """The image of the input from which an output image takes its description."""
        t, z = divmod(index, self._shape[1])
        frames, affine = self._series.frames, self.spec.geometry.affine
        n_before = len(frames[0])
        before = z * n_before // self._shape[1]
        if affine is not None and self._series.affine is not None:
            before = round(float((np.linalg.inv(self._series.affine) @ affine @ [0, 0, z, 1])[2]))
        return frames[t if len(frames) == self._shape[0] else 0][min(max(before, 0), n_before - 1)]

    def _image(self, index: int) -> np.ndarray:
        t, z = divmod(index, self._shape[1])
        parts = {axis: n for axis, n in (("t", t), ("z", z)) if axis in self.spec.axes}
        return self.sink.read(self.spec.region(**parts)).reshape(self.spec.shape[-2:])

    def write(self, index: int, path: Path) -> None:
        """Write one image, or all of a multi-frame file."""
        pydicom, frame, count = self._pydicom, self._origin(index), math.prod(self._shape)
        with file_errors(frame.file, KIND):
            header = pydicom.dcmread(frame.file, stop_before_pixels=True)
        entropy = [frame.series, *self._entropy[1:]]
        _describe(header, pydicom, entropy)
        header.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[*entropy, str(index)])
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        header.Rows, header.Columns = self.spec.shape[-2:]
        if self._is_multi:
            octets = self._describe_frames(header)
        else:
            if count != self._n_before:
                rising = [frames[0].times.get("InstanceNumber", 0) for frames in zip(*self._series.frames, strict=True)]
                header.InstanceNumber = index + 1 if rising[0] <= rising[-1] else count - index
            if len(self._series.frames) != self._shape[0]:
                _remove(header, _TIMES)
            octets = self._fill(header, header, header, frame, index)
        header.add_new("PixelData", "OB" if frame.dtype.itemsize == 1 else "OW", octets + b"\0" * (len(octets) % 2))
        encoded = BytesIO()  # pydicom makes another error of that of a full disk
        pydicom.dcmwrite(encoded, header, enforce_file_format=True)
        path.write_bytes(encoded.getbuffer())

    def _describe_frames(self, header: Any) -> bytes:
        """Describe all frames of a multi-frame file; return their pixels."""
        pydicom, count = self._pydicom, math.prod(self._shape)
        before = header.get("PerFrameFunctionalGroupsSequence")
        shared = (header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
        header.NumberOfFrames = count
        is_other = count != self._series.first.n_in_file
        if is_other:
            _remove(header, _DIMENSIONS)
        groups, octets = [], []
        for index in range(count):
            frame = self._origin(index)
            group = copy.deepcopy(before[frame.number]) if before else header
            for name in ("PlanePositionSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence"):
                if before and name in shared and name not in group:  # each frame has its own from here on
                    setattr(group, name, copy.deepcopy(list(shared[name].value)))
            items = [group[name][0] for name in group.dir("Sequence") if before and group[name].value]
            position, measures, value = (
                next((item for item in items if tag in item), header if tag in header or not before else group)
                for tag in ("ImagePositionPatient", "PixelSpacing", "RescaleSlope")
            )
            if index == 0 or before:
                octets.append(self._fill(position, measures, value, frame, index))
            else:
                octets.append(self._stored(frame, index)[0].tobytes())
            for item in items:
                if is_other:
                    _remove(item, ["DimensionIndexValues"])
                if "InStackPositionNumber" in item:
                    item.InStackPositionNumber = index % self._shape[1] + 1
            groups.append(group)
        if before:
            _remove(shared, ["PlanePositionSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence"])
            header.PerFrameFunctionalGroupsSequence = groups
        return b"".join(octets)

    def _fill(self, position: Any, measures: Any, value: Any, frame: DicomFrame, index: int) -> bytes:
        """Set place, distances and rescale of one image in the data sets that have them; return its pixels."""

        def text(number: float) -> Any:
            return self._pydicom.valuerep.DSfloat(float(number), auto_format=True)

        geometry, before = self.spec.geometry, self._series.affine
        y, x = geometry.spacing_mm[-2:]
        if frame.spacing is not None and y is not None and x is not None:
            factors = (y / frame.spacing[0], x / frame.spacing[1])
            for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
                if measures.get(keyword):
                    sizes = zip(measures[keyword].value, factors, strict=True)
                    setattr(measures, keyword, [text(float(size) * factor) for size, factor in sizes])
        factor = len(self._series.frames[0]) / self._shape[1] if "z" in self.spec.axes else 1.0
        if geometry.affine is not None and before is not None:
            place = LPS_TO_RAS @ geometry.affine @ [0, 0, index % self._shape[1], 1]
            position.ImagePositionPatient = [text(n) for n in place[:3]]
            factor = float(np.linalg.norm(geometry.affine[:3, 2]) / np.linalg.norm(before[:3, 2]))
        if not math.isclose(factor, 1.0, rel_tol=1e-6):
            for keyword in ("SliceThickness", "SpacingBetweenSlices"):
                if measures.get(keyword):
                    setattr(measures, keyword, text(float(measures[keyword].value) * factor))
            _remove(position, ["SliceLocation"])  # of the slice that was
        stored, rescale = self._stored(frame, index)
        if rescale is not None:
            value.RescaleSlope, value.RescaleIntercept = (text(n) for n in rescale)
        return stored.tobytes()

    def _stored(self, frame: DicomFrame, index: int) -> tuple[np.ndarray, tuple[float, float] | None]:
        """Stored values of one image, little-endian, and its rescale where each image has its own."""
        values = self._image(index)
        little = frame.dtype.newbyteorder("<")
        if self._series.has_one_rescale:
            return np.ascontiguousarray(values, little), None
        low, high = frame.limits
        intercept = float(f"{min(float(values.min()), 0.0):.9e}") if low == 0 else 0.0
        largest = max(float(values.max()) - intercept, (intercept - float(values.min())) * high / -low if low else 0.0)
        slope = float(f"{largest / high:.8e}") or 1.0  # as many digits as fit into the tag
        stored = np.clip((values.astype(np.float64) - intercept) / slope, low, high)
        return np.ascontiguousarray(to_dtype(stored, frame.dtype), little), (slope, intercept)


def _describe(header: Any, pydicom: Any, entropy: list[str]) -> None:
    """Name the source of a derived image, and remove what described the old pixels."""
    source = pydicom.Dataset()
    source.ReferencedSOPClassUID = header.SOPClassUID
    source.ReferencedSOPInstanceUID = header.SOPInstanceUID
    header.remove_private_tags()
    for tag in [element.tag for element in header if 0x6000 <= element.tag.group <= 0x60FF]:
        del header[tag]
    _remove(header, _DROPPED)
    header.SourceImageSequence = [source]
    header.SeriesInstanceUID = pydicom.uid.generate_uid(entropy_srcs=entropy)
    kind = list(header.get("ImageType") or [])
    header.ImageType = ["DERIVED", *(kind[1:] or ["PRIMARY"])]
    before = str(header.get("SeriesDescription") or "")[: _LONG_STRING - 1 - len(_DESCRIPTION)]
    header.SeriesDescription = f"{before} {_DESCRIPTION}".strip()
    header.DerivationDescription = _DESCRIPTION


def _remove(header: Any, keywords: list[str]) -> None:
    for keyword in keywords:
        if keyword in header:
            del header[keyword]
