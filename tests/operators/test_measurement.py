"""The packed measurement at a network's door."""

import pytest
import torch
from helpers import random_complex, random_mask

from common.operators import pack_measurement, unpack_measurement


@pytest.mark.parametrize("mask_dtype", [torch.float32, torch.bool, torch.int64])
@pytest.mark.parametrize("mask_batch", [1, 3])
def test_packed_measurement_goes_back(mask_dtype, mask_batch):
    mask = random_mask(7, 6, batch=mask_batch)
    kspace = mask * random_complex(3, 1, 7, 6, dtype=torch.complex64)
    measurement = pack_measurement(kspace, mask.to(mask_dtype))
    assert measurement.shape == (3, 3, 7, 6)
    assert measurement.dtype == torch.float32
    assert torch.equal(measurement[:, 0], kspace.real[:, 0])
    assert torch.equal(measurement[:, 1], kspace.imag[:, 0])
    unpacked, unpacked_mask = unpack_measurement(measurement)
    assert torch.equal(unpacked, kspace)
    assert torch.equal(unpacked_mask, mask.expand(3, 1, 7, 6))


def test_samples_outside_the_mask_are_not_let_in():
    mask = random_mask(8, 8)
    kspace = random_complex(1, 1, 8, 8, dtype=torch.complex64)
    unpacked, _ = unpack_measurement(pack_measurement(kspace, mask))
    assert torch.equal(unpacked, mask * kspace)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"got k-space \[8, 8\] and mask \[8, 7\]"):
        pack_measurement(random_complex(1, 1, 8, 8), random_mask(8, 7))
    for shape in [(1, 2, 8, 8), (3, 8, 8)]:
        with pytest.raises(ValueError, match=r"expected a measurement \(batch, 3, height, width\)"):
            unpack_measurement(torch.zeros(shape))
