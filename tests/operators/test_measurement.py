"""The packed measurement at a network's door."""

import pytest
import torch
from helpers import random_complex, random_mask

from common.operators import pack_measurement, unpack_coils, unpack_measurement


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


@pytest.mark.parametrize(("n_coils", "maps_batch"), [(1, 3), (2, 1), (5, 3)])
def test_packed_coils_go_back(n_coils, maps_batch):
    mask = random_mask(7, 6, batch=3)
    kspace = mask * random_complex(3, n_coils, 7, 6, dtype=torch.complex64)
    maps = random_complex(maps_batch, n_coils, 7, 6, seed=1, dtype=torch.complex64)
    measurement = pack_measurement(kspace, mask, maps)
    assert measurement.shape == (3, 4 * n_coils + 1, 7, 6)
    assert measurement.dtype == torch.float32
    assert torch.equal(measurement[:, n_coils : 2 * n_coils], kspace.imag)
    assert torch.equal(measurement[:, 2 * n_coils : 2 * n_coils + 1], mask)
    unpacked = unpack_coils(measurement)
    for value, expected in zip(unpacked, (kspace, mask, maps.expand_as(kspace)), strict=True):
        assert torch.equal(value, expected)
    unmasked = pack_measurement(kspace + 1, mask, maps)
    assert torch.equal(unpack_coils(unmasked)[0], mask * (kspace + 1))


def test_one_coil_without_maps_has_a_map_of_ones():
    measurement = pack_measurement(random_complex(2, 1, 7, 6, dtype=torch.complex64), random_mask(7, 6))
    kspace, mask, maps = unpack_coils(measurement)
    expected_kspace, expected_mask = unpack_measurement(measurement)
    assert torch.equal(kspace, expected_kspace)
    assert torch.equal(mask, expected_mask)
    assert torch.equal(maps, torch.ones(2, 1, 7, 6, dtype=torch.complex64))


def test_wrong_coils_are_refused():
    kspace, mask = random_complex(2, 3, 8, 8, dtype=torch.complex64), random_mask(8, 8)
    with pytest.raises(ValueError, match="expected sensitivity maps with k-space of 3 coils, got none"):
        pack_measurement(kspace, mask)
    with pytest.raises(ValueError, match=r"height and width \[3, 8, 8\], got \[2, 8, 8\]"):
        pack_measurement(kspace, mask, kspace[:, :2])
    for shape in [(1, 1, 8, 8), (1, 4, 8, 8), (1, 7, 8, 8), (9, 8, 8)]:
        with pytest.raises(ValueError, match=r"expected a measurement \(batch, 3 or 4 n_coils \+ 1, height, width\)"):
            unpack_coils(torch.zeros(shape))
