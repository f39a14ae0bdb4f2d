"""Exported texture networks give the numbers of the one that was exported, with and without a given noise."""

import io

import numpy as np
import pytest
import torch
from helpers import random_measurement
from small_texture_unets import coil_measurement, noise_for, variant

SIZES = [(48, 40), (33, 47)]
EXAMPLE = (80, 64)  # programs of torch.export take a side of one cell of 32 pixels, or of more, for good
AUTO = torch.export.Dim.AUTO
GENERATIVE = ("adain", "spatial")
FREE = {0: AUTO, 2: AUTO, 3: AUTO}
WITH_NOISE = [("unrolled", False), ("rolled", False), *((n, noise) for n in GENERATIVE for noise in (False, True))]


def inputs(height, width, noise, batch, seed=7):
    """A measurement, and noise for it where that is given."""
    measurement = random_measurement(height, width, seed, batch)
    return (measurement, noise_for(measurement, seed=seed)) if noise else (measurement,)


@pytest.mark.parametrize("name", ["unrolled", "rolled", pytest.param("adain", marks=pytest.mark.slow), "spatial"])
@torch.no_grad()
def test_torchscript_gives_the_same_numbers(name):
    network, file = variant(name), io.BytesIO()
    torch.jit.save(torch.jit.script(network), file)
    file.seek(0)
    scripted = torch.jit.load(file)
    measurements = [random_measurement(height, width, seed=7, batch=3) for height, width in SIZES]
    for measurement in [*measurements, coil_measurement(33, 40, n_coils=3)]:
        noise = noise_for(measurement)
        torch.testing.assert_close(scripted(measurement), network(measurement), rtol=0, atol=1e-5)
        torch.testing.assert_close(scripted(measurement, noise), network(measurement, noise), rtol=0, atol=1e-5)
        if name in GENERATIVE:
            several = noise_for(measurement, 2)
            expected = network.samples(measurement, several)
            torch.testing.assert_close(scripted.samples(measurement, several), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "noise"), WITH_NOISE)
@torch.no_grad()
def test_exported_program_gives_the_same_numbers(name, noise):
    network, file = variant(name), io.BytesIO()
    example = inputs(*EXAMPLE, noise, batch=2)
    torch.export.save(torch.export.export(network, example, dynamic_shapes=(FREE,) * len(example)), file)
    file.seek(0)
    program = torch.export.load(file).module()
    for height, width in SIZES:
        given = inputs(height, width, noise, batch=3)
        torch.testing.assert_close(program(*given), network(*given), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch's exporter uses what torch deprecates
@pytest.mark.parametrize(
    ("name", "noise"), [("unrolled", False), ("adain", True), ("spatial", False), ("spatial", True)]
)
@torch.no_grad()
def test_onnx_gives_the_same_numbers(name, noise, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    network, path = variant(name), tmp_path / "model.onnx"
    example = inputs(*EXAMPLE, noise, batch=2)
    torch.onnx.export(network, example, path, dynamo=True, dynamic_shapes=(FREE,) * len(example), verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert len(session.get_inputs()) == len(example)
    for height, width in SIZES:
        given = inputs(height, width, noise, batch=3)
        expected = network(*given).numpy()
        names = [entry.name for entry in session.get_inputs()]
        (result,) = session.run(None, {one: value.numpy() for one, value in zip(names, given, strict=True)})
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
