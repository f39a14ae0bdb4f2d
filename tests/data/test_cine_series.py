"""Cine series from HDF5, NIfTI, DICOM and arrays: each layout gives the numbers that h5py and nibabel read."""

import itertools
import os
import pickle
import re

import h5py
import nibabel
import numpy as np
import pytest
import torch
from dicom_series import OBLIQUE, write_series
from helpers import numpy_ifft2c
from monai.data import DataLoader
from pydicom.uid import MRImageStorage

import common.data.series_reader
from common.data import CineDataset, DataError, find_cine
from common.data.loading import evaluation_loader, training_loader
from common.data.series_reader import open_cine

SHAPE = (3, 6, 5, 4)  # series, height, width, frames


def random_series(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).random(shape, np.float32)


def write(path, attributes=None, **datasets):
    """An HDF5 file; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
        file.attrs.update(attributes or {})
    return path


def read(path, truth_path=None, index=0, **options):
    return open_cine(path, truth_path, **options).read(index)


# layouts


def test_a_file_with_both_gives_input_and_truth(tmp_path):
    truth, recon = random_series(0), random_series(1)
    path = write(tmp_path / "train" / "heart.h5", imagesTrue=truth, imagesRecon=recon)
    data = find_cine(tmp_path, "train")
    size = {"n_slices": 3, "height": 6, "width": 5, "n_frames": 4}
    assert data == [{"path": str(path), "slice": n, **size} for n in range(3)]
    dataset = CineDataset(data)
    for n, item in enumerate(dataset):
        assert item.keys() == {*data[0], "recon", "truth", "intensity_range"}
        assert item["recon"].dtype == item["truth"].dtype == torch.float32
        np.testing.assert_array_equal(item["recon"], recon[n][None])
        np.testing.assert_array_equal(item["truth"], truth[n][None])
        assert item["intensity_range"].tolist() == [0, 1]


@pytest.mark.parametrize(("split", "name"), [("valid", "validation"), ("valid", "valid"), ("test", "test")])
def test_pairs_of_files_belong_together(tmp_path, split, name):
    truth, recon = random_series(0), random_series(1)
    for other in ("train", name):
        write(tmp_path / f"input_{other}.h5", imagesRecon=recon)
        write(tmp_path / f"truth_{other}.h5", imagesTrue=truth)
    data = find_cine(tmp_path, split)
    assert {item["path"] for item in data} == {str(tmp_path / f"input_{name}.h5")}
    assert {item["truth_path"] for item in data} == {str(tmp_path / f"truth_{name}.h5")}
    item = CineDataset(data)[2]
    np.testing.assert_array_equal(item["recon"][0], recon[2])
    np.testing.assert_array_equal(item["truth"][0], truth[2])
    assert len(find_cine(tmp_path)) == 6  # without a split both pairs


def test_pairs_may_be_named_and_need_no_truth(tmp_path):
    truth, recon = random_series(0), random_series(1)
    one, other = write(tmp_path / "a.h5", imagesRecon=recon), write(tmp_path / "b.h5", imagesTrue=truth)
    (item, *_) = CineDataset(find_cine(input_file=one, truth_file=other))
    np.testing.assert_array_equal(item["truth"][0], truth[0])
    (item, *_) = CineDataset(find_cine(input_file=str(one)))
    assert "truth" not in item
    with pytest.raises(ValueError, match=r"b\.h5: expected input_file"):
        find_cine(truth_file=other)
    write(tmp_path / "pairs" / "input_test.h5", imagesRecon=recon)
    write(tmp_path / "pairs" / "truth_train.h5", imagesTrue=truth)
    assert "recon" in CineDataset(find_cine(tmp_path / "pairs", "test"))[0]
    assert "truth" in CineDataset(find_cine(tmp_path / "pairs", "train"))[0]


def test_a_file_of_one_series_has_time_first(tmp_path):
    image = np.random.default_rng(0).integers(0, 200, (4, 6, 5)).astype(np.uint8)
    path = write(tmp_path / "one.hdf5", image=image, phaseTrue=np.ones(2))
    (entry,) = find_cine(path)
    assert (entry["height"], entry["width"], entry["n_frames"], entry["n_slices"]) == (6, 5, 4, 1)
    truth = CineDataset([entry])[0]["truth"]
    np.testing.assert_allclose(truth[0], image.transpose(1, 2, 0) / 255, rtol=1e-6)
    assert truth.is_contiguous()


def test_a_phase_makes_the_truth_complex(tmp_path):
    truth, phase = random_series(0), random_series(1) * 6 - 3
    item = read(write(tmp_path / "a.h5", imagesTrue=truth, phaseTrue=phase), index=1)
    assert item["truth"].dtype == torch.complex64
    np.testing.assert_allclose(item["truth"][0], truth[1] * np.exp(1j * phase[1]), atol=1e-6)


@pytest.mark.parametrize("n_coils", [None, 2])
@pytest.mark.parametrize("one_mask", [False, True])
def test_measured_kspace_comes_with_its_mask(tmp_path, n_coils, one_mask):
    rng = np.random.default_rng(0)
    shape = SHAPE if n_coils is None else (SHAPE[0], n_coils, *SHAPE[1:])
    kspace = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    mask = (rng.random(SHAPE[1:] if one_mask else SHAPE) < 0.5).astype(np.uint8) * 7
    path = write(tmp_path / "a.h5", kspace=kspace, mask=mask)
    reader = open_cine(path)
    item = reader.read(1)
    assert item["kspace"].shape == (n_coils or 1, *SHAPE[1:])
    sampled = (mask if one_mask else mask[1]) > 0
    assert item["mask"].dtype == torch.float32
    np.testing.assert_array_equal(item["mask"][0], sampled)
    # the largest zero-filled magnitude of the file is 1: the coils' root sum of squares
    all_masks = np.broadcast_to(mask > 0, SHAPE)[:, None]
    frames = np.moveaxis(kspace.reshape(SHAPE[0], -1, *SHAPE[1:]) * all_masks, -1, 0)
    peak = np.linalg.norm(numpy_ifft2c(frames), axis=2).max()
    assert reader.intensity_range == pytest.approx((0, peak), rel=1e-5)
    np.testing.assert_allclose(item["kspace"], kspace[1].reshape(-1, *SHAPE[1:]) * sampled / peak, rtol=1e-5, atol=1e-7)


def test_kspace_beside_a_truth_has_its_range(tmp_path):
    kspace, mask = random_series(2).astype(np.complex64), np.ones(SHAPE)
    path = write(tmp_path / "a.h5", imagesTrue=random_series(), kspace=kspace, mask=mask)
    np.testing.assert_array_equal(read(path)["kspace"], kspace[:1])
    np.testing.assert_allclose(read(path, intensity_range=2)["kspace"], kspace[:1] / 2)
    with pytest.raises(ValueError, match=r"a\.h5: intensity_range \[1, 2\] is for magnitudes, .*give one number"):
        open_cine(path, intensity_range=[1, 2])
    alone = write(tmp_path / "b.h5", {"max": 4.0}, kspace=kspace, mask=mask)
    np.testing.assert_allclose(read(alone)["kspace"], kspace[:1] / 4)


def test_a_mask_or_phase_without_what_it_belongs_to_is_passed_over(tmp_path):
    path = write(tmp_path / "a.h5", imagesRecon=random_series(), phaseTrue=random_series(), mask=np.ones(2))
    assert read(path).keys() == {"recon"}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_slice_of_a_nifti_file_is_a_series(tmp_path, suffix):
    values = np.random.default_rng(0).integers(0, 3000, (6, 5, 3, 4)).astype(np.int16)
    image = nibabel.Nifti1Image(values, np.diag([1.5, 1.25, 8, 1]))
    image.header.set_slope_inter(0.5, 2)
    image.header.set_zooms((1.5, 1.25, 8, 40))
    image.header.set_xyzt_units("mm", "msec")
    path = tmp_path / f"heart{suffix}"
    nibabel.save(image, path)
    stored = nibabel.load(path).get_fdata()
    data = find_cine(tmp_path)
    assert [item["slice"] for item in data] == [0, 1, 2]
    for n, item in enumerate(CineDataset(data)):
        expected = stored[:, :, n].transpose(1, 0, 2)  # the first axis of NIfTI runs along a row
        np.testing.assert_allclose(item["truth"][0], expected / stored.max(), rtol=1e-5)
    assert item["intensity_range"].tolist() == [0, pytest.approx(stored.max())]
    geometry = open_cine(path).geometry
    assert geometry.spacing_mm == (8, 1.25, 1.5)
    assert geometry.frame_times_s == pytest.approx([0, 0.04, 0.08, 0.12])
    np.testing.assert_array_equal(geometry.affine, image.affine)


def test_a_nifti_file_of_three_axes_has_to_be_explained(tmp_path):
    path, values = tmp_path / "a.nii", random_series(0, (6, 5, 4))
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    with pytest.raises(DataError, match=r"a\.nii: expected series of frames.*--source_options \"\{'axes': 'xyt'\}\""):
        find_cine(path)
    options = {"source_options": {"axes": "xyt"}}
    (item,) = CineDataset(find_cine(path, **options), **options)
    np.testing.assert_allclose(item["truth"][0], values.transpose(1, 0, 2) / values.max(), rtol=1e-6)
    with pytest.raises(ValueError, match="no option nifti_axes; it has axes"):
        open_cine(path, source_options={"nifti_axes": "xyt"})


def test_any_format_with_an_axis_of_time_is_read(tmp_path):
    values = random_series(0, (4, 3, 6, 5))  # frames, slices, height, width
    np.save(tmp_path / "heart.npy", values)
    options = {"source_options": {"axes": "t,z,y,x"}}
    data = find_cine(tmp_path, **options)
    assert [(item["slice"], item["n_frames"]) for item in data] == [(0, 4), (1, 4), (2, 4)]
    for n, item in enumerate(CineDataset(data, **options)):
        np.testing.assert_allclose(item["truth"][0], values[:, n].transpose(1, 2, 0) / values.max(), rtol=1e-6)
    np.save(tmp_path / "heart.npy", (values * np.exp(1j)).astype(np.complex64))
    options["source_options"]["kind"] = "image"
    item = CineDataset(data, **options)[1]
    np.testing.assert_allclose(
        item["truth"][0], values[:, 1].transpose(1, 2, 0) * np.exp(1j) / values.max(), rtol=1e-5, atol=1e-7
    )


def test_kspace_without_a_mask_is_sampled_where_it_is_not_zero(tmp_path):
    rng = np.random.default_rng(0)
    kspace = (rng.normal(size=(4, 2, 6, 5)) + 1j * rng.normal(size=(4, 2, 6, 5))).astype(np.complex64)
    sampled = rng.random((4, 1, 6, 5)) < 0.6
    np.save(tmp_path / "scan.npy", kspace * sampled)
    reader = open_cine(tmp_path / "scan.npy", source_options={"axes": "t,coil,y,x", "kind": "kspace"})
    item = reader.read(0)
    np.testing.assert_array_equal(item["mask"], sampled.transpose(1, 2, 3, 0))
    peak = np.linalg.norm(numpy_ifft2c(kspace * sampled), axis=1).max()
    assert reader.intensity_range == pytest.approx((0, peak), rel=1e-5)
    np.testing.assert_allclose(item["kspace"], (kspace * sampled).transpose(1, 2, 3, 0) / peak, rtol=1e-5, atol=1e-7)


def test_an_image_whose_axes_are_named_is_no_series(tmp_path):
    path = write(tmp_path / "volume.h5", image=random_series(0, (4, 6, 5)))
    assert open_cine(path).size == (6, 5, 4)
    with h5py.File(path, "a") as file:
        file["image"].attrs["axes"] = np.bytes_("z,y,x")
    with pytest.raises(DataError, match=r"volume\.h5:image: expected series of frames.*got 4 x 6 x 5 \(z, y, x\)"):
        find_cine(path)


def test_the_real_series_reads(shared_data):
    folder = shared_data / "cine_acdc"
    (item,) = CineDataset(find_cine(folder))
    with h5py.File(folder / "cine_short_axis.h5") as file:
        stored = file["image"][()]
    assert item["truth"].shape == (1, 184, 256, 30)
    np.testing.assert_allclose(item["truth"][0, :, :, 7] * 255, stored[7], atol=1e-4)


# ranges


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_integers_of_a_file_share_one_range(tmp_path, dtype):
    rng = np.random.default_rng(0)
    truth, recon = rng.integers(0, 900, SHAPE).astype(dtype), rng.integers(0, 1200, SHAPE).astype(dtype)
    path = write(tmp_path / "a.h5", imagesTrue=truth, imagesRecon=recon)
    for n in range(3):
        item = read(path, index=n)
        np.testing.assert_allclose(item["truth"][0], truth[n] / truth.max(), rtol=1e-6)
        np.testing.assert_allclose(item["recon"][0], recon[n] / truth.max(), rtol=1e-6)


def test_a_given_range_is_taken_for_both(tmp_path):
    path = write(tmp_path / "a.h5", imagesTrue=random_series() * 100, imagesRecon=random_series(1) * 100)
    with h5py.File(path) as file:
        truth = file["imagesTrue"][0]
    np.testing.assert_allclose(read(path, intensity_range=100)["truth"][0], truth / 100, rtol=1e-6)
    item = CineDataset(find_cine(path), intensity_range=[-50, 150])[0]
    np.testing.assert_allclose(item["truth"][0], (truth + 50) / 200, rtol=1e-6)
    assert item["intensity_range"].tolist() == [-50, 150]


def test_an_aliased_input_may_exceed_its_truth(tmp_path):
    recon = random_series() * 1.6
    np.testing.assert_array_equal(read(write(tmp_path / "a.h5", imagesRecon=recon))["recon"][0], recon[0])
    truth = random_series() * 1.0009
    np.testing.assert_array_equal(read(write(tmp_path / "b.h5", imagesTrue=truth))["truth"][0], truth[0])


def test_a_file_of_zeros_stays_zero(tmp_path):
    item = read(write(tmp_path / "a.h5", imagesTrue=np.zeros(SHAPE, np.int16)))
    assert not item["truth"].any()


# bad input, in one line with the file


def bad_values(number):
    values = random_series()
    values[1, 2, 3, 1] = number
    return values


BAD_FILES = {
    "two shapes": ({"imagesTrue": random_series(), "imagesRecon": random_series()[:, 1:]}, r"imagesRecon: expected"),
    "no data set": ({"images": random_series()}, "images: .*can have its axes in several orders"),
    "nothing": ({}, "expected one data set with rows and columns, got none"),
    "one frame": ({"imagesTrue": random_series()[..., :1]}, "expected series of 2 frames or more, "),
    "one image": ({"image": random_series(0, (1, 6, 5))}, "got 1 frame"),
    "no series": ({"imagesTrue": random_series()[:0]}, "imagesTrue: expected an image of at least one pixel"),
    "three axes": ({"imagesTrue": random_series()[0]}, r"imagesTrue: expected \[series, .*got \[6, 5, 4\]"),
    "two axes": (
        {"image": random_series()[0, 0]},
        r"image: expected series of frames, with an axis of time, got 5 x 4 \(y, x\)",
    ),
    "complex truth": ({"imagesTrue": random_series() * 1j}, "expected real numbers, got complex"),
    "real k-space": ({"kspace": random_series(), "mask": random_series()}, "expected complex k-space, got float32"),
    "no mask": ({"imagesTrue": random_series(), "kspace": random_series() * 1j}, "no data set mask beside kspace; add"),
    "kspace alone": ({"kspace": random_series() * 1j}, "kspace: an array .*several orders"),
    "other mask": (
        {"imagesTrue": random_series(), "kspace": random_series() * 1j, "mask": random_series()[0, 1:]},
        "image and mask of different size",
    ),
    "other k-space": (
        {"imagesTrue": random_series(), "kspace": random_series(0, (3, 2, 6, 4, 4)) * 1j},
        r"imagesTrue: expected \[3, 6, 4, 4\].*as .*:kspace has",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_does_not_fit_is_found_at_once(tmp_path, case):
    datasets, message = BAD_FILES[case]
    path = write(tmp_path / "train" / "bad.h5", **datasets)
    with pytest.raises(DataError, match=message) as caught:
        find_cine(tmp_path, "train")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


BAD_SERIES = {
    "NaN": ({"imagesTrue": bad_values(np.nan)}, r"imagesTrue: 1 of 120 values are NaN or infinite in \[t 0:4, z 1:2"),
    "inf": (
        {"imagesRecon": bad_values(-np.inf)},
        r"imagesRecon: 1 of 120 values are NaN or infinite in \[t 0:4, z 1:2",
    ),
    "too large": (
        {"imagesTrue": bad_values(255)},
        r"in \[0, 1\], got .* to 255; pass the value that is 1 as intensity",
    ),
    "negative": ({"imagesTrue": bad_values(-0.5)}, r"expected values in \[0, 1\], got -0.5 to"),
    "large input": ({"imagesRecon": bad_values(3)}, r"imagesRecon, series 1: expected values in \[0, 1\], got .* to 3"),
    "signed": (
        {"imagesTrue": bad_values(-9).astype(np.int16)},
        r"imagesTrue: has values down to -9; .*intensity_range=\[low, h",
    ),
    "grey mask": (
        {"kspace": random_series() * 1j, "mask": random_series()},
        "mask: expected a mask of 0 and one other value",
    ),
    "empty mask": ({"kspace": random_series() * 1j, "mask": np.zeros(SHAPE)}, "mask: the mask samples nothing"),
    "two types": (
        {"imagesTrue": random_series(), "imagesRecon": np.ones(SHAPE, np.uint8)},
        "imagesRecon: expected the type float32 of the truth, got uint8; store both",
    ),
}


@pytest.mark.parametrize("case", BAD_SERIES)
def test_values_that_do_not_fit_are_found_when_read(tmp_path, case):
    datasets, message = BAD_SERIES[case]
    path = write(tmp_path / "bad.h5", {"max": 1.0}, **datasets)
    dataset = CineDataset(find_cine(path))
    with pytest.raises(DataError, match=message) as caught:
        dataset[1]
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pairs_that_do_not_fit_name_both_files(tmp_path):
    one = write(tmp_path / "input_test.h5", imagesRecon=random_series())
    other = write(tmp_path / "truth_test.h5", imagesTrue=random_series()[:2])
    with pytest.raises(DataError, match=rf"{one}:imagesRecon: expected the size \[2, .* of {other}:imagesTrue, got"):
        find_cine(tmp_path, "test")
    write(other, imagesRecon=random_series())
    with pytest.raises(DataError, match=rf"{other}:imagesRecon: expected the truth of {one}, got recon"):
        find_cine(tmp_path, "test")
    write(one, imagesTrue=random_series())
    with pytest.raises(DataError, match=rf"{one}:imagesTrue: expected aliased images .*got a truth"):
        find_cine(tmp_path, "test")


@pytest.mark.parametrize("name", ["a.h5", "a.nii", "a.nii.gz"])
def test_a_truncated_file_is_named(tmp_path, name):
    path = tmp_path / name
    if name == "a.h5":
        write(path, imagesTrue=random_series())
    else:
        nibabel.save(nibabel.Nifti1Image(random_series(), np.eye(4)), path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match=rf"{path}: (cannot be read as|truncated)"):
        CineDataset(find_cine(tmp_path))[2]


def test_other_nifti_files_are_refused(tmp_path):
    for values, message in (
        (random_series(), None),
        (random_series(0, (6, 5, 3, 1)), "expected series of frames, with an axis of time, got 3 x 5 x 6"),
        (random_series(0, (6, 5, 3, 4, 2)), r"expected the axes x, y, z, t.*got the size \[6, 5, 3, 4, 2\]"),
    ):
        path = tmp_path / "a.nii"
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
        if message is None:
            assert len(find_cine(path)) == 5
            with pytest.raises(DataError, match=rf"{path}: expected aliased images .*got a truth"):
                open_cine(path, path)
            continue
        with pytest.raises(DataError, match=message):
            find_cine(path)


def test_missing_and_empty_folders_say_where_data_comes_from(tmp_path):
    hint = "make it with x"
    write(tmp_path / "one.h5", imagesTrue=random_series())
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "notes.txt").touch()
    for arguments, message in (
        ((None, "train"), "dataset_dir is not set"),
        (("", None), "dataset_dir is not set"),
        ((tmp_path / "nowhere", "train"), "no folder .*nowhere"),
        ((tmp_path, "train"), r"no folder .*train and no file input_train\.h5"),
        ((tmp_path, "test"), r"no image or volume .*\.h5, .*test"),
        ((tmp_path / "one.h5", "train"), r"one\.h5 has no folder train, it is one set; pass no split"),
    ):
        with pytest.raises(FileNotFoundError, match=rf"{message}.*; {hint}"):
            find_cine(*arguments, hint=hint)
    with pytest.raises(FileNotFoundError, match=r"b\.h5: no such file"):
        find_cine(input_file=tmp_path / "b.h5")
    (tmp_path / "a.png").touch()
    assert len(find_cine(tmp_path)) == 3  # pictures are passed over


@pytest.mark.parametrize("wrong", ["full", -1, 0, [1, 1], [0, 1, 2], float("nan"), [0, "a"]])
def test_a_range_that_is_none_is_refused(tmp_path, wrong):
    write(tmp_path / "a.h5", imagesTrue=random_series())
    with pytest.raises(ValueError, match=re.escape(f"got {wrong!r}")):
        find_cine(tmp_path, intensity_range=wrong)


def test_a_slice_out_of_the_file_is_refused(tmp_path):
    reader = open_cine(write(tmp_path / "a.h5", imagesTrue=random_series()))
    with pytest.raises(IndexError, match=r"a\.h5: slice must be in \[0, 2\], got 3"):
        reader.read(3)


# loaders


def test_loaders_stack_series_of_one_size(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.h5", imagesTrue=random_series(ord(name)))
    dataset = CineDataset(find_cine(tmp_path), cache=True)
    batches = list(evaluation_loader(dataset, 2))
    assert [batch["slice"].tolist() for batch in batches] == [[0, 1], [2], [0, 1], [2]]
    assert batches[0]["truth"].shape == (2, 1, 6, 5, 4)
    assert batches[0]["intensity_range"].shape == (2, 2)
    (batch,) = training_loader(dataset, 6, num_workers=1)
    assert batch["truth"].shape == (6, 1, 6, 5, 4)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"imagesTrue": random_series(0, (3, 6, 5, 7))}, r"truth \[1, 6, 5, \d\] as .*batch_size 1"),
        ({"imagesTrue": random_series(0, (3, 8, 5, 4))}, r"truth \[1, \d, 5, 4\] as .*batch_size 1"),
        ({"imagesRecon": random_series()}, "expected recon .*none"),
    ],
)
def test_a_batch_of_different_series_is_explained(tmp_path, other, message):
    write(tmp_path / "a.h5", imagesTrue=random_series())
    write(tmp_path / "b.h5", **other)
    dataset = CineDataset(find_cine(tmp_path))
    with pytest.raises(DataError, match=message):
        list(DataLoader(dataset, batch_size=6))
    assert len(list(training_loader(dataset, 1))) == 6


def test_a_transform_may_make_sizes_equal(tmp_path):
    write(tmp_path / "a.h5", imagesTrue=random_series())
    write(tmp_path / "b.h5", imagesTrue=random_series(0, (3, 8, 9, 7)))
    dataset = CineDataset(find_cine(tmp_path), lambda item: {**item, "truth": item["truth"][..., :6, :5, :4]})
    (batch,) = DataLoader(dataset, batch_size=6)
    assert batch["truth"].shape == (6, 1, 6, 5, 4)


def test_data_sets_pickle(tmp_path):
    write(tmp_path / "a.h5", imagesTrue=random_series())
    nibabel.save(nibabel.Nifti1Image(random_series(), np.eye(4)), tmp_path / "b.nii.gz")
    dataset = CineDataset(find_cine(tmp_path))
    copied = pickle.loads(pickle.dumps(dataset))
    for one, other in itertools.zip_longest(dataset, copied):
        assert torch.equal(one["truth"], other["truth"])
    for path in {item["path"] for item in dataset.data}:
        reader = open_cine(path)
        assert torch.equal(pickle.loads(pickle.dumps(reader)).read(2)["truth"], reader.read(2)["truth"])


def test_only_the_series_asked_for_is_read(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", imagesTrue=random_series(), imagesRecon=random_series(1))
    read_values = []
    getitem = h5py.Dataset.__getitem__

    def counted(dataset, *args, **kwargs):
        values = getitem(dataset, *args, **kwargs)
        read_values.append(np.size(values))
        return values

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    dataset = CineDataset(find_cine(path), cache=True)
    assert read_values == []  # shapes, not values
    dataset[1]
    assert read_values == [6 * 5 * 4] * 2
    dataset[1]
    assert len(read_values) == 2  # kept


def test_a_changed_file_is_noticed(tmp_path):
    path = write(tmp_path / "a.h5", imagesTrue=random_series())
    reader = open_cine(path)
    reader.close()
    write(path, imagesTrue=random_series(0, (3, 7, 5, 4)))
    with pytest.raises(DataError, match=r"imagesTrue: changed since it was opened"):
        reader.read(0)


def test_a_file_is_passed_over_once_for_its_range(tmp_path, monkeypatch):
    write(tmp_path / "a.h5", imagesTrue=(100 * random_series()).astype(np.int16))
    passes, found = [], common.data.series_reader.find_range
    monkeypatch.setattr("common.data.series_reader.find_range", lambda *args: passes.append(args) or found(*args))
    dataset = CineDataset(find_cine(tmp_path))
    assert passes == []
    assert len([*dataset, *dataset]) == 6
    assert len(passes) == 1


# DICOM

INTERVAL_MS = 35.0
ORIGIN = np.array([-120.0, 35.5, 400.0])
NORMAL = np.cross(OBLIQUE[:3], OBLIQUE[3:])
VALUES = np.random.default_rng(0).integers(1, 3000, (3, 6, 5, 4)).astype(np.uint16)  # slices, height, width, frames


def write_cine(folder, values=VALUES, *, uids=("1.2.3",) * 3, **tags):
    """One file a frame, whose names say nothing; by default all of one series."""
    n_frames = values.shape[-1]
    times = {"TriggerTime": [INTERVAL_MS * n for n in range(n_frames)], "InstanceNumber": list(range(n_frames))}
    for index in reversed(range(len(values))):
        own = {"SOPClassUID": MRImageStorage, "RescaleIntercept": 0, **times, "SeriesInstanceUID": uids[index], **tags}
        place = tuple(ORIGIN + index * 8 * NORMAL)
        write_series(folder, np.moveaxis(values[index], -1, 0), origin=place, step=0, series=f"s{index}", **own)
    return folder


def test_frames_of_dicom_files_are_ordered_by_slice_and_trigger_time(tmp_path):
    write_cine(tmp_path / "heart")
    data = find_cine(tmp_path)
    assert [(item["path"], item["slice"]) for item in data] == [(str(tmp_path / "heart"), n) for n in range(3)]
    for n, item in enumerate(CineDataset(data)):
        np.testing.assert_allclose(item["truth"][0], VALUES[n] / VALUES.max(), rtol=1e-6)
    geometry = open_cine(tmp_path / "heart").geometry
    assert geometry.spacing_mm == pytest.approx((8, 0.7, 0.5))
    assert np.diff(geometry.frame_times_s) == pytest.approx([INTERVAL_MS / 1000] * 3)
    # independent of our code: the place of a voxel by the tags of its file
    place = ORIGIN + 2 * 8 * NORMAL + 3 * 0.5 * np.array(OBLIQUE[:3]) + 4 * 0.7 * np.array(OBLIQUE[3:])
    np.testing.assert_allclose(geometry.affine @ [3, 4, 2, 1], [*(place * [-1, -1, 1]), 1], atol=1e-5)


def test_a_dicom_folder_alone_is_one_set_and_its_series_are_chosen_by_option(tmp_path):
    write_cine(tmp_path, uids=["1.2.1", "1.2.2", "1.2.3"], RescaleSlope=2, RescaleIntercept=10)
    assert len(find_cine(tmp_path)) == 3
    assert open_cine(tmp_path).intensity_range == (0, 2 * VALUES.max() + 10)
    options = {"source_options": {"series": "1.2.2"}}
    (item,) = CineDataset(find_cine(tmp_path, **options), **options)
    np.testing.assert_allclose(item["truth"][0], (2 * VALUES[1] + 10) / (2 * VALUES[1].max() + 10), rtol=1e-6)
    with pytest.raises(FileNotFoundError, match="it is one set; pass no split"):
        find_cine(tmp_path, "train")


def test_dicom_files_without_several_frames_are_no_series(tmp_path):
    write_cine(tmp_path / "volume", VALUES[..., :1], TriggerTime=0.0)
    with pytest.raises(DataError, match=r"volume: expected series of frames, with an axis of time, got 3 x 6 x 5"):
        find_cine(tmp_path)


def test_damaged_pixels_name_the_file(tmp_path):
    write_cine(tmp_path)
    path = next(tmp_path.glob("*_s1"))
    path.write_bytes(path.read_bytes()[:-20])
    reader = open_cine(tmp_path)
    with pytest.raises(DataError, match=path.name):
        reader.read(1)
