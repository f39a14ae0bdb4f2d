"""Data consistency with coils: hard replacement for one, least squares for several, the truth where coils suffice."""

import io

import numpy as np
import pytest
import torch
from helpers import numpy_fft2c, random_complex, random_mask
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from common.operators import (
    HardDataConsistency,
    SenseAcquisition,
    SenseDataConsistency,
    complex_to_channels,
    fft2c,
    pack_measurement,
    sense_adjoint,
    simulated_sensitivity_maps,
    unpack_coils,
)
from common.phantoms.brain_phantom import brain_phantom

sizes = {"height": st.integers(2, 17), "width": st.integers(2, 17), "seed": st.integers(0, 2**16)}
AUTO = torch.export.Dim.AUTO
DYNAMIC = ({0: AUTO, 2: AUTO, 3: AUTO},)


class CoilReconstruction(nn.Module):
    """Packed measurement in, consistent image out: what a network does around its layers."""

    def __init__(self):
        super().__init__()
        self.consistency = SenseDataConsistency(2)

    def forward(self, measurement):
        masked_kspace, mask, sensitivity_maps = unpack_coils(measurement)
        image = 0.5 * sense_adjoint(masked_kspace, sensitivity_maps, mask)
        return complex_to_channels(self.consistency(image, masked_kspace, sensitivity_maps, mask))


def coil_measurement(n_coils, batch, height, width, seed=0):
    """Packed random measurement; without maps where ``n_coils`` is 0."""
    mask = random_mask(height, width, seed, batch)
    if n_coils == 0:
        return pack_measurement(mask * random_complex(batch, 1, height, width, dtype=torch.complex64), mask)
    maps = simulated_sensitivity_maps(n_coils, height, width)
    image = random_complex(batch, 1, height, width, seed=seed, dtype=torch.complex64)
    return pack_measurement(SenseAcquisition(maps, mask)(image), mask, maps)


@given(n_iterations=st.integers(1, 3), **sizes)
def test_one_coil_is_hard_replacement(n_iterations, height, width, seed):
    image, truth = (random_complex(2, 1, height, width, seed=seed + i, dtype=torch.complex64) for i in range(2))
    mask = random_mask(height, width, seed, batch=2)
    kspace, ones = mask * fft2c(truth), torch.ones(1, 1, height, width, dtype=torch.complex64)
    result = SenseDataConsistency(n_iterations)(image, kspace, ones, mask)
    scale = float(fft2c(image).abs().max() + kspace.abs().max())
    torch.testing.assert_close(result, HardDataConsistency()(image, kspace, mask), rtol=0, atol=1e-6 * scale)
    assert float((mask * fft2c(result) - kspace).abs().max()) <= 1e-6 * scale
    phase = torch.polar(torch.ones(1, 1, height, width), torch.rand(1, 1, height, width))
    seen = SenseDataConsistency(n_iterations)(image, kspace, phase, mask)
    assert float((mask * fft2c(phase * seen) - kspace).abs().max()) <= 1e-6 * scale


@pytest.mark.parametrize(("height", "width", "n_coils"), [(4, 4, 2), (3, 5, 3), (4, 5, 6)])
def test_it_is_the_smallest_least_squares_correction(height, width, n_coils):
    """Against the pseudo-inverse of a dense matrix; measurements fit (2 and 3 coils) or contradict each other (6)."""
    image = random_complex(2, 1, height, width)
    mask = random_mask(height, width, 1, batch=2)
    maps = random_complex(1, n_coils, height, width, seed=2)
    kspace = mask * random_complex(2, n_coils, height, width, seed=3)
    units = np.eye(height * width).reshape(-1, 1, height, width)
    columns = numpy_fft2c(maps.numpy() * units)
    expected = []
    for x, y, m in zip(image.numpy(), kspace.numpy(), mask.numpy(), strict=True):
        matrix = (m * columns).reshape(height * width, -1).T
        correction = np.linalg.pinv(matrix, rcond=1e-10) @ (y.ravel() - matrix @ x.ravel())
        expected.append(x + correction.reshape(1, height, width))
    result = SenseDataConsistency(200, tolerance=1e-13)(image, kspace, maps, mask)
    np.testing.assert_allclose(result.numpy(), np.stack(expected), rtol=1e-7, atol=1e-7)


def phantom_measurement(mask, dtype=torch.complex64):
    """A head, eight maps, and what the coils measure of it."""
    truth = torch.from_numpy(brain_phantom(3, 64))[None, None].to(dtype)
    maps = simulated_sensitivity_maps(8, 64, 64).to(dtype)
    return truth, maps, SenseAcquisition(maps, mask)(truth)


