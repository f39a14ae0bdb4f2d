"""Volumes of samples on disk: fastMRI's layout, NIfTI, and what fastMRI's own evaluation says of them."""

import logging

import h5py
import nibabel
import numpy as np
import pytest
import torch
from helpers import numpy_deviation
from PIL import Image
from sampled_evaluation import ConsistentNoise, evaluate, write_knee
from scripts.sampled_volumes import SaveSampledVolumes

from common.data import DataError, SliceDataset, find_slices, open_slices
from common.data.loading import evaluation_loader
from common.handlers.kspace_residual import KspaceResidualReport
from common.inferers import SamplingInferer
from common.metrics import get_protocol
from common.operators import complex_to_channels
from common.operators.masks import MaskSampler
from common.operators.zero_filled import zero_filled_image
from common.transforms import PrepareAcquisition


class ZeroFilled(torch.nn.Module):
    def forward(self, measurement):
        return complex_to_channels(zero_filled_image(measurement)[:, None])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def expected_samples(path, n_samples=4, seed=3):
    """Image, its deviation and samples of the network in NumPy's complex numbers, in image units, cropped."""
    (batch,) = evaluation_loader(SliceDataset(find_slices(path.parent)), 3)
    prepare = PrepareAcquisition(MaskSampler("cartesian", accel=3, center_fraction=0.2), by_file=True)
    measurement, _ = prepare(batch, torch.device("cpu"))
    noise = SamplingInferer(n_samples, seed).noise(24, 20)
    network = ConsistentNoise()
    images = network(measurement)[:, None], network.samples(measurement, noise.expand(3, -1, -1, -1, -1))
    image, samples = ((one[:, :, 0] + 1j * one[:, :, 1]).numpy().swapaxes(0, 1) for one in images)
    return [one[..., 4:20, 4:16] for one in (image[0], numpy_deviation(image[0], samples), samples)]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_volumes_come_in_stored_units_with_what_samples_say(tmp_path, caplog, batch_size):
    write_knee(tmp_path / "in" / "knee.h5")
    with caplog.at_level(logging.INFO, logger="recon"):
        handlers = [SaveSampledVolumes(tmp_path / "out", attributes={"n_samples": 4}), KspaceResidualReport(tmp_path)]
        evaluate(tmp_path / "in", handlers, batch_size=batch_size)
    assert names(tmp_path / "out") == ["knee.h5", "knee.nii.gz", "knee_std.nii.gz"]
    assert f"reconstructions are in {tmp_path / 'out'}" in caplog.text
    image, deviation, samples = (3e-4 * one for one in expected_samples(tmp_path / "in" / "knee.h5"))
    with h5py.File(tmp_path / "out" / "knee.h5") as file, h5py.File(tmp_path / "in" / "knee.h5") as source:
        assert sorted(file) == ["ismrmrd_header", "reconstruction", "reconstruction_sample", "reconstruction_std"]
        assert file["ismrmrd_header"][()] == source["ismrmrd_header"][()]
        volumes = {name: file[name][()] for name in file if name != "ismrmrd_header"}
        attributes = dict(file.attrs)
    assert {volume.dtype for volume in volumes.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(volumes["reconstruction"], np.abs(image), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(volumes["reconstruction_sample"], np.abs(samples[0]), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(volumes["reconstruction_std"], deviation, rtol=1e-4, atol=1e-9)
    assert attributes["patient_id"] == "knee"
    assert attributes["n_samples"] == 4
    endings = ["max", "max_sample", "mean", "mean_sample"]
    residuals = [attributes.pop(f"kspace_residual_{ending}") for ending in endings]
    assert 0 < min(residuals) <= max(residuals) < 1e-6
    assert attributes.keys() == {"max", "patient_id", "n_samples"}
    for name, ending in (("reconstruction", ""), ("reconstruction_std", "_std")):
        image = nibabel.load(tmp_path / "out" / f"knee{ending}.nii.gz")
        np.testing.assert_array_equal(image.get_fdata(dtype=np.float32).transpose(2, 1, 0), volumes[name])
        assert image.header.get_zooms() == (1.5, 2.0, 3.0)
        assert image.header.get_xyzt_units()[0] == "mm"
        assert [int(image.header[code]) for code in ("qform_code", "sform_code")] == [0, 0]


def test_two_runs_give_the_same_bytes(tmp_path):
    write_knee(tmp_path / "in" / "knee.h5")
    for folder in ("first", "second"):
        evaluate(tmp_path / "in", [SaveSampledVolumes(tmp_path / folder), KspaceResidualReport(tmp_path)])
    for name in names(tmp_path / "first"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_network_without_samples_writes_the_reconstruction_alone(tmp_path):
    write_knee(tmp_path / "in" / "knee.h5")
    evaluate(
        tmp_path / "in", [SaveSampledVolumes(tmp_path / "out", formats="h5")], n_samples=None, network=ZeroFilled()
    )
    assert names(tmp_path / "out") == ["knee.h5"]
    with h5py.File(tmp_path / "out" / "knee.h5") as file:
        assert sorted(file) == ["ismrmrd_header", "reconstruction"]
        assert file["reconstruction"].shape == (3, 16, 12)
        assert dict(file.attrs) == {"max": 3e-4, "patient_id": "knee"}


def test_other_formats_become_h5_too_and_nifti_keeps_its_affine(tmp_path):
    (tmp_path / "in").mkdir()
    picture = np.random.default_rng(0).integers(0, 250, (16, 12)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "in" / "a.png")
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(picture[..., None].astype(np.float32), affine), tmp_path / "in" / "b.nii")
    evaluate(tmp_path / "in", [SaveSampledVolumes(tmp_path / "out")])
    assert names(tmp_path / "out") == ["a.h5", "a.nii.gz", "a_std.nii.gz", "b.h5", "b.nii", "b_std.nii"]
    with h5py.File(tmp_path / "out" / "a.h5") as file:
        assert sorted(file) == ["reconstruction", "reconstruction_sample", "reconstruction_std"]
        stored = file["reconstruction"][()]
    image = nibabel.load(tmp_path / "out" / "a.nii.gz")
    np.testing.assert_array_equal(image.get_fdata().T, stored[0])
    assert image.header.get_zooms() == (1.0, 1.0)
    assert stored.max() > 100  # stored units
    np.testing.assert_array_equal(nibabel.load(tmp_path / "out" / "b_std.nii").affine, affine)


def test_a_window_shifts_the_image_and_not_its_deviation(tmp_path):
    (tmp_path / "in").mkdir()
    stored = np.random.default_rng(0).integers(-1000, 2000, (1, 16, 12)).astype(np.int16)
    np.save(tmp_path / "in" / "a.npy", stored)
    handler = SaveSampledVolumes(tmp_path / "out", intensity_range=[-1000, 2000])
    like = open_slices(tmp_path / "in" / "a.npy", intensity_range=[-1000, 2000])
    handler._write(like, {"reconstruction": like.read(0)[None], "reconstruction_std": np.full((1, 16, 12), 0.1)})
    with h5py.File(tmp_path / "out" / "a.h5") as file:
        np.testing.assert_allclose(file["reconstruction"], stored, atol=1e-3)
        np.testing.assert_allclose(file["reconstruction_std"], 300, rtol=1e-6)
    np.testing.assert_allclose(nibabel.load(tmp_path / "out" / "a_std.nii.gz").get_fdata(), 300, rtol=1e-6)


def test_nothing_is_replaced(tmp_path):
    write_knee(tmp_path / "in" / "knee.h5")
    before = (tmp_path / "in" / "knee.h5").read_bytes()
    with pytest.raises(DataError, match=r"in/knee\.h5: the output of .* would replace .*choose another output_dir"):
        evaluate(tmp_path / "in", [SaveSampledVolumes(tmp_path / "in")])
    assert (tmp_path / "in" / "knee.h5").read_bytes() == before
    write_knee(tmp_path / "in" / "knee_std.h5")
    with pytest.raises(
        DataError, match=r"knee_std\.nii\.gz: the output of .*knee_std\.h5 would replace that of .*knee\.h5"
    ):
        evaluate(tmp_path / "in", [SaveSampledVolumes(tmp_path / "out")])


def test_not_a_number_is_not_written(tmp_path):
    class Broken(ConsistentNoise):
        def forward(self, measurement, noise=None):
            return torch.nan * super().forward(measurement, noise)

    write_knee(tmp_path / "in" / "knee.h5")
    with pytest.raises(DataError, match=r"knee\.h5: not written, its reconstruction has NaN or infinite values"):
        evaluate(tmp_path / "in", [SaveSampledVolumes(tmp_path / "out")], network=Broken())
    assert names(tmp_path / "out") == []


def test_a_failure_in_the_middle_leaves_the_older_file(tmp_path, monkeypatch):
    write_knee(tmp_path / "in" / "knee.h5")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "knee.h5").write_text("older")

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full_disk)
    with pytest.raises(DataError, match="No space left"):
        evaluate(tmp_path / "in", [SaveSampledVolumes(tmp_path / "out")])
    assert names(tmp_path / "out") == ["knee.h5"]
    assert (tmp_path / "out" / "knee.h5").read_text() == "older"


def test_unknown_formats_are_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"expected one or more of h5, nifti, got \['h5', 'png'\]"):
        SaveSampledVolumes(tmp_path, formats=["h5", "png"])
    with pytest.raises(ValueError, match="got \\[\\]"):
        SaveSampledVolumes(tmp_path, formats=[])


