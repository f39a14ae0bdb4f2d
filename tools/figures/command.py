"""`python -m tools figures`: every figure of the documentation from what is committed."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from common.io.atomic import atomic_path
from tools.command import command
from tools.figures.draw import draw
from tools.figures.picture import difference, write_small
from tools.figures.spec import SPEC, Figure, read_figures
from tools.zoo.layout import BUNDLES, find_bundle


@command
def figures(name: str = "", out: str = "") -> str:
    """Draw the figures of the bundles' pages anew, as each bundle's docs/figures.json says.

    From the shipped weights and synthetic data, or from the histories of trainings beside the figure. On the same
    machine the same pixels come out; on others the sums of floating-point numbers, and so single pixels, may differ
    by a little. The fonts are Matplotlib's own.

    Args:
        name: of a bundle, or the path of its folder; all if empty.
        out: folder for the figures, OUT/NAME/example.png, beside which is said how they differ from those in the
            bundle; if empty, those are replaced.
    """
    bundles = [find_bundle(str(name))] if name else sorted(path.parents[1] for path in BUNDLES.glob(f"*/docs/{SPEC}"))
    lines = []
    for bundle in bundles:
        for file, figure in read_figures(bundle).items():
            lines.append(_draw(figure, bundle, file, Path(str(out)) / bundle.name if out else bundle / "docs"))
    return "\n".join(lines)


def _draw(figure: Figure, bundle: Path, file: str, folder: Path) -> str:
    """Draw a figure into a folder; returns what to say of it."""
    sys.stderr.write(f"{bundle.name}: {file}\n")
    started, target, committed = perf_counter(), folder / file, bundle / "docs" / file
    with TemporaryDirectory() as scratch:
        small = Path(scratch) / file
        write_small(draw(figure, bundle, Path(scratch)), small)
        news = "new"
        if committed.is_file():
            changed = difference(small, committed)
            news = f"differs from the committed one in {changed}" if changed else "as it was"
        with atomic_path(target) as temporary:
            temporary.write_bytes(small.read_bytes())
    seconds = perf_counter() - started
    return f"{target}: {target.stat().st_size // 1024} KB, {seconds:.0f} s, {news}"
