"""Random flips: all views of a square occur, values stay, images are not mixed up."""

import pytest
import torch

from common.transforms import RandomFlips


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def views_of(image):
    """The eight flips and quarter turns of the last two axes."""
    return [view for k in range(4) for view in (image.rot90(k, (-2, -1)), image.rot90(k, (-2, -1)).flip(-1))]


def test_every_view_of_a_square_occurs():
    image = torch.rand(1, 2, 5, 5)
    results = RandomFlips()(image.expand(200, -1, -1, -1), generator())
    counts = [int((results == view).all(dim=(1, 2, 3)).sum()) for view in views_of(image)]
    assert sum(counts) == 200
    assert min(counts) >= 10


@pytest.mark.parametrize("flips", [RandomFlips(), RandomFlips(turns=False)])
def test_sides_of_unequal_length_are_not_exchanged(flips):
    image = torch.rand(1, 1, 4, 6)
    results = flips(image.expand(60, -1, -1, -1), generator())
    views = [image, image.flip(2), image.flip(3), image.flip(2, 3)]
    counts = [int((results == view).all(dim=(1, 2, 3)).sum()) for view in views]
    assert sum(counts) == 60
    assert min(counts) >= 5


def test_chosen_axes_only():
    image = torch.rand(1, 1, 4, 4)
    results = RandomFlips(axes=[1], turns=False)(image.expand(40, -1, -1, -1), generator())
    counts = [int((results == view).all(dim=(1, 2, 3)).sum()) for view in (image, image.flip(3))]
    assert sum(counts) == 40
    assert min(counts) >= 8


def test_volumes_keep_their_values():
    volumes = torch.arange(200 * 27.0).reshape(200, 1, 3, 3, 3)
    results = RandomFlips()(volumes, generator())
    assert results.shape == volumes.shape
    assert torch.equal(results.flatten(1).sort(dim=1).values, volumes.flatten(1))
    corners = {int(value) for value in results[:, 0, 0, 0, 0] - volumes[:, 0, 0, 0, 0]}
    assert len(corners) == 8


def test_views_follow_from_the_generator():
    image = torch.rand(8, 1, 6, 6)
    first = RandomFlips()(image, generator())
    assert torch.equal(first, RandomFlips()(image, generator()))
    assert not torch.equal(first, RandomFlips()(image, generator(1)))
    large = RandomFlips()(image.repeat_interleave(2, 2).repeat_interleave(2, 3), generator())
    assert torch.equal(large[..., ::2, ::2], first)
