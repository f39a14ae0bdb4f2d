"""Exported generators give the numbers of the one that was exported, at even and odd sizes."""

import io

import numpy as np
import pytest
import torch
from helpers import random_measurement
from torch import nn

from common.networks import RefineGanGenerator

SIZES = [(48, 32), (33, 27)]


@pytest.fixture(scope="module", params=["shifted", "peak"])
def generator(request):
    torch.manual_seed(0)
    network = RefineGanGenerator(width=4, scaling=request.param)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
    with torch.no_grad():
        for seed in range(2):  # batch norms with statistics of their own
            network(random_measurement(32, 32, seed, batch=2))
    return network.eval()


@pytest.fixture(scope="module")
def scripted(generator):
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(generator), file)
    file.seek(0)
    return torch.jit.load(file)


@pytest.fixture(scope="module")
def program(generator):
    auto = torch.export.Dim.AUTO
    exported = torch.export.export(
        generator, (random_measurement(36, 28, batch=2),), dynamic_shapes=({0: auto, 2: auto, 3: auto},)
    )
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    return torch.export.load(file).module()


@pytest.mark.parametrize(("height", "width"), SIZES)
@torch.no_grad()
def test_torchscript_gives_the_same_numbers(generator, scripted, height, width):
    measurement = random_measurement(height, width, seed=7, batch=3)
    torch.testing.assert_close(scripted(measurement), generator(measurement), rtol=0, atol=1e-6)
    for mine, theirs in zip(generator.stages(measurement), scripted.stages(measurement), strict=True):
        torch.testing.assert_close(theirs, mine, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), SIZES)
@torch.no_grad()
def test_exported_program_gives_the_same_numbers(generator, program, height, width):
    measurement = random_measurement(height, width, seed=8, batch=3)
    torch.testing.assert_close(program(measurement), generator(measurement), rtol=0, atol=1e-6)


@pytest.mark.slow
@torch.no_grad()
def test_onnx_gives_the_same_numbers(generator, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    auto = torch.export.Dim.AUTO
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        generator,
        (random_measurement(36, 28, batch=2),),
        path,
        dynamo=True,
        dynamic_shapes=({0: auto, 2: auto, 3: auto},),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for height, width in SIZES:
        measurement = random_measurement(height, width, seed=9, batch=3)
        expected = generator(measurement).numpy()
        (result,) = session.run(None, {session.get_inputs()[0].name: measurement.numpy()})
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
