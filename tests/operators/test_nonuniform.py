"""Non-uniform Fourier transform against the direct sum and sigpy, density compensation, Toeplitz normal operator."""

import io
import math

import numpy as np
import pytest
import torch
from helpers import assert_adjoint, random_complex

from common.operators import (
    NonuniformFourier,
    fft2c,
    iterated_density,
    radial_density,
    radial_trajectory,
    series_angles,
    simulated_sensitivity_maps,
    toeplitz_kernel,
    toeplitz_normal,
)

pytest.importorskip("torchkbnufft", reason="needs the extra `radial`")

PRECISIONS = [(torch.float32, 1e-5), (torch.float64, 1e-8)]
SHAPES = [(16, 12), (15, 18)]


def trajectory(dtype=torch.float64, n_frames=2, n_spokes=5, n_samples=20, order="golden"):
    return radial_trajectory(series_angles(order, n_frames, n_spokes, first=0.3), n_samples).to(dtype)


def maps(n_coils, shape, dtype=torch.float64):
    return simulated_sensitivity_maps(n_coils, *shape).to(
        torch.complex64 if dtype == torch.float32 else torch.complex128
    )


def direct(places, image):
    """The sum itself, in float64: ``(batch, coils, spokes, samples)``."""
    phases = [
        torch.exp(-2j * math.pi * places.double()[..., axis, None] * (torch.arange(size) - size // 2))
        for axis, size in enumerate(image.shape[-2:])
    ]
    total = torch.einsum("bsmr,bqrc,bsmc->bqsm", phases[0], image.to(torch.complex128), phases[1])
    return total / math.sqrt(math.prod(image.shape[-2:]))


def relative(got, wanted):
    return float(torch.linalg.vector_norm(got - wanted) / torch.linalg.vector_norm(wanted))


@pytest.mark.parametrize("n_coils", [1, 8])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "error"), PRECISIONS)
def test_is_the_direct_sum_and_its_adjoint(dtype, error, shape, n_coils):
    places, coils = trajectory(dtype), maps(n_coils, shape, dtype)
    transform = NonuniformFourier(places, shape, coils)
    x = random_complex(2, 1, *shape, dtype=coils.dtype)
    y = random_complex(2, n_coils, 5, 20, seed=1, dtype=coils.dtype)
    expected = direct(places, coils * x)
    assert relative(transform(x), expected) < error
    # <F x, y> of the direct sum against the adjoint
    left, right = (
        torch.vdot(y.flatten().to(expected), expected.flatten()),
        torch.vdot(transform.adjoint(y).flatten(), x.flatten()),
    )
    assert abs(left - right) < error * torch.linalg.vector_norm(expected) * torch.linalg.vector_norm(y)
    assert_adjoint(transform, x, y, rtol=1e-4 if dtype == torch.float32 else 1e-10)


def test_on_the_cartesian_grid_it_is_the_fast_transform():
    shape = (12, 15)
    axes = [(torch.arange(n, dtype=torch.float64) - n // 2) / n for n in shape]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)[None]
    x = random_complex(1, 1, *shape)
    assert relative(NonuniformFourier(places, shape)(x), fft2c(x)) < 1e-8
    torch.testing.assert_close(
        iterated_density(places, shape).mean(), torch.ones((), dtype=torch.float64), rtol=0.2, atol=0
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-4), (torch.float64, 1e-8)])
def test_toeplitz_normal_is_forward_and_adjoint(dtype, error, shape):
    places, coils = trajectory(dtype), maps(8, shape, dtype)
    transform = NonuniformFourier(places, shape, coils)
    x = random_complex(2, 1, *shape, dtype=coils.dtype)
    weights = radial_density(places, shape)
    kernel = toeplitz_kernel(places, weights, shape)
    expected = transform.adjoint(weights[:, None] * transform(x))
    assert kernel.dtype == dtype
    assert relative(toeplitz_normal(x, kernel, coils), expected) < error


