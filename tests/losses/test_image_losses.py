"""Image losses against NumPy."""

import numpy as np
import pytest
import torch
from helpers import numpy_fft2c, random_mask

from common.losses import masked_kspace_l1, total_variation


def test_total_variation_of_a_step_is_its_length():
    image = torch.zeros(2, 1, 6, 8)
    image[..., 3:] = 1
    assert total_variation(image).item() == 6
    assert total_variation(image.mT).item() == 6
    assert total_variation(torch.ones(2, 1, 6, 8)).item() == 0


def test_total_variation_is_numpys():
    image = torch.randn(3, 2, 7, 5)
    values = image.numpy().astype(float)
    expected = (np.abs(np.diff(values, axis=2)).sum() + np.abs(np.diff(values, axis=3)).sum()) / 3
    assert total_variation(image).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mask_batch", [1, 3])
def test_masked_kspace_l1_is_numpys(mask_batch):
    image, target = torch.randn(3, 2, 7, 6), torch.randn(3, 2, 7, 6)
    mask = random_mask(7, 6, batch=mask_batch)
    difference = (image - target).numpy().astype(float)
    kspace = mask[:, 0].numpy() * numpy_fft2c(difference[:, 0] + 1j * difference[:, 1])
    expected = np.mean(np.abs(np.stack((kspace.real, kspace.imag))))
    assert masked_kspace_l1(image, target, mask).item() == pytest.approx(expected, rel=1e-5)


def test_masked_kspace_l1_stays_float32_in_low_precision():
    image = torch.randn(1, 2, 8, 8).bfloat16()
    assert masked_kspace_l1(image, torch.zeros(1, 2, 8, 8), random_mask(8, 8)).dtype == torch.float32
