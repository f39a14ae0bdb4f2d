"""Series at a network's door, and a phase for those that have none."""

import numpy as np
import pytest
import torch
from helpers import numpy_fft2c, numpy_ifft2c, random_complex

from common.operators import simulated_sensitivity_maps
from common.operators.masks.kt import KtMasks
from common.operators.measurement import pack_measurement
from common.operators.phase import smooth_phase
from common.operators.series import aliased_magnitude, batch_to_frames, frames_to_batch, pack_series, zero_filled_series


def test_frames_come_in_the_order_of_series_and_time():
    series = torch.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)
    frames = frames_to_batch(series)
    assert frames.shape == (12, 3, 4, 5)
    assert torch.equal(frames[7], series[1, :, :, :, 1])
    assert torch.equal(batch_to_frames(frames, 2), series)


def test_zero_filled_series_of_one_coil_by_numpy():
    image = random_complex(2, 1, 12, 10, 3, dtype=torch.complex64)
    mask = KtMasks(n_spokes=3)((12, 10, 3), 0, 2)
    frames = image.numpy().transpose(0, 1, 4, 2, 3)
    masked = mask.numpy().transpose(0, 1, 4, 2, 3) * numpy_fft2c(frames)
    measurement = pack_series(torch.from_numpy(masked).permute(0, 1, 3, 4, 2), mask)
    assert measurement.shape == (2, 3, 12, 10, 3)
    expected = numpy_ifft2c(masked).transpose(0, 1, 3, 4, 2)
    np.testing.assert_allclose(zero_filled_series(measurement).numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(aliased_magnitude(measurement).numpy(), np.abs(expected), atol=1e-5)


def test_coils_share_their_maps_over_the_frames():
    maps = simulated_sensitivity_maps(4, 12, 10)
    image = random_complex(2, 1, 12, 10, 3, dtype=torch.complex64)
    full = torch.ones(1, 1, 12, 10, 3)
    kspace = torch.from_numpy(numpy_fft2c((image * maps[..., None]).permute(0, 1, 4, 2, 3).numpy()))
    measurement = pack_series(kspace.permute(0, 1, 3, 4, 2), full, maps)
    assert measurement.shape == (2, 17, 12, 10, 3)
    frame = pack_measurement(kspace[1:, :, 2].to(torch.complex64), full[..., 0], maps)
    torch.testing.assert_close(measurement[1:, ..., 2], frame)
    torch.testing.assert_close(zero_filled_series(measurement), image, atol=1e-5, rtol=0)


def test_a_mask_for_each_frame_is_needed():
    with pytest.raises(ValueError, match="expected a mask for each of the 3 frames, got 2"):
        pack_series(random_complex(1, 1, 4, 4, 3), torch.ones(1, 1, 4, 4, 2))
    with pytest.raises(ValueError, match="expected k-space and mask of one size"):
        pack_series(random_complex(1, 1, 4, 4, 3), torch.ones(1, 1, 4, 5, 3))


def test_the_synthetic_phase_is_smooth_and_repeats():
    phases = torch.stack([smooth_phase(64, 48, torch.Generator().manual_seed(seed)) for seed in range(20)])
    assert torch.equal(phases[3], smooth_phase(64, 48, torch.Generator().manual_seed(3)))
    steps = torch.cat((phases.diff(dim=1).flatten(), phases.diff(dim=2).flatten())).abs()
    assert steps.max() < 0.25  # radians between neighbours
    assert phases.std(dim=0).min() > 0.5  # differs from seed to seed everywhere
    assert (phases.amax(dim=(1, 2)) - phases.amin(dim=(1, 2))).mean() > 1.5