def test_scripted_toeplitz_normal_gives_the_same_numbers():
    kernel, coils = torch.rand(2, 12, 14), maps(3, (6, 7), torch.float32)
    x, buffer = random_complex(2, 1, 6, 7, dtype=torch.complex64), io.BytesIO()
    torch.jit.save(torch.jit.script(toeplitz_normal), buffer)
    buffer.seek(0)
    torch.testing.assert_close(torch.jit.load(buffer)(x, kernel, coils), toeplitz_normal(x, kernel, coils))


@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_sigpy(shape):
    sigpy = pytest.importorskip("sigpy", reason="needs the extra `classical`")
    places, x = trajectory(n_frames=1), random_complex(1, 1, *shape)
    coordinates = places[0].numpy() * np.array(shape)
    transform = NonuniformFourier(places, shape)
    theirs = sigpy.nufft(x[0, 0].numpy(), coordinates, oversamp=2, width=6)
    assert relative(transform(x)[0, 0], torch.from_numpy(theirs)) < 1e-4
    y = random_complex(1, 1, 5, 20, seed=1)
    theirs = sigpy.nufft_adjoint(y[0, 0].numpy(), coordinates, shape, oversamp=2, width=6)
    assert relative(transform.adjoint(y)[0, 0], torch.from_numpy(theirs)) < 1e-4


@pytest.mark.parametrize("order", ["golden", "tiny_golden", "uniform"])
def test_gridding_keeps_the_intensity(order):
    """Enough spokes, weighted by their density, give the image back."""
    shape = (32, 32)
    places = trajectory(n_frames=1, n_spokes=60, n_samples=64, order=order)
    y, x = torch.meshgrid(*[torch.arange(32) - 16] * 2, indexing="ij")
    image = torch.exp(-((y - 3) ** 2 + (x + 2) ** 2) / 18.0).to(torch.complex128)[None, None]
    transform = NonuniformFourier(places, shape)
    for weights in (radial_density(places, shape), iterated_density(places, shape, 30)):
        assert relative(transform.adjoint(weights[:, None] * transform(image)), image) < 0.02
    torch.testing.assert_close(float(radial_density(places, shape).sum()), math.pi / 4 * 32 * 32, rtol=0.02, atol=0)


def test_angles_go_on_from_frame_to_frame():
    golden = series_angles("golden", 3, 5).flatten().rad2deg()
    np.testing.assert_allclose(golden.diff().numpy(), 111.246, atol=1e-3)
    np.testing.assert_allclose(series_angles("tiny_golden", 2, 4).flatten().rad2deg().diff().numpy(), 23.628, atol=1e-3)
    assert series_angles("uniform", 2, 4, 0.5).sub(0.5).rad2deg().tolist() == [[0, 45, 90, 135]] * 2


def test_samples_of_a_spoke_lie_on_its_line():
    along_row, along_column = radial_trajectory(torch.tensor([0.0, math.pi / 2]), 4)
    torch.testing.assert_close(along_row, torch.tensor([[0, -0.5], [0, -0.25], [0, 0], [0, 0.25]]))
    torch.testing.assert_close(along_column, along_row.flip(1), atol=1e-6, rtol=0)


def test_other_units_are_refused():
    with pytest.raises(ValueError, match="cycles per pixel"):
        NonuniformFourier(trajectory() * 2 * math.pi, (16, 16))
    with pytest.raises(ValueError, match="trajectory"):
        NonuniformFourier(trajectory()[0], (16, 16))
    with pytest.raises(ValueError, match="sensitivity maps"):
        NonuniformFourier(trajectory(), (16, 16), maps(2, (16, 15)))
    with pytest.raises(ValueError, match="spoke"):
        series_angles("silver", 1, 1)


def test_says_what_to_install(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("common.operators.nonuniform.import_module", missing)
    with pytest.raises(ValueError, match="pip install 'torchkbnufft"):
        NonuniformFourier(trajectory(), (16, 16))
