"""SRGAN's objective: its terms by their formulas, and who learns from which."""

import numpy as np
import pytest
import torch
from torch import nn

from common.losses import PerceptualLoss, SrGanObjective


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return {"label": torch.rand(2, 1, 16, 16, generator=generator)}, torch.rand(2, 1, 16, 16, generator=generator)


@pytest.fixture
def discriminator():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3))


def test_terms_are_their_formulas(images, discriminator):
    batch, result = images
    torch.manual_seed(2)
    features = nn.Conv2d(1, 3, 3).requires_grad_(False)
    objective = SrGanObjective("mse", perceptual=PerceptualLoss(features))
    terms = objective.generator_terms(batch, result, discriminator)
    scores = discriminator(result).detach().double().numpy()
    difference = (features(result) - features(batch["label"])).double().numpy()
    expected = {
        "pixel": ((result - batch["label"]).double().numpy() ** 2).mean(),
        "adversarial": -np.log(1 / (1 + np.exp(-scores))).mean(),
        "perceptual": (difference**2).mean(),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)
    assert SrGanObjective("l1").generator_terms(batch, result, None).keys() == {"pixel"}


@pytest.mark.parametrize("real_label", [1.0, 0.9])
def test_the_critic_is_the_cross_entropy_of_both_halves(images, discriminator, real_label):
    batch, result = images
    real, fake = (discriminator(image) for image in (batch["label"], result))
    expected = nn.functional.binary_cross_entropy_with_logits(real, torch.full_like(real, real_label))
    expected = expected + nn.functional.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    terms = SrGanObjective(real_label=real_label).discriminator_terms(batch, result, discriminator)
    torch.testing.assert_close(terms["critic"], expected)


def test_the_adversarial_term_alone_reaches_the_generator(images, discriminator):
    batch, _ = images
    torch.manual_seed(3)
    generator = nn.Conv2d(1, 1, 3, padding=1)
    terms = SrGanObjective().generator_terms(batch, generator(batch["label"]), discriminator.requires_grad_(False))
    terms["adversarial"].backward()
    assert generator.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in discriminator.parameters())


@pytest.mark.parametrize(
    "options",
    [{"pixel": "l3"}, {"adversarial": "none"}, {"real_label": 0.4}, {"real_label": 0.9, "adversarial": "hinge"}],
)
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=r"must be one of|real_label"):
        SrGanObjective(**options)
