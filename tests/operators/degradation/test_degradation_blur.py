"""Blur against SciPy, its kernels' sums, moments and directions."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from common.operators.degradation import BoxBlur, GaussianBlur, blur, box_kernels, gaussian_kernels


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_image(*shape):
    return torch.rand(shape, generator=generator(7), dtype=torch.float64)


def delta(*shape, batch=1):
    image = torch.zeros(batch, 1, *shape, dtype=torch.float64)
    image[(..., *(n // 2 for n in shape))] = 1
    return image


def covariance(spot):
    """Second moments ``(dims, dims)`` of an image ``(height, width[, depth])`` of sum 1 about its centre."""
    axes = [torch.arange(n, dtype=spot.dtype) - n // 2 for n in spot.shape]
    places = torch.stack(torch.meshgrid(axes, indexing="ij")).flatten(1)
    return (places * spot.flatten()) @ places.T


@pytest.mark.parametrize("shape", [(20, 31), (9, 14, 11)], ids=str)
@pytest.mark.parametrize("sigma", [0.4, 1.5])
def test_isotropic_blur_equals_scipy(shape, sigma):
    image = random_image(2, 2, *shape)
    ours = GaussianBlur(sigma, isotropic=True)(image, generator())
    radius = int(np.ceil(4 * sigma))
    for plane, expected in zip(image.flatten(0, 1), ours.flatten(0, 1), strict=True):
        theirs = ndimage.gaussian_filter(plane.numpy(), sigma, mode="nearest", radius=radius)
        np.testing.assert_allclose(expected.numpy(), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 30.0, 110.0])
def test_anisotropic_blur_equals_scipy(angle):
    image = random_image(1, 1, 24, 30)
    turned = np.deg2rad(angle)
    axes = np.array([[np.cos(turned), np.sin(turned)], [-np.sin(turned), np.cos(turned)]])
    sigma = np.array([2.0, 0.7])
    precision = axes.T @ np.diag(sigma**-2) @ axes
    side = np.arange(-8, 9)
    places = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1)
    kernel = np.exp(-0.5 * np.einsum("...i,ij,...j", places, precision, places))
    theirs = ndimage.convolve(image[0, 0].numpy(), kernel / kernel.sum(), mode="nearest")
    ours = blur(image, gaussian_kernels(torch.from_numpy(sigma)[None], torch.from_numpy(axes)[None], 8))
    np.testing.assert_allclose(ours[0, 0].numpy(), theirs, rtol=0, atol=1e-12)


def test_an_angle_is_counted_from_down_to_right():
    image = delta(41, 41, batch=200)
    spots = GaussianBlur([0.5, 3.0], angle_deg=90.0)(image, generator())[:, 0]
    assert spots.sum(dim=(1, 2)).tolist() == pytest.approx([1.0] * 200)
    moments = torch.stack([covariance(spot) for spot in spots])
    assert float(moments[:, 0, 1].abs().max()) < 1e-6
    down, right = moments[:, 0, 0].sqrt(), moments[:, 1, 1].sqrt()
    assert not torch.allclose(down, right, atol=0.5)
    for spread in (down, right):  # sigma = 0.5 sampled at whole pixels spreads by 0.46
        assert 0.4 < float(spread.min()) < 0.6
        assert 2.8 < float(spread.max()) < 3.0
    diagonal = covariance(GaussianBlur([0.5, 3.0], angle_deg=45.0)(image, generator())[0, 0])
    assert float(diagonal[0, 0]) == pytest.approx(float(diagonal[1, 1]), rel=1e-6)
    assert abs(float(diagonal[0, 1])) > 0.5


@pytest.mark.parametrize("dims", [2, 3])
def test_directions_and_strengths_are_drawn_per_sample(dims):
    spots = GaussianBlur([1.0, 2.0])(delta(*[19] * dims, batch=60), generator())[:, 0]
    assert spots.flatten(1).sum(1).tolist() == pytest.approx([1.0] * 60)
    moments = torch.stack([covariance(spot) for spot in spots])
    spreads = torch.linalg.eigvalsh(moments).sqrt()
    assert 0.99 < float(spreads.min()) < 1.2
    assert 1.8 < float(spreads.max()) < 2.01
    directions = torch.linalg.eigh(moments).eigenvectors[:, 0, -1]
    assert float(directions.abs().min()) < 0.2
    assert float(directions.abs().max()) > 0.9
    isotropic = GaussianBlur([1.0, 2.0], isotropic=True)(delta(*[19] * dims, batch=5), generator())[:, 0]
    for spot in isotropic:
        moments = covariance(spot)
        torch.testing.assert_close(moments, moments[0, 0] * torch.eye(dims, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(12, 13), (6, 7, 8)], ids=str)
def test_box_equals_scipy(shape):
    image = random_image(1, 2, *shape)
    ours = BoxBlur(3)(image, generator())
    theirs = np.stack([ndimage.uniform_filter(channel.numpy(), 3, mode="nearest") for channel in image[0]])
    np.testing.assert_allclose(ours[0].numpy(), theirs, rtol=0, atol=1e-12)


def test_known_boxes():
    widths = torch.tensor([1.0, 2.0, 2.5, 4.0])
    kernels = box_kernels(widths, dims=2, radius=2)
    assert kernels.sum(dim=(1, 2)).tolist() == pytest.approx([1.0] * 4)
    lines = kernels.sum(dim=1)
    expected = [[0, 0, 1, 0, 0], [0, 0.25, 0.5, 0.25, 0], [0, 0.3, 0.4, 0.3, 0], [0.125, 0.25, 0.25, 0.25, 0.125]]
    torch.testing.assert_close(lines, torch.tensor(expected))
    torch.testing.assert_close(kernels[1], torch.outer(lines[1], lines[1]))
    drawn = BoxBlur([1.0, 4.0])(delta(9, 9, batch=50), generator())
    peaks = drawn.amax(dim=(1, 2, 3))
    assert 1 / 16 <= float(peaks.min()) < 0.08
    assert 0.5 < float(peaks.max()) <= 1


@pytest.mark.parametrize("step", [GaussianBlur(0.0), BoxBlur(1.0), BoxBlur(0)], ids=["gaussian", "box", "no box"])
def test_no_strength_changes_nothing(step):
    image = random_image(2, 1, 7, 9)
    torch.testing.assert_close(step(image, generator()), image, rtol=0, atol=1e-14)


@pytest.mark.parametrize("step", [GaussianBlur([1.0, 3.0]), BoxBlur([2.0, 9.0])], ids=["gaussian", "box"])
def test_intensities_stay_up_to_the_edge_and_in_images_smaller_than_the_kernel(step):
    flat = torch.full((3, 2, 5, 6), 0.3, dtype=torch.float64)
    torch.testing.assert_close(step(flat, generator()), flat)


def test_bad_strengths_are_refused():
    with pytest.raises(ValueError, match=r"sigma must be a number or \[lowest, highest\], .* at least 0, got \[2, 1\]"):
        GaussianBlur([2, 1])
    with pytest.raises(ValueError, match=r"width must be .* got -1"):
        BoxBlur(-1)
    with pytest.raises(ValueError, match=r"width must be .* got \[1, 2, 3\]"):
        BoxBlur([1, 2, 3])
    with pytest.raises(ValueError, match=r"angle_deg is a direction in 2-D, got 3 spatial axes"):
        GaussianBlur(1.0, angle_deg=0.0)(torch.zeros(1, 1, 4, 4, 4), generator())
