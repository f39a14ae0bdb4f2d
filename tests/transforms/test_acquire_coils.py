"""Batch preparation of multi-coil k-space: measurement with maps, and the combined truth."""

import pytest
import torch
from helpers import random_complex
from monai.data import MetaTensor
from torch import Tensor

from common.operators import (
    channels_to_complex,
    estimate_sensitivity_maps,
    fft2c,
    ifft2c,
    root_sum_of_squares,
    sense_adjoint,
    sense_forward,
    simulated_sensitivity_maps,
    unpack_coils,
)
from common.operators.masks import MaskSampler
from common.phantoms.brain_phantom import brain_phantom
from common.transforms import PrepareAcquisition, PrepareCoilAcquisition, RandomFlips

CPU = torch.device("cpu")
LINES = MaskSampler("cartesian", accel=4, center_fraction=0.16)


def coil_kspace(batch=2, n_coils=4, size=64):
    heads = torch.stack([torch.from_numpy(brain_phantom(seed, size)) for seed in range(batch)])[:, None]
    return fft2c(simulated_sensitivity_maps(n_coils, size, size) * heads)


def from_files(*names, **entries):
    return {"path": list(names), "slice": torch.arange(len(names)), **entries}


def test_fully_sampled_kspace_is_masked_and_combined():
    torch.manual_seed(0)
    kspace = coil_kspace()
    measurement, truth = PrepareCoilAcquisition(LINES)({"kspace": kspace}, CPU)
    assert measurement.shape == (2, 17, 64, 64)
    assert measurement.dtype == truth.dtype == torch.float32
    masked_kspace, mask, maps = unpack_coils(measurement)
    assert mask.mean(dim=(1, 2, 3)).tolist() == [0.25, 0.25]
    assert not torch.equal(mask[0], mask[1])
    assert torch.equal(masked_kspace, mask * kspace)
    torch.testing.assert_close(maps, estimate_sensitivity_maps(mask * kspace, mask))
    combined, expected = channels_to_complex(truth).abs(), root_sum_of_squares(ifft2c(kspace))
    assert float((combined - expected).abs().max()) < 0.05 * float(expected.max())


def test_the_measurements_maps_explain_the_truth():
    """What is not explained is the error of the maps, not a phase."""
    torch.manual_seed(0)
    measurement, truth = PrepareCoilAcquisition(LINES)({"kspace": coil_kspace()}, CPU)
    masked_kspace, mask, maps = unpack_coils(measurement)
    misfit = sense_forward(channels_to_complex(truth), maps, mask) - masked_kspace
    assert float(misfit.norm() / masked_kspace.norm()) < 0.05


def test_truth_does_not_depend_on_the_mask_but_in_phase():
    kspace = coil_kspace(1)
    magnitudes = []
    for support, accel in ((0.0, 2), (0.05, 4)):
        prepare = PrepareCoilAcquisition(MaskSampler("cartesian", accel=accel, center_fraction=0.2), support=support)
        measurement, truth = prepare({"kspace": kspace}, CPU)
        magnitudes.append(channels_to_complex(truth).abs())
        trimmed = root_sum_of_squares(unpack_coils(measurement)[2]) == 0
        assert bool(trimmed.any()) == (support > 0)
    torch.testing.assert_close(*magnitudes, rtol=0, atol=1e-5)


def test_measured_kspace_passes_with_its_maps_and_reference():
    mask = LINES((64, 64), seed=1)
    kspace = mask * coil_kspace()
    reference = torch.rand(2, 1, 48, 48)
    prepare = PrepareCoilAcquisition(LINES, augmentation=RandomFlips(), noise_std=1.0)
    batch = {"kspace": kspace, "mask": mask.expand(2, -1, -1, -1)}
    measurement, truth = prepare({**batch, "image": reference}, CPU)
    passed, passed_mask, maps = unpack_coils(measurement)
    assert torch.equal(passed, kspace)
    assert torch.equal(passed_mask, batch["mask"])
    torch.testing.assert_close(maps, estimate_sensitivity_maps(kspace, mask))
    assert truth.shape == (2, 2, 48, 48)
    assert torch.equal(truth[:, :1], reference)
    assert not truth[:, 1].any()
    assert prepare(batch, CPU)[1] is None


def test_a_files_mask_and_noise_follow_from_its_name():
    kspace = coil_kspace(1).expand(3, -1, -1, -1)
    prepare = PrepareCoilAcquisition(LINES, noise_std=0.01, by_file=True)
    first, again, other = prepare(from_files("x/a.h5", "y/a.h5", "b.h5", kspace=kspace), CPU)[0]
    assert torch.equal(first[8], again[8])
    assert not torch.equal(first[8], other[8])
    assert not torch.equal(first[:8], again[:8])
    alone = prepare({**from_files("z/a.h5", kspace=kspace[:1]), "slice": torch.tensor([1])}, CPU)[0]
    assert torch.equal(alone[0, :9], again[:9])


