"""Exported RefineGAN generators give the numbers of the one that was exported, at even and odd sizes."""

from functools import lru_cache

import pytest
import torch
from exports import assert_same, onnx, program, scripted
from helpers import random_measurement
from torch import nn

from common.networks import RefineGanGenerator

EXAMPLE = random_measurement(36, 28, batch=2)
MEASUREMENTS = [random_measurement(*size, seed=7, batch=3) for size in ((48, 32), (33, 27))]


@lru_cache
@torch.no_grad()
def generator(scaling):
    """A generator in evaluation mode, whose batch norms have statistics of their own."""
    torch.manual_seed(0)
    network = RefineGanGenerator(width=4, scaling=scaling)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
    for seed in range(2):
        network(random_measurement(32, 32, seed, batch=2))
    return network.eval()


@pytest.mark.parametrize("scaling", ["shifted", "peak"])
@torch.no_grad()
def test_torchscript_gives_the_same_numbers(scaling):
    network = generator(scaling)
    exported = scripted(network)
    assert_same(exported, network, MEASUREMENTS)
    for mine, theirs in zip(network.stages(MEASUREMENTS[1]), exported.stages(MEASUREMENTS[1]), strict=True):
        torch.testing.assert_close(theirs, mine, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scaling", ["shifted", pytest.param("peak", marks=pytest.mark.slow)])
def test_exported_program_gives_the_same_numbers(scaling):
    assert_same(program(generator(scaling), EXAMPLE), generator(scaling), MEASUREMENTS)


@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["shifted", "peak"])
def test_onnx_gives_the_same_numbers(scaling, tmp_path):
    assert_same(onnx(generator(scaling), tmp_path, EXAMPLE), generator(scaling), MEASUREMENTS, 1e-3)
