"""DICOM files for tests, written by pydicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

OBLIQUE = [0.8, 0.6, 0.0, -0.36, 0.48, -0.8]  # rows of a rotation matrix: along a row, down a column


def write_series(
    folder: Path,
    volume: np.ndarray,
    *,
    spacing: tuple[float, float] = (0.7, 0.5),
    step: float = 2.5,
    origin: tuple[float, float, float] = (-120.0, 35.5, 400.0),
    orientation: list[float] | None = None,
    series: str = "one",
    bits: int = 16,
    syntax: str = ExplicitVRLittleEndian,
    **tags: Any,
) -> list[Path]:
    """Slices ``[slices, height, width]``, in files whose names and instance numbers run against their places."""
    folder.mkdir(parents=True, exist_ok=True)
    direction = np.array(orientation or OBLIQUE)
    normal = np.cross(direction[:3], direction[3:])
    uids = [generate_uid(entropy_srcs=[series, name]) for name in ("study", "series", "frame")]
    files = []
    for index, values in enumerate(volume):
        data = pydicom.Dataset()
        data.SOPClassUID = CTImageStorage
        data.SOPInstanceUID = generate_uid(entropy_srcs=[series, str(index)])
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = uids
        data.PatientName, data.PatientID, data.StudyDate = "Phantom^One", "P1", "20200102"
        data.Modality, data.SeriesDescription = "CT", f"chest {series}"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.InstanceNumber = len(volume) - index
        data.Rows, data.Columns = values.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = values.itemsize * 8, min(bits, values.itemsize * 8), 0
        data.HighBit = data.BitsStored - 1
        data.PixelRepresentation = int(values.dtype.kind == "i")
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.PixelSpacing = list(spacing)
        data.ImageOrientationPatient = [float(n) for n in direction]
        data.ImagePositionPatient = [round(float(n), 6) for n in np.array(origin) + index * step * normal]
        data.SliceThickness, data.SpacingBetweenSlices = step, step
        data.SliceLocation = index * step
        data.WindowCenter, data.WindowWidth = 40, 400
        data.SmallestImagePixelValue = 0
        for name, value in tags.items():
            if value is None:
                delattr(data, name)
            else:
                setattr(data, name, value[index] if isinstance(value, list) and len(value) == len(volume) else value)
        octets = np.ascontiguousarray(values).tobytes()
        data.PixelData = octets + b"\0" * (len(octets) % 2)
        data["PixelData"].VR = "OB" if values.itemsize == 1 else "OW"
        data.file_meta = FileMetaDataset()
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.file_meta.TransferSyntaxUID = syntax
        files.append(folder / f"IM{len(volume) - index:03}_{series}")
        pydicom.dcmwrite(files[-1], data, enforce_file_format=True)
    return files
