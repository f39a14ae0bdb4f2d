"""The losses of cine training by name: values, parity with scikit-image, gradients, and that they train."""

import math

import numpy as np
import pytest
import torch
from monai.losses import SSIMLoss
from scripts.cine_objective import CINE_LOSSES, CineObjective
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn


def series(channels=1, batch=2, height=18, width=20, n_frames=3, seed=0):
    """A truth and a result near it."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(batch, channels, height, width, n_frames, generator=generator, dtype=torch.float64)
    result = truth + 0.1 * torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    return (result.clamp(0, 1) if channels == 1 else result), truth


def loss(name, result, truth, network=None):
    return CineObjective(name, network).generator_terms({"label": truth}, result)["image"]


def frames(volume):
    return [volume[b, 0, ..., t].numpy() for b in range(len(volume)) for t in range(volume.shape[-1])]


# -- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MSE", 0.01),
        ("MAE", 0.1),
        ("BCE", -0.5 * math.log(0.6) - 0.5 * math.log(0.4)),
        ("SSIM", 1 - (2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)),
        ("PSNR", -20),
    ],
)
def test_a_constant_error_has_a_known_value(name, value):
    truth = torch.full((1, 1, 12, 14, 2), 0.5)
    assert loss(name, truth + 0.1, truth).item() == pytest.approx(value, rel=1e-5)


def test_ssim_and_psnr_equal_scikit_image_frame_by_frame():
    result, truth = series()
    pairs = list(zip(frames(result), frames(truth), strict=True))
    options = {"data_range": 1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    similarity = np.mean([structural_similarity(t, r, **options) for r, t in pairs])
    ratio = np.mean([peak_signal_noise_ratio(t, r, data_range=1) for r, t in pairs])
    assert loss("SSIM", result, truth).item() == pytest.approx(1 - similarity, rel=1e-9)
    assert loss("PSNR", result, truth).item() == pytest.approx(-ratio, rel=1e-6)


def test_ssim_and_its_gradient_equal_monai():
    result, truth = (image.float() for image in series(seed=1))
    images = [image.movedim(-1, 1).flatten(0, 1) for image in (result, truth)]
    ours, theirs = result.clone().requires_grad_(), images[0].clone().requires_grad_()
    loss("SSIM", ours, truth).backward()
    expected = SSIMLoss(spatial_dims=2)(theirs, images[1])
    expected.backward()
    assert loss("SSIM", result, truth).item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(ours.grad.movedim(-1, 1).flatten(0, 1), theirs.grad, rtol=1e-3, atol=1e-7)


def test_cross_entropy_equals_its_formula_and_is_least_at_the_truth():
    result, truth = series(seed=2)
    result = result.clamp(1e-3, 1 - 1e-3)
    r, t = result.numpy(), truth.numpy()
    assert loss("BCE", result, truth).item() == pytest.approx(-np.mean(t * np.log(r) + (1 - t) * np.log(1 - r)))
    assert loss("BCE", truth, truth) < loss("BCE", result, truth)


@pytest.mark.parametrize("name", CINE_LOSSES)
@pytest.mark.parametrize("channels", [1, 2])
def test_all_are_finite_for_identical_and_for_empty_series(name, channels):
    for value in (0.0, 0.5, 1.0):
        for truth in (torch.full((1, channels, 12, 12, 2), value), torch.zeros(1, channels, 12, 12, 2)):
            result = torch.full_like(truth, value).requires_grad_()
            terms = CineObjective(name).generator_terms({"label": truth}, result, None)
            terms["image"].backward()
            assert terms["image"].dim() == 0
            assert terms["image"].isfinite()
            assert result.grad.isfinite().all()
    assert loss("PSNR", truth, truth).item() == pytest.approx(-80)


@pytest.mark.parametrize("name", CINE_LOSSES)
@pytest.mark.parametrize("channels", [1, 2])
def test_gradients_equal_differences(name, channels):
    result, truth = series(channels, batch=1, height=11, width=12, n_frames=2, seed=3)
    inside = (0.5 * result + 0.1).clamp(0.05, 0.6) if channels == 2 else result.clamp(0.05, 0.95)
    assert torch.autograd.gradcheck(lambda image: loss(name, image, truth), inside.requires_grad_(), fast_mode=True)


# -- complex series --------------------------------------------------------------------------------------------------


def test_differences_hold_the_phase_and_similarities_leave_it_free():
    _, truth = series(channels=2, seed=4)
    turned = torch.stack([-truth[:, 1], truth[:, 0]], dim=1)  # times i
    power = truth.square().sum(1)
    assert loss("MSE", turned, truth).item() == pytest.approx(2 * power.mean().item())
    assert loss("MAE", turned, truth).item() == pytest.approx(math.sqrt(2) * power.sqrt().mean().item())
    ratios = 10 * (2 * power.mean(dim=(1, 2))).log10()
    assert loss("PSNR", turned, truth).item() == pytest.approx(ratios.mean().item())
    assert loss("SSIM", turned, truth).item() == pytest.approx(0, abs=1e-12)
    magnitudes = power.sqrt()[:, None]
    for name in CINE_LOSSES:  # a complex result and a truth of magnitudes: magnitudes are compared
        expected = loss(name, magnitudes, 0.9 * magnitudes).item()
        assert loss(name, turned, 0.9 * magnitudes).item() == pytest.approx(expected)
        assert loss(name, 0.9 * magnitudes, turned).item() == pytest.approx(
            loss(name, 0.9 * magnitudes, magnitudes).item()
        )
    assert loss("BCE", 0.7 * turned, 0.7 * truth).item() == pytest.approx(
        loss("BCE", 0.7 * magnitudes, 0.7 * magnitudes).item()
    )


# -- training --------------------------------------------------------------------------------------------------------


class Penalised(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, image):
        return torch.relu(image + self.body(image))

    def weight_penalty(self):
        return 0.1 * self.body.weight.abs().sum()


@pytest.mark.parametrize("name", CINE_LOSSES)
def test_every_loss_falls_in_a_short_training(name):
    rows, columns, times = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (20, 22, 4)), indexing="ij")
    truth = torch.sigmoid(9 * (0.5 + 0.1 * times - (rows**2 + columns**2).sqrt()))[None, None]
    aliased = (truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))).relu()
    network = Penalised()
    objective = CineObjective(name)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    values = []
    for _ in range(60):
        terms = objective.generator_terms({"label": truth}, network(aliased), None)
        assert list(terms) == ["image"]
        optimizer.zero_grad()
        terms["image"].backward()
        optimizer.step()
        values.append(terms["image"].item())
    assert values[-1] < values[0] - 0.02 * abs(values[0])
    assert (network(aliased) - truth).square().mean() < (aliased - truth).square().mean()


def test_a_networks_penalty_is_a_term_of_its_own():
    network = Penalised()
    result, truth = (image.float() for image in series())
    terms = CineObjective("MSE", network).generator_terms({"label": truth}, result)
    assert list(terms) == ["image", "weights"]
    assert terms["weights"].item() == pytest.approx(0.1 * sum(abs(w) for w in network.body.weight.flatten().tolist()))
    terms["weights"].backward()
    torch.testing.assert_close(network.body.weight.grad, 0.1 * network.body.weight.detach().sign())
    assert list(CineObjective("MSE", nn.Conv3d(1, 1, 1)).generator_terms({"label": truth}, result)) == ["image"]


def test_half_precision_is_computed_in_single():
    result, truth = (image.to(torch.bfloat16) for image in series())
    for name in CINE_LOSSES:
        assert loss(name, result, truth).dtype == torch.float32


def test_bad_input_is_refused():
    for name in ("ssim", "L1", ""):
        with pytest.raises(ValueError, match=rf"loss must be one of MSE, MAE, BCE, SSIM, PSNR, got '{name}'"):
            CineObjective(name)
    truth = torch.rand(1, 1, 12, 12, 3)
    for result in (truth[..., :2], truth[:, :, 1:], truth[0], truth[..., 0]):
        with pytest.raises(ValueError, match=r"expected (images|result)"):
            loss("MSE", result, truth)
    with pytest.raises(ValueError, match="images of 2 channels"):
        loss("MSE", truth.expand(1, 3, 12, 12, 3), truth)
    with pytest.raises(ValueError, match=r"11 x 11 window and needs images at least as large, got \[10, 12\]"):
        loss("SSIM", truth[:, :, :10], truth[:, :, :10])
    assert loss("MSE", truth[:, :, :10] + 0.1, truth[:, :, :10]).item() == pytest.approx(0.01, rel=1e-5)
