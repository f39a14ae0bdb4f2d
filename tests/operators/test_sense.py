"""SENSE acquisition: adjointness, and single-coil as its special case."""

import pytest
import torch
from helpers import assert_adjoint, numpy_fft2c, random_complex, random_mask
from hypothesis import given
from hypothesis import strategies as st

from common.operators import SenseAcquisition, SingleCoilAcquisition, sense_adjoint, sense_forward

sizes = {"height": st.integers(1, 13), "width": st.integers(1, 13), "seed": st.integers(0, 2**16)}


@given(n_coils=st.integers(1, 5), batch=st.integers(1, 3), shared=st.booleans(), boolean=st.booleans(), **sizes)
def test_sense_is_adjoint_for_any_size(n_coils, batch, shared, boolean, height, width, seed):
    mask = random_mask(height, width, seed, 1 if shared else batch)
    maps = random_complex(1 if shared else batch, n_coils, height, width, seed=seed + 2)
    x = random_complex(batch, 1, height, width, seed=seed)
    y = random_complex(batch, n_coils, height, width, seed=seed + 1)
    assert_adjoint(SenseAcquisition(maps, mask.bool() if boolean else mask), x, y)


@given(**sizes)
def test_a_map_of_ones_is_the_single_coil(height, width, seed):
    mask = random_mask(height, width, seed, batch=2)
    ones = torch.ones(1, 1, height, width, dtype=torch.complex64)
    sense, single = SenseAcquisition(ones, mask), SingleCoilAcquisition(mask)
    x, y = (random_complex(2, 1, height, width, seed=seed + i, dtype=torch.complex64) for i in range(2))
    assert torch.equal(sense(x), single(x))
    assert torch.equal(sense.adjoint(y), single.adjoint(y))


def test_each_coil_sees_the_image_through_its_map():
    image, maps = random_complex(2, 1, 6, 7), random_complex(1, 3, 6, 7, seed=1)
    mask = random_mask(6, 7)
    expected = mask.numpy() * numpy_fft2c(maps.numpy() * image.numpy())
    torch.testing.assert_close(SenseAcquisition(maps, mask)(image), torch.from_numpy(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("function", [sense_forward, sense_adjoint])
def test_scripted_functions_give_the_same_numbers(function):
    maps, mask = random_complex(2, 3, 6, 7, dtype=torch.complex64), random_mask(6, 7)
    values = random_complex(2, 1 if function is sense_forward else 3, 6, 7, seed=1, dtype=torch.complex64)
    assert torch.equal(torch.jit.script(function)(values, maps, mask), function(values, maps, mask))
