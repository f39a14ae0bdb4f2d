"""Folders of pictures, read one by one in alphabetical order: names are numbers of one length."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import tifffile

from common.io import Spec
from tests.io.format_case import EVERY_NUMBER, FormatCase, Independent


def _read(path: Path, spec: Spec) -> Independent:
    files = sorted(path.iterdir())
    read = imageio.imread if files[0].suffix == ".png" else tifffile.imread
    return Independent(np.stack([read(file) for file in files]))


def _spacing_in_plane(path: Path, spec: Spec) -> Independent:
    with tifffile.TiffFile(sorted(path.iterdir())[0]) as tiff:
        tags = tiff.pages[0].tags
        sizes = [tags.valueof(name) for name in ("YResolution", "XResolution")]
    steps = tuple(None if size in (None, (1, 1)) else 10 * size[1] / size[0] for size in sizes)
    return Independent(_read(path, spec).values, (None, *steps))


_OTHERS = tuple(dtype for dtype in EVERY_NUMBER if dtype not in ("u1", "u2"))

CASES = [
    FormatCase("slices", "", (("z", "y", "x"),), ("u1", "u2"), _read),
    FormatCase("slices", "", (("z", "y", "x"),), _OTHERS, _spacing_in_plane, frozenset({"spacing in plane"})),
]
