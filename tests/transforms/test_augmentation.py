"""Random views: what stays exact, what repeats, and where things land."""

import math

import numpy as np
import pytest
import torch
from helpers import random_complex
from scipy.ndimage import affine_transform

from common.transforms import RandomView

STILL = {"degrees": 0.0, "shift": 0.0, "scale": 0.0, "shear_degrees": 0.0}


def view_of(image, seed=0, probability=1.0, **options):
    """The view a seed draws, nothing but ``options`` changing. A probability of 1 flips both axes, too."""
    view = RandomView(probability, **{**STILL, **options})
    return view(image, torch.Generator().manual_seed(seed))


def turned(image):
    """Flipped along both axes, which undoes the flips of ``view_of``."""
    return image.flip(-2, -1)


def blob(height, width, row, column, sigma=3.0):
    """A Gaussian spot, wide enough that interpolation does not change it."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * sigma**2))[None, None]


def centre_of_mass(image):
    """Row and column of the centre of mass, from the centre of the image."""
    height, width = image.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    mass = image.double().squeeze().clamp(min=0)
    row, column = (mass * rows).sum() / mass.sum(), (mass * columns).sum() / mass.sum()
    return np.array([float(row) - (height - 1) / 2, float(column) - (width - 1) / 2])


# -------------------------------------------------------------------------------------------- exact and repeatable


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 24)])
def test_probability_zero_is_the_identity(height, width):
    image = torch.rand(4, 1, height, width)
    view = RandomView(0.0)(image, torch.Generator().manual_seed(0))
    torch.testing.assert_close(view, image, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 24)])
def test_flips_are_exact(height, width):
    image = torch.rand(40, 1, height, width)
    views = view_of(image, probability=0.5)
    drawn = set()
    for one, view in zip(image, views, strict=True):
        flips = {"none": one, "rows": one.flip(-2), "columns": one.flip(-1), "both": one.flip(-2, -1)}
        errors = {name: float((view - flipped).abs().max()) for name, flipped in flips.items()}
        name = min(errors, key=errors.__getitem__)
        assert errors[name] < 1e-5
        drawn.add(name)
    assert drawn == {"none", "rows", "columns", "both"}
    torch.testing.assert_close(view_of(image), image.flip(-2, -1), rtol=0, atol=1e-5)


def test_a_generator_decides_everything():
    image = torch.rand(3, 1, 20, 20)
    view = RandomView(0.8)
    first, again, other = (view(image, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)
    torch.rand(5)  # torch's own random state has no say
    assert torch.equal(first, view(image, torch.Generator().manual_seed(1)))


def test_images_of_a_batch_get_views_of_their_own():
    image = torch.rand(1, 1, 20, 20).expand(4, -1, -1, -1)
    views = RandomView(1.0)(image, torch.Generator().manual_seed(0))
    for i in range(4):
        for j in range(i):
            assert (views[i] - views[j]).abs().max() > 0.1


def test_real_and_imaginary_part_move_together():
    image = random_complex(3, 1, 18, 21, dtype=torch.complex64)
    view = RandomView(0.7)
    moved = view(image, torch.Generator().manual_seed(4))
    both = view(torch.cat((image.real, image.imag), 1), torch.Generator().manual_seed(4))
    assert moved.dtype == torch.complex64
    assert torch.equal(moved.real, both[:, :1])
    assert torch.equal(moved.imag, both[:, 1:])


def test_values_stay_within_the_image_and_zero_outside():
    generator = torch.Generator().manual_seed(0)
    image = (torch.rand(8, 1, 24, 24) > 0.5).float()  # edges that bicubic interpolation overshoots
    view = RandomView(1.0)(image, generator)
    assert view.min() >= 0
    assert view.max() <= 1
    far = view_of(torch.full((1, 1, 20, 20), -0.5), shift=0.5, seed=2)
    assert far.max() == 0  # outside is zero, also where the image is negative
    assert far.min() == -0.5


# ------------------------------------------------------------------------------------------ where things land


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 96)])
def test_a_rotation_turns_about_the_centre_without_distortion(height, width):
    """Three spots turn by one angle and keep their distances from the centre, also where pixels are not a square."""
    angles = []
    for seed in range(12):
        turns = []
        for row, column in [(12, 0), (0, 14), (-9, -9)]:
            spot = blob(height, width, (height - 1) / 2 + row, (width - 1) / 2 + column)
            new_row, new_column = centre_of_mass(turned(view_of(spot, seed, degrees=20.0)))
            assert math.hypot(new_row, new_column) == pytest.approx(math.hypot(row, column), abs=0.1)
            turns.append(math.degrees(math.atan2(new_row, new_column) - math.atan2(row, column)))
        turns = [(turn + 180) % 360 - 180 for turn in turns]
        assert turns == pytest.approx([turns[0]] * 3, abs=0.7)
        angles.append(turns[0])
    assert -20 <= min(angles) < -8
    assert 8 < max(angles) <= 20


def test_sizes_change_by_what_was_asked_for():
    """The distance of two spots is multiplied by 0.9 to 1.1."""
    factors = []
    for seed in range(30):
        centres = [centre_of_mass(view_of(blob(64, 64, 31.5, 31.5 + column), seed, scale=0.1)) for column in (-6, 6)]
        factors.append(np.linalg.norm(centres[1] - centres[0]) / 12)
    assert 0.88 <= min(factors) < 0.96
    assert 1.04 < max(factors) <= 1.12


def test_shifts_are_fractions_of_the_image():
    moves = np.array([centre_of_mass(view_of(blob(40, 80, 19.5, 39.5), seed, shift=0.1)) for seed in range(30)])
    assert 2.5 < np.abs(moves[:, 0]).max() <= 4.05
    assert 5 < np.abs(moves[:, 1]).max() <= 8.05


@pytest.mark.parametrize(("height", "width"), [(96, 96), (84, 120)])
def test_an_affine_view_is_scipys(height, width):
    """One matrix of rotation, scale, shear and shift, resampled by scipy from pixel to pixel."""
    view = RandomView(1.0, degrees=20.0, shift=0.1, scale=0.1, shear_degrees=5.0)
    spots = [(36.0, 55.0, 5.0), (42.0, 40.0, 6.0), (56.0, 52.0, 7.0)]
    image = sum(blob(height, width, *spot) for spot in spots)
    result = view(image, torch.Generator().manual_seed(11))
    (matrix,) = view._matrices(1, height / width, torch.Generator().manual_seed(11)).double().numpy()
    assert matrix[2].tolist() == [0, 0, 1]
    # from [-1, 1]^2, x before y, to pixels, rows before columns
    to_pixels = np.array([[0, height / 2, (height - 1) / 2], [width / 2, 0, (width - 1) / 2], [0, 0, 1]])
    in_pixels = to_pixels @ matrix @ np.linalg.inv(to_pixels)
    expected = affine_transform(image[0, 0].numpy(), in_pixels[:2, :2], in_pixels[:2, 2], order=3)
    np.testing.assert_allclose(result[0, 0].numpy(), expected, rtol=0, atol=0.01)
    assert np.abs(image[0, 0].numpy() - expected).max() > 0.5


@pytest.mark.parametrize("probability", [1.5, -0.1])
def test_bad_options_are_refused(probability):
    with pytest.raises(ValueError, match=rf"probability must be in .*, got {probability}"):
        RandomView(probability)
