"""TIFF by tifffile's high-level reader and scikit-image's convention of axes; pixel size by the resolution tags."""

from pathlib import Path

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

CASES = [
    FormatCase("tiff", ".tif", _AXES, (*EVERY_NUMBER, "c8", "c16"), _read, frozenset({"spacing", "times"})),
    FormatCase("tiff", ".btf", _AXES, ("u2",), _read, frozenset({"spacing", "times"})),
]
