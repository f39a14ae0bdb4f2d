"""Gradient delays of simulated scans, found again by opposite spokes."""

import pytest
import torch

from common.operators import NonuniformFourier, radial_trajectory, series_angles, simulated_sensitivity_maps
from common.operators.gradient_delays import delay_corrected, estimate_gradient_delays

SHAPE = (48, 40)
DELAYS = torch.tensor([[0.008, -0.002], [-0.002, -0.005]])  # half a sample of k-space at most


def planned(order="golden"):
    return radial_trajectory(series_angles(order, 12, 13), 2 * max(SHAPE)).float()


def measured(places):
    pytest.importorskip("torchkbnufft", reason="needs the extra `radial`")
    image = torch.zeros(len(places), 1, *SHAPE, dtype=torch.complex64)
    image[..., 14:30, 8:25], image[..., 20:24, 12:18] = 1, 2j
    return NonuniformFourier(places, SHAPE, simulated_sensitivity_maps(4, *SHAPE))(image)


@pytest.mark.parametrize("delays", [DELAYS, torch.zeros(2, 2)])
def test_delays_are_found(delays):
    places = planned()
    samples = measured(delay_corrected(places, delays))
    torch.testing.assert_close(estimate_gradient_delays(samples, places), delays, atol=6e-4, rtol=0)


def test_spokes_are_shifted_as_a_whole_by_their_direction():
    shift = delay_corrected(planned(), DELAYS) - planned()
    inner = shift[:, :, 10:-10]
    assert torch.allclose(inner, inner[:, :, :1].expand_as(inner), atol=1e-6)
    first = planned()[0, 0, -1] / planned()[0, 0, -1].norm()
    torch.testing.assert_close(inner[0, 0, 0], DELAYS @ first, atol=1e-6, rtol=0)


def test_spokes_over_half_a_turn_are_refused():
    places = planned("uniform")
    samples = torch.ones(12, 1, *places.shape[1:3], dtype=torch.complex64)
    with pytest.raises(ValueError, match="opposite"):
        estimate_gradient_delays(samples, places)
