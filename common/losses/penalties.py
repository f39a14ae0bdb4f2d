"""Gradient penalty that keeps a discriminator smooth."""

import torch
from torch import Tensor, nn


class R1Penalty:
    """``weight / 2 * E |grad D(real)|^2`` (Mescheder et al. 2018, arXiv 1801.04406).

    A patch discriminator's score is the mean of its map. Applied every ``interval`` discriminator steps with
    ``interval`` times the weight (lazy regularisation, Karras et al. 2020, arXiv 1912.04958).

    Args:
        weight: gamma of the paper.
        interval: discriminator steps between two applications; 1 is every step.
    """

    name = "r1"

    def __init__(self, weight: float = 10.0, interval: int = 16) -> None:
        if weight <= 0 or interval < 1:
            raise ValueError(f"expected weight > 0 and interval >= 1, got {weight=}, {interval=}")
        self.weight = weight
        self.interval = interval

    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """Unweighted penalty, a scalar, in float32; ``fake`` is not looked at."""
        images = real.detach().float().requires_grad_(True)
        with torch.autocast(images.device.type, enabled=False):
            scores = discriminator(images)
        (gradient,) = torch.autograd.grad(scores.flatten(1).mean(1).sum(), images, create_graph=True)
        return 0.5 * gradient.square().flatten(1).sum(1).mean()
