"""Adversarial losses on discriminator scores, written on scores alone so that any pairing can use them.

A loss has two sides: ``discriminator(real_scores, fake_scores)`` and ``generator(fake_scores)``; both return a
scalar to minimise. Scores are raw network outputs of any shape; each side is the mean over all elements.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class AdversarialLoss(NamedTuple):
    """Both sides of one adversarial game."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


_LOSSES = {
    # Arjovsky et al. 2017, arXiv 1701.07875; needs a 1-Lipschitz critic: weight clipping or gradient penalty
    "wasserstein": AdversarialLoss(
        discriminator=lambda real, fake: fake.mean() - real.mean(), generator=lambda fake: -fake.mean()
    ),
    # Lim and Ye 2017, arXiv 1705.02894
    "hinge": AdversarialLoss(
        discriminator=lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
        generator=lambda fake: -fake.mean(),
    ),
    # Mao et al. 2017, arXiv 1611.04076, targets 1 and 0
    "least_squares": AdversarialLoss(
        discriminator=lambda real, fake: (real - 1).square().mean() + fake.square().mean(),
        generator=lambda fake: (fake - 1).square().mean(),
    ),
    # Goodfellow et al. 2014, arXiv 1406.2661, non-saturating generator; softplus(-x) = -log sigmoid(x)
    "bce": AdversarialLoss(
        discriminator=lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
        generator=lambda fake: F.softplus(-fake).mean(),
    ),
}
ADVERSARIAL_LOSSES = tuple(_LOSSES)


def adversarial_loss(name: str) -> AdversarialLoss:
    """The adversarial loss of a name: ``wasserstein``, ``hinge``, ``least_squares`` or ``bce``.

    Raises:
        ValueError: for any other name.
    """
    if name not in _LOSSES:
        raise ValueError(f"adversarial loss must be one of {', '.join(ADVERSARIAL_LOSSES)}, got {name!r}")
    return _LOSSES[name]
