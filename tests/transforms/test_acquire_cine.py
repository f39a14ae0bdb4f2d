"""Batch preparation of series: simulated, stored and measured; what repeats, and what is refused."""

import pytest
import torch
from helpers import random_complex

from common.operators import (
    NonuniformFourier,
    channels_to_complex,
    fft2c,
    radial_trajectory,
    series_angles,
    simulated_sensitivity_maps,
)
from common.operators.gradient_delays import delay_corrected
from common.operators.gridding import readout_maps, zero_filled_frames
from common.operators.masks.kt import KtMasks
from common.operators.radial_scan import RadialScan
from common.operators.radial_series import RadialGridding
from common.operators.series import aliased_magnitude, batch_to_frames, frames_to_batch, zero_filled_series
from common.transforms import PrepareCine, RandomFlips

CPU = torch.device("cpu")
MASK = KtMasks(n_spokes=4)
SHAPE = (24, 20, 3)


def truths(n=2, dtype=torch.float32):
    return torch.rand(n, 1, *SHAPE, generator=torch.Generator().manual_seed(0)).to(dtype)


def from_files(*names, **entries):
    return {"path": list(names), "slice": torch.arange(len(names)), **entries}


def to_kspace(series):
    return batch_to_frames(fft2c(frames_to_batch(series.to(torch.complex64))), len(series))


def test_magnitudes_are_those_of_the_masked_transform():
    truth = random_complex(2, 1, *SHAPE, dtype=torch.complex64)
    batch = from_files("a.h5", "b.h5", truth=truth)
    image, label = PrepareCine(MASK, by_file=True)(batch, CPU)
    assert torch.equal(label, truth.abs())
    mask = MASK(SHAPE, ["a.h5:0", "b.h5:1"], 2)
    kspace = mask * to_kspace(truth)
    expected = torch.fft.ifft2(torch.fft.ifftshift(kspace, (2, 3)), dim=(2, 3), norm="ortho").abs()
    torch.testing.assert_close(image, torch.fft.fftshift(expected, (2, 3)), atol=1e-5, rtol=0)


def test_a_measurement_explains_the_complex_truth():
    truth = random_complex(2, 1, *SHAPE, dtype=torch.complex64)
    image, label = PrepareCine(MASK, complex_image=True, by_file=True)(from_files("a", "b", truth=truth), CPU)
    assert image.shape == (2, 3, *SHAPE)
    assert torch.equal(channels_to_complex(label), truth)
    kspace = torch.complex(image[:, :1], image[:, 1:2])
    torch.testing.assert_close(kspace, image[:, 2:] * to_kspace(truth), atol=1e-5, rtol=0)


def test_a_truth_without_phase_is_given_one_that_follows_from_the_name():
    truth = truths()
    prepare = PrepareCine(MASK, complex_image=True, by_file=True)
    _, label = prepare(from_files("a.h5", "b.h5", truth=truth), CPU)
    _, again = prepare(from_files("x/b.h5", truth=truth[1:]), CPU)
    image = channels_to_complex(label)
    torch.testing.assert_close(image.abs(), truth, atol=1e-6, rtol=0)
    assert torch.equal(again, label[1:])
    phase = image.angle()
    assert phase.std() > 0.3
    assert torch.allclose(phase[..., 0], phase[..., 2], atol=1e-4)  # of all frames


def test_networks_of_magnitudes_and_of_kspace_are_given_the_same_measurement():
    batch = from_files("a.h5", "b.h5", truth=truths())
    measurement, _ = PrepareCine(MASK, complex_image=True, noise_std=0.01, by_file=True)(batch, CPU)
    magnitudes, label = PrepareCine(MASK, noise_std=0.01, by_file=True)(batch, CPU)
    torch.testing.assert_close(magnitudes, aliased_magnitude(measurement))
    torch.testing.assert_close(label, batch["truth"])


def test_coils_are_simulated_and_combine_to_the_truth_where_all_is_sampled():
    truth = random_complex(1, 1, *SHAPE, dtype=torch.complex64)
    image, _ = PrepareCine(KtMasks(n_spokes=200), complex_image=True, n_coils=5)(from_files("a", truth=truth), CPU)
    assert image.shape == (1, 21, *SHAPE)
    assert image[:, 10].all()  # every sample
    torch.testing.assert_close(zero_filled_series(image), truth, atol=1e-5, rtol=0)


