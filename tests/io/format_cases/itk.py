"""MetaImage and NRRD by SimpleITK."""

from pathlib import Path

import numpy as np
import SimpleITK

from common.io import Spec
from common.io.geometry import LPS_TO_RAS
from tests.io.format_case import EVERY_NUMBER, FormatCase, Independent


def _read(path: Path, spec: Spec) -> Independent:
    image = SimpleITK.ReadImage(str(path))
    spacing = image.GetSpacing()[: len(spec.spatial_axes)][::-1]
    affine = None
    if spec.geometry.affine is not None:
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        affine[:3, 3] = image.GetOrigin()
        affine = LPS_TO_RAS @ affine
    values = SimpleITK.GetArrayFromImage(image)
    return Independent(values, spacing if spec.geometry.unit else None, affine)


def _compressed(path: Path) -> dict[str, object]:
    image = SimpleITK.GetImageFromArray(np.arange(3 * 13 * 17, dtype=np.int16).reshape(3, 13, 17))
    SimpleITK.WriteImage(image, str(path), useCompression=True)
    return {}


def _detached(path: Path) -> dict[str, object]:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((3, 13, 17), np.int16)), str(path))
    return {}


_AXES = (("y", "x"), ("z", "y", "x"))
_TYPES = (*EVERY_NUMBER, "u8", "i8")
_KEEPS = frozenset({"spacing", "affine"})
CASES = [
    FormatCase("itk", ".mha", _AXES, _TYPES, _read, _KEEPS | {"origin"}),
    FormatCase("itk", ".nrrd", _AXES, _TYPES, _read, _KEEPS),
]
SAMPLES = {"compressed.mha": _compressed, "compressed.nrrd": _compressed, "a.mhd": _detached, "a.nhdr": _detached}
