"""Data sets of synthetic chests and rock; what all sets share is tested with the heads."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from common.io import open_source
from common.phantoms.ct_phantom import chest_ct_phantom
from common.phantoms.synthetic import make_chest_ct_set, make_rock_set, make_texture_set
from common.phantoms.texture_phantom import TEXTURES, texture_phantom

COUNTS = {"n_train": 1, "n_valid": 1, "n_test": 1, "size": 32}


def contents(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize(
    ("make", "options", "suffix"),
    [(make_chest_ct_set, {}, ".png"), (make_rock_set, {}, ".png"), (make_rock_set, {"dims": 3}, ".tif")],
)
def test_set_is_made_once_and_the_same_each_time(make, options, suffix, tmp_path):
    assert make(tmp_path / "a", **COUNTS, **options)
    assert not make(tmp_path / "a", **COUNTS, **options)
    assert make(tmp_path / "b", **COUNTS, **options)
    files = contents(tmp_path / "a")
    assert contents(tmp_path / "b") == files
    images = [name for name in files if name.endswith(suffix)]
    assert sorted(images) == [f"{name}{suffix}" for name in ("test/00001", "train/00001", "valid/00001")]
    assert len({files[name] for name in images}) == 3
    description = json.loads(files["dataset.json"])
    assert description["synthetic"] is True
    assert description["images"] == {"train": 1, "valid": 1, "test": 1}
    assert "No measured data" in description["description"]
    with pytest.raises(FileExistsError, match="seed 0 instead of 1"):
        make(tmp_path / "a", **COUNTS, **options, seed=1)


def test_chests_are_16_bit_and_say_their_window(tmp_path):
    make_chest_ct_set(tmp_path / "set", **COUNTS)
    with Image.open(tmp_path / "set" / "train" / "00001.png") as image:
        assert image.mode == "I;16"
        values = np.asarray(image)
    seed = int(np.random.SeedSequence((0, 0, 0)).generate_state(1, np.uint64)[0])
    np.testing.assert_allclose(values / 65535, chest_ct_phantom(seed, 32), atol=0.51 / 65535)
    description = json.loads((tmp_path / "set" / "dataset.json").read_text())
    assert description["hounsfield_of_lowest_and_highest_value"] == [-1000, 1000]


def test_rock_volumes_are_stacks_of_slices(tmp_path):
    make_rock_set(tmp_path / "set", dims=3, **COUNTS)
    path = tmp_path / "set" / "valid" / "00001.tif"
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == 32
        assert tiff.pages[0].shape == (32, 32)
        assert tiff.pages[0].dtype == np.uint8
    assert open_source(path).spec.shape == (32, 32, 32)


def test_textures_are_in_folders_by_class(tmp_path):
    numbers = {"n_train": 2, "n_valid": 1, "n_test": 0, "size": 32}
    assert make_texture_set(tmp_path / "a", **numbers)
    assert not make_texture_set(tmp_path / "a", **numbers)
    assert make_texture_set(tmp_path / "b", **numbers)
    files = contents(tmp_path / "a")
    assert contents(tmp_path / "b") == files
    images = [(split, name, n) for name in TEXTURES for split, n in (("train", 1), ("train", 2), ("valid", 1))]
    assert files.keys() == {"dataset.json", *(f"{split}/{name}/{n:05d}.png" for split, name, n in images)}
    assert len(set(files.values())) == len(files)
    assert json.loads(files["dataset.json"])["classes"] == list(TEXTURES)
    with Image.open(tmp_path / "a" / "valid" / "marble" / "00001.png") as image:
        assert image.mode == "L"
        values = np.asarray(image)
    seed = int(np.random.SeedSequence((0, 1, 0)).generate_state(1, np.uint64)[0])
    np.testing.assert_allclose(values / 255, texture_phantom(seed, "marble", 32), atol=0.51 / 255)
    (tmp_path / "a" / "valid" / "marble" / "00001.png").unlink()
    with pytest.raises(FileExistsError, match=r"lacks 1 of its images, first valid/marble/00001.png"):
        make_texture_set(tmp_path / "a", **numbers)


def test_volumes_and_sections_are_no_one_set(tmp_path):
    make_rock_set(tmp_path / "set", **COUNTS)
    with pytest.raises(FileExistsError, match="dims 2 instead of 3"):
        make_rock_set(tmp_path / "set", dims=3, **COUNTS)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dims": 4}, "dims must be 2"),
        ({"dims": [2]}, r"dims must be 2 \(sections\) or 3 \(volumes\), got \[2\]"),
        ({"size": 31}, "size must be an integer of 32 or more"),
        ({"n_train": -2}, "n_train must be"),
        ({"seed": -2}, "seed must be"),
    ],
)
def test_bad_set_is_refused_before_anything_is_written(tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        make_rock_set(tmp_path / "set", **{**COUNTS, **options})
    assert list(tmp_path.iterdir()) == []
