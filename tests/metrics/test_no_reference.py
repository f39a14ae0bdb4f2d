"""PIQE against values recorded from an independent implementation, and its documented properties."""

import numpy as np
import pytest
import torch

from common.metrics import piqe


def picture(seed, height, width, smooth, noise):
    """A sum of random waves with noise, in [0, 1]; `smooth` 5 is made of steps."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    image = np.zeros((height, width))
    for _ in range(20):
        a, b, phase = rng.normal(0, 1 / smooth), rng.normal(0, 1 / smooth), rng.uniform(0, 6.28)
        image += np.sin(a * rows + b * columns + phase)
    image = image + noise * rng.standard_normal(image.shape) * np.abs(image).max()
    image = (image - image.min()) / (image.max() - image.min())
    return np.kron(image[::4, ::4], np.ones((4, 4)))[:height, :width] if smooth == 5 else image


def tensor(*case):
    return torch.from_numpy(picture(*case))[None, None]


# scores of the package pypiqe 1.2 (a port of MATLAB's function, tested against it; OpenCV 5.0, NumPy 2.4.6)
@pytest.mark.parametrize(
    ("case", "score"),
    [
        ((0, 64, 64, 3.0, 0.0), 87.03371263616508),
        ((1, 64, 80, 3.0, 0.05), 8.958341215544841),
        ((2, 70, 53, 2.0, 0.2), 56.83658039884006),
        ((3, 48, 100, 8.0, 0.01), 92.80763531655847),
        ((4, 96, 64, 5, 0.0), 48.44236367698573),
        ((5, 33, 40, 1.0, 0.0), 57.638010740435654),
        ((6, 64, 64, 12.0, 0.0), 100.0),
    ],
)
def test_piqe_equals_the_public_package(case, score):
    assert piqe(tensor(*case)).item() == pytest.approx(score, rel=1e-9)
    assert piqe(tensor(*case).float()).item() == pytest.approx(score, rel=1e-9)  # grey values are whole numbers


def test_piqe_of_an_image_is_its_own_in_any_batch_and_of_any_brightness():
    images = torch.cat([tensor(seed, 64, 48, 3.0, noise) for seed, noise in enumerate((0.0, 0.05, 0.2))])
    alone = torch.cat([piqe(image[None]) for image in images])
    assert len(set(alone.tolist())) == 3
    torch.testing.assert_close(piqe(images), alone)
    torch.testing.assert_close(piqe(0.5 * images), alone)


def test_flat_images_are_bad_and_blur_is_worse_than_none():
    torch.testing.assert_close(
        piqe(torch.stack([torch.zeros(1, 32, 32), torch.ones(1, 32, 32)])), torch.full((2,), 100.0).double()
    )
    sharp = tensor(1, 64, 80, 3.0, 0.05)
    blurred = torch.nn.functional.avg_pool2d(sharp, 5, 1, 2)
    assert piqe(blurred) > piqe(sharp) + 20


def test_a_volume_has_the_mean_over_slices_of_three_axes():
    volume = torch.rand(2, 1, 20, 18, 33, generator=torch.Generator().manual_seed(0))
    for item, value in zip(volume, piqe(volume), strict=True):
        axes = [torch.stack([piqe(image[None])[0] for image in item.unbind(axis)]).mean() for axis in (1, 2, 3)]
        torch.testing.assert_close(value, torch.stack(axes).mean())


@pytest.mark.parametrize("shape", [(16, 16), (1, 3, 16, 16), (1, 16, 16), (1, 1, 2, 2, 2, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"grey images \(batch, 1, height, width\[, depth\]\), got shape"):
        piqe(torch.zeros(shape))
