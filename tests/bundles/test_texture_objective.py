"""The knee bundle's objectives against formulas in NumPy, and where their gradients go."""

import numpy as np
import pytest
import torch
from helpers import SMALL_CASCADE, numpy_ifft2c, random_complex, random_mask
from scripts import texture_objective
from scripts.texture_proxy import GaborTextures
from skimage.metrics import structural_similarity
from torch import nn

from common.engines import Objective
from common.networks import ConditionalPatchDiscriminator, TextureCascade, train_textures_alone
from common.operators import SenseAcquisition, complex_to_channels, fft2c, pack_measurement, simulated_sensitivity_maps

BATCH, HEIGHT, WIDTH, N_TEXTURES, SIZE = 2, 24, 20, 3, 8


class Textures(nn.Module):
    """A proxy that is easily written down: the image and its square, in cells of 8, as many times as needed."""

    size = SIZE

    def forward(self, image):
        cells = nn.functional.avg_pool2d(image, 8, ceil_mode=True)
        return torch.cat((cells, cells**2), dim=1).repeat(1, SIZE // 2, 1, 1)


class Critic(nn.Module):
    """A patch map of image and condition."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.7))

    def forward(self, pair):
        return self.gain * pair[:, :1, ::2, ::2] - pair[:, 1:, 1::2, 1::2] ** 2


def numpy_critic(image, zero_filled):
    return 0.7 * image[:, ::2, ::2] - zero_filled[:, 1::2, 1::2] ** 2


@pytest.fixture
def batch():
    truth = 1e-3 * random_complex(BATCH, 1, HEIGHT, WIDTH, seed=4, dtype=torch.complex64)
    mask = random_mask(HEIGHT, WIDTH, seed=2)
    return {"image": pack_measurement(mask * fft2c(truth), mask), "label": complex_to_channels(truth)}


@pytest.fixture
def outputs():
    """As ``TextureCascade.stages`` gives them."""
    torch.manual_seed(3)
    latent = torch.randn(BATCH, N_TEXTURES, SIZE), torch.randn(BATCH, N_TEXTURES, SIZE)
    images = 1e-3 * torch.randn(BATCH, 2, HEIGHT, WIDTH), 1e-3 * torch.randn(BATCH, 2, HEIGHT, WIDTH)
    return *latent, torch.randn(BATCH, SIZE, 3, 3), *images


def as_numpy(channels):
    values = channels.detach().numpy().astype(float)
    return values[:, 0] + 1j * values[:, 1]


def network_units(batch, *images):
    """Zero-filled image, truth and images, of the zero-filled image's largest magnitude."""
    zero_filled = numpy_ifft2c(as_numpy(batch["image"]))
    unit = np.abs(zero_filled).max((1, 2), keepdims=True)
    return zero_filled / unit, as_numpy(batch["label"]) / unit, *(as_numpy(image) / unit for image in images)


def mean_abs(difference):
    """Over real and imaginary parts."""
    return np.mean(np.abs(np.stack((difference.real, difference.imag))))


def one_minus_ssim(one, other):
    """scikit-image's, where the Gaussian window of 11 pixels is inside the image."""
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "full": True}
    maps = [structural_similarity(a, b, **options)[1] for a, b in zip(np.abs(one), np.abs(other), strict=True)]
    return 1 - np.mean(np.array(maps)[:, 5:-5, 5:-5])


def assert_terms(terms, expected):
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert terms[name].shape == ()
        assert float(terms[name].detach()) == pytest.approx(value, rel=1e-4, abs=1e-6), name


# ------------------------------------------------------------------------------------------------------- baseline


def test_terms_of_the_baseline(batch, outputs):
    objective, image = texture_objective.ReconstructionObjective(), outputs[-1]
    _, truth, result = network_units(batch, image)
    expected = {"image": mean_abs(result - truth), "ssim": one_minus_ssim(result, truth)}
    assert_terms(objective.generator_terms(batch, image, None), expected)
    assert objective.discriminator_terms(batch, image, Critic()) == {}
    real, fake = objective.discriminator_pairs(batch, image)
    assert real is batch["label"]
    assert fake is image


