"""Gradient penalties that keep a discriminator smooth. Each draws its own graph, in float32."""

import torch
from torch import Tensor, nn


def _squared_gradient_norm(discriminator: nn.Module, images: Tensor) -> Tensor:
    images = images.detach().float().requires_grad_(True)
    with torch.autocast(images.device.type, enabled=False):
        scores = discriminator(images)
    (gradient,) = torch.autograd.grad(scores.flatten(1).mean(1).sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1)


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
        """Unweighted penalty, a scalar; ``fake`` is not looked at."""
        return 0.5 * _squared_gradient_norm(discriminator, real).mean()


class GradientPenalty(R1Penalty):
    """``weight * E (|grad D(z)| - 1)^2``, ``z`` between a real and a fake image.

    Gulrajani et al. 2017, arXiv 1704.00028.
    Args as in :class:`R1Penalty`; ``weight`` is lambda of the paper.
    """

    name = "gradient_penalty"

    def __init__(self, weight: float = 10.0, interval: int = 1) -> None:
        super().__init__(weight, interval)

    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """Unweighted penalty, a scalar; the places between real and fake are drawn from torch's random state."""
        place = torch.rand((len(real), *[1] * (real.dim() - 1)), device=real.device)
        between = torch.lerp(real.detach().float(), fake.detach().float(), place)
        # 1e-12: the square root has no gradient at 0
        return (torch.sqrt(_squared_gradient_norm(discriminator, between) + 1e-12) - 1).square().mean()
