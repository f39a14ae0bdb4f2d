"""TIFF by tifffile's high-level reader and scikit-image's convention of axes; pixel size by the resolution tags."""

from pathlib import Path

import numpy as np
import tifffile

from common.io import Spec
from tests.io.format_case import EVERY_NUMBER, FormatCase, Independent


def _read(path: Path, spec: Spec) -> Independent:
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages[0].tags
        sizes = [tags.valueof(name) for name in ("YResolution", "XResolution")]
        steps = tuple(None if size in (None, (1, 1)) else 10 * size[1] / size[0] for size in sizes)
        return Independent(tiff.series[0].asarray(), (None,) * (len(spec.spatial_axes) - 2) + steps)


_AXES = (("y", "x"), ("z", "y", "x"), ("t", "y", "x"), ("t", "z", "y", "x"))


def _lzw(path: Path) -> dict[str, object]:
    values = np.arange(3 * 24 * 20, dtype=np.uint16).reshape(3, 24, 20)
    tifffile.imwrite(
        path, values, tile=(16, 16), compression="lzw", predictor=True, byteorder=">", photometric="minisblack"
    )
    return {}


def _imagej(path: Path) -> dict[str, object]:
    metadata = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
    tifffile.imwrite(path, np.zeros((3, 24, 20), np.uint16), imagej=True, resolution=(2.0, 2.0), metadata=metadata)
    return {}


def _ome(path: Path) -> dict[str, object]:
    values = np.arange(3 * 24 * 20, dtype=np.float32).reshape(3, 24, 20)
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(path, values, ome=True, compression="deflate", metadata={"axes": "ZYX", **sizes})
    return {}


CASES = [
    FormatCase("tiff", ".tif", _AXES, (*EVERY_NUMBER, "c8", "c16"), _read, frozenset({"spacing", "times"})),
    FormatCase("tiff", ".btf", _AXES, ("u2",), _read, frozenset({"spacing", "times"})),
]
SAMPLES = {"lzw.tif": _lzw, "imagej.tif": _imagej, "ome.tif": _ome}
