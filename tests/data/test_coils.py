"""Multi-coil k-space: refused, emulated as one coil, or kept."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers import numpy_fft2c, numpy_ifft2c
from scipy.optimize import minimize

from common.data import DataError, SliceDataset, find_slices, kspace_slices, open_slices
from common.data.coils import emulated_weights
from common.data.loading import evaluation_loader
from common.io import Source
from common.operators import unpack_coils
from common.operators.coils import simulated_sensitivity_maps
from common.operators.masks import MaskSampler
from common.transforms import PrepareCoilAcquisition
from tests.io.mrd import header as header_of
from tests.io.mrd import lines_of, write_mrd
from tests.io.phantom import body, centred, coil_maps

SHAPE, N_COILS = (3, 16, 12), 4
MASK = np.arange(12) % 3 < 2


def coil_images(shape: tuple[int, int, int] = SHAPE, n_coils: int = N_COILS) -> np.ndarray:
    """Complex ``[slices, coils, height, width]``: one random image seen by all coils."""
    rng = np.random.default_rng(0)
    image = rng.random(shape) + 0.2j * rng.random(shape)
    maps = simulated_sensitivity_maps(n_coils, *shape[1:]).numpy()
    return image[:, None] * maps.reshape(1, n_coils, *shape[1:])


def header(encoded: tuple[int, int], recon: tuple[int, int]) -> str:
    sizes = {"encodedSpace": encoded, "reconSpace": recon}
    spaces = [
        f"<{name}><matrixSize><x>{x}</x><y>{y}</y><z>1</z></matrixSize></{name}>" for name, (x, y) in sizes.items()
    ]
    return f"<ismrmrdHeader><encoding>{''.join(spaces)}</encoding></ismrmrdHeader>"


def multi_coil_file(path: Path, images: np.ndarray, **datasets: np.ndarray) -> np.ndarray:
    kspace = numpy_fft2c(images).astype(np.complex64)
    with h5py.File(path, "w") as file:
        file["kspace"], file.attrs["acquisition"] = kspace, "knee"
        for key, values in datasets.items():
            file[key] = values
    return kspace


def misfit(weights: np.ndarray, values: np.ndarray) -> float:
    return float(np.sum((np.sqrt(abs(values @ weights)) - np.sqrt(np.linalg.norm(values, axis=1))) ** 2))


def test_weights_of_coils_that_see_the_same_keep_the_magnitude() -> None:
    rng = np.random.default_rng(0)
    image, factors = rng.random(200) + 1j * rng.random(200), np.array([3, -4j, 0.5 + 1j])
    values = image[:, None] * factors
    combined = values @ emulated_weights(values, np.linalg.norm(values, axis=1))
    np.testing.assert_allclose(abs(combined), abs(image) * np.linalg.norm(factors), rtol=1e-4)


def test_weights_are_those_of_an_independent_minimisation() -> None:
    rng = np.random.default_rng(1)
    images = coil_images((1, 20, 20))[0]
    values = (images + 0.02 * rng.standard_normal(images.shape)).reshape(N_COILS, -1).T
    target = np.linalg.norm(values, axis=1)
    linear = np.linalg.lstsq(values, target, rcond=None)[0]
    start = np.concatenate([linear.real, linear.imag])
    found = minimize(lambda x: misfit(x[:N_COILS] + 1j * x[N_COILS:], values), start, method="BFGS")
    weights = emulated_weights(values, target)
    assert misfit(weights, values) < misfit(linear, values)
    assert misfit(weights, values) == pytest.approx(found.fun, rel=1e-4)


def test_weights_of_nothing_are_finite() -> None:
    np.testing.assert_array_equal(emulated_weights(np.zeros((5, 4)), np.zeros(5)), np.full(4, 0.25))


def test_weights_are_found_while_gradients_are_off() -> None:
    values = coil_images()[0].reshape(N_COILS, -1).T
    expected = emulated_weights(values, np.linalg.norm(values, axis=1))
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            np.testing.assert_array_equal(emulated_weights(values, np.linalg.norm(values, axis=1)), expected)


def test_several_coils_are_refused_with_the_options(tmp_path: Path) -> None:
    multi_coil_file(tmp_path / "a.h5", coil_images())
    reason = r"a\.h5:kspace: expected k-space of one coil, got 4 x 3 x 16 x 12 .*--coils emulated.*multicoil\.json"
    with pytest.raises(DataError, match=reason) as caught:
        find_slices(str(tmp_path))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="coils must be 'single', 'emulated' or 'multi', got 'all'"):
        open_slices(tmp_path / "a.h5", coils="all")
    np.save(tmp_path / "b.npy", np.ones((7, 5)))
    with pytest.raises(ValueError, match=r"b\.npy: coils='multi' is for k-space, and this is an image"):
        open_slices(tmp_path / "b.npy", coils="multi")


def test_multi_coil_items(tmp_path: Path) -> None:
    images = coil_images()
    rss = np.linalg.norm(images, axis=1).astype(np.float32)
    kspace = multi_coil_file(tmp_path / "full.h5", images, reconstruction_rss=rss)
    multi_coil_file(tmp_path / "measured.h5", images, mask=MASK, reconstruction_rss=rss[:, 2:8, 2:8])
    multi_coil_file(tmp_path / "plain.h5", images)
    full, measured, plain = (
        SliceDataset(find_slices(str(tmp_path), coils="multi"), coils="multi")[i] for i in (1, 4, 7)
    )
    for item in (full, plain):
        assert "mask" not in item
        np.testing.assert_allclose(item["kspace"].numpy(), kspace[1] / rss.max(), atol=1e-6)
    np.testing.assert_allclose(full["image"][0].numpy(), rss[1] / rss.max(), rtol=1e-5)
    assert "image" not in plain
    assert (measured["kspace"].dtype, measured["kspace"].shape) == (torch.complex64, (4, 16, 12))
    np.testing.assert_array_equal(measured["mask"].numpy(), np.tile(MASK, (1, 16, 1)))
    zero_filled = np.linalg.norm(numpy_ifft2c(numpy_fft2c(images) * MASK), axis=1)
    np.testing.assert_allclose(measured["kspace"].numpy(), kspace[1] * MASK / zero_filled.max(), atol=1e-6)
    np.testing.assert_allclose(measured["image"][0].numpy(), rss[1, 2:8, 2:8] / zero_filled.max(), rtol=1e-5)


def test_a_reference_of_the_recon_size_is_the_image(tmp_path: Path) -> None:
    images = coil_images()
    rss = np.linalg.norm(images, axis=1)[:, 4:12, 2:10].astype(np.float32)
    multi_coil_file(tmp_path / "a.h5", images, mask=MASK, reconstruction_rss=rss)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["ismrmrd_header"] = header((16, 12), (8, 8))
        file.attrs["max"] = rss.max()
    for options in ({}, {"remove_oversampling": True}):
        options["coils"] = "multi"
        item = SliceDataset(find_slices(str(tmp_path), **options), **options)[2]
        assert tuple(item["kspace"].shape[1:]) == (item["height"], item["width"]) == (16 - 8 * (len(options) - 1), 12)
        np.testing.assert_allclose(item["image"][0].numpy(), rss[2] / rss.max(), rtol=1e-6)


def test_one_coil_kept_as_several_has_its_axis(tmp_path: Path) -> None:
    images = coil_images(n_coils=1)
    multi_coil_file(tmp_path / "a.h5", images)
    multi_coil_file(tmp_path / "b.h5", images[:, 0])
    dataset = SliceDataset(find_slices(str(tmp_path), coils="multi"), coils="multi")
    assert [tuple(item["kspace"].shape) for item in dataset] == [(1, 16, 12)] * 6
    assert torch.equal(dataset[1]["kspace"], dataset[4]["kspace"])
    for coils in ("single", "emulated"):
        a, b = (open_slices(tmp_path / name, coils=coils).read(1) for name in ("a.h5", "b.h5"))
        np.testing.assert_array_equal(a, b)


def test_training_on_several_coils_refuses_undersampling(tmp_path: Path) -> None:
    multi_coil_file(tmp_path / "a.h5", coil_images(), mask=MASK)
    dataset = SliceDataset(find_slices(str(tmp_path), coils="multi"), fully_sampled=True, coils="multi")
    with pytest.raises(DataError, match=r"a\.h5: expected fully sampled data"):
        dataset[0]


def test_emulated_coil_is_one_combination_for_all_slices(tmp_path: Path) -> None:
    images = coil_images()
    kspace = multi_coil_file(tmp_path / "a.h5", images)
    values = images.transpose(0, 2, 3, 1).reshape(-1, N_COILS)
    weights = emulated_weights(values, np.linalg.norm(values, axis=1))
    reader = open_slices(tmp_path / "a.h5", coils="emulated", intensity_range=1)
    for index in range(3):
        expected = np.tensordot(weights, kspace[index], axes=1)
        np.testing.assert_allclose(reader.read(index), expected, atol=1e-3 * abs(expected).max())
    dataset = SliceDataset(find_slices(str(tmp_path), coils="emulated"), coils="emulated", fully_sampled=True)
    magnitudes = torch.stack([item["image"].abs() for item in dataset])
    assert magnitudes.shape == (3, 1, 16, 12)
    assert magnitudes.max().item() == pytest.approx(1, rel=1e-5)  # its own peak is the scale


def test_emulation_uses_measured_samples_alone(tmp_path: Path) -> None:
    images = coil_images()
    kspace = multi_coil_file(tmp_path / "full.h5", images, mask=MASK)
    with h5py.File(tmp_path / "zeros.h5", "w") as file:
        file["kspace"], file["mask"], file.attrs["acquisition"] = kspace * MASK, MASK, "knee"
    one, other = SliceDataset(find_slices(str(tmp_path), coils="emulated"), coils="emulated")[0:6:3]
    assert one["kspace"].shape == (1, 16, 12)
    assert torch.equal(one["kspace"], other["kspace"])


def test_emulation_fits_the_recon_size(tmp_path: Path) -> None:
    """Coils that see the same inside of the recon size, and what is brighter outside of it."""
    images = np.ones((2, 3, 16, 8)) * np.array([1, 1j, -1])[:, None, None]
    images[:, 0, :4] = images[:, 1, -4:] = 50
    multi_coil_file(tmp_path / "a.h5", images)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["ismrmrd_header"] = header((16, 8), (8, 8))
    for options, rows in (({}, slice(4, 12)), ({"remove_oversampling": True}, slice(None))):
        reader = open_slices(tmp_path / "a.h5", coils="emulated", intensity_range=1, **options)
        np.testing.assert_allclose(abs(numpy_ifft2c(reader.read(1)))[rows], np.sqrt(3), rtol=1e-3)


def test_slices_are_read_one_by_one_and_weights_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    multi_coil_file(tmp_path / "a.h5", coil_images((20, 8, 6)))
    slices: list[int] = []
    read = Source.read
    monkeypatch.setattr(Source, "read", lambda self, region=None: slices.append(region[1].start) or read(self, region))
    open_slices(tmp_path / "a.h5", coils="multi", intensity_range=1).read(7)
    assert slices == [7]
    slices.clear()
    reader = open_slices(tmp_path / "a.h5", coils="emulated", intensity_range=1)
    for index in (5, 6):
        reader.read(index)
    assert slices == [5, 0, 3, 5, 8, 11, 14, 16, 19, 6]


def test_only_so_many_pixels_are_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    multi_coil_file(tmp_path / "a.h5", coil_images())
    fitted: list[int] = []

    def counted(values: np.ndarray, target: np.ndarray) -> np.ndarray:
        fitted.append(len(values))
        return emulated_weights(values, target)

    monkeypatch.setattr(kspace_slices, "emulated_weights", counted)
    monkeypatch.setattr(kspace_slices, "_FITTED_PIXELS", 301)
    open_slices(tmp_path / "a.h5", coils="emulated").read(0)
    assert fitted == [300]


@pytest.mark.parametrize("coils", ["single", "emulated", "multi"])
def test_slices_and_files_of_zeros_are_finite(tmp_path: Path, coils: str) -> None:
    images = coil_images(n_coils=1 if coils == "single" else N_COILS)
    images[1] = 0
    multi_coil_file(tmp_path / "slice.h5", images)
    multi_coil_file(tmp_path / "whole.h5", images * 0)
    for item in SliceDataset(find_slices(str(tmp_path), coils=coils), coils=coils):
        values = item["kspace" if coils == "multi" else "image"]
        assert torch.isfinite(torch.view_as_real(values)).all()
        is_zero = "whole" in item["path"] or item["slice"] == 1
        assert bool((values == 0).all()) == is_zero


@pytest.mark.parametrize("coils", ["emulated", "multi"])
def test_volumes_of_mixed_sizes_never_share_a_batch(tmp_path: Path, coils: str) -> None:
    multi_coil_file(tmp_path / "a.h5", coil_images((3, 16, 12)))
    multi_coil_file(tmp_path / "b.h5", coil_images((2, 14, 10), n_coils=3))
    dataset = SliceDataset(find_slices(str(tmp_path), coils=coils), coils=coils)
    key = "kspace" if coils == "multi" else "image"
    shapes = [tuple(batch[key].shape) for batch in evaluation_loader(dataset, batch_size=4)]
    assert shapes == ([(3, 4, 16, 12), (2, 3, 14, 10)] if coils == "multi" else [(3, 1, 16, 12), (2, 1, 14, 10)])


def test_separate_reference_lines_give_the_maps(tmp_path: Path) -> None:
    """A scan of every second line, without a full centre: the maps come from lines that were measured before it."""
    kspace = centred(body(64, 64) * coil_maps(4, 64, 64))
    lines = lines_of(0.5 * kspace, range(20, 44), flags=("PARALLEL_CALIBRATION",))
    lines += lines_of(kspace, range(0, 64, 2))
    write_mrd(tmp_path / "a.h5", header_of((64, 64, 1), (160, 160, 3), limits=(0, 63, 32)), lines)
    options = {"coils": "multi"}
    batch = next(iter(evaluation_loader(SliceDataset(find_slices(tmp_path, **options), **options), 1)))
    measurement, _ = PrepareCoilAcquisition(MaskSampler("cartesian", accel=4))(batch, torch.device("cpu"))
    measured, mask, maps = unpack_coils(measurement)
    assert mask[0, 0].all(0).nonzero().flatten().tolist() == list(range(0, 64, 2))
    np.testing.assert_allclose(measured[0].numpy()[..., ::2] * batch_range(tmp_path), kspace[..., ::2], atol=1e-5)
    across = np.abs((coil_maps(4, 64, 64).conj() * maps[0].numpy()).sum(0))  # 1 where known and found maps are parallel
    assert across[np.abs(body(64, 64)) > 0.1].min() > 0.99


def batch_range(folder: Path) -> float:
    return open_slices(folder / "a.h5", coils="multi").range[1]
