"""Radial series: packed measurements, view sharing, simulated scans, and what is consistent with them."""

import pytest
import torch
from helpers import random_complex

from common.operators import radial_trajectory, series_angles, simulated_sensitivity_maps, toeplitz_normal
from common.operators.radial_scan import RadialScan
from common.operators.radial_series import RadialGridding, is_radial, unpack_radial, view_shared_gridding
from common.operators.toeplitz_consistency import ToeplitzConsistency

pytest.importorskip("torchkbnufft", reason="needs the extra `radial`")

SHAPE = (18, 15)


def gridding(n_frames=3, n_spokes=5):
    return RadialGridding(radial_trajectory(series_angles("golden", n_frames, n_spokes), 36).float(), SHAPE)


def blob(shape=SHAPE, n_frames=1):
    """A smooth image with a phase, ``(frames, 1, height, width)``."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    image = torch.polar(torch.exp(-4 * ((y - 0.2) ** 2 + x**2)), 0.5 + x)
    return image.expand(n_frames, 1, -1, -1)


def relative(got, wanted):
    return float(torch.linalg.vector_norm(got - wanted) / torch.linalg.vector_norm(wanted))


def test_a_measurement_holds_the_normal_equations():
    """Of noiseless samples the gridded image is the normal operator of the truth."""
    maps = simulated_sensitivity_maps(3, *SHAPE)
    truth, grid = random_complex(3, 1, *SHAPE, dtype=torch.complex64), gridding()
    measurement = grid.pack(grid.sample(maps * truth), maps)
    assert measurement.shape == (1, 8 + 6, *SHAPE, 3)
    assert measurement.dtype == torch.float32
    assert is_radial(measurement)
    gridded, _, kernel, unpacked = unpack_radial(measurement)
    assert torch.equal(unpacked, maps.expand(3, -1, -1, -1))
    assert torch.equal(kernel, grid.kernel)
    assert relative(toeplitz_normal(truth, kernel, unpacked), gridded) < 1e-4


def test_view_sharing_keeps_a_still_series_and_smooths_others():
    still = random_complex(1, 1, *SHAPE).expand(6, -1, -1, -1)
    torch.testing.assert_close(view_shared_gridding(still, 5), still)
    noise = random_complex(6, 1, *SHAPE)
    assert view_shared_gridding(noise, 5).abs().square().mean() < 0.3 * noise.abs().square().mean()


def test_view_sharing_takes_the_aliasing_of_a_still_object():
    grid, truth = gridding(n_frames=12, n_spokes=5), blob(n_frames=12).to(torch.complex64)
    ones = torch.ones(1, 1, *SHAPE, dtype=torch.complex64)
    gridded, shared, _, _ = unpack_radial(grid.pack(grid.sample(truth), ones))
    assert relative(shared, truth) < 0.5 * relative(gridded, truth)


@pytest.mark.parametrize("order", ["golden", "tiny_golden", "uniform"])
def test_a_scan_repeats_and_gives_the_truth_in_the_phase_of_its_maps(order):
    scan, series = RadialScan(order, n_spokes=9, n_coils=4, noise_std=0.0), blob((32, 30), 4).movedim(0, -1)[None]
    measurement, truth = scan(series, torch.Generator().manual_seed(3))
    again, _ = scan(series, torch.Generator().manual_seed(3))
    other, _ = scan(series, torch.Generator().manual_seed(4))
    assert torch.equal(measurement, again)
    assert not torch.equal(measurement, other)
    torch.testing.assert_close(truth.abs(), series.abs())
    gridded, _, kernel, maps = unpack_radial(measurement)
    frames = truth[0].permute(3, 0, 1, 2)
    assert relative(toeplitz_normal(frames, kernel, maps), gridded) < 0.05  # what the estimated maps leave


def test_noise_has_the_standard_deviation_that_was_asked_for():
    scan, nothing = (
        RadialScan(n_coils=1, n_spokes=40, noise_std=0.1),
        torch.zeros(1, 1, 32, 32, 8, dtype=torch.complex64),
    )
    _, gridding, _ = scan.sample(nothing, torch.Generator().manual_seed(0))
    measurement, _ = scan(nothing, torch.Generator().manual_seed(0))
    # variance of F^H W n at the centre: sum of the squared weights / (height width)
    expected = 0.1 * gridding.weights.square().sum(dim=(1, 2)).mean().div(32 * 32).sqrt()
    torch.testing.assert_close(measurement[0, :2].std(), expected, rtol=0.1, atol=0)


@torch.no_grad()
def test_consistency_solves_its_equation():
    maps, grid = simulated_sensitivity_maps(3, *SHAPE), gridding(n_frames=1)
    gridded, _, kernel, maps = unpack_radial(grid.pack(grid.sample(maps * blob().to(torch.complex64)), maps))
    start, weight = random_complex(1, 1, *SHAPE, dtype=torch.complex64), 0.5
    result = ToeplitzConsistency(60, weight)(start, gridded, kernel, maps)
    left = toeplitz_normal(result, kernel, maps) + weight * result
    assert relative(left, gridded + weight * start) < 1e-4
    zero = torch.zeros_like(start)
    assert torch.equal(ToeplitzConsistency(3)(zero, zero, kernel, maps), zero)


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="radial measurement"):
        unpack_radial(torch.zeros(1, 9, 4, 4, 2))
    with pytest.raises(ValueError, match="order"):
        RadialScan("silver")
    with pytest.raises(ValueError, match="n_spokes"):
        RadialScan(n_spokes=1)
    with pytest.raises(ValueError, match="weight"):
        ToeplitzConsistency(weight=0.0)