def test_an_incomplete_volume_is_told(tmp_path):
    write_knee(tmp_path / "in" / "knee.h5")
    handler = SaveSampledVolumes(tmp_path / "out")
    with pytest.raises(DataError, match=r"knee\.h5 lacks slices 2"):
        evaluate(tmp_path / "in", [handler], batch_size=2, epoch_length=1)
    assert not (tmp_path / "out").exists()


# NMSE, PSNR, SSIM by fastmri.evaluate of the package fastmri 0.3.0 (scikit-image 0.26.0, NumPy 2.4.6) for files that
# SaveSampledVolumes wrote: zero-filled images of the validation knees, accel 4, center_fraction 0.08, mask by file name
RECORDED = {
    "knee_val_000": (0.04184633, 28.00862107679815, 0.71298386),
    "knee_val_001": (0.046077162, 27.224388677271257, 0.68687975),
    "knee_val_002": (0.048617106, 27.216042427687515, 0.70617755),
    "knee_val_003": (0.034509066, 29.127399488759643, 0.73740103),
    "knee_val_004": (0.046537086, 27.846109610433352, 0.67820294),
}


def test_the_public_fastmri_evaluation_of_our_files_equals_our_protocol(shared_data, tmp_path):
    folder = shared_data / "knee_mridata" / "singlecoil_val"
    mask = MaskSampler("cartesian", accel=4, center_fraction=0.08)
    prepare_batch = PrepareAcquisition(mask, by_file=True)
    evaluate(folder, [SaveSampledVolumes(tmp_path)], n_samples=None, network=ZeroFilled(), prepare_batch=prepare_batch)
    for stem, (nmse, psnr, ssim) in RECORDED.items():
        with h5py.File(tmp_path / f"{stem}.h5") as file, h5py.File(folder / f"{stem}.h5") as source:
            volumes = [torch.from_numpy(h5["reconstruction" + key][()]) for h5, key in ((file, ""), (source, "_esc"))]
        values = get_protocol("fastmri_volume").evaluate(*volumes)
        assert values["nmse"].item() == pytest.approx(nmse, abs=1e-5)
        assert values["psnr"].item() == pytest.approx(psnr, abs=1e-5)
        assert values["ssim"].item() == pytest.approx(ssim, abs=1e-5)
