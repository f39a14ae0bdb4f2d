"""K-space truncation against NumPy, and where its pixels lie."""

import numpy as np
import pytest
import torch

from common.operators.degradation import KspaceTruncation, truncate_kspace


def numpy_truncated(image, upscale):
    """Of the spatial axes of ``[height, width[, depth]]``, not aligned."""
    kspace = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(image), norm="ortho"))
    for axis, n in enumerate(image.shape):
        kept = n // upscale
        kspace = np.take(kspace, range(n // 2 - kept // 2, n // 2 - kept // 2 + kept), axis=axis)
    reduced = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(kspace), norm="ortho"))
    return np.abs(reduced) / upscale ** (image.ndim / 2)


def numpy_resampled(image, upscale):
    """The same samples of k-space, summed up at the middle of each block: a Fourier series, no FFT."""
    value = image.astype(complex)
    for axis, n in enumerate(image.shape):
        frequency = np.arange(n // upscale) - (n // upscale) // 2
        analysis = np.exp(-2j * np.pi * np.outer(frequency, np.arange(n)) / n) / n
        middles = upscale * np.arange(n // upscale) + (upscale - 1) / 2
        synthesis = np.exp(2j * np.pi * np.outer(middles, frequency) / n)
        value = np.moveaxis(np.tensordot(synthesis @ analysis, value, (1, axis)), 0, axis)
    return np.abs(value)


@pytest.mark.parametrize("shape", [(32, 24), (36, 20), (16, 24, 12)], ids=str)
@pytest.mark.parametrize("upscale", [2, 4])
@pytest.mark.parametrize("aligned", [False, True])
def test_equals_numpy(shape, upscale, aligned):
    images = np.random.default_rng(0).random((2, 1, *shape))
    reference = numpy_resampled if aligned else numpy_truncated
    expected = [[reference(channel, upscale) for channel in image] for image in images]
    ours = truncate_kspace(torch.from_numpy(images), upscale, aligned)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-12)
    single = truncate_kspace(torch.from_numpy(images).float(), upscale, aligned)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, rtol=0, atol=2e-6)


def test_takes_complex_images():
    rng = np.random.default_rng(0)
    image = rng.random((16, 24)) + 1j * rng.random((16, 24))
    ours = truncate_kspace(torch.from_numpy(image)[None, None], 2, aligned=False)
    assert not ours.is_complex()
    np.testing.assert_allclose(ours[0, 0].numpy(), numpy_truncated(image, 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(24, 16), (8, 16, 24)], ids=str)
@pytest.mark.parametrize("upscale", [2, 4, 8])
def test_intensities_stay(shape, upscale):
    flat = torch.full((1, 2, *shape), 0.7)
    reduced = KspaceTruncation(upscale)(flat, torch.Generator())
    torch.testing.assert_close(reduced, torch.full((1, 2, *(n // upscale for n in shape)), 0.7))


@pytest.mark.parametrize(("aligned", "offset"), [(True, 1.5), (False, 0.0)])
@pytest.mark.parametrize("size", [64, 68])
def test_place_of_pixels(aligned, offset, size):
    """A pixel lies at ``4 i + 1.5`` of the large image if aligned; else those of DC, ``n // 2``, coincide."""
    rows = torch.arange(size, dtype=torch.float64)
    spot = torch.exp(-0.5 * ((rows[:, None] - 30.3) / 6) ** 2) * torch.exp(-0.5 * ((rows - 35.1) / 6) ** 2)
    reduced = truncate_kspace(spot[None, None], 4, aligned)[0, 0]
    places = 4 * torch.arange(size // 4, dtype=torch.float64) + offset
    if not aligned:
        places += size // 2 - 4 * (size // 4 // 2)
    centre = (reduced.sum(1) @ places / reduced.sum(), reduced.sum(0) @ places / reduced.sum())
    assert [float(c) for c in centre] == pytest.approx([30.3, 35.1], abs=0.02)


def test_odd_factors_of_a_size_are_refused():
    with pytest.raises(ValueError, match=r"multiples of upscale=4, got 18 x 16"):
        truncate_kspace(torch.zeros(1, 1, 18, 16), 4)
    with pytest.raises(ValueError, match=r"whole number of at least 2 .* got 1"):
        KspaceTruncation(1)
