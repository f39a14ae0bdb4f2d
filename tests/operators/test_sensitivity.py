"""Sensitivity maps from the centre of k-space: against known maps, against sigpy, and what reconstructs with them."""

import builtins
import math

import pytest
import torch
from helpers import random_complex

from common.operators import (
    SenseAcquisition,
    SenseDataConsistency,
    estimate_sensitivity_maps,
    fft2c,
    root_sum_of_squares,
    simulated_sensitivity_maps,
)
from common.operators.sensitivity import center_size
from common.phantoms.brain_phantom import brain_phantom

SIZE = 128


def columns(n_center, height=SIZE, width=SIZE, spacing=3):
    """Each third column, and full ones in the centre."""
    mask = torch.zeros(1, 1, height, width)
    mask[..., width // 2 % spacing :: spacing] = 1
    start = width // 2 - n_center // 2
    mask[..., start : start + n_center] = 1
    return mask


@pytest.fixture(scope="module")
def phantom():
    """Truth, maps, noisy fully sampled k-space of 8 coils: white noise of 0.5 % of the brightest tissue."""
    truth = torch.from_numpy(brain_phantom(3, SIZE))[None, None]
    maps = simulated_sensitivity_maps(8, SIZE, SIZE)
    kspace = fft2c(maps * truth)
    return truth, maps, kspace + 0.005 * math.sqrt(2) * random_complex(*kspace.shape, seed=1, dtype=torch.complex64)


def map_error(estimated, known, truth):
    """Root of the fraction of the object's energy that lies across the estimated maps."""
    along = (estimated.conj() * known).sum(dim=1, keepdim=True).abs().square()
    energy = truth.abs().square() * (truth.abs() > 0.1)
    return float(((1 - along) * energy).sum().div(energy.sum()).sqrt())


def psnr(image, truth):
    inside = truth.abs() > 0.1
    error = (image.abs() - truth.abs())[inside].square().mean().sqrt()
    return float(20 * torch.log10(truth.abs().max() / error))


def reconstruction(kspace, maps, mask, n_iterations=12):
    """CG-SENSE, stopped before it amplifies the noise."""
    zeros = torch.zeros_like(kspace[:, :1])
    return SenseDataConsistency(n_iterations)(zeros, mask * kspace, maps, mask)


@pytest.mark.parametrize(("n_center", "largest"), [(24, 0.012), (12, 0.02), (8, 0.04), (4, 0.1)])
def test_walsh_maps_are_the_known_ones(phantom, n_center, largest):
    truth, maps, kspace = phantom
    mask = columns(n_center)
    estimated = estimate_sensitivity_maps(mask * kspace, mask)
    assert estimated.shape == maps.shape
    assert estimated.dtype == torch.complex64
    torch.testing.assert_close(root_sum_of_squares(estimated), torch.ones(1, 1, SIZE, SIZE), rtol=0, atol=1e-5)
    assert map_error(estimated, maps, truth) < largest


@pytest.mark.parametrize(("spacing", "n_center"), [(3, 24), (3, 12), (4, 24)])
def test_estimated_maps_reconstruct_within_1_db_of_known_ones(phantom, spacing, n_center):
    truth, maps, kspace = phantom
    mask = columns(n_center, spacing=spacing)
    estimated = estimate_sensitivity_maps(mask * kspace, mask)
    known = psnr(reconstruction(kspace, maps, mask), truth)
    zero_filled = psnr(SenseAcquisition(maps, mask).adjoint(kspace), truth)
    assert known > zero_filled + 3
    assert psnr(reconstruction(kspace, estimated, mask), truth) > known - 1


def test_espirit_maps_are_the_known_ones_and_walsh_agrees(phantom):
    pytest.importorskip("sigpy")
    truth, maps, kspace = phantom
    mask = columns(24)
    espirit = estimate_sensitivity_maps(mask * kspace, mask, method="espirit")
    assert map_error(espirit, maps, truth) < 0.01
    torch.testing.assert_close(root_sum_of_squares(espirit), torch.ones(1, 1, SIZE, SIZE), rtol=0, atol=1e-4)
    walsh = estimate_sensitivity_maps(mask * kspace, mask)
    assert map_error(walsh, espirit, truth) < 0.015
    inside = truth.abs() > 0.1
    turned = (walsh.conj() * espirit).sum(dim=1, keepdim=True)[inside].angle()
    assert float(turned.abs().max()) < 0.1  # one virtual coil: the phases agree, too
    inside = root_sum_of_squares(estimate_sensitivity_maps(mask * kspace, mask, support=0.03))
    of_walsh, of_espirit = (psnr(reconstruction(kspace, inside * each, mask), truth) for each in (walsh, espirit))
    assert of_walsh > of_espirit - 0.5 > psnr(reconstruction(kspace, maps, mask), truth)


def test_the_virtual_coil_sees_real_and_positive_values(phantom):
    kspace = phantom[2]
    mask = columns(24)
    estimated = estimate_sensitivity_maps(mask * kspace, mask)[0].flatten(1)
    centre = kspace[0, :, SIZE // 2 - 12 : SIZE // 2 + 12, SIZE // 2 - 12 : SIZE // 2 + 12].flatten(1)
    virtual_coil = torch.linalg.svd(centre, full_matrices=False)[0][:, 0]
    seen = virtual_coil.conj() @ estimated
    seen = seen / torch.sgn(seen.sum())
    strong = seen.abs() > 0.2
    assert strong.float().mean() > 0.5
    assert float(seen[strong].angle().abs().max()) < 0.1


def test_maps_of_a_measurement_do_not_depend_on_its_batch_or_unit(phantom):
    kspace = phantom[2]
    masks = torch.cat((columns(24), columns(8)))
    both = estimate_sensitivity_maps(masks * kspace, masks)
    for index in range(2):
        mask = masks[index : index + 1]
        alone = estimate_sensitivity_maps(1e-6 * mask * kspace, mask.bool())
        torch.testing.assert_close(both[index : index + 1], alone, rtol=0, atol=2e-3)
    shared = estimate_sensitivity_maps(masks[:1] * kspace.expand(2, -1, -1, -1), masks[:1])
    torch.testing.assert_close(shared[1], both[0], rtol=0, atol=2e-3)


@pytest.mark.parametrize(("height", "width"), [(161, 143), (90, 200), (33, 57)])
def test_maps_stay_in_place_at_any_size(height, width):
    """Known maps of an object that fills the field of view, at odd and uneven sizes."""
    maps = simulated_sensitivity_maps(6, height, width)
    texture = 1 + 0.3 * random_complex(1, 1, height, width, dtype=torch.complex64)
    estimated = estimate_sensitivity_maps(fft2c(maps * texture), torch.ones(1, 1, height, width))
    along = (estimated.conj() * maps).sum(dim=1).abs()[:, 4:-4, 4:-4]
    assert float((1 - along.square()).clamp(min=0).mean().sqrt()) < 0.05


def test_support_takes_the_air_out(phantom):
    truth, _, kspace = phantom
    mask = columns(24)
    everywhere = estimate_sensitivity_maps(mask * kspace, mask)
    trimmed = estimate_sensitivity_maps(mask * kspace, mask, support=0.05)
    kept = root_sum_of_squares(trimmed) > 0
    torch.testing.assert_close(trimmed, kept * everywhere)
    assert bool(kept[truth.abs() > 0.1].all())
    assert float(kept[truth.abs() < 0.02].float().mean()) < 0.5
    whole, part = (psnr(reconstruction(kspace, each, mask), truth) for each in (everywhere, trimmed))
    assert part > whole


def test_one_coil_has_a_map_of_ones():
    kspace = random_complex(2, 1, 20, 24, dtype=torch.complex64)
    maps = estimate_sensitivity_maps(kspace, torch.ones(1, 1, 20, 24))
    torch.testing.assert_close(maps, torch.ones_like(maps), rtol=0, atol=1e-6)


def test_nothing_measured_gives_finite_maps():
    maps = estimate_sensitivity_maps(torch.zeros(1, 4, 100, 120), torch.ones(1, 1, 100, 120), support=0.1)
    assert torch.view_as_real(maps).isfinite().all()
    torch.testing.assert_close(root_sum_of_squares(maps), torch.ones(1, 1, 100, 120))


def square(height, width, size):
    mask = torch.zeros(1, 1, height, width)
    top, left = height // 2 - size // 2, width // 2 - size // 2
    mask[..., top : top + size, left : left + size] = 1
    return mask


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (torch.ones(1, 1, 12, 7), (12, 7)),
        (torch.ones(1, 1, 7, 12), (7, 12)),
        (columns(8, 20, 30, spacing=30), (20, 8)),
        (columns(5, 20, 31, spacing=31), (20, 5)),
        (columns(8, 20, 30, spacing=30).mT, (8, 20)),
        (square(20, 30, 6), (6, 6)),
        (square(21, 31, 9), (9, 9)),
        (1 - square(9, 9, 1), (9, 0)),
    ],
)
def test_the_full_centre_is_found(mask, expected):
    assert tuple(int(size) for size in center_size(mask)) == expected


