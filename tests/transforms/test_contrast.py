"""Random contrast of images."""

import pytest
import torch

from common.transforms import RandomContrast


def drawn(seed=0, n=400):
    image = torch.linspace(0, 1, 25).reshape(1, 1, 5, 5).repeat(n, 1, 1, 1)
    return image, RandomContrast((0.5, 2.0), (0.25, 1.0))(image, torch.Generator().manual_seed(seed))


def test_half_of_the_images_get_a_gamma_and_half_a_gain():
    _, changed = drawn()
    gain = changed[:, 0, -1, -1]  # of the pixel of value 1
    assert 0.4 < (gain == 1).float().mean() < 0.6
    assert gain.min() >= 0.25
    middle = changed[:, 0, 2, 2] / gain  # 0.5 ** gamma
    gamma = -middle.log2()
    assert 0.4 < (gamma - 1 < 1e-5).float().mean() - ((gamma < 1 - 1e-5).float().mean()) < 0.6
    assert gamma.min() >= 0.5 - 1e-5
    assert gamma.max() <= 2 + 1e-5
    torch.testing.assert_close(changed, drawn()[1], rtol=0, atol=0)
    assert not torch.equal(changed, drawn(seed=1)[1])


def test_volumes_and_negative_values():
    volume = torch.rand(2, 1, 4, 5, 6) - 0.5
    changed = RandomContrast()(volume, torch.Generator())
    assert changed.shape == volume.shape
    assert (changed[volume < 0] == 0).all()


@pytest.mark.parametrize("options", [{"gamma": (0.0, 1.0)}, {"gain": (1.0, 0.5)}])
def test_bad_ranges_are_refused(options):
    with pytest.raises(ValueError, match="low <= high"):
        RandomContrast(**options)
