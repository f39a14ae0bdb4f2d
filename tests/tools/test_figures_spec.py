"""`docs/figures.json`: what it may say, and that it speaks of every figure of the bundles' pages."""

import json
import re

import pytest

from tools.figures.spec import CompareFigure, CurvesFigure, RunFigure, read_figures
from tools.zoo.layout import BUNDLES, bundle_names

RUN = {"make": "rock", "file": "test/00001.png", "config": ["inference.json"], "panel": "00001_0.png"}


def write(folder, **figures):
    (folder / "docs").mkdir()
    (folder / "docs" / "figures.json").write_text(json.dumps(figures))
    return folder


def test_a_key_tells_how_a_figure_is_made(tmp_path):
    compared = {**RUN, "entries": ["nearest", "ours={bundle}"], "options": {"seed": 3}}
    del compared["config"]
    drawn = {"curves": {"one": ["one.csv"]}, "values": ["psnr"]}
    found = read_figures(write(tmp_path, **{"a.png": RUN, "b.png": compared, "c.png": drawn}))
    assert found["a.png"] == RunFigure("rock", "test/00001.png", "00001_0.png", ["inference.json"], {}, {})
    assert isinstance(found["b.png"], CompareFigure)
    assert found["b.png"].options == {"seed": 3}
    assert found["c.png"] == CurvesFigure({"one": ["one.csv"]}, ["psnr"])


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("a.jpg", {}, "a.jpg: expected the name of a PNG file in docs"),
        ("../a.png", {}, "expected the name of a PNG file in docs"),
        ("a.png", {"config": None}, "a.png: expected an object with one of the keys config, entries, curves"),
        ("a.png", {"entries": ["nearest"]}, "expected an object with one of the keys config, entries, curves"),
        ("a.png", {"panels": "x.png"}, "unknown key 'panels'; expected make, file, panel, config, options, overrides"),
        ("a.png", {"file": None}, "no key 'file'; add it"),
        ("a.png", {"config": "inference.json"}, "config: expected a list that is not empty, got 'inference.json'"),
        ("a.png", {"make": "heads"}, "make: expected one of brain_mri, .*, got 'heads'"),
    ],
)
def test_a_spec_that_cannot_be_drawn_is_refused(tmp_path, name, changes, message):
    entry = {key: value for key, value in {**RUN, **changes}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        read_figures(write(tmp_path, **{name: entry}))


@pytest.mark.parametrize("name", [name for name in bundle_names() if any((BUNDLES / name / "docs").glob("*.png"))])
def test_every_figure_of_a_bundle_can_be_drawn_again_is_small_and_shown(name):
    docs = BUNDLES / name / "docs"
    figures = read_figures(BUNDLES / name)
    assert sorted(figures) == sorted(path.name for path in docs.glob("*.png"))
    assert set(re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (docs / "README.md").read_text())) == set(figures)
    assert max((docs / file).stat().st_size for file in figures) < 500 * 1024
    for figure in figures.values():
        for file in [history for part in getattr(figure, "curves", {}).values() for history in part]:
            assert (docs / file).is_file()
        for config in getattr(figure, "config", []):
            assert (BUNDLES / name / "configs" / config).is_file()
