"""Pictures of the documents, each drawn as the mark above it says.

    <!-- picture: {make: brain_mri, options: {n_test: 2}, file: test/00002.png, panel: 00002_0.png} -->
    ![caption](example.png)

A panel of the bundle's inference on one file of a synthetic set; `config` names other configuration files than
inference.json, and `overrides` changes their keys. `entries` takes a panel of a comparison instead, of baselines or
LABEL=models/FILE of the bundle. `{curves: {LABEL: [history.csv, ...]}, values: [psnr]}` draws columns of
histories beside the document. `{slice: brain_ixi/valid/048.png, overrides: {sampling_rate: 0.1}}` reconstructs a slice
of a data set, which needs --data. In a document that is no bundle's, `bundle` names one.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from common.figures import PanelIndex
from common.io.atomic import atomic_path
from common.phantoms.sets import SETS, make_set
from tools.compare import compare_entries
from tools.docs.banner import draw_banner
from tools.docs.document import read_spec
from tools.docs.pivot import check_keys
from tools.report.charts import draw_histories
from tools.run.process import run_bundle
from tools.run.reading import find_config
from tools.zoo.layout import ROOT

PICTURE = re.compile(r"^<!-- picture: (?P<spec>\{.*\}) -->\n!\[.*\]\((?P<file>[^()\s]+\.png)\)$", re.MULTILINE)
COLOURS = 256
_PANEL = ("make", "options", "file", "panel", "overrides", "bundle")
_KEYS = {
    "curves": ("curves", "values", "bundle"),
    "slice": ("slice", "overrides", "bundle"),
    "entries": ("entries", *_PANEL),
    "make": ("config", *_PANEL),
}
"""Keys of each kind of picture, by the key that tells the kind."""
_OPTIONAL = ("bundle", "options", "overrides", "config")


def draw_pictures(bundle: Path, data: Path | None = None, only: Sequence[str] = (), root: Path = ROOT) -> list[str]:
    """Draw the pictures of a bundle again, in its README and in the one above all.

    On the same machine the same pixels come out.
    """
    lines = []
    for readme in (bundle / "docs" / "README.md", root / "README.md"):
        for found in PICTURE.finditer(readme.read_text(encoding="utf-8")):
            target = readme.parent / found["file"]
            spec = read_picture(found["spec"], f"{readme}: {found['file']}")
            if (only and target.name not in only) or spec.get("bundle", readme.parts[-3]) != bundle.name:
                continue
            if "slice" in spec and data is None:
                lines.append(f"{target}: left out; --data gives the folder of {spec['slice']}")
                continue
            sys.stderr.write(f"{bundle.name}: {found['file']}\n")
            with TemporaryDirectory() as scratch:
                lines.append(replace_picture(_draw(spec, bundle, data, Path(scratch)), target))
    return lines


def replace_picture(drawn: Path, target: Path) -> str:
    """Put a picture in its place with at most 256 colours, half of them greys; return a line on it."""
    with Image.open(drawn) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    half = COLOURS // 2
    # black as a first colour, since there may be none
    coloured = np.ptp(pixels, axis=2) > 0
    colours = Image.fromarray(np.concatenate([np.zeros((1, 3), np.uint8), pixels[coloured]])[None])
    # spread over all colours: by their numbers of pixels the few bright ones of errors would get too few
    few = colours.quantize(half, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    indices = half + np.rint(pixels[..., 0] / 255 * (half - 1)).astype(np.uint8)
    indices[coloured] = np.asarray(few)[0, 1:]
    small = Image.fromarray(indices).convert("P")
    greys = np.rint(np.linspace(0, 255, half)).astype(int).repeat(3)
    small.putpalette([*[*(few.getpalette() or []), *([0] * 3 * half)][: 3 * half], *greys.tolist()])
    before = target.read_bytes() if target.is_file() else b""
    with atomic_path(target) as temporary:
        small.save(temporary, format="PNG", optimize=True)
    news = "as before" if target.read_bytes() == before else "changed" if before else "new"
    return f"{target}: {target.stat().st_size // 1024} KB, {news}"


def read_picture(text: str, where: str) -> dict[str, Any]:
    """Read the description of a picture."""
    spec = read_spec(text, where)
    kind = next((key for key in _KEYS if key in spec), "make")
    check_keys(spec, _KEYS[kind], where)
    if missing := [key for key in _KEYS[kind] if key not in spec and key not in _OPTIONAL]:
        raise ValueError(f"{where}: no key {missing[0]!r}; add it")
    if "make" in spec and spec["make"] not in SETS:
        raise ValueError(f"{where}: make: expected one of {', '.join(SETS)}, got {spec['make']!r}; correct it")
    return spec


def _draw(spec: Mapping[str, Any], bundle: Path, data: Path | None, scratch: Path) -> Path:
    """Draw a picture into an empty folder, on the CPU; returns its path."""
    if "curves" in spec:
        runs = {label: [bundle / "docs" / name for name in names] for label, names in spec["curves"].items()}
        draw_histories(runs, spec["values"], scratch / "curves.png")
        return scratch / "curves.png"
    folder = _data_folder(spec, data, scratch)
    overrides = {"split": "", "device": "cpu", **spec.get("overrides", {})}
    if "entries" in spec:
        entries = [entry.replace("=models/", f"={bundle}:{bundle}/models/") for entry in spec["entries"]]
        compare_entries(folder, entries, scratch / "compare", **overrides)
        return _panel(scratch / "compare" / "panels", spec["panel"])
    configs = [find_config(name, bundle, bundle.name) for name in spec.get("config", ["inference.json"])]
    places = {"dataset_dir": str(folder), "output_dir": str(scratch / "out")}
    end = run_bundle(bundle, configs, {**overrides, **places}, scratch, "picture")
    if end.error:
        raise ValueError(f"{bundle.name}: {end.error}")
    panels = scratch / "out" / "panels"
    if "slice" in spec:
        index = PanelIndex.read(panels)
        return draw_banner(index.case(panels, next(iter(index.pictures))), scratch / "banner.png")
    return _panel(panels, spec["panel"])


def _data_folder(spec: Mapping[str, Any], data: Path | None, scratch: Path) -> Path:
    """Return a folder with the one file of the picture, so that the scale of errors is this file's own."""
    if "make" in spec:
        make_set(spec["make"], scratch / "set", **spec.get("options", {}))
    file = scratch / "set" / spec["file"] if "make" in spec else (data or Path()) / spec["slice"]
    if not file.is_file():
        raise ValueError(f"{file.name}: expected a file of {spec.get('make', data)}, got none; correct the picture")
    (scratch / "data").mkdir()
    shutil.copy(file, scratch / "data")
    return scratch / "data"


def _panel(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        there = ", ".join(sorted(path.name for path in folder.glob("*.png"))) or "none"
        raise ValueError(f"{name}: no such panel was drawn, but {there}; correct `panel`")
    return folder / name