def test_what_a_scanner_measured_passes():
    truth, mask = random_complex(2, 1, *SHAPE, dtype=torch.complex64), MASK(SHAPE, 0, 2)
    kspace = mask * to_kspace(truth)
    batch = from_files("a", "b", kspace=kspace, mask=mask)
    image, label = PrepareCine(KtMasks(n_spokes=1), complex_image=True)(batch, CPU)
    assert label is None
    assert torch.equal(torch.complex(image[:, :1], image[:, 1:2]), kspace)
    magnitudes, label = PrepareCine(KtMasks(n_spokes=1))({**batch, "truth": truth.abs()}, CPU)
    assert torch.equal(label, truth.abs())
    torch.testing.assert_close(magnitudes, aliased_magnitude(image))


def test_maps_of_measured_coils_are_estimated_from_all_frames():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
    still = (torch.exp(-3 * (x**2 + y**2)) * (1 + 0.2 * torch.cos(9 * x)))[None, None, :, :, None].expand(
        -1, -1, -1, -1, 8
    )
    coil_images = still * simulated_sensitivity_maps(4, 48, 48)[..., None]
    mask = KtMasks(n_spokes=20)((48, 48, 8), 0)
    batch = from_files("a", kspace=mask * to_kspace(coil_images), mask=mask)
    image, _ = PrepareCine(MASK, complex_image=True)(batch, CPU)
    maps = torch.complex(image[:, 9:13, ..., 0], image[:, 13:, ..., 0])
    known = simulated_sensitivity_maps(4, 48, 48)
    agreement = (maps.conj() * known).sum(dim=1).abs()  # 1 where equal but for the phase of all coils together
    inside = still[:, 0, :, :, 0] > 0.2
    assert agreement[inside].min() > 0.98


def readouts(n_coils):
    """A still series of spokes on twelve coils that see what ``n_coils`` do, and its zero-filled magnitudes."""
    height, width, n_frames = SHAPE
    places = radial_trajectory(series_angles("golden", n_frames, 9), 40).float()
    image = torch.zeros(n_frames, 1, height, width, dtype=torch.complex64)
    image[..., 6:14, 5:12] = 1
    maps = simulated_sensitivity_maps(n_coils, height, width)
    samples = NonuniformFourier(places, (height, width), maps)(image)
    expected = zero_filled_frames(samples, places, readout_maps(samples, places, (height, width)))
    mixing = torch.linalg.qr(random_complex(12, n_coils, dtype=torch.complex64))[0]
    batch = from_files("a.h5", samples=torch.einsum("ab,tbrs->tars", mixing, samples)[None], trajectory=places[None])
    sizes = {"height": torch.tensor([height]), "width": torch.tensor([width])}
    return {**batch, **sizes}, expected.abs().permute(1, 2, 3, 0)[None]


def test_samples_along_readouts_are_gridded_and_their_coils_compressed():
    pytest.importorskip("torchkbnufft", reason="needs the extra `radial`")
    batch, expected = readouts(n_coils=3)
    image, label = PrepareCine(MASK, n_virtual_coils=3)(batch, CPU)
    assert label is None
    torch.testing.assert_close(image, expected, atol=2e-3, rtol=0)
    assert batch["mask_family"] == ["measured"]
    assert batch["rate"] == [9 / 24]
    kept, _ = PrepareCine(MASK)(batch, CPU)
    torch.testing.assert_close(kept, expected, atol=2e-3, rtol=0)


def test_gradient_delays_are_corrected_on_request():
    pytest.importorskip("torchkbnufft", reason="needs the extra `radial`")
    height, width, _ = SHAPE
    planned = radial_trajectory(series_angles("golden", 12, 13), 48).float()
    truth = torch.zeros(12, 1, height, width, dtype=torch.complex64)
    truth[..., 6:14, 5:12] = 1
    places = delay_corrected(planned, torch.tensor([[0.015, 0.0], [0.0, -0.01]]))
    samples = NonuniformFourier(places, (height, width))(truth)
    sizes = {"height": torch.tensor([height]), "width": torch.tensor([width])}
    images = [
        PrepareCine(MASK, gradient_delays=corrects)(
            {**from_files("a.h5", samples=samples[None], trajectory=own[None]), **sizes}, CPU
        )[0]
        for own, corrects in ((places, False), (planned, False), (planned, True))
    ]
    wrong, right = (float((image - images[0]).norm() / images[0].norm()) for image in images[1:])
    assert wrong > 0.1
    assert right < wrong / 4


