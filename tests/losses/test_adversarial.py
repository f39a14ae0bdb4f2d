"""Adversarial losses against their formulas in NumPy."""

import numpy as np
import pytest
import torch

from common.losses import ADVERSARIAL_LOSSES, adversarial_loss

FORMULAS = {  # name: (discriminator, generator)
    "wasserstein": (lambda r, f: np.mean(f) - np.mean(r), lambda f: -np.mean(f)),
    "hinge": (lambda r, f: np.mean(np.maximum(0, 1 - r)) + np.mean(np.maximum(0, 1 + f)), lambda f: -np.mean(f)),
    "least_squares": (lambda r, f: np.mean((r - 1) ** 2) + np.mean(f**2), lambda f: np.mean((f - 1) ** 2)),
    "bce": (
        lambda r, f: -np.mean(np.log(sigmoid(r))) - np.mean(np.log(1 - sigmoid(f))),
        lambda f: -np.mean(np.log(sigmoid(f))),
    ),
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_every_loss_has_a_formula_here():
    assert set(FORMULAS) == set(ADVERSARIAL_LOSSES)


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_both_sides_are_the_formula(name):
    torch.manual_seed(0)
    real, fake = 2 * torch.randn(3, 1, 5, 4), 2 * torch.randn(2, 1, 3, 3)  # patch maps may differ in size
    discriminator, generator = FORMULAS[name]
    loss = adversarial_loss(name)
    expected = discriminator(real.numpy().astype(float), fake.numpy().astype(float))
    assert loss.discriminator(real, fake).item() == pytest.approx(expected, rel=1e-5)
    assert loss.generator(fake).item() == pytest.approx(generator(fake.numpy().astype(float)), rel=1e-5)


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_the_two_sides_pull_fake_scores_apart(name):
    """The discriminator lowers a fake score between the targets, the generator raises it."""
    fake = torch.tensor([0.3], requires_grad=True)
    loss = adversarial_loss(name)
    (down,) = torch.autograd.grad(loss.discriminator(torch.zeros(1), fake), fake)
    (up,) = torch.autograd.grad(loss.generator(fake), fake)
    assert down > 0
    assert up < 0


def test_bce_of_large_scores_is_finite():
    loss = adversarial_loss("bce")
    scores = torch.tensor([1e4])
    assert loss.generator(-scores).item() == pytest.approx(1e4)
    assert loss.discriminator(-scores, scores).item() == pytest.approx(2e4)


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match="must be one of wasserstein, hinge, least_squares, bce, got 'lsgan'"):
        adversarial_loss("lsgan")
