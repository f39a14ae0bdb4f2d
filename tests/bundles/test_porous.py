"""Metrics of a rock's pore space."""

import itertools

import numpy as np
import pytest
from scripts.porous import compare_pore_space, pore_diameters, porosity, segment_pores, two_point_correlation
from skimage.filters import threshold_otsu

from common.metrics.otsu import otsu_threshold


def checkerboard(size):
    return np.indices((size, size)).sum(0) % 2 == 0


def disc(size, radius, dims=2):
    steps = np.indices((size,) * dims) - size // 2
    return np.sqrt((steps**2).sum(0)) <= radius


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(37, 50), (9, 10, 11)])
def test_otsu_is_that_of_scikit_image(dtype, shape):
    rng = np.random.default_rng(3)
    grey = np.where(rng.random(shape) < 0.3, rng.normal(40, 9, shape), rng.normal(110, 20, shape)).clip(1)
    image = (grey * (100 if dtype == np.uint16 else 1)).astype(dtype)
    assert otsu_threshold(image) == pytest.approx(threshold_otsu(image), rel=1e-6)
    np.testing.assert_array_equal(segment_pores(image), image <= threshold_otsu(image))


def test_otsu_known_value_and_bad_images():
    assert otsu_threshold(np.array([0.0, 0.0, 1.0, 1.0])) == 1 / 512
    with pytest.raises(ValueError, match="needs two grey values, got only 7"):
        otsu_threshold(np.full((3, 3), 7))
    for image in (np.array([0.0, np.nan]), np.zeros(0)):
        with pytest.raises(ValueError, match="finite grey values"):
            otsu_threshold(image)


@pytest.mark.parametrize("size", [8, 9, 32])
def test_checkerboard(size):
    board = checkerboard(size)
    assert porosity(board) == pytest.approx(0.5, abs=0.51 / size**2)
    correlation = two_point_correlation(board, 1)
    assert correlation[0] == pytest.approx(porosity(board), abs=1e-12)
    # four axial neighbours are of the other colour, the four diagonal ones of the same
    axial, diagonal = 4 * size * (size - 1), 4 * (size - 1) ** 2
    on_diagonals = 2 * (board[1:, 1:].sum() + board[1:, :-1].sum())
    assert correlation[1] == pytest.approx(on_diagonals / (axial + diagonal), abs=1e-12)


@pytest.mark.parametrize(("shape", "max_lag"), [((7, 10), 5), ((6, 5, 7), 4), ((4, 4), 0)])
def test_two_point_correlation_is_a_direct_count(shape, max_lag):
    pores = np.random.default_rng(1).random(shape) < 0.4
    points = list(np.ndindex(*shape))
    hits, pairs = np.zeros(max_lag + 1), np.zeros(max_lag + 1)
    for first, second in itertools.product(points, points):
        lag = round(np.hypot.reduce(np.subtract(first, second).astype(float)))
        if lag <= max_lag:
            pairs[lag] += 1
            hits[lag] += pores[first] and pores[second]
    np.testing.assert_allclose(two_point_correlation(pores, max_lag), hits / pairs, rtol=1e-12)


def test_two_point_correlation_of_independent_pores_is_the_square_of_the_porosity():
    pores = np.random.default_rng(0).random((200, 200)) < 0.3
    correlation = two_point_correlation(pores)
    assert len(correlation) == 33
    assert correlation[0] == pytest.approx(porosity(pores), abs=1e-12)
    np.testing.assert_allclose(correlation[1:], 0.09, atol=0.005)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("radius", [5, 8])
def test_disc_or_ball_is_of_one_pore_size(dims, radius):
    diameters = pore_diameters(disc(2 * radius + 7, radius, dims))
    assert diameters.max() == pytest.approx(2 * radius, abs=1)
    assert np.median(diameters) == diameters.max()
    assert diameters.mean() > 0.9 * diameters.max()