def test_stored_magnitudes_are_taken_on_request_and_where_there_is_nothing_else():
    truth, recon = truths(), truths().flip(2)
    stored = PrepareCine(MASK, measurement="stored")
    image, label = stored(from_files("a", "b", truth=truth, recon=recon), CPU)
    assert torch.equal(image, recon)
    assert torch.equal(label, truth)
    image, label = PrepareCine(MASK)(from_files("a", "b", recon=recon), CPU)
    assert torch.equal(image, recon)
    assert label is None
    image, _ = PrepareCine(MASK)(from_files("a", "b", truth=truth, recon=recon), CPU)
    assert not torch.equal(image, recon)


def test_augmentation_turns_all_frames_and_both_images_alike():
    truth = truths(4)
    flips = RandomFlips()
    image, label = PrepareCine(MASK, measurement="stored", augmentation=flips)(
        from_files(*"abcd", truth=truth, recon=2 * truth), CPU
    )
    torch.testing.assert_close(image, 2 * label)
    ways = [truth, truth.flip(2), truth.flip(3), truth.flip((2, 3))]
    ways += [way.transpose(2, 3) for way in ways if way.shape[2] == way.shape[3]]
    for index in range(4):
        assert any(torch.equal(label[index], way[index]) for way in ways)
    assert not torch.equal(label, truth)


def test_noise_has_the_asked_size_on_the_samples_and_repeats_by_file():
    truth = truths(1)
    quiet, noisy = (PrepareCine(MASK, complex_image=True, noise_std=std, by_file=True) for std in (0.0, 0.05))
    batch = from_files("a.h5", truth=truth)
    first, _ = noisy(batch, CPU)
    again, _ = noisy(batch, CPU)
    clean, _ = quiet(batch, CPU)
    assert torch.equal(first, again)
    difference, mask = (first - clean)[:, :2], clean[:, 2:].bool().expand(-1, 2, -1, -1, -1)
    assert not difference[~mask].any()
    assert difference[mask].std().item() == pytest.approx(0.05, rel=0.1)


def test_training_draws_other_masks_each_time():
    torch.manual_seed(0)
    prepare = PrepareCine(MASK)
    batch = from_files("a", truth=truths(1))
    assert not torch.equal(prepare(batch, CPU)[0], prepare(batch, CPU)[0])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="measurement must be one of simulated, stored, got 'real'"):
        PrepareCine(MASK, measurement="real")
    with pytest.raises(ValueError, match="n_coils must be at least 1, got 0"):
        PrepareCine(MASK, n_coils=0)
    with pytest.raises(ValueError, match="expected measurement 'simulated' for a network that takes k-space"):
        PrepareCine(MASK, complex_image=True, measurement="stored")
    with pytest.raises(ValueError, match=r"a\.h5: expected imagesTrue or kspace with mask, got recon only"):
        PrepareCine(MASK, complex_image=True)(from_files("a.h5", recon=truths(1)), CPU)
    with pytest.raises(ValueError, match=r"a\.h5: expected imagesRecon, got truth only"):
        PrepareCine(MASK, measurement="stored")(from_files("a.h5", truth=truths(1)), CPU)


def test_a_radial_scan_takes_the_place_of_masks():
    """By file it repeats; a measured file is packed as the simulated one; in training a window is drawn."""
    pytest.importorskip("torchkbnufft", reason="needs the extra `radial`")
    scan, truth = RadialScan(n_spokes=12, n_coils=3), random_complex(2, 1, 24, 20, 4, dtype=torch.complex64)
    prepare = PrepareCine(scan, complex_image=True, by_file=True)
    image, label = prepare(from_files("a.h5", "b.h5", truth=truth), CPU)
    again, _ = prepare(from_files("b.h5", truth=truth[1:]) | {"slice": torch.tensor([1])}, CPU)
    assert image.shape == (2, 8 + 6, 24, 20, 4)
    assert torch.equal(image[1:], again)
    torch.testing.assert_close(channels_to_complex(label).abs(), truth.abs())
    places = radial_trajectory(series_angles("golden", 4, 12), 48).float()
    gridding = RadialGridding(places, (24, 20))
    samples = gridding.sample(simulated_sensitivity_maps(3, 24, 20) * frames_to_batch(truth[:1]))
    batch = from_files("c.h5", samples=samples[None], trajectory=places[None], height=[24], width=[20])
    measured, nothing = prepare(batch, CPU)
    torch.testing.assert_close(measured, gridding.pack(samples))
    assert nothing is None
    window = PrepareCine(scan, complex_image=True, n_frames=3)(from_files("a.h5", truth=truth[:1]), CPU)
    assert [part.shape[4] for part in window] == [3, 3]
    with pytest.raises(ValueError, match="complex_image"):
        PrepareCine(scan)
