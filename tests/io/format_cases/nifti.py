"""NIfTI by nibabel (values, affine matrix) and, of types that it reads, by SimpleITK (values, spacing)."""

from pathlib import Path

import nibabel
import numpy as np
import SimpleITK

from common.io import Spec
from common.io.geometry import LPS_TO_RAS
from tests.io.format_case import EVERY_NUMBER, FormatCase, Independent


def _read(path: Path, spec: Spec) -> Independent:
    image = nibabel.load(path)
    stored = np.asanyarray(image.dataobj.get_unscaled()).T
    scaled = np.asanyarray(image.dataobj).T
    meant = spec.intensity.meant(stored)
    # slope and intercept are float32 in the file: rounding goes with the largest value
    atol = 1e-5 + 1e-6 * float(np.abs(meant).max(initial=0))
    np.testing.assert_allclose(scaled, meant, rtol=1e-5, atol=atol)
    affine = image.affine if image.header["sform_code"] > 0 else None
    spacing = None
    if affine is not None and stored.dtype.kind != "c":
        _check_itk(path, stored, affine, spec)
    if spec.geometry.unit is not None:
        factor = {"mm": 1.0, "micron": 1e-3, "meter": 1e3}[image.header.get_xyzt_units()[0]]
        spacing = tuple(float(n) * factor for n in image.header["pixdim"][1:4])[: len(spec.spatial_axes)][::-1]
    return Independent(stored, spacing, affine)


def _check_itk(path: Path, stored: np.ndarray, affine: np.ndarray, spec: Spec) -> None:
    image = SimpleITK.ReadImage(str(path))
    meant = spec.intensity.meant(stored)
    atol = 1e-5 + 1e-6 * float(np.abs(meant).max(initial=0))
    np.testing.assert_allclose(np.squeeze(SimpleITK.GetArrayFromImage(image)), np.squeeze(meant), rtol=1e-5, atol=atol)
    if image.GetDimension() >= 3:
        n = image.GetDimension()
        directions = np.reshape(image.GetDirection(), (n, n))[:3, :3] * image.GetSpacing()[:3]
        found = np.eye(4)
        found[:3] = np.column_stack([directions, image.GetOrigin()[:3]])
        np.testing.assert_allclose(LPS_TO_RAS @ found, affine, rtol=1e-4, atol=1e-3)


_AXES = (("y", "x"), ("z", "y", "x"), ("t", "y", "x"), ("t", "z", "y", "x"))
_KEEPS = frozenset({"spacing", "affine", "times", "slope"})


def _options(spec: Spec) -> dict[str, object]:
    return {"slice_axis": 2} if "z" in spec.axes else {}  # else a volume of one row would be turned


CASES = [
    FormatCase("nifti", ".nii", _AXES, (*EVERY_NUMBER, "u8", "i8", "c8", "c16"), _read, _KEEPS, options=_options),
    FormatCase("nifti", ".nii.gz", _AXES, ("u1", "i2", "f4"), _read, _KEEPS, options=_options),
]
