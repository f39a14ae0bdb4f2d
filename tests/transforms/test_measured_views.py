"""Strips of rows: where they come from, and that their aliasing is that of the whole image."""

import pytest
import torch
from helpers import random_complex
from hypothesis import given
from hypothesis import strategies as st

from common.engines import Phase, PhaseSchedule
from common.operators import SingleCoilAcquisition
from common.operators.masks import AccelerationMasks, sampling_mask
from common.transforms import InOrder, PrepareAcquisition, RandomFlips, RandomRows, Reduce


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def zero_filled(image, mask):
    acquisition = SingleCoilAcquisition(mask)
    return acquisition.adjoint(acquisition(image))


def tops_of(strips, image):
    """First row of each strip."""
    height, found = strips.shape[-2], []
    for strip, whole in zip(strips, image, strict=True):
        windows = whole.unfold(1, height, 1).movedim(1, 0).transpose(-1, -2)
        (top,) = [row for row, window in enumerate(windows) if torch.equal(window, strip)]
        found.append(top)
    return found


@given(
    channels=st.integers(1, 3),
    rows=st.integers(1, 12),
    columns=st.integers(1, 9),
    height=st.integers(1, 14),
    seed=st.integers(0, 2**16),
)
def test_strips_are_rows_of_the_image(channels, rows, columns, height, seed):
    image = random_complex(3, channels, rows, columns, seed=seed)
    strips = RandomRows(height)(image, generator(seed))
    assert strips.shape == (3, channels, min(rows, height), columns)
    assert strips.dtype == image.dtype
    assert all(0 <= top <= max(rows - height, 0) for top in tops_of(strips, image))


@given(
    rows=st.integers(2, 40),
    columns=st.integers(1, 40),
    height=st.integers(1, 40),
    family=st.sampled_from(["cartesian", "equispaced"]),
    seed=st.integers(0, 2**16),
)
def test_a_strip_is_aliased_as_in_the_whole_image(rows, columns, height, family, seed):
    """Zero-filling and cutting may change places, whichever of the sizes are odd."""
    image = random_complex(2, 1, rows, columns, seed=seed)
    height = min(height, rows)
    masks = {n: sampling_mask(family, (n, columns), 0.3, seed=seed, batch=2).double() for n in (rows, height)}
    assert torch.equal(masks[rows][:, :, :height], masks[height])
    cut = RandomRows(height)
    expected = cut(zero_filled(image, masks[rows]), generator(seed))
    strips = zero_filled(cut(image, generator(seed)), masks[height])
    torch.testing.assert_close(strips, expected, rtol=1e-12, atol=1e-12)


def test_with_a_mask_of_points_it_would_not_be():
    image, cut = random_complex(1, 1, 32, 32), RandomRows(16)
    whole, part = (sampling_mask("gaussian", (n, 32), 0.3, seed=0).double() for n in (32, 16))
    difference = zero_filled(cut(image, generator()), part) - cut(zero_filled(image, whole), generator())
    assert difference.abs().max() > 0.1


def test_every_place_is_drawn_and_images_differ_in_theirs():
    image = torch.arange(10.0)[None, None, :, None].expand(500, 1, 10, 3)
    tops = RandomRows(4)(image, generator())[:, 0, 0, 0].long()
    counts = torch.bincount(tops)
    assert len(counts) == 7
    assert counts.min() > 40


def test_a_generator_decides_everything():
    image, cut = torch.rand(8, 1, 50, 4), RandomRows(7)
    first, again, other = (cut(image, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("height", [6, 9])
def test_images_of_no_more_rows_stay_whole(height):
    image = torch.rand(2, 1, 6, 5)
    assert torch.equal(RandomRows(height)(image, generator()), image)


def test_augmentations_follow_one_another():
    def doubled(image, generator):
        return 2 * image

    def plus_one(image, generator):
        return image + 1

    image = torch.rand(2, 1, 3, 3)
    assert torch.equal(InOrder([doubled, plus_one])(image, generator()), 2 * image + 1)
    assert torch.equal(InOrder([plus_one, doubled])(image, generator()), 2 * (image + 1))
    assert torch.equal(InOrder([])(image, generator()), image)


def test_augmentations_share_one_generator():
    image = torch.rand(4, 1, 9, 9)
    flips, rows = RandomFlips(), RandomRows(4)
    numbers = generator(3)
    expected = rows(flips(image, numbers), numbers)
    assert torch.equal(InOrder([flips, rows])(image, generator(3)), expected)


def test_a_training_batch_of_strips_has_masks_of_its_size():
    prepare = PrepareAcquisition(AccelerationMasks([4, 8], [0.08, 0.04]), InOrder([RandomRows(16)]))
    image = random_complex(3, 1, 40, 64, dtype=torch.complex64)
    measurement, label = prepare({"image": image}, torch.device("cpu"))
    assert measurement.shape == (3, 3, 16, 64)
    assert label.shape == (3, 2, 16, 64)
    assert tops_of(torch.complex(label[:, :1], label[:, 1:]), image)


def test_a_strip_without_rows_is_refused():
    with pytest.raises(ValueError, match="height must be at least 1, got 0"):
        RandomRows(0)


def test_reduced_images_are_means_of_blocks():
    image = random_complex(2, 1, 7, 9, dtype=torch.complex64)
    reduced = Reduce(2)(image, generator())
    expected = torch.nn.functional.avg_pool2d(image.real, 2) + 1j * torch.nn.functional.avg_pool2d(image.imag, 2)
    torch.testing.assert_close(reduced, expected)
    assert Reduce(1)(image, generator()) is image


def test_reduction_follows_the_phases_of_a_training():
    class Trainer:
        def __init__(self):
            self.phase, self.phases, self.checks = None, PhaseSchedule([Phase("small", 1), Phase("full", 1)]), []

        def add_event_handler(self, event, check):
            self.checks.append(check)

    trainer, small, full = Trainer(), Phase("small", 1), Phase("full", 1)
    prepare = PrepareAcquisition(AccelerationMasks([2], [0.2]), InOrder([Reduce({"small": 2, "full": 1})]))
    prepare.attach(trainer)
    for phase, size in ((small, 8), (full, 16)):
        trainer.phase = phase
        measurement, truth = prepare({"image": torch.rand(2, 1, 16, 16)}, torch.device("cpu"))
        assert measurement.shape == (2, 3, size, size)
        assert truth.shape == (2, 2, size, size)
    incomplete = Reduce({"small": 2})
    incomplete.attach(trainer)
    with pytest.raises(ValueError, match=r"factor.*full"):
        trainer.checks[-1](trainer)
