"""The knee phantom."""

import h5py
import numpy as np
import pytest
import torch
from helpers import numpy_fft2c, numpy_ifft2c

from common.metrics import get_protocol
from common.operators.fourier import fft2c, ifft2c
from common.operators.masks import sampling_mask
from common.phantoms.knee_phantom import knee_phantom
from common.phantoms.knee_set import knee_kspace

QUANTILES = (0.5, 0.8, 0.95, 0.99)
RADII = ((8, 16), (32, 48), (80, 96))


@pytest.fixture(scope="module")
def knees():
    return [knee_phantom(seed, n_slices=2) for seed in range(8)]


@pytest.fixture(scope="module")
def noisy_knees():
    return np.stack([numpy_ifft2c(knee_kspace(seed)[:, 0]) for seed in range(6)])


def quantiles(volumes):
    """Of the magnitude, as shares of each volume's maximum, averaged; `volumes` is [volumes, slices, H, W]."""
    magnitude = np.abs(volumes)
    return np.quantile(magnitude / magnitude.max(axis=(1, 2, 3), keepdims=True), QUANTILES, axis=(2, 3)).mean((1, 2))


def spectrum(volumes):
    """log10 of a sample's mean share of the energy of its slice, in rings of k-space."""
    energy = np.abs(numpy_fft2c(volumes)) ** 2
    energy /= energy.sum(axis=(-2, -1), keepdims=True)
    axis = np.arange(256) - 128
    radius = np.hypot(axis[:, None], axis)
    return [np.log10(energy[..., (radius >= low) & (radius < high)].mean()) for low, high in RADII]


def correlation(first, second):
    return np.corrcoef(np.abs(first).ravel(), np.abs(second).ravel())[0, 1]


def test_knees_are_many_and_all_knees(knees):
    pairs = [correlation(knees[i], knees[j]) for i in range(8) for j in range(i)]
    assert max(pairs) < 0.9
    assert min(pairs) > 0.15
    for knee in knees:
        assert 0.45 < (np.abs(knee) > 0.02).mean() < 0.85  # the leg's share of the field of view


@pytest.mark.parametrize("seed", [0, 3])
def test_sections_vary_smoothly_through_one_knee(seed):
    knee = knee_phantom(seed, 128, n_slices=7)
    near = [correlation(knee[i], knee[i + 1]) for i in range(6)]
    far = [correlation(knee[i], knee[i + 3]) for i in range(4)]
    assert min(near) > 0.75
    assert max(near) < 0.999
    assert np.mean(far) < np.mean(near) - 0.05
    other = knee_phantom(seed + 1, 128, n_slices=7)
    assert np.mean(near) > 0.1 + np.mean([correlation(knee[i], other[i]) for i in range(7)])


def test_many_sections_stay_within_the_joint():
    knee = knee_phantom(1, 64, n_slices=20)
    assert np.abs(knee).max(axis=(1, 2)).min() > 0.3
    assert min(correlation(knee[i], knee[i + 1]) for i in range(19)) > 0.8


def test_bones_are_dark_muscle_grey_and_the_joint_bright(knees):
    mean = np.mean([np.abs(knee).mean(axis=0) for knee in knees], axis=0)
    femur, tibia = mean[75:110, 95:120].mean(), mean[185:230, 95:125].mean()
    calf = mean[170:240, 195:215].mean()
    assert max(femur, tibia) < 0.35 * calf
    assert mean[:4].mean() < 0.5 * mean[8:16].mean()  # the coil's end along the leg
    joint = np.max([np.abs(knee)[:, 120:165, 70:130].max(axis=(1, 2)) for knee in knees], axis=1)
    assert joint.min() > 1.3 * calf


def test_phase_is_slow_but_for_jumps_where_fat_meets_water(knees):
    for knee in knees:
        inside = np.abs(knee) > 0.1
        both = inside[:, :, 1:] & inside[:, :, :-1]
        step = np.abs(np.angle(knee[:, :, 1:] * knee[:, :, :-1].conj())[both])
        assert 0.002 < np.median(step) < 0.05
        assert 0.1 < np.quantile(step, 0.995) < 1.5
        assert np.ptp(np.angle(knee[inside])) > 0.5


def test_statistics_are_near_those_of_real_knees(noisy_knees):
    np.testing.assert_allclose(quantiles(noisy_knees), [0.12, 0.26, 0.41, 0.53], rtol=0.25)
    np.testing.assert_allclose(spectrum(noisy_knees), [-4.1, -5.6, -6.6], atol=0.3)


def test_zero_filled_images_leave_the_work_that_real_ones_do(shared_data, noisy_knees):
    paths = sorted((shared_data / "knee_mridata" / "singlecoil_val").glob("*.h5"))
    volumes = []
    for path in paths:
        with h5py.File(path) as file:
            volumes.append(file["kspace"][()])
    real = numpy_ifft2c(np.stack(volumes))
    np.testing.assert_allclose(quantiles(noisy_knees), quantiles(real), rtol=0.35)
    np.testing.assert_allclose(spectrum(noisy_knees), spectrum(real), atol=0.35)
    mask = sampling_mask("cartesian", (256, 256), 0.25, seed=0)[0, 0]
    psnr = []
    for knees in (noisy_knees, real):
        images = torch.from_numpy(knees / np.abs(knees).max(axis=(1, 2, 3), keepdims=True)).flatten(0, 1)
        zero_filled = ifft2c(mask * fft2c(images.to(torch.complex64)))
        psnr.append(get_protocol("magnitude_slice").evaluate(zero_filled, images, metrics=["psnr"])["psnr"].mean())
    assert abs(psnr[0] - psnr[1]) < 2, psnr
