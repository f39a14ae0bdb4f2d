"""Interface of a method for the GAN trainer: named loss terms."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Objective(Protocol):
    """The losses of a method, unweighted; the trainer weighs, sums, logs and differentiates them.

    ``batch`` holds what ``prepare_batch`` made: ``image`` (the network's input), ``label`` (the truth).
    ``outputs`` is what the generator's ``stages`` returned, or ``forward`` where a network has none. Terms are
    scalars by name and are logged as ``loss_<name>``.
    """

    def generator_terms(
        self, batch: Mapping[str, Tensor], outputs: Any, discriminator: nn.Module | None
    ) -> dict[str, Tensor]:
        """Terms the generator minimises; ``discriminator`` is ``None`` in a phase without one."""

    def discriminator_terms(
        self, batch: Mapping[str, Tensor], outputs: Any, discriminator: nn.Module
    ) -> dict[str, Tensor]:
        """Terms the discriminator minimises; ``outputs`` carry no graph."""

    def discriminator_pairs(self, batch: Mapping[str, Tensor], outputs: Any) -> tuple[Tensor, Tensor]:
        """Real and fake images, as the discriminator sees them, for gradient penalties."""
