"""The pack of sandstone grains."""

import numpy as np
import pytest
from scripts.porous import pore_diameters, porosity, segment_pores, two_point_correlation

from common.phantoms.rock_phantom import rock_phantom


@pytest.mark.parametrize(("dims", "size"), [(2, 128), (3, 48)])
@pytest.mark.parametrize("wanted", [0.1, 0.2, 0.3])
def test_porosity_is_as_wanted(dims, size, wanted):
    assert porosity(segment_pores(rock_phantom(7, size, dims=dims, porosity=wanted))) == pytest.approx(wanted, abs=0.03)


def test_pores_grow_with_the_grains():
    means = [
        pore_diameters(segment_pores(rock_phantom(2, 160, grain_size=grain_size))).mean() for grain_size in (8, 16, 32)
    ]
    assert means[0] * 1.4 < means[1] < means[2] / 1.4


def test_volume_is_alike_in_all_directions_and_like_a_section():
    """Correlations along the three axes of a volume, and those of sections, are those of one material."""
    pores = segment_pores(rock_phantom(1, 64, dims=3, grain_size=10))
    pairs = [np.mean(np.take(pores, range(61), axis) & np.take(pores, range(3, 64), axis)) for axis in range(3)]
    assert max(pairs) - min(pairs) < 0.15 * np.mean(pairs)
    section = np.mean(
        [two_point_correlation(segment_pores(rock_phantom(s, 128, grain_size=10)), 8) for s in range(4)], 0
    )
    np.testing.assert_allclose(two_point_correlation(pores, 8), section, atol=0.03)


def test_statistics_are_those_of_bentheimer_sandstone():
    """Means over seven real slices of 128 x 128 pixels; S2 is given as the covariance divided by its value at 0."""
    correlations, diameters, ratios = [], [], []
    for seed in range(7):
        pack = rock_phantom(seed, 128)
        pores = segment_pores(pack)
        share = porosity(pores)
        covariance = two_point_correlation(pores, 8) - share**2
        correlations.append(covariance / covariance[0])
        diameters.append(pore_diameters(pores).mean())
        ratios.append(np.median(pack[pores]) / np.median(pack[~pores]))
    np.testing.assert_allclose(np.mean(correlations, 0)[[1, 2, 4, 8]], [0.66, 0.46, 0.21, 0.03], atol=0.05)
    assert np.mean(diameters) == pytest.approx(5.2, rel=0.1)  # pixels
    assert np.mean(ratios) == pytest.approx(0.35, abs=0.05)  # grey values of pores and quartz


def test_blur_and_noise_can_be_left_out():
    sharp = rock_phantom(4, 64, blur=0, noise=0)
    blurred = rock_phantom(4, 64, blur=1.2, noise=0)
    noisy = rock_phantom(4, 64, blur=0, noise=0.05)
    assert np.abs(np.diff(blurred)).max() < 0.8 * np.abs(np.diff(sharp)).max()
    quartz = np.median(sharp)
    assert (noisy - sharp).std() == pytest.approx(0.05 * quartz, rel=0.1)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dims": 4}, r"dims must be 2 \(a section\) or 3"),
        ({"porosity": 0.9}, r"porosity must be in \[0.05, 0.6\], got 0.9"),
        ({"grain_size": 65}, r"grain_size must be in \[4, 64\] voxels for size=64, got 65"),
        ({"noise": -1}, "noise must be at least 0"),
    ],
)
def test_bad_numbers_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        rock_phantom(**{"seed": 0, "size": 64, **options})
