"""PNG by imageio's own decoder, that of scikit-image; it knows no pixel size."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np

from tests.io.format_case import FormatCase, Independent


def _jpeg(path: Path) -> dict[str, object]:
    imageio.imwrite(path, np.arange(24 * 20, dtype=np.uint8).reshape(24, 20))
    return {}


CASES = [
    FormatCase(
        "picture",
        ".png",
        (("y", "x"),),
        ("u1", "u2"),
        lambda path, spec: Independent(imageio.imread(path)),
        frozenset(),
    )
]
SAMPLES = {"small.jpg": _jpeg, "small.bmp": _jpeg}
