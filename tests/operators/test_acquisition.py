"""Acquisition models: adjointness, and what a projection keeps."""

import torch
from helpers import assert_adjoint, random_complex, random_mask
from hypothesis import given
from hypothesis import strategies as st

from common.operators import SingleCoilAcquisition, fft2c

sizes = {"height": st.integers(1, 13), "width": st.integers(1, 13), "seed": st.integers(0, 2**16)}


@given(batch=st.integers(1, 3), shared=st.booleans(), boolean=st.booleans(), **sizes)
def test_single_coil_is_adjoint_for_any_size(batch, shared, boolean, height, width, seed):
    mask = random_mask(height, width, seed, 1 if shared else batch)
    x = random_complex(batch, 1, height, width, seed=seed)
    y = random_complex(batch, 1, height, width, seed=seed + 1)
    assert_adjoint(SingleCoilAcquisition(mask.bool() if boolean else mask), x, y)


@given(**sizes)
def test_single_coil_there_and_back_is_the_mask(height, width, seed):
    mask = random_mask(height, width, seed)
    acquisition = SingleCoilAcquisition(mask)
    kspace = random_complex(2, 1, height, width, seed=seed)
    torch.testing.assert_close(acquisition(acquisition.adjoint(kspace)), mask * kspace, rtol=1e-10, atol=1e-10)


def test_full_mask_measures_the_whole_transform():
    image = random_complex(1, 1, 6, 7)
    assert torch.equal(SingleCoilAcquisition(torch.ones(1, 1, 6, 7))(image), fft2c(image))
    assert not SingleCoilAcquisition(torch.zeros(1, 1, 6, 7))(image).any()