def test_distribution_has_each_disc_by_its_area():
    pores = np.zeros((80, 40), bool)
    pores[3:36, 3:36] = disc(33, 14)
    pores[50:67, 10:27] = disc(17, 5)
    diameters = pore_diameters(pores, voxel_size=2.5)
    assert diameters.shape == (pores.sum(),)
    large = diameters > 40
    assert large.mean() == pytest.approx(14**2 / (14**2 + 5**2), abs=0.06)
    assert diameters[large].mean() == pytest.approx(2 * 14 * 2.5, rel=0.06)
    assert np.median(diameters[~large]) == pytest.approx(2 * 5 * 2.5, rel=0.1)


@pytest.mark.parametrize(("width", "diameter"), [(1, 2), (2, 2), (3, 4), (4, 4)])
def test_slit_is_as_wide_as_stated(width, diameter):
    pores = np.zeros((15, 9, 8), bool)
    pores[5 : 5 + width] = True
    np.testing.assert_array_equal(pore_diameters(pores), diameter)


def test_cube_is_filled_by_its_ball_but_for_edges_and_corners():
    pores = np.zeros((21, 21, 21), bool)
    pores[5:16, 5:16, 5:16] = True
    diameters = np.zeros(pores.shape)
    diameters[pores] = pore_diameters(pores)
    assert diameters[10, 10, 10] == diameters[10, 10, 5] == 12
    assert 0 < diameters[5, 5, 5] < 6
    np.testing.assert_array_equal(diameters == 12, disc(21, 5.99, dims=3) & pores)  # the inscribed ball


def test_equal_images_have_no_error_and_known_changes_theirs():
    hr_image = np.where(disc(48, 12), 0.2, 0.8)
    same = compare_pore_space(hr_image, hr_image)
    assert same["porosity_sr"] == same["porosity_hr"] == disc(48, 12).mean()
    assert [same[f"{name}_error"] for name in ("porosity", "correlation", "pore_size")] == [0, 0, 0]

    smaller = disc(48, 6)
    found = compare_pore_space(np.where(smaller, 0.2, 0.8), hr_image, voxel_size=3.0, max_lag=10)
    assert found["porosity_error"] == pytest.approx(disc(48, 12).mean() - smaller.mean())
    assert found["pore_size_error"] == pytest.approx(3 * 12, rel=0.1)
    expected = np.abs(two_point_correlation(smaller, 10) - two_point_correlation(disc(48, 12), 10)).mean()
    assert found["correlation_error"] == pytest.approx(expected)
    assert all(type(value) is float for value in found.values())


def test_threshold_is_that_of_the_target():
    hr_image = np.where(disc(32, 8), 0.2, 0.8)
    brighter = compare_pore_space(hr_image + 0.7, hr_image)
    assert brighter["porosity_sr"] == 0  # with its own threshold this would be no error at all
    assert brighter["porosity_error"] == porosity(disc(32, 8))
    assert brighter["pore_size_error"] == pytest.approx(pore_diameters(disc(32, 8)).mean())
    assert compare_pore_space(np.zeros((32, 32)), hr_image)["pore_size_error"] == np.inf


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: compare_pore_space(np.zeros((4, 4)), np.zeros((8, 8))), r"one shape, got sr_image \[4, 4\]"),
        (lambda: compare_pore_space(np.zeros((4, 4)), np.zeros((4, 4))), "two grey values"),
        (lambda: compare_pore_space(np.full((4, 4), np.nan), np.eye(4)), "segmentation needs finite grey values"),
        (lambda: porosity(np.zeros((4, 4))), "boolean mask of 2 or 3 axes"),
        (lambda: two_point_correlation(checkerboard(4), 4), "below the shortest side, 4, got 4"),
        (lambda: pore_diameters(np.ones((4, 4), bool)), "need solid voxels"),
        (lambda: pore_diameters(checkerboard(4), 0), "voxel_size must be positive, got 0"),
        (lambda: two_point_correlation(np.ones(4, bool)), r"got bool \[4\]"),
    ],
)
def test_bad_input_is_told(call, match):
    with pytest.raises(ValueError, match=match):
        call()
