"""The objective: what generator and discriminator minimise."""

from collections.abc import Mapping

from common.losses import adversarial_loss
from torch import Tensor, nn


class PixelAdversarialObjective:
    """A pixel loss and an adversarial loss: the place to write what is new about a method.

    With ``d`` the discriminator, ``x`` the truth, ``p`` the prediction:

    - ``pixel``: ``|x - p|_1``, mean over elements
    - ``adversarial``: the generator's side of the adversarial loss, of ``d(p)``
    - ``discriminator``: the discriminator's side, of ``d(x)`` and ``d(p)``

    Each term needs a weight of its name in train.json, and is logged as ``loss_<name>``.

    Args:
        adversarial: name of the adversarial loss, see :func:`~common.losses.adversarial_loss`.
    """

    def __init__(self, adversarial: str = "hinge") -> None:
        self.adversarial = adversarial_loss(adversarial)

    def generator_terms(
        self, batch: Mapping[str, Tensor], outputs: Tensor, discriminator: nn.Module | None
    ) -> dict[str, Tensor]:
        """What the generator minimises.

        Args:
            batch: ``image`` the network's input, ``label`` the truth.
            outputs: the prediction, like the truth.
            discriminator: MONAI's patch discriminator; ``None`` in a phase without one.

        Returns:
            scalars by name.
        """
        terms = {"pixel": (outputs - batch["label"]).abs().mean()}
        if discriminator is not None:
            terms["adversarial"] = self.adversarial.generator(_scores(discriminator, outputs))
        return terms

    def discriminator_terms(
        self, batch: Mapping[str, Tensor], outputs: Tensor, discriminator: nn.Module
    ) -> dict[str, Tensor]:
        """What the discriminator minimises; arguments as above, ``outputs`` detached."""
        real, fake = _scores(discriminator, batch["label"]), _scores(discriminator, outputs)
        return {"discriminator": self.adversarial.discriminator(real, fake)}

    def discriminator_pairs(self, batch: Mapping[str, Tensor], outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Real and fake images between which a gradient penalty is taken."""
        return batch["label"], outputs


def _scores(discriminator: nn.Module, image: Tensor) -> Tensor:
    """The last of the maps that MONAI's PatchDiscriminator returns; the ones before are its features."""
    return discriminator(image)[-1]
