"""The perceptual distance against plain layers by NumPy-like steps, and what makes it a distance."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from common.metrics import PerceptualDistance, get_protocol, super_resolution_protocol
from common.networks import Vgg19Classifier

WIDTH = 4


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "textures.pt"
    network = Vgg19Classifier(3, width=WIDTH)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.bias, std=0.2)  # random features without it may be dead
    torch.save({name: value.half() for name, value in network.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def distance(weight_file):
    return PerceptualDistance(weight_file)


def images(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def by_hand(one, other, weight_file):
    """Two images ``(height, width)``; convolutions by torch, all else by NumPy."""
    state = torch.load(weight_file, weights_only=True)
    maps = []
    for image in (one, other):
        means, deviations = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        x = (image.numpy()[None] - means[:, None, None]) / deviations[:, None, None]
        ends, place = [], 0
        for convolutions in (2, 2, 4, 4, 4):
            for _ in range(convolutions):
                weight, bias = (state[f"features.{place}.{name}"].double() for name in ("weight", "bias"))
                x = np.maximum(F.conv2d(torch.from_numpy(x)[None], weight, bias, padding=1)[0].numpy(), 0)
                place += 2
            ends.append(x)
            height, width = (n // 2 * 2 for n in x.shape[1:])
            x = x[:, :height, :width].reshape(len(x), height // 2, 2, width // 2, 2).max(axis=(2, 4))
            place += 1
        maps.append(ends)
    total = 0.0
    for a, b in zip(*maps, strict=True):
        a, b = (x / (np.sqrt((x**2).sum(0)) + 1e-10) for x in (a, b))
        total += ((a - b) ** 2).sum(0).mean()
    return total


def test_it_is_the_distance_of_unit_features_by_hand(distance, weight_file):
    sr_image, hr_image = images(3, 1, 40, 33), images(3, 1, 40, 33, seed=1)
    expected = [by_hand(a[0], b[0], weight_file) for a, b in zip(sr_image, hr_image, strict=True)]
    assert min(expected) > 0.05
    np.testing.assert_allclose(distance(sr_image, hr_image).numpy(), expected, rtol=1e-4)


def test_it_is_zero_for_equal_images_symmetric_and_bounded(distance):
    sr_image, hr_image = images(2, 1, 32, 32), images(2, 1, 32, 32, seed=1)
    assert distance(hr_image, hr_image.clone()).tolist() == [0, 0]
    torch.testing.assert_close(distance(sr_image, hr_image), distance(hr_image, sr_image))
    assert (distance(torch.zeros(2, 1, 32, 32), hr_image) < 10).all()
    assert not distance(sr_image.requires_grad_(), hr_image).requires_grad


def test_it_grows_with_blur(distance):
    hr_image = images(2, 1, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    blurred = [F.avg_pool2d(hr_image, size, 1, size // 2, count_include_pad=False) for size in (1, 3, 5, 9)]
    grown = torch.stack([distance(image, hr_image) for image in blurred])
    assert (grown.diff(dim=0) > 0).all()


def test_a_volume_has_the_mean_over_slices_of_three_axes(distance):
    sr_volume, hr_volume = images(2, 1, 20, 16, 35), images(2, 1, 20, 16, 35, seed=1)
    for sr, hr, value in zip(sr_volume, hr_volume, distance(sr_volume, hr_volume), strict=True):
        axes = [
            torch.stack([distance(a[None], b[None])[0] for a, b in zip(sr.unbind(axis), hr.unbind(axis), strict=True)])
            for axis in (1, 2, 3)
        ]
        torch.testing.assert_close(value, torch.stack([values.mean() for values in axes]).mean(), rtol=1e-4, atol=0)


def test_it_is_a_column_of_the_protocol_measured_inside_the_border(distance):
    sr_image, hr_image = images(2, 40, 40) * 1.2, images(2, 40, 40, seed=1)
    protocol = super_resolution_protocol(4, distance, no_reference=True)
    assert protocol.metrics == ("psnr", "ssim", "nmse", "perceptual", "piqe")
    found = protocol.evaluate(sr_image, hr_image)
    inside = [image[:, None, 4:-4, 4:-4] for image in (sr_image.clamp(max=1), hr_image)]
    torch.testing.assert_close(found["perceptual"], distance(*inside))
    assert found["psnr"].tolist() == get_protocol("super_resolution_x4").evaluate(sr_image, hr_image)["psnr"].tolist()
    assert get_protocol("super_resolution_x4").metrics == ("psnr", "ssim", "nmse")


def test_bad_input_is_refused(distance, tmp_path):
    with pytest.raises(ValueError, match=r"of one shape, got \[1, 1, 16, 16\] and \[1, 1, 16, 17\]"):
        distance(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 17))
    with pytest.raises(ValueError, match=r"got \[16, 16\] and \[16, 16\]"):
        distance(torch.zeros(16, 16), torch.zeros(16, 16))
    with pytest.raises(ValueError, match="at least 16 x 16 pixels"):
        distance(torch.zeros(1, 1, 16, 15), torch.zeros(1, 1, 16, 15))
    with pytest.raises(FileNotFoundError, match=r"no VGG19 weights at 'nowhere\.pt'"):
        PerceptualDistance("nowhere.pt")
    torch.save({"features.1.weight": torch.ones(3)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt: expected 'features\.0\.weight'"):
        PerceptualDistance(tmp_path / "other.pt")
