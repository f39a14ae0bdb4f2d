"""DICOM series by SimpleITK (values, orientation) and pydicom (stored values, times)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1

from common.io import Spec, open_source
from common.io.geometry import LPS_TO_RAS
from tests.io.dicom_files import CT, MR, save, save_enhanced
from tests.io.format_case import FormatCase, Independent

pytest.importorskip("pydicom", "3.0")


def _native(folder: Path, spec: Spec) -> Spec:
    """Spec of a series of the size, type and orientation of another spec, and of nothing else."""
    rng = np.random.default_rng(spec.n_values)
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    spacing, step, origin = rng.uniform(0.3, 3, 2), rng.uniform(0.5, 5), rng.uniform(-200, 200, 3)
    normal = np.cross(axes[0], axes[1])
    path = folder / "image"
    for t in range(spec.size("t")):
        for z in range(spec.size("z")):
            path = save(
                folder / f"{t}_{z}",
                np.zeros(spec.shape[-2:], spec.dtype),
                sop_class=MR if "t" in spec.axes else CT,
                number=t * spec.size("z") + z + 1,
                position=origin + z * step * normal,
                orientation=axes[:2].ravel(),
                spacing=spacing,
                SpacingBetweenSlices=f"{step:.10g}",
                TriggerTime=f"{25 * t}",
            )
    with open_source(path if spec.axes == ("y", "x") else folder) as source:
        return replace(source.spec, axes=spec.axes, shape=spec.shape)  # one frame of a series is a volume


def _read(path: Path, spec: Spec) -> Independent:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    headers = [pydicom.dcmread(file) for file in files]
    normal = np.cross(*np.reshape(headers[0].ImageOrientationPatient, (2, 3)).astype(float))
    keys = [(round(float(h.get("TriggerTime", 0))), float(normal @ h.ImagePositionPatient)) for h in headers]
    order = sorted(range(len(files)), key=lambda n: keys[n])
    values = np.stack([headers[n].pixel_array for n in order])
    n_slices = spec.size("z")
    first = [str(files[n]) for n in order[:n_slices]]
    image = SimpleITK.ReadImage(first if len(first) > 1 else first[0])
    itk_values = SimpleITK.GetArrayFromImage(image).reshape(n_slices, *spec.shape[-2:])
    np.testing.assert_array_equal(itk_values.astype(spec.dtype), values[:n_slices])
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    # of slices of one row SimpleITK exchanges two axes, and of one slice it takes another thickness
    known = n_slices > 1 and spec.shape[-2] > 1
    return Independent(values.reshape(spec.shape), None, LPS_TO_RAS @ affine if known else None)


def _enhanced(path: Path) -> dict[str, Any]:
    frames = [{"PlanePositionSequence": {"ImagePositionPatient": [0, 0, 3.0 * n]}} for n in range(3)]
    shared = {
        "PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
        "PixelMeasuresSequence": {"PixelSpacing": [0.5, 0.5], "SliceThickness": 3.0},
    }
    save_enhanced(path, np.arange(3 * 7 * 5, dtype=np.uint16).reshape(3, 7, 5), frames, shared=shared)
    return {}


def _lossless(path: Path) -> dict[str, Any]:
    values = np.arange(24 * 20, dtype=np.uint16).reshape(24, 20)
    save(path, values)
    data = pydicom.dcmread(path)
    data.PixelData = encapsulate([imagecodecs.ljpeg_encode(values, bitspersample=16)])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    data.save_as(path, enforce_file_format=True)
    return {}


_AXES = (("z", "y", "x"), ("t", "z", "y", "x"))
_KEEPS = frozenset({"affine", "spacing", "times"})

CASES = [
    FormatCase("dicom", "", _AXES, ("u1", "i1", "u2", "i2", "u4", "i4"), _read, _KEEPS, native=_native),
    FormatCase("dicom", ".dcm", (("y", "x"),), ("u1", "u2", "i2"), _read, _KEEPS, native=_native),
]
SAMPLES = {"enhanced.dcm": _enhanced, "lossless.dcm": _lossless}
