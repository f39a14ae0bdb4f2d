"""Synthetic sets by name: the command's defaults, and very small ones."""

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from tools import data
from tools.command import run_commands
from tools.data import DATA_SETS, TINY_SETS, make_tiny_set


def make(*words):
    return run_commands({"make": DATA_SETS}, "tools data", ["make", *map(str, words)])


def test_every_set_has_a_tiny_one():
    assert TINY_SETS.keys() == {*DATA_SETS, "rock_3d"}


@pytest.mark.parametrize("name", sorted(TINY_SETS))
def test_tiny_set_has_images_in_each_split(name, tmp_path):
    make_tiny_set(name, tmp_path / "set")
    contents = []
    for split, least in (("train", 4), ("valid", 2), ("test", 2)):
        files = sorted(path for path in (tmp_path / "set" / split).rglob("*") if path.suffix in (".png", ".tif", ".h5"))
        assert len(files) >= least
        for file in files:
            if file.suffix == ".png":
                with Image.open(file) as image:
                    values = np.asarray(image)
                assert 64 <= min(values.shape) <= max(values.shape) <= 128
            elif file.suffix == ".tif":
                values = tifffile.imread(file)
                assert values.shape == (48, 48, 48)
            else:
                with h5py.File(file) as volume:
                    values = volume["imagesTrue" if name == "cardiac_cine" else "reconstruction_esc"][()]
                assert values.shape[:3] == (2, 64, 64)
            most = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
            assert np.ptp(values) > 0.1 * most
            contents.append(values.tobytes())
    assert len(set(contents)) == len(contents)


def test_unknown_set_is_refused_with_the_names(tmp_path):
    with pytest.raises(
        ValueError, match="'knee': no such synthetic set, expected one of brain_mri, cardiac_cine, chest_ct, knee"
    ):
        make_tiny_set("knee", tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["cardiac_cine", "--size=32", "--n_slices=1", "--n_frames=3"], "2 synthetic hearts"),
        (["chest_ct", "--size=32"], "2 synthetic images"),
        (["knee_mri", "--size=32", "--n_slices=2", "--n_coils=2"], "2 synthetic volumes"),
        (["rock", "--size=32"], "2 synthetic images"),
        (["rock", "--dims=3", "--size=32"], "2 synthetic volumes"),
        (["textures", "--size=32"], "32 synthetic images"),
    ],
)
def test_commands_make_their_set_once(words, told, tmp_path, capsys):
    words = [*words, "--n_train=1", "--n_valid=1", "--n_test=0"]
    assert make(words[0], tmp_path / "set", *words[1:]) == 0
    assert capsys.readouterr().out == f"made {told} in {tmp_path / 'set'}\n"
    assert make(words[0], tmp_path / "set", *words[1:]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'set'} holds these {told} already\n"


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ([], {"dims": 2, "n_train": 200, "n_valid": 20, "n_test": 20, "size": 256}),
        (["--dims=3"], {"dims": 3, "n_train": 40, "n_valid": 4, "n_test": 4, "size": 96}),
        (["--dims=3", "--size=64", "--n_test=0"], {"dims": 3, "n_train": 40, "n_valid": 4, "n_test": 0, "size": 64}),
    ],
)
def test_rock_has_fewer_volumes_than_sections_by_default(words, numbers, tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(data, "make_rock_set", lambda _, **options: asked.update(options) or True)
    assert make("rock", tmp_path / "set", *words) == 0
    assert asked == {**numbers, "seed": 0, "workers": 0}


def test_dims_out_of_range_is_one_line(tmp_path, capsys):
    assert make("rock", tmp_path / "set", "--dims=4") == 1
    assert capsys.readouterr().err == "error: dims must be 2 (sections) or 3 (volumes), got 4\n"