def test_bad_input_is_refused(monkeypatch):
    kspace = random_complex(1, 2, 32, 32, dtype=torch.complex64)
    with pytest.raises(ValueError, match=r"without enough centre: walsh maps need at least 4 .*, got 32 rows and 3 co"):
        estimate_sensitivity_maps(kspace, columns(3, 32, 32, spacing=5))
    with pytest.raises(ValueError, match=r"espirit maps need at least 12 .* got 32 rows and 8 .*choose method 'walsh'"):
        estimate_sensitivity_maps(kspace, columns(8, 32, 32, spacing=32), method="espirit")
    with pytest.raises(ValueError, match="must be one of walsh, espirit, got 'sake'"):
        estimate_sensitivity_maps(kspace, columns(8, 32, 32), method="sake")
    with pytest.raises(ValueError, match=r"support must be in \[0, 1\), got 1"):
        estimate_sensitivity_maps(kspace, columns(8, 32, 32), support=1)

    imported = builtins.__import__

    def without_sigpy(name, *args, **kwargs):
        if name.startswith("sigpy"):
            raise ModuleNotFoundError(name, name="sigpy")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_sigpy)
    with pytest.raises(ValueError, match=r"needs sigpy, .* not installed; `pip install 'sigpy"):
        estimate_sensitivity_maps(kspace, torch.ones(1, 1, 32, 32), method="espirit")
