"""Results of cine series on disk: side by side in HDF5, and as NIfTI in the units and the place of the source."""

import logging

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from dicom_series import OBLIQUE, write_series
from helpers import numpy_ifft2c, random_complex
from monai.engines import SupervisedEvaluator
from scripts.cine_results import SaveCineResults
from torch import nn

from common.data import CineDataset, DataError, find_cine
from common.data.loading import evaluation_loader
from common.io import open_source
from common.operators import complex_to_channels
from common.operators.series import pack_series

SHAPE = (3, 6, 5, 4)


class Brighter(nn.Module):
    """Adds a tenth to all."""

    def forward(self, image):
        return image + 0.1


def stored_or_truth(batch, device, non_blocking, **_):
    """The stored input, or the truth in its place."""
    truth = batch.get("truth")
    return batch.get("recon", truth), truth


def evaluate(data, output_dir, formats=("h5",), *, network=None, prepare=stored_or_truth, batch_size=1, **options):
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=evaluation_loader(CineDataset(data, **options), batch_size),
        network=network or Brighter(),
        prepare_batch=prepare,
        val_handlers=[SaveCineResults(output_dir, formats, **options)],
    ).run()


def write_heart(path, seed=0, shape=SHAPE, with_truth=True, **attributes):
    """A file of random series; returns input and truth."""
    rng = np.random.default_rng(seed)
    recon, truth = rng.random(shape, np.float32), rng.random(shape, np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["imagesRecon"] = recon
        if with_truth:
            file["imagesTrue"] = truth
        file.attrs.update(attributes)
    return recon, truth


def contents(path):
    with h5py.File(path) as file:
        return {name: dataset[()] for name, dataset in file.items()}, dict(file.attrs)


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize("batch_size", [1, 2])
def test_result_file_has_what_went_in_and_out(tmp_path, batch_size, caplog):
    known = {"pixel_size_mm": [1.5, 1.25], "slice_distance_mm": 8.0, "synthetic": True}
    hearts = [
        write_heart(tmp_path / f"{n}.h5", n, **known, ejection_fraction=0.5 + n / 10, only=str(n)) for n in range(2)
    ]
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluate(find_cine(tmp_path), tmp_path / "out", batch_size=batch_size)
    assert files_in(tmp_path / "out") == ["result.h5"]
    assert f"6 series of 6 x 5 x 4 are in {tmp_path / 'out' / 'result.h5'}" in caplog.text
    found, attributes = contents(tmp_path / "out" / "result.h5")
    recon, truth = (np.concatenate(both) for both in zip(*hearts, strict=True))
    np.testing.assert_array_equal(found["input"], recon)
    np.testing.assert_array_equal(found["truth"], truth)
    np.testing.assert_allclose(found["result"], recon + 0.1, rtol=1e-6)
    assert found["result"].dtype == np.float32
    assert [one.decode() for one in found["sources"]] == [
        f"{tmp_path / name}.h5:{n}" for name in ("0", "1") for n in range(3)
    ]
    np.testing.assert_array_equal(found["intensity_range"], [[0, 1]] * 6)
    np.testing.assert_array_equal(attributes.pop("pixel_size_mm"), [1.5, 1.25])
    assert attributes == {"slice_distance_mm": 8.0, "synthetic": True}
    np.testing.assert_allclose(found["ejection_fraction"], [0.5] * 3 + [0.6] * 3)  # of each source
    with h5py.File(tmp_path / "out" / "result.h5") as file:
        assert file["result"].chunks == (1, 6, 5, 4)


def test_complex_results_of_measurements_are_kept_as_magnitudes(tmp_path):
    n_coils, size = 2, SHAPE[1:]
    kspace = random_complex(3, n_coils, *size, dtype=torch.complex64)
    maps = random_complex(1, n_coils, *size[:2], seed=1, dtype=torch.complex64)
    mask = (torch.rand(3, *size, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"], file["mask"] = kspace.numpy(), mask.numpy()
        file.attrs["max"] = 1.0

    def prepare(batch, device, non_blocking, **_):
        label = complex_to_channels((0.6 + 0.8j) * batch["kspace"][:, :1])
        return pack_series(batch["kspace"], batch["mask"], maps), label

    class TwoChannels(nn.Module):
        def forward(self, measurement):
            return torch.stack((3 * measurement[:, -1], -4 * measurement[:, -1]), dim=1)

    evaluate(find_cine(tmp_path), tmp_path / "out", network=TwoChannels(), prepare=prepare)
    found, _ = contents(tmp_path / "out" / "result.h5")
    np.testing.assert_allclose(found["truth"], (kspace * mask[:, None]).abs()[:, 0], rtol=1e-5, atol=1e-6)
    frames = np.moveaxis((kspace * mask[:, None]).numpy(), -1, 1)
    combined = (numpy_ifft2c(frames) * maps.numpy().conj()).sum(axis=2)
    np.testing.assert_allclose(found["input"], np.moveaxis(np.abs(combined), 1, -1), rtol=1e-4, atol=1e-5)
    assert (found["result"] >= 0).all()


def test_series_without_truth_give_none(tmp_path):
    write_heart(tmp_path / "a" / "x.h5", with_truth=False)
    evaluate(find_cine(tmp_path / "a"), tmp_path / "out")
    assert contents(tmp_path / "out" / "result.h5")[0].keys() == {"input", "result", "sources", "intensity_range"}
    write_heart(tmp_path / "a" / "y.h5")
    evaluate(find_cine(tmp_path / "a"), tmp_path / "out")
    truth = contents(tmp_path / "out" / "result.h5")[0]["truth"]
    assert np.isnan(truth[:3]).all()
    assert np.isfinite(truth[3:]).all()


def test_pairs_of_files_give_the_attributes_of_both(tmp_path):
    recon, truth = write_heart(tmp_path / "all.h5")
    for name, values, attributes in (("input", recon, {"a": 1}), ("truth", truth, {"frame_interval_s": 0.04})):
        with h5py.File(tmp_path / f"{name}_test.h5", "w") as file:
            file["imagesRecon" if name == "input" else "imagesTrue"] = values
            file.attrs.update(attributes)
    evaluate(find_cine(tmp_path, "test"), tmp_path / "out", ("h5", "nifti"))
    found, attributes = contents(tmp_path / "out" / "result.h5")
    assert attributes == {"a": 1, "frame_interval_s": 0.04}
    np.testing.assert_array_equal(found["truth"], truth)
    assert files_in(tmp_path / "out") == ["input_test_recon.nii.gz", "result.h5"]


def test_other_sizes_have_files_of_their_own(tmp_path):
    write_heart(tmp_path / "1.h5", 1)
    recon, _ = write_heart(tmp_path / "2.h5", 2, (2, 7, 5, 3))
    write_heart(tmp_path / "3.h5", 3)
    evaluate(find_cine(tmp_path), tmp_path / "out")
    assert files_in(tmp_path / "out") == ["result.h5", "result_7x5x3.h5"]
    first, other = (contents(tmp_path / "out" / name)[0] for name in ("result.h5", "result_7x5x3.h5"))
    assert first["input"].shape == (6, 6, 5, 4)
    np.testing.assert_array_equal(other["input"], recon)


# NIfTI


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("intensity_range", ["auto", [-200, 4000]])
def test_nifti_comes_back_in_its_units_and_place(tmp_path, suffix, intensity_range):
    values = np.random.default_rng(0).integers(0, 3000, (6, 5, 3, 4)).astype(np.int16)
    affine = nibabel.affines.from_matvec([[0, 1.2, 0], [-1.4, 0, 0], [0, 0, 8]], [10, -20, 30])
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_zooms((1.4, 1.2, 8, 42))
    image.header.set_xyzt_units("mm", "msec")
    image.header["descrip"] = b"short axis"
    image.header.set_slope_inter(0.5, 2)
    nibabel.save(image, tmp_path / f"heart{suffix}")
    values = nibabel.load(tmp_path / f"heart{suffix}").get_fdata()
    options = {"intensity_range": intensity_range}
    evaluate(find_cine(tmp_path, **options), tmp_path / "out", "nifti", network=nn.Identity(), **options)
    assert files_in(tmp_path / "out") == [f"heart_recon{suffix}"]
    written = nibabel.load(tmp_path / "out" / f"heart_recon{suffix}")
    # magnitudes: the network's output cannot be below what is 0
    np.testing.assert_allclose(written.get_fdata(), values, atol=0.01)
    assert written.get_data_dtype() == np.float32
    assert written.header.get_slope_inter() in ((1, 0), (None, None))
    np.testing.assert_allclose(written.affine, affine)
    np.testing.assert_allclose(written.header.get_zooms(), (1.4, 1.2, 8, 42), rtol=1e-6)
    assert written.header.get_xyzt_units() == ("mm", "msec")
    assert bytes(written.header["descrip"]).startswith(b"short axis")


def test_nifti_of_one_slice_keeps_its_three_axes(tmp_path):
    values = np.random.default_rng(0).random((6, 5, 4), np.float32) * 9
    nibabel.save(nibabel.Nifti2Image(values, np.eye(4)), tmp_path / "a.nii")
    options = {"source_options": {"axes": "xyt"}}
    evaluate(find_cine(tmp_path, **options), tmp_path / "out", ["nifti"], network=nn.Identity(), **options)
    written = nibabel.load(tmp_path / "out" / "a_recon.nii")
    assert isinstance(written, nibabel.Nifti2Image)
    np.testing.assert_allclose(written.get_fdata(), values, rtol=1e-5)


def test_nifti_of_hdf5_has_the_sizes_it_knows(tmp_path):
    recon, _ = write_heart(tmp_path / "1.h5", pixel_size_mm=1.5, slice_distance_mm=8.0, frame_interval_s=0.04)
    evaluate(find_cine(tmp_path), tmp_path / "out", ["nifti", "h5"])
    written = nibabel.load(tmp_path / "out" / "1_recon.nii.gz")
    np.testing.assert_allclose(written.get_fdata(), recon.transpose(2, 1, 0, 3) + 0.1, rtol=1e-5)
    np.testing.assert_allclose(written.header.get_zooms(), (1.5, 1.5, 8, 0.04), rtol=1e-6)
    assert written.header.get_xyzt_units() == ("mm", "sec")
    assert (written.header["sform_code"], written.header["qform_code"]) == (0, 0)


def test_nifti_of_dicom_lies_where_the_tags_say(tmp_path):
    values = np.random.default_rng(0).integers(0, 900, (3, 4, 6, 5)).astype(np.uint16)  # slices, frames, rows, columns
    normal, origin = np.cross(OBLIQUE[:3], OBLIQUE[3:]), np.array([-120.0, 35.5, 400.0])
    for n, frames in enumerate(values):
        place, times = tuple(origin + 8 * n * normal), [30.0, 70, 110, 150]
        write_series(
            tmp_path / "heart",
            frames,
            origin=place,
            step=0,
            series=f"s{n}",
            **{"TriggerTime": times, "SeriesInstanceUID": "1.2", "RescaleIntercept": 0},
        )
    evaluate(find_cine(tmp_path), tmp_path / "out", ("h5", "nifti"), network=nn.Identity())
    written = nibabel.load(tmp_path / "out" / "heart_recon.nii.gz")
    np.testing.assert_allclose(written.get_fdata(), values.transpose(3, 2, 0, 1), atol=0.01)
    assert written.header.get_zooms() == pytest.approx((0.5, 0.7, 8, 0.04), rel=1e-5)
    corner = origin + 8 * 2 * normal + 0.7 * 5 * np.array(OBLIQUE[3:]) + 0.5 * 4 * np.array(OBLIQUE[:3])
    np.testing.assert_allclose(written.affine @ [4, 5, 2, 1], [*(corner * [-1, -1, 1]), 1], atol=1e-4)
    found, attributes = contents(tmp_path / "out" / "result.h5")
    np.testing.assert_array_equal(attributes["pixel_size_mm"], [0.7, 0.5])
    assert attributes["frame_interval_s"] == pytest.approx(0.04)
    np.testing.assert_array_equal(found["intensity_range"], [[0, values.max()]] * 3)


def cine(folder, values):
    """A beating heart in DICOM, ``[slices, frames, rows, columns]``, whose slope is 2; the place of each slice."""
    normal, origin = np.cross(OBLIQUE[:3], OBLIQUE[3:]), np.array([-120.0, 35.5, 400.0])
    places = [tuple(origin + 8 * n * normal) for n in range(len(values))]
    tags = {"SeriesInstanceUID": "1.2", "RescaleSlope": 2, "RescaleIntercept": 0, "FrameTime": 40.0}
    for n, frames in enumerate(values):
        times = (40.0 * np.arange(len(frames)) + 30).tolist()
        write_series(folder, frames, origin=places[n], step=0, series=f"s{n}", TriggerTime=times, **tags)
    return places


def test_dicom_of_dicom_has_its_place_its_times_and_its_values(tmp_path):
    values = np.random.default_rng(0).integers(0, 900, (3, 4, 6, 5)).astype(np.uint16)
    places = cine(tmp_path / "heart", values)
    evaluate(find_cine(tmp_path), tmp_path / "out", ("dicom",), network=nn.Identity())
    found = [pydicom.dcmread(file) for file in (tmp_path / "out" / "heart_recon").iterdir()]
    assert len(found) == 12
    assert {one.SeriesInstanceUID for one in found} != {"1.2"}
    for one in found:
        z = [np.allclose(one.ImagePositionPatient, place) for place in places].index(True)
        t = round((float(one.TriggerTime) - 30) / 40)
        np.testing.assert_allclose(one.pixel_array, values[z, t], atol=1)
    with pytest.raises(DataError, match="heart_recon: exists already"):
        evaluate(find_cine(tmp_path / "heart"), tmp_path / "out", ("dicom",), network=nn.Identity())


def test_dicom_of_nifti_lies_where_the_header_says(tmp_path):
    values = np.random.default_rng(0).random((5, 6, 3, 4)).astype(np.float32)  # x, y, slices, frames
    turn = np.array(OBLIQUE).reshape(2, 3).T * [-1.5, -2.0]  # left and posterior are negative in NIfTI
    affine = np.eye(4)
    affine[:3, :2], affine[:3, 2], affine[:3, 3] = turn, 8 * np.cross(*turn.T) / 3, [10, -20, 5]
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_zooms((1.5, 2, 8, 0.04))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "heart.nii.gz")
    evaluate(find_cine(tmp_path), tmp_path / "out", ("dicom", "nifti"), network=nn.Identity())
    with open_source(tmp_path / "out" / "heart_recon") as series:
        stored = series.spec.intensity.meant(series.read())
        matrix, times = series.spec.geometry.affine, series.spec.geometry.frame_times_s
        assert series.spec.shape == (4, 3, 6, 5)
    assert times == pytest.approx([0, 0.04, 0.08, 0.12])
    for place in np.ndindex(5, 6, 3):
        index = np.round(np.linalg.inv(matrix) @ affine @ [*place, 1]).astype(int)
        np.testing.assert_allclose(matrix @ index, affine @ [*place, 1], atol=1e-4)
        np.testing.assert_allclose(stored[:, index[2], index[1], index[0]], values[place], atol=2e-5)


def test_dicom_needs_the_size_of_pixels_and_says_that_the_place_is_unknown(tmp_path, caplog):
    write_heart(tmp_path / "a" / "1.h5")
    with pytest.raises(DataError, match=r"1_recon.*unknown along z, y, x.*spacing"):
        evaluate(find_cine(tmp_path / "a"), tmp_path / "out", ["dicom"])
    assert files_in(tmp_path / "out") == []
    name = "Müller_" * 10  # longer than a PatientID
    recon, _ = write_heart(tmp_path / "b" / f"{name}.h5", pixel_size_mm=1.5, slice_distance_mm=8.0)
    evaluate(find_cine(tmp_path / "b"), tmp_path / "out", ["dicom"])
    assert f"{name}_recon: the source has no orientation" in caplog.text
    first = pydicom.dcmread(tmp_path / "out" / f"{name}_recon" / "00.dcm")
    assert first.PatientID == name[:63]
    assert list(first.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    assert list(first.ImagePositionPatient) == [-3, -4.5, 0]
    assert "TriggerTime" not in first
    np.testing.assert_allclose(first.pixel_array * first.RescaleSlope, recon[0, ..., 0] + 0.1, atol=1e-4)


def test_uneven_frame_times_are_kept(tmp_path):
    values, times = np.random.default_rng(0).integers(0, 900, (4, 6, 5)).astype(np.uint16), [0.0, 40, 80, 200]
    write_series(tmp_path / "heart", values, step=0, TriggerTime=times, RescaleIntercept=0)
    evaluate(find_cine(tmp_path), tmp_path / "out", network=nn.Identity())
    found, attributes = contents(tmp_path / "out" / "result.h5")
    assert "frame_interval_s" not in attributes
    np.testing.assert_allclose(attributes["frame_times_s"], [0, 0.04, 0.08, 0.2])
    np.testing.assert_allclose(found["result"][0], values.transpose(1, 2, 0) / values.max(), rtol=1e-6)


# failures


def test_nothing_half_written_stays_behind(tmp_path):
    write_heart(tmp_path / "1.h5")
    data = find_cine(tmp_path)
    killed = tmp_path / "out" / ".unfinished-of-a-killed-run"
    killed.mkdir(parents=True)
    (killed / "0.npy").touch()
    evaluate(data, tmp_path / "out")
    assert files_in(tmp_path / "out") == ["result.h5"]
    before = (tmp_path / "out" / "result.h5").read_bytes()

    class Breaks(nn.Module):
        calls = 0

        def forward(self, image):
            self.calls += 1
            return image * (np.nan if self.calls == 2 else 1)

    with pytest.raises(DataError, match=r"1\.h5: not written, the result of series 1 has NaN"):
        evaluate(data, tmp_path / "out", network=Breaks())
    assert files_in(tmp_path / "out") == ["result.h5"]
    assert (tmp_path / "out" / "result.h5").read_bytes() == before


def test_nifti_needs_all_series_of_a_file(tmp_path):
    write_heart(tmp_path / "1.h5")
    with pytest.raises(DataError, match=r"1\.h5: lacks series 2, not written"):
        evaluate(find_cine(tmp_path)[:2], tmp_path / "out", ["nifti"])
    assert files_in(tmp_path / "out") == []


def test_nifti_needs_the_size_of_the_file(tmp_path):
    write_heart(tmp_path / "1.h5")

    def cropped(batch, device, non_blocking, **_):
        return batch["recon"][:, :, 1:], None

    with pytest.raises(DataError, match=r"1\.h5: expected results of \[6, 5, 4\] as the file has, got \[5, 5, 4\]"):
        evaluate(find_cine(tmp_path), tmp_path / "out", ["nifti"], prepare=cropped)


def test_nifti_files_do_not_replace_each_other(tmp_path):
    for name in ("a/1.h5", "b/1.h5"):
        write_heart(tmp_path / name)
    data = find_cine(tmp_path / "a") + find_cine(tmp_path / "b")
    with pytest.raises(DataError, match=r"b/1\.h5: .*1_recon\.nii\.gz is that of .*a/1\.h5 already"):
        evaluate(data, tmp_path / "out", ["nifti"])


@pytest.mark.parametrize("formats", [(), ("h5", "tiff")])
def test_unknown_formats_are_refused(tmp_path, formats):
    with pytest.raises(ValueError, match=r"formats.*h5, nifti, dicom.*got"):
        SaveCineResults(tmp_path, formats)


def test_processes_write_together_what_one_writes(processes, tmp_path):
    for n in range(3):
        write_heart(tmp_path / "data" / f"{n}.h5", n, pixel_size_mm=float(n))
    members = [processes.Process(target=evaluate_in_group, args=(rank, tmp_path)) for rank in range(2)]
    for process in members:
        process.start()
    for process in members:
        process.join()
    assert [process.exitcode for process in members] == [0, 0]
    evaluate(find_cine(tmp_path / "data"), tmp_path / "alone", ("h5", "nifti"))
    names = ["0_recon.nii.gz", "1_recon.nii.gz", "2_recon.nii.gz", "result.h5"]
    assert files_in(tmp_path / "group") == files_in(tmp_path / "alone") == names
    one, other = (contents(tmp_path / name / "result.h5")[0] for name in ("alone", "group"))
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])


def evaluate_in_group(rank, folder):
    """A member of a group of two; each file goes to one of them."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    evaluate(find_cine(folder / "data"), folder / "group", ("h5", "nifti"))
    torch.distributed.destroy_process_group()
