"""`python -m tools docs`: the numbers and the pictures of the documents."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from common.io.atomic import atomic_path
from tools.command import command
from tools.docs.document import rendered, with_metrics
from tools.docs.options import with_options
from tools.docs.results import FILE, read_results, stale_rows
from tools.zoo.layout import BUNDLES, ROOT, bundle_names, find_bundle

METADATA = "configs/metadata.json"


@command
def docs(
    name: str = "",
    measure: bool = False,
    pictures: bool = False,
    check: bool = False,
    only: str | Sequence[str] = "",
    data: str = "",
    out: str = "",
    fresh: bool = False,
    device: str = "cpu",
) -> str:
    """Write the numbers of `docs/results.csv` of a bundle into its documents; with --measure, measure them first.

    The tables of `docs/README.md` and of the repository's README.md stand between `<!-- table: ... -->` and
    `<!-- /table -->`, single numbers before `<!-- {...} -->`; both marks hold a description, see `tools/docs`. The
    values of `eval_metrics` in `configs/metadata.json` follow too.

    Args:
        name: name of a bundle or path of its folder; all bundles of the repository if empty.
        measure: run the evaluations of the bundle's recipe whose rows are missing or belong to other weights than those
            in `models/`, and replace their rows, each as soon as it is done. The same command resumes.
        pictures: draw the pictures that are described in the documents by `<!-- picture: ... -->`.
        check: change nothing; exit status 1 if a document differs from `results.csv`, or `results.csv` from the
            weights in `models/`.
        only: names of evaluations to measure, or file names of pictures to draw, separated by commas; all if empty.
        data: folder that contains the data sets, such as DATA/brain_ixi.
        out: folder of the evaluations' results; out/docs/NAME if empty.
        fresh: measure again whatever the rows say.
        device: device of the networks; the committed numbers are those of a CPU.
    """
    bundles = [find_bundle(str(name))] if name else [BUNDLES / one for one in bundle_names()]
    wanted = only.split(",") if isinstance(only, str) else [str(one) for one in only]
    wanted = [one for one in map(str.strip, wanted) if one]
    lines = []
    for bundle in bundles:
        folder = Path(str(data)) if data else None
        if measure:
            from tools.docs.measure import measure_bundle

            place = Path(str(out) if out else f"out/docs/{bundle.name}").absolute()
            lines += measure_bundle(bundle, place, folder, wanted, fresh, str(device))
        if pictures:
            from tools.docs.pictures import draw_pictures

            lines += draw_pictures(bundle, folder, wanted)
    changed = changes(bundles)
    stale = [line for bundle in bundles for line in stale_rows(read_results(bundle), bundle)]
    if not check:
        for path, text in changed.items():
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return "\n".join([*lines, *(f"wrote {path}" for path in changed), *(f"warning: {line}" for line in stale)])
    if changed or stale:
        differing = [f"{path} differs from {FILE}; run `python -m tools docs`" for path in changed]
        raise ValueError("; ".join([*differing, *stale]))
    return "every printed number is as measured"


def changes(bundles: Sequence[Path], root: Path = ROOT) -> dict[Path, str]:
    """Return the documents of bundles, and the README above all, whose numbers are not those of `results.csv`."""
    known = {bundle.name: bundle for bundle in bundles}

    @cache
    def results(name: str) -> pd.DataFrame:
        return read_results(known.get(name) or find_bundle(name))

    wanted: dict[Path, str] = {}
    for bundle in bundles:
        readme, metadata = bundle / "docs" / "README.md", bundle / METADATA
        own = bundle.name
        text = rendered(readme.read_text(encoding="utf-8"), readme, lambda name: results(name or own))  # noqa: B023
        wanted[readme] = with_options(text, bundle)
        wanted[metadata] = with_metrics(metadata.read_text(encoding="utf-8"), metadata, results(own))
    readme = root / "README.md"
    wanted[readme] = rendered(readme.read_text(encoding="utf-8"), readme, results)
    return {path: text for path, text in wanted.items() if text != path.read_text(encoding="utf-8")}