def test_both_are_objectives_of_the_trainer():
    assert isinstance(texture_objective.ReconstructionObjective(), Objective)
    assert isinstance(texture_objective.TextureGanObjective(Textures()), Objective)


def test_a_perfect_image_costs_nothing(batch):
    terms = texture_objective.ReconstructionObjective().generator_terms(batch, batch["label"], None)
    assert float(terms["image"]) == 0
    assert float(terms["ssim"]) == pytest.approx(0, abs=1e-6)


def test_units_of_the_data_do_not_matter(batch, outputs):
    objective = texture_objective.TextureGanObjective(Textures())
    terms = objective.generator_terms(batch, outputs, Critic())
    scaled = {"image": batch["image"].clone(), "label": 1e4 * batch["label"]}
    scaled["image"][:, :2] *= 1e4
    again = objective.generator_terms(scaled, (*outputs[:3], 1e4 * outputs[3], 1e4 * outputs[4]), Critic())
    for name, value in terms.items():
        torch.testing.assert_close(again[name], value, rtol=1e-4, atol=1e-6)


def test_several_coils_have_one_unit():
    """That of the coil-combined zero-filled image."""
    truth = random_complex(1, 1, HEIGHT, WIDTH, dtype=torch.complex64)
    maps, mask = simulated_sensitivity_maps(3, HEIGHT, WIDTH), random_mask(HEIGHT, WIDTH)
    acquisition = SenseAcquisition(maps, mask)
    kspace = acquisition(truth)
    batch = {"image": pack_measurement(kspace, mask, maps), "label": complex_to_channels(truth)}
    unit = float(acquisition.adjoint(kspace).abs().max())
    terms = texture_objective.ReconstructionObjective().generator_terms(batch, torch.zeros_like(batch["label"]), None)
    assert float(terms["image"]) == pytest.approx(float(batch["label"].abs().mean()) / unit, rel=1e-4)


# ------------------------------------------------------------------------------------------------------ generative


