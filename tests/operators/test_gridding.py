"""Gridding of series measured along readouts: intensities, maps, and k-space between the readouts taken for zero."""

import math

import pytest
import torch

from common.operators import NonuniformFourier, radial_trajectory, series_angles, simulated_sensitivity_maps
from common.operators.coils import root_sum_of_squares
from common.operators.fourier import fft2c, ifft2c
from common.operators.gridding import average_coil_images, density_compensation, readout_maps, zero_filled_frames
from common.operators.masks.trajectories import rasterised_spokes

pytest.importorskip("torchkbnufft", reason="needs the extra `radial`")

SHAPE = (30, 32)


def body():
    """A smooth round object, ``(1, 1, height, width)``."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    image = torch.sigmoid(20 * (0.6 - torch.hypot(y, x))) + 0.5 * torch.sigmoid(20 * (0.2 - torch.hypot(y - 0.2, x)))
    return image[None, None].to(torch.complex64)


def measured(n_frames, n_spokes, maps):
    """Samples of a still object on golden-angle spokes that are read twice as densely, and their places."""
    places = radial_trajectory(series_angles("golden", n_frames, n_spokes), 2 * max(SHAPE)).float()
    images = body().expand(n_frames, -1, -1, -1)
    return NonuniformFourier(places, SHAPE, maps)(images), places


def relative(got, wanted):
    return float(torch.linalg.vector_norm(got - wanted) / torch.linalg.vector_norm(wanted))


def test_mean_of_all_frames_keeps_the_intensity_of_each_coil():
    maps = simulated_sensitivity_maps(3, *SHAPE)
    samples, places = measured(10, 13, maps)
    assert relative(average_coil_images(samples, places, SHAPE), maps * body()) < 0.04


def test_maps_of_the_mean_are_those_of_the_coils():
    maps = simulated_sensitivity_maps(4, *SHAPE)
    samples, places = measured(8, 13, maps)
    found = readout_maps(samples, places, SHAPE)
    inside = body().abs()[0, 0] > 0.5
    overlap = (found.conj() * maps).sum(1).abs()[0]
    assert float(overlap[inside].min()) > 0.98
    one, places = measured(2, 5, None)
    assert torch.equal(readout_maps(one, places, SHAPE), torch.ones(1, 1, *SHAPE, dtype=torch.complex64))


def test_zero_filled_frames_are_those_of_spokes_on_the_grid():
    samples, places = measured(4, 9, None)
    ones = torch.ones(1, 1, *SHAPE, dtype=torch.complex64)
    frames = zero_filled_frames(samples, places, ones)
    masks = rasterised_spokes(series_angles("golden", 4, 9), SHAPE)[:, None]
    gridded = ifft2c(masks * fft2c(body()))
    assert relative(frames, gridded) < 0.25
    # full density compensation would stand for k-space between the spokes, too
    edge = torch.ones_like(samples)
    whole = NonuniformFourier(places, SHAPE).adjoint(density_compensation(places, SHAPE)[:, None] * edge)
    peak = zero_filled_frames(edge, places, ones)[..., SHAPE[0] // 2, SHAPE[1] // 2].real / math.sqrt(math.prod(SHAPE))
    torch.testing.assert_close(peak, masks.float().mean(dim=(2, 3)), atol=0.02, rtol=0)
    assert float(whole.abs().amax()) > 2 * float(peak.max()) * math.sqrt(math.prod(SHAPE))


def test_readouts_that_are_no_spokes_are_compensated_by_iteration():
    angle = torch.linspace(0, 40 * math.pi, 1600)
    radius = 0.499 * angle / angle.max()
    spiral = torch.stack((radius * angle.sin(), radius * angle.cos()), dim=-1)[None, None]
    weights = density_compensation(spiral, SHAPE)
    assert float(weights[..., -50:].mean()) > 10 * float(weights[..., 2:30].mean())
    samples = NonuniformFourier(spiral, SHAPE)(body())
    image = root_sum_of_squares(average_coil_images(samples, spiral, SHAPE))
    assert relative(image, body().abs()) < 0.15
