"""PNG by imageio's own decoder, that of scikit-image; it knows no pixel size."""

import imageio.v3 as imageio

from tests.io.format_case import FormatCase, Independent

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
