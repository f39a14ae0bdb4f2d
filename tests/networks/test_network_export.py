"""Exported generators give the numbers of the one that was exported, at even and odd sizes."""

import io
from functools import lru_cache

import numpy as np
import pytest
import torch
from helpers import random_measurement
from torch import nn

from common.networks import RefineGanGenerator

SIZES = [(48, 32), (33, 27)]
AUTO = torch.export.Dim.AUTO
DYNAMIC = ({0: AUTO, 2: AUTO, 3: AUTO},)


@lru_cache
def generator(scaling):
    """A generator in evaluation mode, whose batch norms have statistics of their own."""
    torch.manual_seed(0)
    network = RefineGanGenerator(width=4, scaling=scaling)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
    with torch.no_grad():
        for seed in range(2):
            network(random_measurement(32, 32, seed, batch=2))
    return network.eval()


@pytest.mark.parametrize("scaling", ["shifted", "peak"])
@torch.no_grad()
def test_torchscript_gives_the_same_numbers(scaling):
    network, file = generator(scaling), io.BytesIO()
    torch.jit.save(torch.jit.script(network), file)
    file.seek(0)
    scripted = torch.jit.load(file)
    for height, width in SIZES:
        measurement = random_measurement(height, width, seed=7, batch=3)
        torch.testing.assert_close(scripted(measurement), network(measurement), rtol=0, atol=1e-6)
        for mine, theirs in zip(network.stages(measurement), scripted.stages(measurement), strict=True):
            torch.testing.assert_close(theirs, mine, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scaling", ["shifted", pytest.param("peak", marks=pytest.mark.slow)])
@torch.no_grad()
def test_exported_program_gives_the_same_numbers(scaling):
    network, file = generator(scaling), io.BytesIO()
    torch.export.save(
        torch.export.export(network, (random_measurement(36, 28, batch=2),), dynamic_shapes=DYNAMIC), file
    )
    file.seek(0)
    program = torch.export.load(file).module()
    for height, width in SIZES:
        measurement = random_measurement(height, width, seed=8, batch=3)
        torch.testing.assert_close(program(measurement), network(measurement), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch's exporter uses what torch deprecates
@pytest.mark.parametrize("scaling", ["shifted", "peak"])
@torch.no_grad()
def test_onnx_gives_the_same_numbers(scaling, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    network, path = generator(scaling), tmp_path / "model.onnx"
    example = random_measurement(36, 28, batch=2)
    torch.onnx.export(network, (example,), path, dynamo=True, dynamic_shapes=DYNAMIC, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for height, width in SIZES:
        measurement = random_measurement(height, width, seed=9, batch=3)
        expected = network(measurement).numpy()
        (result,) = session.run(None, {session.get_inputs()[0].name: measurement.numpy()})
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
