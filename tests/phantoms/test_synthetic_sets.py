"""Synthetic data sets: what all of them share, and how each stores its values."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers import folder_contents
from PIL import Image

from common.io import open_source
from common.phantoms import sets
from common.phantoms.ct_phantom import chest_ct_phantom
from common.phantoms.set_folder import SPLITS
from common.phantoms.sets import SETS, make_set, make_tiny_set
from common.phantoms.texture_phantom import TEXTURES, texture_phantom

COUNTS = {"n_train": 2, "n_valid": 1, "n_test": 1}
SMALL = {
    name: {**COUNTS, **{key: min(kind.tiny.get(key, least), least) for key, least in kind.least.items()}}
    for name, kind in SETS.items()
}
EVERY = pytest.mark.parametrize("name", SETS)


@EVERY
def test_a_set_is_made_once_and_the_same_each_time(name, tmp_path):
    kind = SETS[name]
    assert make_set(name, tmp_path / "a", **SMALL[name])
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    assert not make_set(name, tmp_path / "a", **SMALL[name])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")} == times
    (tmp_path / "b").mkdir()
    assert make_set(name, tmp_path / "b", **SMALL[name])
    files = folder_contents(tmp_path / "a")
    assert folder_contents(tmp_path / "b") == files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]  # no temporary folder is left

    description = json.loads(files.pop("dataset.json"))
    expected = {(split, *([folder] if folder else [])) for split in SPLITS for folder in kind.folders}
    assert {Path(file).parent.parts for file in files} == expected
    assert len(files) == 4 * len(kind.folders)
    assert all(file.endswith(kind.suffix) for file in files)
    assert len(set(files.values())) == len(files)  # no content twice, in no split
    assert description["synthetic"] is True
    assert "No measured data" in description["description"]
    assert description[f"{kind.unit}s"] == {"train": 2, "valid": 1, "test": 1}
    with pytest.raises(FileExistsError, match="seed 0 instead of 4"):
        make_set(name, tmp_path / "a", **SMALL[name], seed=4)
    lost = next(file for file in files if file.startswith("valid"))
    (tmp_path / "b" / lost).unlink()
    with pytest.raises(FileExistsError, match=f"lacks 1 .* first {lost}"):
        make_set(name, tmp_path / "b", **SMALL[name])


@pytest.mark.slow
@EVERY
def test_workers_write_the_same_bytes(name, tmp_path):
    make_set(name, tmp_path / "a", **SMALL[name])
    make_set(name, tmp_path / "b", **SMALL[name], workers=2)
    assert folder_contents(tmp_path / "a") == folder_contents(tmp_path / "b")


def test_another_seed_gives_other_content(tmp_path):
    for seed in (0, 1):
        make_set("brain_mri", tmp_path / str(seed), **SMALL["brain_mri"], seed=seed)
    first, second = ((tmp_path / name / "train" / "00001.png").read_bytes() for name in "01")
    assert first != second


def test_a_foreign_folder_is_refused_and_untouched(tmp_path):
    make = partial(make_set, "brain_mri", **SMALL["brain_mri"])
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="no synthetic data set"):
        make(tmp_path)
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(FileExistsError, match="another data set"):
        make(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(FileExistsError, match="does not describe"):
        make(tmp_path)
    assert folder_contents(tmp_path) == {"thesis.txt": b"years of work", "dataset.json": b"{"}
    with pytest.raises(FileExistsError, match="is a file"):
        make(tmp_path / "thesis.txt")


@EVERY
def test_bad_options_are_refused_before_anything_is_written(name, tmp_path):
    cases = [{"n_train": -1}, {"n_valid": "many"}, {"seed": 0.5}, {"workers": -1}, {"n_trian": 2}]
    cases += [{key: least - 1} for key, least in SETS[name].least.items()]
    for options in cases:
        with pytest.raises(ValueError, match=f"{name}: .*{next(iter(options))}"):
            make_set(name, tmp_path / "set", **{**SMALL[name], **options})
    with pytest.raises(ValueError, match="at least one"):
        make_set(name, tmp_path / "set", n_train=0, n_valid=0, n_test=0)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_set_is_refused_with_the_names(tmp_path):
    with pytest.raises(ValueError, match="'knee': no such synthetic set, expected one of brain_mri, cardiac_cine"):
        make_tiny_set("knee", tmp_path / "set")


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def fail(seed, *numbers, **options):
        if fail.drawn:
            raise OSError("disk full")
        fail.drawn = True
        return np.zeros((32, 32), np.complex64)

    fail.drawn = False
    monkeypatch.setattr(sets, "brain_phantom", fail)
    with pytest.raises(OSError, match="disk full"):
        make_set("brain_mri", tmp_path / "set", **SMALL["brain_mri"])
    assert list(tmp_path.iterdir()) == []


def seed_of(split):
    return int(np.random.SeedSequence((0, split, 0)).generate_state(1, np.uint64)[0])


def test_heads_are_8_bit(tmp_path):
    make_set("brain_mri", tmp_path / "set", **SMALL["brain_mri"])
    with Image.open(tmp_path / "set" / "train" / "00001.png") as image:
        assert (image.mode, image.size) == ("L", (32, 32))
        assert np.asarray(image).max() > 150


def test_chests_are_16_bit_and_say_their_window(tmp_path):
    make_set("chest_ct", tmp_path / "set", **SMALL["chest_ct"])
    with Image.open(tmp_path / "set" / "train" / "00001.png") as image:
        assert image.mode == "I;16"
        values = np.asarray(image)
    np.testing.assert_allclose(values / 65535, chest_ct_phantom(seed_of(0), 32), atol=0.51 / 65535)
    description = json.loads((tmp_path / "set" / "dataset.json").read_text())
    assert description["hounsfield_of_lowest_and_highest_value"] == [-1000, 1000]


def test_rock_volumes_are_stacks_of_slices(tmp_path):
    make_set("rock_3d", tmp_path / "set", **SMALL["rock_3d"])
    path = tmp_path / "set" / "valid" / "00001.tif"
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == 32
        assert tiff.pages[0].shape == (32, 32)
        assert tiff.pages[0].dtype == np.uint8
    assert open_source(path).spec.shape == (32, 32, 32)


def test_textures_are_in_folders_by_class(tmp_path):
    make_set("textures", tmp_path / "set", **SMALL["textures"])
    assert json.loads((tmp_path / "set" / "dataset.json").read_text())["classes"] == list(TEXTURES)
    with Image.open(tmp_path / "set" / "valid" / "marble" / "00001.png") as image:
        assert image.mode == "L"
        values = np.asarray(image)
    np.testing.assert_allclose(values / 255, texture_phantom(seed_of(1), "marble", 32), atol=0.51 / 255)
