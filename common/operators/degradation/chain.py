"""Degradations put together: one after another, in random order, or one of several per sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

Choice = TypeVar("Choice", bound=Hashable)


class Degradation(Protocol):
    """Interface of a degradation; it reduces each axis to ``1 / upscale``, and ``upscale`` is 1 if the size stays."""

    upscale: int

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Degrade ``(batch, channels, height, width[, depth])``; all random numbers come from the generator."""
        ...


class DegradationChain:
    """Degradations applied one after another.

    Args:
        steps: at least one degradation; the chain's ``upscale`` is the product of theirs.
        random_order: True if each sample goes through the steps in a random order, all orders being equally likely.
            A step counts strengths in pixels of the image it receives, which may be reduced already.
    """

    def __init__(self, steps: Sequence[Degradation], random_order: bool = False) -> None:
        if not steps:
            raise ValueError("expected at least one step, got none")
        self.steps = tuple(steps)
        self.random_order = random_order
        self.upscale = math.prod(step.upscale for step in self.steps)

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Degrade a batch."""
        ordered = tuple(range(len(self.steps)))
        if not self.random_order:
            return self._apply(ordered, image, generator)
        shape = (image.shape[0], len(ordered))
        orders = torch.rand(shape, generator=generator, device=generator.device).argsort(dim=1)
        return _by_choice(image, [tuple(order) for order in orders.tolist()], generator, self._apply)

    def _apply(self, order: tuple[int, ...], image: Tensor, generator: torch.Generator) -> Tensor:
        for index in order:
            image = self.steps[index](image, generator)
        return image


class OneOf:
    """One of several degradations for each sample, all equally likely.

    Args:
        degradations: choices, at least one, all with the same ``upscale``.
    """

    def __init__(self, degradations: Sequence[Degradation]) -> None:
        factors = sorted({degradation.upscale for degradation in degradations})
        if len(factors) != 1:
            raise ValueError(f"expected degradations of one upscale, got {', '.join(map(str, factors)) or 'none'}")
        self.degradations = tuple(degradations)
        self.upscale = factors[0]

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Degrade a batch."""
        n_choices, n_samples = len(self.degradations), image.shape[0]
        chosen = torch.randint(n_choices, (n_samples,), generator=generator, device=generator.device)
        return _by_choice(image, chosen.tolist(), generator, self._apply)

    def _apply(self, choice: int, image: Tensor, generator: torch.Generator) -> Tensor:
        return self.degradations[choice](image, generator)


def _by_choice(
    image: Tensor,
    choices: Sequence[Choice],
    generator: torch.Generator,
    apply: Callable[[Choice, Tensor, torch.Generator], Tensor],
) -> Tensor:
    """Apply each choice to its samples as one batch, and return all samples in their order."""
    groups: dict[Choice, list[int]] = {}
    for sample, choice in enumerate(choices):
        groups.setdefault(choice, []).append(sample)
    results = torch.cat([apply(choice, image[samples], generator) for choice, samples in groups.items()])
    grouped = [sample for samples in groups.values() for sample in samples]
    return results[torch.tensor(grouped, device=image.device).argsort()]
