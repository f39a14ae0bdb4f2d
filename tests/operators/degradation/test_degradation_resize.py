"""Resizing equals PIL's, in 2-D and axis by axis in 3-D."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from common.operators.degradation import KERNELS, Downscale, resampling_matrix, resize


def noise_image(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def pil_resize(image, size, kernel):
    """Of an array ``[height, width]``, in PIL's mode F."""
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling[kernel.upper()]))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    new_size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kernel=st.sampled_from(KERNELS),
    seed=st.integers(0, 2**16),
)
def test_any_resize_equals_pil(size, new_size, kernel, seed):
    image = noise_image(*size, seed=seed)
    ours = resize(torch.from_numpy(image)[None, None], new_size, kernel)[0, 0]
    np.testing.assert_allclose(ours.numpy(), pil_resize(image, new_size, kernel), rtol=0, atol=2e-6)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("upscale", [2, 4, 8])
def test_downscale_equals_pil(kernel, upscale):
    images = noise_image(2, 3, 48, 80)
    reduced = Downscale(upscale, kernel)(torch.from_numpy(images), generator()).numpy()
    size = (48 // upscale, 80 // upscale)
    expected = [[pil_resize(channel, size, kernel) for channel in image] for image in images]
    np.testing.assert_allclose(reduced, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_volumes_are_resized_axis_by_axis(kernel):
    volume = noise_image(8, 12, 16)
    planes = np.stack([pil_resize(plane, (6, 8), kernel) for plane in volume])  # height and width of each slice
    expected = pil_resize(planes.reshape(8, 48), (4, 48), kernel).reshape(4, 6, 8)
    reduced = Downscale(2, kernel)(torch.from_numpy(volume)[None, None], generator())[0, 0]
    np.testing.assert_allclose(reduced.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kernel", "mode"), [("nearest", "nearest-exact"), ("bilinear",) * 2, ("bicubic",) * 2])
def test_torch_agrees_where_it_can(kernel, mode):
    image = torch.from_numpy(noise_image(2, 1, 32, 64))
    theirs = F.interpolate(image, scale_factor=0.25, mode=mode, antialias=mode != "nearest-exact")
    torch.testing.assert_close(resize(image, (8, 16), kernel), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_known_rows(kernel):
    middle = resampling_matrix(64, 16, kernel)[8]
    assert middle.sum() == pytest.approx(1)
    known = {"nearest": (34, 1.0), "box": (32, 0.25), "bilinear": (33, 7 / 32)}
    if kernel in known:
        place, weight = known[kernel]
        assert middle[place] == pytest.approx(weight)
    taps = {"nearest": 1, "box": 4, "bilinear": 8, "bicubic": 16, "lanczos": 24}
    assert np.count_nonzero(np.abs(middle) > 1e-12) == taps[kernel]


def test_each_sample_draws_its_kernel():
    kernels = ["nearest", "bilinear", "bicubic", "lanczos"]
    images = torch.from_numpy(noise_image(64, 1, 16, 8))
    mixed = Downscale(2, kernels)(images, generator())
    single = torch.stack([Downscale(2, kernel)(images, generator()) for kernel in kernels])
    distance = (single - mixed).abs().amax(dim=(2, 3, 4))  # (kernels, samples)
    assert float(distance.amin(dim=0).max()) < 1e-6
    counts = distance.argmin(dim=0).bincount(minlength=4)
    assert int(counts.min()) >= 7  # 16 expected; 7 or less has a chance of 1 % for one kernel
    assert torch.equal(mixed, Downscale(2, kernels)(images, generator()))
    assert not torch.equal(mixed, Downscale(2, kernels)(images, generator(1)))


def test_gradients_flow_after_inference_mode():
    with torch.inference_mode():
        resize(torch.rand(1, 1, 20, 20), (10, 10))
    image = torch.rand(1, 1, 20, 20, requires_grad=True)
    resize(image, (10, 10)).sum().backward()
    assert float(image.grad.sum()) == pytest.approx(100, rel=1e-5)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"multiples of upscale=4, got 18 x 16; crop the image, for instance to 16 x"):
        Downscale(4)(torch.zeros(1, 1, 18, 16), generator())
    with pytest.raises(ValueError, match=r"kernels must be of nearest, .*, got cubic"):
        Downscale(4, ["bicubic", "cubic"])
    with pytest.raises(ValueError, match=r"got none"):
        Downscale(4, [])
    with pytest.raises(ValueError, match=r"kernel must be one of .* got 'cubic'"):
        resize(torch.zeros(1, 1, 4, 4), (2, 2), "cubic")
    with pytest.raises(ValueError, match=r"whole number of at least 2 .* got 1\.5"):
        Downscale(1.5)
    with pytest.raises(ValueError, match=r"size for each of 2 spatial axes, got \[2\]"):
        resize(torch.zeros(1, 1, 4, 4), [2])
    with pytest.raises(ValueError, match=r"at least one pixel, got 4 and 0"):
        resize(torch.zeros(1, 1, 4, 4), (2, 0))
