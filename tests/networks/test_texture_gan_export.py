"""Exported texture networks give the numbers of the one that was exported, with and without a given noise."""

import pytest
import torch
from exports import assert_same, onnx, program, scripted
from helpers import random_measurement
from small_texture_cascades import VARIANTS, coil_measurement, noise_for, textures

SIZES = [(48, 40), (33, 47)]
EXAMPLE = (80, 64)  # programs of torch.export take a side of one cell of 32 pixels, or of more, for good


def inputs(height, width, noise, batch, seed=7):
    """A measurement, and noise for it where that is given."""
    measurement = random_measurement(height, width, seed, batch)
    return (measurement, noise_for(measurement, seed=seed)) if noise else (measurement,)


@pytest.mark.parametrize("name", [pytest.param("adain", marks=pytest.mark.slow), "spatial"])
@torch.no_grad()
def test_torchscript_gives_the_same_numbers(name):
    network = textures(name)
    exported = scripted(network)
    measurements = [
        *(random_measurement(*size, seed=7, batch=3) for size in SIZES),
        coil_measurement(33, 40, n_coils=3),
    ]
    assert_same(exported, network, measurements)
    assert_same(exported, network, [(measurement, noise_for(measurement)) for measurement in measurements])
    several = noise_for(measurements[0], 2)
    expected = network.samples(measurements[0], several)
    torch.testing.assert_close(exported.samples(measurements[0], several), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_exported_program_gives_the_same_numbers(name):
    network = textures(name)
    exported = program(network, *inputs(*EXAMPLE, True, batch=2))
    assert_same(exported, network, [inputs(*size, True, batch=3) for size in SIZES])


@pytest.mark.slow
@pytest.mark.parametrize("noise", [False, True])
def test_onnx_gives_the_same_numbers(noise, tmp_path):
    network = textures()
    exported = onnx(network, tmp_path, *inputs(*EXAMPLE, noise, batch=2))
    assert_same(exported, network, [inputs(*size, noise, batch=3) for size in SIZES], 1e-3)
