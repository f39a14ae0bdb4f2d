"""DICOM files written by pydicom for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
PET = "1.2.840.10008.5.1.4.1.1.128"
_MODALITIES = {CT: "CT", MR: "MR", ENHANCED_MR: "MR", PET: "PT"}


def header(sop_class: str, shape: Sequence[int], dtype: np.dtype, series: str, name: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series, name])
    data = FileDataset(name, {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID, data.Modality = "Synthetic^Case", "case", _MODALITIES[sop_class]
    data.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    data.SeriesInstanceUID = series if series[0].isdigit() else generate_uid(entropy_srcs=[series])
    data.SeriesDescription, data.ImageType = series, ["ORIGINAL", "PRIMARY", "OTHER"]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = shape[-2:]
    data.BitsAllocated = data.BitsStored = 8 * dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(dtype.kind == "i")
    return data


def save(
    path: Path,
    stored: np.ndarray,
    *,
    sop_class: str = CT,
    series: str = "series",
    number: int = 1,
    position: Sequence[float] | None = (0, 0, 0),
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    spacing: Sequence[float] = (1, 1),
    **tags: Any,
) -> Path:
    """Write one image; ``tags`` are set last."""
    data = header(sop_class, stored.shape, stored.dtype, series, path.name)
    data.InstanceNumber = number
    if position is not None:
        data.ImagePositionPatient = [f"{n:.10g}" for n in position]
        data.ImageOrientationPatient = [f"{n:.10g}" for n in orientation]
    data.PixelSpacing = [f"{n:.10g}" for n in spacing]
    for name, value in tags.items():
        setattr(data, name, value)
    return _save(data, path, stored)


def _save(data: FileDataset, path: Path, stored: np.ndarray) -> Path:
    octets = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    data.add_new("PixelData", "OW", octets + bytes(len(octets) % 2))
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def item(**values: Any) -> Dataset:
    data = Dataset()
    for name, value in values.items():
        setattr(data, name, value)
    return data


def save_enhanced(path: Path, stored: np.ndarray, frames: Sequence[dict[str, Any]], **tags: Any) -> Path:
    """Write an enhanced MR object ``[frames, height, width]``.

    Args:
        path: the file.
        stored: values.
        frames: for each its functional groups, tags by sequence.
        tags: of the whole object, and ``shared``: functional groups of all frames.
    """
    data = header(ENHANCED_MR, stored.shape, stored.dtype, "enhanced", path.name)
    data.NumberOfFrames, data.InstanceNumber = len(stored), 1
    shared = tags.pop("shared", {})
    groups = [item(**{name: [item(**values)] for name, values in group.items()}) for group in (shared, *frames)]
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = groups[:1], groups[1:]
    for name, value in tags.items():
        setattr(data, name, value)
    return _save(data, path, stored)
