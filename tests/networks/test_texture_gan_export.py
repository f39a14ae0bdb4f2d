"""Exported texture networks give the numbers of the one that was exported, with and without a given noise."""

import pytest
import torch
from exports import assert_same, onnx, program, scripted
from helpers import random_measurement
from small_texture_unets import coil_measurement, noise_for, variant

SIZES = [(48, 40), (33, 47)]
EXAMPLE = (80, 64)  # programs of torch.export take a side of one cell of 32 pixels, or of more, for good
GENERATIVE = ("adain", "spatial")
WITH_NOISE = [("unrolled", False), *((name, noise) for name in GENERATIVE for noise in (False, True))]


def inputs(height, width, noise, batch, seed=7):
    """A measurement, and noise for it where that is given."""
    measurement = random_measurement(height, width, seed, batch)
    return (measurement, noise_for(measurement, seed=seed)) if noise else (measurement,)


@pytest.mark.parametrize("name", ["unrolled", pytest.param("adain", marks=pytest.mark.slow), "spatial"])
@torch.no_grad()
def test_torchscript_gives_the_same_numbers(name):
    network = variant(name)
    exported = scripted(network)
    measurements = [
        *(random_measurement(*size, seed=7, batch=3) for size in SIZES),
        coil_measurement(33, 40, n_coils=3),
    ]
    assert_same(exported, network, measurements)
    assert_same(exported, network, [(measurement, noise_for(measurement)) for measurement in measurements])
    if name in GENERATIVE:
        several = noise_for(measurements[0], 2)
        expected = network.samples(measurements[0], several)
        torch.testing.assert_close(exported.samples(measurements[0], several), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "noise"), WITH_NOISE)
def test_exported_program_gives_the_same_numbers(name, noise):
    network = variant(name)
    exported = program(network, *inputs(*EXAMPLE, noise, batch=2))
    assert_same(exported, network, [inputs(*size, noise, batch=3) for size in SIZES])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "noise"), [("unrolled", False), ("adain", True), ("spatial", False), ("spatial", True)]
)
def test_onnx_gives_the_same_numbers(name, noise, tmp_path):
    network = variant(name)
    exported = onnx(network, tmp_path, *inputs(*EXAMPLE, noise, batch=2))
    assert_same(exported, network, [inputs(*size, noise, batch=3) for size in SIZES], 1e-3)
