"""Scans simulated on segmented rock."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scripts.porous import segment_pores

from common.errors import DataError
from common.phantoms.rock_phantom import rock_phantom
from common.phantoms.scanned_rock import cut_rock, scanned_rock
from common.phantoms.sets import make_set


@pytest.fixture(scope="module")
def solid() -> np.ndarray:
    """A segmented pack of grains."""
    return ~segment_pores(rock_phantom(1, 64, dims=3, grain_size=14, porosity=0.25))


@pytest.fixture(scope="module")
def stored(solid: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rock") / "rock.npz"
    np.savez(path, solid_bits=np.packbits(solid), shape=np.array(solid.shape))
    return path


@pytest.mark.parametrize("dims", [2, 3])
def test_the_pores_are_those_of_the_segmented_rock(solid, dims):
    solid = solid[20] if dims == 2 else solid
    scan = scanned_rock(solid, 3, blur=0.4, noise=0.01)
    assert scan.dtype == np.float32
    assert scan.shape == solid.shape
    assert np.mean(segment_pores(scan) == ~solid) > 0.97
    assert np.array_equal(scan, scanned_rock(solid, 3, blur=0.4, noise=0.01))
    assert not np.array_equal(scan, scanned_rock(solid, 4, blur=0.4, noise=0.01))


def test_no_two_splits_share_a_voxel(tmp_path):
    """Each plane of the volume has its own number of solid voxels, so that a section tells where it is from."""
    planes = np.arange(50)[:, None] > np.arange(40)
    volume = np.repeat(planes[:, None], 40, axis=1)
    np.savez(tmp_path / "planes.npz", solid_bits=np.packbits(volume), shape=np.array(volume.shape))
    places = {
        split: {int(cut_rock(tmp_path / "planes.npz", split, seed, 40, 2).sum()) // 40 for seed in range(60)}
        for split in ("train", "valid", "test")
    }
    assert max(places["train"]) < min(places["valid"])
    assert max(places["valid"]) < min(places["test"])
    assert len(places["train"]) > 10


def test_a_set_says_whose_pores_it_has(stored, tmp_path):
    make_set("rock_3d", tmp_path / "set", n_train=1, n_valid=0, n_test=0, size=32, pores=str(stored))
    assert '"pores": "rock.npz, SHA-256 ' in (tmp_path / "set" / "dataset.json").read_text()
    assert tifffile.imread(tmp_path / "set" / "train" / "00001.tif").shape == (32, 32, 32)


def test_other_pores_under_the_same_name_are_another_set(stored, solid, tmp_path):
    options = {"n_train": 1, "n_valid": 0, "n_test": 0, "size": 32}
    assert make_set("rock_3d", tmp_path / "set", **options, pores=str(stored))
    assert not make_set("rock_3d", tmp_path / "set", **options, pores=str(stored))
    np.savez(tmp_path / "rock.npz", solid_bits=np.packbits(~solid), shape=np.array(solid.shape))
    with pytest.raises(FileExistsError, match="pores"):
        make_set("rock_3d", tmp_path / "set", **options, pores=str(tmp_path / "rock.npz"))
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        make_set("rock_3d", tmp_path / "other", **options, pores=str(tmp_path / "none.npz"))
    assert not (tmp_path / "other").exists()


def test_what_cannot_be_cut_is_refused(stored, tmp_path):
    with pytest.raises(ValueError, match=r"rock\.npz.*--size 48"):
        cut_rock(stored, "test", 0, 48, 3)
    (tmp_path / "text.npz").write_text("no rock")
    with pytest.raises(DataError, match=r"text\.npz"):
        cut_rock(tmp_path / "text.npz", "train", 0, 16, 2)
