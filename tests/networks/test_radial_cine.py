"""The radial cascade and what it is compared with: units, weights of the Cartesian cascade, exports, solvers."""

import io

import numpy as np
import pytest
import torch
from helpers import random_complex

from common.engines import load_weights
from common.networks import LightCineCascade, RadialCgSense, RadialCineCascade, TemporalTotalVariation
from common.operators.fourier import complex_to_channels
from common.operators.radial_series import unpack_radial
from common.operators.series import batch_to_frames
from common.operators.toeplitz import toeplitz_normal

SHAPES = [(2, 2, 12, 20, 5), (1, 3, 17, 9, 3)]
EXAMPLE = (2, 2, 24, 16, 4)
AUTO = torch.export.Dim.AUTO
FREE = {0: AUTO, 1: AUTO, 2: AUTO, 3: AUTO, 4: AUTO}


def measurement(batch, n_coils, height, width, n_frames, seed=0):
    """The normal equations of a random series and a random positive kernel: no transform is needed."""
    generator = torch.Generator().manual_seed(seed)
    images = random_complex(batch * n_frames, 1, height, width, seed=seed, dtype=torch.complex64)
    maps = random_complex(batch, n_coils, height, width, seed=seed + 1, dtype=torch.complex64)
    maps = (maps / maps.abs().square().sum(dim=1, keepdim=True).sqrt()).repeat_interleave(n_frames, dim=0)
    kernel = torch.rand(batch * n_frames, 2 * height, 2 * width, generator=generator)
    gridded = toeplitz_normal(images, kernel, maps)
    parts = (
        complex_to_channels(gridded),
        complex_to_channels(0.7 * gridded),
        torch.nn.functional.pixel_unshuffle(kernel[:, None], 2),
        maps.real,
        maps.imag,
    )
    return batch_to_frames(torch.cat(parts, dim=1), batch)


def small(seed=0):
    torch.manual_seed(seed)
    network = RadialCineCascade(n_stages=2, widths=(4, 6))
    for stage in network.networks:
        torch.nn.init.normal_(stage.network.tail.weight, std=0.01)
    return network.eval()


@torch.no_grad()
def test_unit_and_phase_of_the_measurement_come_back():
    given, network = measurement(*SHAPES[0]), small()
    turned = given.clone()
    for first in (0, 2):  # gridded and view-shared images times 3 i
        turned[:, first], turned[:, first + 1] = -3 * given[:, first + 1], 3 * given[:, first]
    expected = network(given)
    expected = 3 * torch.stack((-expected[:, 1], expected[:, 0]), dim=1)
    torch.testing.assert_close(network(turned), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_weights_of_the_cartesian_cascade_start_it(tmp_path):
    cartesian, radial = LightCineCascade(n_stages=2, widths=(4, 6)), small()
    torch.save(cartesian.state_dict(), tmp_path / "grid.pt")
    load_weights(torch.nn.ModuleDict({"networks": radial.networks}), tmp_path / "grid.pt")
    for name, value in cartesian.state_dict().items():
        assert torch.equal(radial.state_dict()[name], value)


def test_every_weight_learns():
    network, given = small(), measurement(*SHAPES[1])
    network(given).square().sum().backward()
    idle = [name for name, weight in network.named_parameters() if weight.requires_grad and weight.grad is None]
    assert idle == []


@torch.no_grad()
def test_scripted_gives_the_same_numbers():
    network, buffer = small(), io.BytesIO()
    torch.jit.save(torch.jit.script(network), buffer)
    buffer.seek(0)
    scripted = torch.jit.load(buffer)
    for shape in SHAPES:
        torch.testing.assert_close(scripted(measurement(*shape)), network(measurement(*shape)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch's exporter uses what torch deprecates
@torch.no_grad()
def test_onnx_gives_the_same_numbers(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    network, path = small(), tmp_path / "model.onnx"
    fixed = {axis: size for axis, size in FREE.items() if axis != 1}
    torch.onnx.export(network, (measurement(*EXAMPLE),), path, dynamo=True, dynamic_shapes=(fixed,), verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    for shape in (EXAMPLE, SHAPES[0]):
        given = measurement(*shape)
        expected = network(given).numpy()
        (result,) = session.run(None, {entry.name: given.numpy()})
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


@torch.no_grad()
def test_cg_sense_solves_its_equation():
    given = measurement(*SHAPES[1])
    gridded, _, kernel, maps = unpack_radial(given)
    result = RadialCgSense(80, 0.3)(given)
    image = torch.view_as_complex(result.permute(0, 4, 2, 3, 1).reshape(-1, 1, *SHAPES[1][2:4], 2).contiguous())
    left = toeplitz_normal(image, kernel, maps) + 0.3 * image
    assert torch.linalg.vector_norm(left - gridded) < 1e-4 * torch.linalg.vector_norm(gridded)


@torch.no_grad()
def test_total_variation_over_time_has_the_least_cost():
    """No neighbour of the result has less, and a large weight gives one image for all frames."""
    given, weight = measurement(*SHAPES[1]), 0.2
    gridded, shared, kernel, maps = unpack_radial(given)
    penalty = weight * float(shared.abs().max())

    def cost(image):
        data = (image.conj() * (0.5 * toeplitz_normal(image, kernel, maps) - gridded)).real.sum()
        return float(data + penalty * image.diff(dim=0).abs().sum())

    def solved(weight):
        result = TemporalTotalVariation(1500, weight)(given)
        return torch.view_as_complex(result.permute(0, 4, 2, 3, 1).reshape(-1, 1, *SHAPES[1][2:4], 2).contiguous())

    image = solved(weight)
    least = cost(image)
    for seed in range(5):
        other = random_complex(*image.shape, seed=seed, dtype=torch.complex64)
        assert cost(image + 0.03 * other) > least
    assert cost(shared) > least
    still = solved(1e3)
    assert still.diff(dim=0).abs().max() < 1e-2 * still.abs().max()