@pytest.mark.parametrize("spatial", [True, False])
@pytest.mark.parametrize("adversarial", ["bce", "hinge"])
def test_terms_of_the_generative_network(batch, outputs, spatial, adversarial):
    mean, log_variance, style, second, first = outputs
    zero_filled, truth, other, one = network_units(batch, second, first)
    log_variance = log_variance.numpy().astype(float)
    kl = 0.5 * np.mean(mean.numpy() ** 2 + np.exp(log_variance) - 1 - log_variance)
    cells = np.abs(truth).reshape(BATCH, 3, 8, WIDTH)
    cells = np.stack([cells[..., left : left + 8].mean((2, 3)) for left in (0, 8, 16)], axis=-1)
    wanted = np.tile(np.stack((cells, cells**2), axis=1), (1, SIZE // 2, 1, 1))
    style = style.numpy()
    texture = np.abs(style - wanted) if spatial else np.abs(style.mean((2, 3)) - wanted.mean((2, 3)))
    fake = numpy_critic(np.abs(one), np.abs(zero_filled))
    real = numpy_critic(np.abs(truth), np.abs(zero_filled))
    expected = {
        "image": 0.5 * (mean_abs(one - truth) + mean_abs(other - truth)),
        "ssim": 0.5 * (one_minus_ssim(one, truth) + one_minus_ssim(other, truth)),
        "diversity": -mean_abs(one - other),
        "kl": kl,
        "texture": texture.mean(),
    }
    objective = texture_objective.TextureGanObjective(Textures(), None, adversarial, spatial)
    assert_terms(objective.generator_terms(batch, outputs, None), expected)
    expected["adversarial"] = np.mean(np.log1p(np.exp(-fake))) if adversarial == "bce" else -np.mean(fake)
    assert_terms(objective.generator_terms(batch, outputs, Critic()), expected)
    if adversarial == "bce":
        critic = np.mean(np.log1p(np.exp(-real))) + np.mean(np.log1p(np.exp(fake)))
    else:
        critic = np.mean(np.maximum(0, 1 - real)) + np.mean(np.maximum(0, 1 + fake))
    assert_terms(objective.discriminator_terms(batch, outputs, Critic()), {"critic": critic})
    pairs = objective.discriminator_pairs(batch, outputs)
    for pair, image in zip(pairs, (truth, one), strict=True):
        beside = np.stack((np.abs(image), np.abs(zero_filled)), axis=1)
        np.testing.assert_allclose(pair.numpy(), beside, rtol=1e-4, atol=2e-6)


def test_features_have_the_perceptual_distance(batch, outputs):
    """Squared distance of unit vectors of the maps at each place of the middle columns, a mean over the samples."""

    def maps(images):
        return [torch.cat((images, images**2), dim=1), nn.functional.avg_pool2d(images, 4).repeat(1, 3, 1, 1) + 1]

    def unit(array):
        return array / np.sqrt((array**2).sum(1, keepdims=True))

    def distance(one, other):
        middle = [np.abs(image)[:, None, :, 5:15] for image in (one, other)]
        pairs = zip(*(maps(torch.from_numpy(image)) for image in middle), strict=True)
        return sum(((unit(a.numpy()) - unit(b.numpy())) ** 2).sum(1).mean() for a, b in pairs)

    _, truth, second, first = network_units(batch, *outputs[3:])
    terms = texture_objective.TextureGanObjective(Textures(), maps).generator_terms(batch, outputs, None)
    expected = 0.5 * (distance(first, truth) + distance(second, truth))
    assert float(terms["features"]) == pytest.approx(expected, rel=1e-3)


def test_style_maps_of_another_grid_are_enlarged(batch, outputs):
    """One vector for the whole image is compared with every cell."""
    one = (*outputs[:2], outputs[2][:, :, :1, :1], *outputs[3:])
    everywhere = (*outputs[:2], outputs[2][:, :, :1, :1].expand(-1, -1, 3, 3), *outputs[3:])
    objective = texture_objective.TextureGanObjective(Textures())
    found, expected = (objective.generator_terms(batch, o, None)["texture"] for o in (one, everywhere))
    torch.testing.assert_close(found, expected)


def test_image_and_half_of_diversity_estimate_the_continuous_ranked_probability_score():
    """Of a normal forecast, closed form: s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)), z = (y - m) / s."""
    torch.manual_seed(0)
    shape, m, s, y = (1, 2, 400, 400), 0.3, 0.2, 0.45
    kspace = torch.zeros(1, 3, 400, 400)
    kspace[:, 0, 200, 200], kspace[:, 2] = 400, 1  # the zero-filled image is 1: network units are its own
    first, second = m + s * torch.randn(shape), m + s * torch.randn(shape)
    latent = torch.zeros(1, 1, SIZE), torch.zeros(1, 1, SIZE), torch.zeros(1, SIZE, 50, 50)
    batch = {"image": kspace, "label": torch.full(shape, y)}
    terms = texture_objective.TextureGanObjective(Textures()).generator_terms(batch, (*latent, second, first), None)
    z = torch.tensor((y - m) / s, dtype=torch.float64)
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    expected = s * (z * (2 * normal.cdf(z) - 1) + 2 * normal.log_prob(z).exp() - np.pi**-0.5)
    assert float(terms["image"] + 0.5 * terms["diversity"]) == pytest.approx(float(expected), rel=0.02)


def test_kl_of_a_standard_normal_is_zero(batch, outputs):
    zeros = torch.zeros(BATCH, N_TEXTURES, SIZE)
    terms = texture_objective.TextureGanObjective(Textures()).generator_terms(batch, (zeros, zeros, *outputs[2:]), None)
    assert float(terms["kl"]) == 0


def test_unknown_adversarial_loss_is_refused():
    with pytest.raises(ValueError, match=r"adversarial loss must be one of .*, got 'gan'"):
        texture_objective.TextureGanObjective(Textures(), None, "gan")


# ------------------------------------------------------------------------------------------------------- gradients


def test_magnitude_has_a_gradient_at_zero():
    channels = torch.zeros(1, 2, 2, 2, requires_grad=True)
    texture_objective.magnitude(channels).sum().backward()
    assert not channels.grad.any()


def test_an_empty_slice_has_finite_terms_and_gradients(outputs):
    batch = {"image": torch.zeros(BATCH, 3, HEIGHT, WIDTH), "label": torch.zeros(BATCH, 2, HEIGHT, WIDTH)}
    first, second = (torch.zeros(BATCH, 2, HEIGHT, WIDTH, requires_grad=True) for _ in range(2))
    terms = texture_objective.TextureGanObjective(GaborTextures(n_scales=1)).generator_terms(
        batch, (*outputs[:3], second, first), Critic()
    )
    assert all(torch.isfinite(term) for term in terms.values())
    sum(terms.values()).backward()
    assert torch.isfinite(first.grad).all()
    assert torch.isfinite(second.grad).all()


@pytest.fixture(scope="module")
def small():
    """Network and discriminator whose last layers, styles and strengths already count."""
    torch.manual_seed(0)
    options = {**SMALL_CASCADE, "texture_size": 8, "n_textures": 2, "texture_widths": (4, 8), "encoder_width": 0.1}
    network = train_textures_alone(TextureCascade(**options))
    with torch.no_grad():
        for name, parameter in network.texture_unet.named_parameters():
            if "affine.weight" in name or "tail.weight" in name or "attention.output.weight" in name:
                parameter.normal_(0, 0.1)
    return network, ConditionalPatchDiscriminator(width=4)


def gradients(terms, module):
    """Names of the weights that each term alone reaches."""
    parameters = {name: value for name, value in module.named_parameters() if value.requires_grad}
    reached = {}
    for name, term in terms.items():
        found = torch.autograd.grad(term, list(parameters.values()), retain_graph=True, allow_unused=True)
        reached[name] = {n for n, g in zip(parameters, found, strict=True) if g is not None and g.any()}
    return reached


def test_gradients_reach_encoder_noise_strengths_and_no_discriminator_but_in_its_own_step(small):
    network, discriminator = small
    truth = random_complex(2, 1, 64, 64, seed=4, dtype=torch.complex64)
    mask = random_mask(64, 64, seed=2)
    batch = {"image": pack_measurement(mask * fft2c(truth), mask), "label": complex_to_channels(truth)}
    objective = texture_objective.TextureGanObjective(GaborTextures(2, 4))
    outputs = network.train().stages(batch["image"])
    for parameter in discriminator.parameters():  # as the trainer does in the generator's step
        parameter.requires_grad_(False)
    reached = gradients(objective.generator_terms(batch, outputs, discriminator), network)
    for parameter in discriminator.parameters():
        parameter.requires_grad_(True)
    strengths = {name for name, _ in network.named_parameters() if ".strength." in name}
    encoder = {name for name, _ in network.named_parameters() if name.startswith("encoder.")}
    assert len(strengths) == 6
    assert strengths <= reached["image"] & reached["diversity"] & reached["ssim"] & reached["adversarial"]
    assert len(encoder & reached["image"]) > 100
    assert len(encoder & reached["texture"]) > 100
    assert reached["kl"] <= encoder
    assert any(name.startswith("encoder.log_variance") for name in reached["kl"])
    assert not any(name.startswith(("mapping", "cascade")) for name in reached["kl"])
    assert any(name.startswith("mapping") for name in reached["texture"])
    assert not any(name.startswith("texture_unet") for name in reached["texture"] | reached["kl"])
    detached = tuple(output.detach() for output in outputs)
    terms = objective.discriminator_terms(batch, detached, discriminator)
    assert gradients(terms, discriminator)["critic"] == {name for name, _ in discriminator.named_parameters()}
    assert gradients(terms, network)["critic"] == set()
