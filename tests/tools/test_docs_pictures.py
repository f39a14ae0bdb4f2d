"""`python -m tools docs --pictures`, with a program in the place of MONAI's that draws what it is given."""

import json
import os
import re
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tools.docs.pictures import draw_pictures, read_picture, replace_picture
from tools.run import process
from tools.zoo.layout import BUNDLES

PROGRAM = """
import json, sys
from pathlib import Path
from PIL import Image
*configs, last = json.loads(sys.argv[sys.argv.index("--config_file") + 1])
given = json.loads(Path(last).read_text())
if given.get("fail"):
    sys.exit("error: no such weights; train first")
(file,) = Path(given["dataset_dir"]).iterdir()
panels = Path(given["output_dir"]) / "panels"
panels.mkdir(parents=True)
image = Image.open(file)
image.point(lambda value: value // given["divisor"]).save(panels / f"{file.stem}_0.png")
"""
FIGURE = {
    "make": "rock",
    "options": {"n_train": 0, "n_valid": 0, "n_test": 2, "size": 32},
    "file": "test/00002.png",
    "config": ["inference.json"],
    "overrides": {"divisor": 2},
    "panel": "00002_0.png",
}


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    folder = tmp_path / "toy"
    for name, content in {
        "configs/metadata.json": {"version": "0.1.0"},
        "configs/inference.json": {"divisor": 1, "run": []},
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    (folder / "docs").mkdir()
    change(folder)
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setattr(process, "PROGRAM", (sys.executable, str(tmp_path / "program.py")))
    monkeypatch.setattr(process, "POLL_S", 0.02)
    return folder


def change(bundle, picture="example.png", **entry):
    spec = entry if "curves" in entry else {**FIGURE, **entry}
    (bundle / "docs" / "README.md").write_text(
        f"# A\n\n<!-- picture: {json.dumps(spec)} -->\n![a picture]({picture})\n"
    )


def test_a_picture_is_the_panel_of_the_run_and_comes_out_again(bundle):
    (line,) = draw_pictures(bundle)
    assert line.endswith("new")
    first = (bundle / "docs" / "example.png").read_bytes()
    with Image.open(bundle / "docs" / "example.png") as picture:
        assert picture.size == (32, 32)
        assert 0 < np.asarray(picture.convert("L")).max() < 128
    (line,) = draw_pictures(bundle, None, ["example.png"])
    assert line.endswith("as before")
    assert (bundle / "docs" / "example.png").read_bytes() == first
    assert draw_pictures(bundle, None, ["other.png"]) == []
    change(bundle, overrides={"divisor": 1})
    (line,) = draw_pictures(bundle)
    assert line.endswith("changed")
    assert (bundle / "docs" / "example.png").read_bytes() != first


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"overrides": {"fail": True}}, "toy: no such weights; train first"),
        ({"panel": "00001_0.png"}, "00001_0.png: no such panel"),
        ({"file": "test/00003.png"}, "00003.png: expected a file of rock"),
        ({"make": "rocks"}, "README.md: example.png: make: expected one of "),
        ({"panels": "a.png"}, "README.md: example.png: unknown key 'panels'"),
    ],
)
def test_a_picture_that_cannot_be_drawn_changes_nothing(bundle, entry, message):
    change(bundle, **entry)
    with pytest.raises(ValueError, match=re.escape(message)):
        draw_pictures(bundle)
    assert not (bundle / "docs" / "example.png").exists()


def test_descriptions_are_whole():
    with pytest.raises(ValueError, match="here: no key 'values'"):
        read_picture("{curves: {}}", "here")
    with pytest.raises(ValueError, match="here: no key 'make'"):
        read_picture("{panel: a}", "here")


def test_curves_are_drawn_of_histories_beside_the_document(bundle):
    for name, values in {"a": (20, 21), "b": (20, 19)}.items():
        rows = "\n".join(f"{epoch},{value}" for epoch, value in enumerate(values, start=1))
        (bundle / "docs" / f"{name}.csv").write_text(f"epoch,psnr\n{rows}\n")
    change(bundle, picture="course.png", curves={"one": ["a.csv"], "other": ["b.csv"]}, values=["psnr"])
    draw_pictures(bundle)
    with Image.open(bundle / "docs" / "course.png") as picture:
        assert picture.width > 600


def test_pictures_are_small_and_nearly_the_same(tmp_path):
    ramps = [matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3] for name in ("gray", "inferno", "viridis")]
    noise = matplotlib.colormaps["inferno"](np.random.default_rng(0).beta(1, 6, (200, 256)))[..., :3]
    pixels = np.vstack([np.repeat(ramp[None], 20, axis=0) for ramp in ramps] + [noise, np.ones((40, 256, 3))])
    Image.fromarray((pixels * 255).astype(np.uint8)).save(tmp_path / "large.png")
    replace_picture(tmp_path / "large.png", tmp_path / "small.png")
    with Image.open(tmp_path / "large.png") as large, Image.open(tmp_path / "small.png") as small:
        assert small.mode == "P"
        assert small.info == {}
        before, after = (np.asarray(picture.convert("RGB"), np.int16) for picture in (large, small))
    assert os.path.getsize(tmp_path / "small.png") < 0.8 * os.path.getsize(tmp_path / "large.png")
    assert np.abs(before - after).mean() < 1
    assert np.abs(before - after).max() < 16
    np.testing.assert_array_equal(after[-40:], 255)


@pytest.mark.slow  # a run of a bundle in a new interpreter
def test_a_slice_is_reconstructed_by_the_shipped_weights(tmp_path):
    bundle = BUNDLES / "brain_mri_refinegan_reconstruction"
    x, y = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64))
    head = (x**2 + y**2 < 0.6) * (0.5 + 0.3 * np.cos(9 * x) * np.cos(7 * y))
    (tmp_path / "data").mkdir()
    Image.fromarray((255 * head).astype(np.uint8)).save(tmp_path / "data" / "head.png")
    spec = {"bundle": bundle.name, "slice": "head.png", "overrides": {"sampling_rate": 0.3}}
    (tmp_path / "README.md").write_text(f"<!-- picture: {json.dumps(spec)} -->\n![a head](head.png)\n")
    (line,) = draw_pictures(bundle, None, ["head.png"], tmp_path)
    assert "left out" in line
    draw_pictures(bundle, tmp_path / "data", ["head.png"], tmp_path)
    with Image.open(tmp_path / "head.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), float).mean(-1)
    _, reconstruction, truth, error = np.array_split(pixels[40:-10, : pixels.shape[1] // 4 * 4], 4, axis=1)
    assert np.abs(reconstruction - truth).mean() < 10
    assert error.mean() < 0.5 * truth.mean()