def test_noise_is_in_the_measurement_alone():
    torch.manual_seed(0)
    kspace = coil_kspace()
    measurement, truth = PrepareCoilAcquisition(LINES, noise_std=0.05)({"kspace": kspace}, CPU)
    masked_kspace, mask, _ = unpack_coils(measurement)
    noise = (masked_kspace - mask * kspace)[mask.expand_as(kspace) == 1]
    assert float(noise.real.std()) == pytest.approx(0.05, rel=0.03)
    assert float(noise.imag.std()) == pytest.approx(0.05, rel=0.03)
    clean = PrepareCoilAcquisition(LINES)({"kspace": kspace}, CPU)[1]
    torch.testing.assert_close(channels_to_complex(truth).abs(), channels_to_complex(clean).abs(), rtol=0, atol=1e-5)


def test_all_coils_are_augmented_alike():
    torch.manual_seed(0)
    kspace = coil_kspace(1)
    augmentation = RandomFlips([1], turns=False)
    magnitude = root_sum_of_squares(ifft2c(kspace))
    seen = set()
    for _ in range(8):
        measurement, truth = PrepareCoilAcquisition(LINES, augmentation=augmentation)({"kspace": kspace}, CPU)
        masked_kspace, mask, maps = unpack_coils(measurement)
        combined = channels_to_complex(truth)
        flipped = float((combined.abs() - magnitude.flip(3)).abs().mean()) < 0.01
        assert flipped or float((combined.abs() - magnitude).abs().mean()) < 0.01
        assert float((sense_forward(combined, maps, mask) - masked_kspace).norm() / masked_kspace.norm()) < 0.05
        seen.add(flipped)
    assert seen == {True, False}


def test_images_are_seen_by_simulated_coils():
    heads = torch.stack([torch.from_numpy(brain_phantom(seed, 64)) for seed in range(2)])[:, None].abs().float()
    prepare = PrepareCoilAcquisition(LINES, by_file=True, n_coils=6)
    measurement, truth = prepare(from_files("a.png", "b.png", image=heads), CPU)
    kspace, mask, maps = unpack_coils(measurement)
    assert kspace.shape == (2, 6, 64, 64)
    image = channels_to_complex(truth)
    torch.testing.assert_close(image.abs(), heads, atol=0.05, rtol=0)
    explained = sense_forward(image, maps, mask) - kspace
    assert explained.norm() < 0.1 * kspace.norm()
    again, _ = prepare({**from_files("x/b.png", image=heads[1:]), "slice": torch.tensor([1])}, CPU)
    torch.testing.assert_close(again, measurement[1:])
    assert not torch.allclose(maps[0], maps[1], atol=0.1)


def test_espirit_can_be_chosen():
    pytest.importorskip("sigpy")
    torch.manual_seed(0)
    measurement, truth = PrepareCoilAcquisition(
        MaskSampler("cartesian", accel=2, center_fraction=0.3), sensitivity="espirit"
    )({"kspace": coil_kspace(1)}, CPU)
    masked_kspace, mask, maps = unpack_coils(measurement)
    torch.testing.assert_close(maps, estimate_sensitivity_maps(masked_kspace, mask, method="espirit"))
    assert float((channels_to_complex(truth).abs() - sense_adjoint(masked_kspace, maps, mask).abs()).mean()) < 0.05


def test_metadata_stays_outside():
    batch = {"kspace": MetaTensor(coil_kspace(1)), "image": MetaTensor(torch.rand(1, 1, 64, 64))}
    for each in (batch, {**batch, "mask": MetaTensor(LINES((64, 64), seed=1))}):
        assert [type(result) for result in PrepareCoilAcquisition(LINES)(each, CPU)] == [Tensor, Tensor]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"noise_std must be at least 0, got -0\.1"):
        PrepareCoilAcquisition(LINES, noise_std=-0.1)
    thin = MaskSampler("equispaced", accel=4, center_fraction=0.05)
    kspace = random_complex(2, 3, 40, 40, dtype=torch.complex64)
    with pytest.raises(ValueError, match=r"^a\.h5, b\.h5: acceleration without enough centre: .*, got 40 rows and 2 "):
        PrepareCoilAcquisition(thin, by_file=True)(from_files("a.h5", "b.h5", kspace=kspace), CPU)
    measured = from_files("a.h5", kspace=kspace[:1], mask=thin((40, 40), seed=1))
    with pytest.raises(ValueError, match=r"^a\.h5: acceleration without enough centre: .*--coils emulated"):
        PrepareCoilAcquisition(thin)(measured, CPU)
    with pytest.raises(ValueError, match=r"^a\.h5: expected one coil, got 3; .*multicoil\.json"):
        PrepareAcquisition(thin)(measured, CPU)
    with pytest.raises(ValueError, match=r"a\.h5: expected multi-coil k-space, got images only"):
        PrepareCoilAcquisition(LINES)(from_files("a.h5", image=torch.rand(1, 1, 8, 8)), CPU)
