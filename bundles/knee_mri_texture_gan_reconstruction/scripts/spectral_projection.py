"""Spectral normalisation that leaves plain weights: a projection after each step of the optimizer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

_POWER_ITERATIONS = 4


class SpectralProjection:
    """Keeps the spectral norm of each convolution and linear layer about ``bound`` or below, as a handler of a trainer.

    ``W <- W / max(1, s(W) / bound)`` after each step (Gouk et al. 2018, arXiv 1804.04368), ``s`` the largest singular
    value of the weight as a matrix of its first axis and the rest (the first are the outputs, of transposed
    convolutions the inputs), by power iteration. That estimates from below: normally distributed weights, whose
    singular values lie close together, are left up to a tenth above the bound, weights of lower rank less. Miyato et
    al. 2018, arXiv 1802.05957, divide in the forward pass instead, by hooks that TorchScript cannot read and that must
    be folded away before export. A projected network has plain weights at all times: it is saved, averaged, exchanged
    and exported as it is. A weight whose norm is below the bound is left alone.

    Args:
        network: whose weights are bounded.
        bound: largest spectral norm.
        exclude: names of parts of the network that are left alone, such as an encoder whose weights come from a file.

    Raises:
        ValueError: if ``bound`` is not positive, or there is no such part.
    """

    def __init__(self, network: nn.Module, bound: float = 1.0, exclude: Sequence[str] = ()) -> None:
        if not bound > 0:
            raise ValueError(f"bound must be positive, got {bound}; leave the handler out for weights without bound")
        parts = dict(network.named_modules())
        if missing := [name for name in exclude if name not in parts]:
            raise ValueError(f"exclude: the network has no part {missing[0]!r}; its parts are {_top_names(network)}")
        excluded = {module for name in exclude for module in parts[name].modules()}
        self.weights = [
            m.weight
            for m in network.modules()
            if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)) and m not in excluded
        ]
        self.bound = bound

    def attach(self, trainer: Engine) -> None:
        """Register on a trainer."""
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self)

    @torch.no_grad()
    def __call__(self, trainer: Engine | None = None) -> None:
        """Project all weights."""
        for weight in self.weights:
            if not weight.requires_grad:  # not trained
                continue
            weight.div_((spectral_norm(weight) / self.bound).clamp(min=1.0))


def _top_names(network: nn.Module) -> str:
    return ", ".join(name for name, _ in network.named_children())


def spectral_norm(weight: Tensor, n_iterations: int = _POWER_ITERATIONS) -> Tensor:
    """Largest singular value of a weight as a matrix of its first axis and the rest, from below, by power iteration.

    The iteration starts at the largest row, so that it has no state and repeats: 2 for ``[[2, 0], [0, 1]]``.
    """
    matrix = weight.detach().flatten(1).float()
    right = matrix[matrix.square().sum(1).argmax()]
    left = matrix.new_zeros(matrix.shape[0])
    for _ in range(n_iterations):
        left = nn.functional.normalize(matrix @ right, dim=0)
        right = matrix.T @ left
    return torch.linalg.vector_norm(right)
