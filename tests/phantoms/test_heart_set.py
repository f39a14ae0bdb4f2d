"""The cine set: its files, the aliased images in them, and that it appears whole or not at all."""

import json

import h5py
import numpy as np
import pytest
import torch
from helpers import folder_contents, numpy_fft2c, numpy_ifft2c

from common.data.series_values import read_noncartesian
from common.io import open_source
from common.operators.gridding import average_coil_images
from common.operators.masks.kt import KtMasks
from common.phantoms.heart_phantom import heart_phantom
from common.phantoms.set_folder import SetFile
from common.phantoms.sets import make_set

COUNTS = {"n_train": 2, "n_valid": 1, "n_test": 1, "n_slices": 2, "size": 32, "n_frames": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cine") / "set"
    assert make_set("cardiac_cine", folder, **COUNTS)
    return folder


def test_files_hold_series_and_the_truth_about_them(folder):
    files = folder_contents(folder)
    names = ["test/00001.h5", "train/00001.h5", "train/00002.h5", "valid/00001.h5"]
    assert sorted(files) == ["dataset.json", *names]
    fractions = set()
    for name in names:
        with h5py.File(folder / name) as file:
            series = {"imagesTrue", "phaseTrue", "imagesRecon"}
            assert set(file) == {*series, "lv_area_mm2", "lv_center_px"}
            assert {(file[key].shape, file[key].dtype.str) for key in series} == {((2, 32, 32, 4), "<f4")}
            truth, phase = file["imagesTrue"][()], file["phaseTrue"][()]
            assert 0 <= truth.min() < 0.05 < 0.8 < truth.max() <= 1
            assert -3.1416 < phase.min() < phase.max() < 3.1416
            area = file["lv_area_mm2"][()]
            assert area.shape == (2, 4)
            assert file["lv_center_px"].shape == (2, 4, 2)
            volume = area.sum(axis=0) * file.attrs["slice_distance_mm"]
            assert file.attrs["ejection_fraction"] == pytest.approx(1 - volume.min() / volume.max())
            assert 255 / 32 <= file.attrs["pixel_size_mm"] <= 305 / 32
            assert 0.6 / 4 <= file.attrs["frame_interval_s"] <= 1.56 / 4
            assert bool(file.attrs["synthetic"]) is True
            fractions.add(float(file.attrs["ejection_fraction"]))
    assert len(fractions) == 4
    description = json.loads(files["dataset.json"])
    assert description["synthetic"] is True
    assert "No measured data" in description["description"]
    assert description["hearts"] == {"train": 2, "valid": 1, "test": 1}
    assert [description[key] for key in ("n_slices", "size", "n_frames")] == [2, 32, 4]
    assert "13" in description["aliased_by"]


def test_a_file_is_the_phantom_of_its_seed(folder):
    heart = heart_phantom(SetFile("valid", "", 0, ".h5").seed(0), 32, 4, 2)
    with h5py.File(folder / "valid" / "00001.h5") as file:
        series = file["imagesTrue"][()] * np.exp(1j * file["phaseTrue"][()])
        np.testing.assert_allclose(series, heart.images, atol=1e-6)
        np.testing.assert_array_equal(file["lv_center_px"][()], heart.lv_center_px)


def test_aliased_images_are_those_of_the_mask_that_the_files_name_draws(folder):
    with h5py.File(folder / "train" / "00002.h5") as file:
        series = file["imagesTrue"][()] * np.exp(1j * file["phaseTrue"][()])
        aliased = file["imagesRecon"][()]
    seeds = ["00002.h5:0", "00002.h5:1"]
    mask = KtMasks(family="radial_golden", n_spokes=13)((32, 32, 4), seeds, 2)[:, 0].numpy()
    frames = numpy_ifft2c(numpy_fft2c(np.moveaxis(series, -1, 1)) * np.moveaxis(mask, -1, 1))
    np.testing.assert_allclose(aliased, np.moveaxis(np.abs(frames), 1, -1), atol=1e-5)
    assert np.abs(aliased - np.abs(series)).max() > 0.05


def test_a_radial_scan_holds_the_heart_on_its_spokes(tmp_path):
    """The reader of ISMRMRD files finds frames, places and times; gridding of all spokes shows the heart."""
    pytest.importorskip("ismrmrd", reason="needs the extra `raw`")
    pytest.importorskip("torchkbnufft", reason="needs the extra `radial`")
    options = {"n_train": 0, "n_valid": 0, "n_test": 1, "n_slices": 1, "size": 48, "n_frames": 3}
    make_set("cardiac_cine", tmp_path / "scan", **options, trajectory="radial")
    make_set("cardiac_cine", tmp_path / "images", **options)
    path = tmp_path / "scan" / "test" / "00001.h5"
    with open_source(path) as source, h5py.File(path) as scan, h5py.File(tmp_path / "images/test/00001.h5") as images:
        for name in ("imagesTrue", "phaseTrue", "lv_area_mm2", "lv_center_px"):
            np.testing.assert_array_equal(scan[name][()], images[name][()])
        assert dict(scan.attrs) == dict(images.attrs)
        assert source.spec.kind == "noncartesian"
        assert source.spec.recon_shape == (48, 48)
        assert source.spec.geometry.frame_interval_s == pytest.approx(scan.attrs["frame_interval_s"], rel=1e-3)
        samples, places = read_noncartesian(source, source.companions["trajectory"], 0)
        truth = scan["imagesTrue"][0]
    assert samples.shape == (3, 8, 13, 96)
    mean = average_coil_images(torch.from_numpy(samples), torch.from_numpy(places), (48, 48))
    shown = mean.abs().square().sum(1).sqrt()[0].numpy()
    assert np.corrcoef(shown.ravel(), truth.mean(-1).ravel())[0, 1] > 0.9
    with pytest.raises(ValueError, match="trajectory"):
        make_set("cardiac_cine", tmp_path / "other", **options, trajectory="spiral")