def every(rows, columns, size=64):
    """Each so-many-th row and column, DC among them."""
    mask = torch.zeros(1, 1, size, size)
    mask[..., size // 2 % rows :: rows, size // 2 % columns :: columns] = 1
    return mask


@pytest.mark.parametrize(
    ("rows", "columns", "n_iterations", "dtype", "largest"),
    [(2, 2, 60, torch.complex64, 1e-5), (2, 2, 100, torch.complex128, 1e-9), (1, 4, 250, torch.complex128, 1e-6)],
)
def test_coils_that_suffice_give_the_single_coil_truth(rows, columns, n_iterations, dtype, largest):
    """Noiseless 4-fold acceleration, known maps, from zero: CG-SENSE."""
    mask = every(rows, columns)
    truth, maps, kspace = phantom_measurement(mask, dtype)
    assert float(mask.mean()) == 0.25
    result = SenseDataConsistency(n_iterations, tolerance=1e-12)(torch.zeros_like(truth), kspace, maps, mask)
    assert float((result - truth).norm() / truth.norm()) < largest


def test_more_iterations_fit_better_and_a_fit_stays():
    mask = random_mask(64, 64, rate=0.25)
    truth, maps, kspace = phantom_measurement(mask)
    acquisition, zeros = SenseAcquisition(maps, mask), torch.zeros_like(truth)
    misfits = []
    for n_iterations in (1, 3, 10, 30):
        result = SenseDataConsistency(n_iterations)(zeros, kspace, maps, mask)
        misfits.append(float((acquisition(result) - kspace).norm() / kspace.norm()))
    assert misfits == sorted(misfits, reverse=True)
    assert misfits[2] < 0.03
    torch.testing.assert_close(SenseDataConsistency(10)(truth, kspace, maps, mask), truth, rtol=0, atol=1e-5)


def test_nothing_measured_changes_nothing_and_nothing_is_divided_by_zero():
    maps = simulated_sensitivity_maps(4, 8, 9)
    image = torch.zeros(2, 1, 8, 9, dtype=torch.complex64, requires_grad=True)
    kspace = torch.zeros(2, 4, 8, 9, dtype=torch.complex64)
    for mask in (torch.zeros(1, 1, 8, 9), torch.ones(1, 1, 8, 9)):
        result = SenseDataConsistency(5)(image, kspace, maps, mask)
        (gradient,) = torch.autograd.grad(result.abs().square().sum() + result.real.sum(), image)
        assert not result.detach().any()
        assert torch.view_as_real(gradient).isfinite().all()
    other = random_complex(2, 1, 8, 9, dtype=torch.complex64)
    assert torch.equal(SenseDataConsistency(5)(other, kspace, maps, torch.zeros(1, 1, 8, 9)), other)


def test_each_image_of_a_batch_is_on_its_own():
    """An image that is done does not stop the others, and its scale does not matter."""
    mask = random_mask(12, 10, 1, batch=3)
    maps = simulated_sensitivity_maps(4, 12, 10)
    kspace = SenseAcquisition(maps, mask)(random_complex(3, 1, 12, 10, dtype=torch.complex64))
    kspace = kspace * torch.tensor([0, 1, 1e-6]).reshape(3, 1, 1, 1)
    step, zeros = SenseDataConsistency(4), torch.zeros(3, 1, 12, 10, dtype=torch.complex64)
    result = step(zeros, kspace, maps, mask)
    assert not result[0].any()
    for index in (1, 2):
        alone = step(zeros[:1], kspace[index : index + 1], maps, mask[index : index + 1])
        torch.testing.assert_close(result[index : index + 1], alone, rtol=1e-4, atol=1e-6 * float(alone.abs().max()))


def test_its_gradients_are_those_of_finite_differences():
    mask = random_mask(3, 4)
    maps, kspace = random_complex(1, 2, 3, 4, seed=1), mask * random_complex(1, 2, 3, 4, seed=2)
    image = random_complex(1, 1, 3, 4).requires_grad_()
    step = SenseDataConsistency(2)
    assert torch.autograd.gradcheck(lambda x, y: step(x, y, maps, mask), (image, kspace.requires_grad_()))


@pytest.mark.parametrize("n_coils", [0, 3])
@torch.no_grad()
def test_torchscript_gives_the_same_numbers(n_coils):
    network, file = CoilReconstruction().eval(), io.BytesIO()
    torch.jit.save(torch.jit.script(network), file)
    file.seek(0)
    scripted = torch.jit.load(file)
    for height, width in [(16, 12), (11, 9)]:
        measurement = coil_measurement(n_coils, 3, height, width, seed=4)
        torch.testing.assert_close(scripted(measurement), network(measurement), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("n_coils", [0, 3])
@torch.no_grad()
def test_exported_program_gives_the_same_numbers(n_coils):
    network = CoilReconstruction().eval()
    program = torch.export.export(network, (coil_measurement(n_coils, 2, 12, 10),), dynamic_shapes=DYNAMIC).module()
    for height, width in [(16, 12), (11, 9)]:
        measurement = coil_measurement(n_coils, 3, height, width, seed=4)
        torch.testing.assert_close(program(measurement), network(measurement), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch's exporter uses what torch deprecates
@pytest.mark.parametrize("n_coils", [0, 3])
@torch.no_grad()
def test_onnx_gives_the_same_numbers(n_coils, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    network, path = CoilReconstruction().eval(), tmp_path / "model.onnx"
    example = coil_measurement(n_coils, 2, 12, 10)
    torch.onnx.export(network, (example,), path, dynamo=True, dynamic_shapes=DYNAMIC, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for height, width in [(16, 12), (11, 9)]:
        measurement = coil_measurement(n_coils, 3, height, width, seed=4)
        expected = network(measurement).numpy()
        (result,) = session.run(None, {session.get_inputs()[0].name: measurement.numpy()})
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="n_iterations must be at least 1, got 0"):
        SenseDataConsistency(0)
    with pytest.raises(ValueError, match="tolerance must be at least 0, got -1"):
        SenseDataConsistency(1, tolerance=-1)
