"""SRGAN's objective, which all super-resolution bundles share."""

from collections.abc import Mapping

from common.losses.adversarial import adversarial_loss
from common.losses.perceptual import PerceptualLoss
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

DISTANCES = {"l1": l1_loss, "mse": mse_loss}


class SrGanObjective:
    """Terms of SRGAN (Ledig et al. 2017, arXiv 1609.04802), unweighted.

    - ``pixel``: mean absolute or squared difference of result and truth
    - ``perceptual``: their distance in the features of a network; where it is given, and only beside a discriminator
    - ``adversarial`` for the generator, ``critic`` for the discriminator: a result counts as fake, its truth as real

    The discriminator sees the result itself in the generator's turn, so that the adversarial gradient reaches the
    generator, and the result without its graph in its own turn.

    Args:
        pixel: ``l1`` or ``mse``.
        adversarial: name of the adversarial loss; the paper's is ``bce``.
        perceptual: on the device of the training, or ``None`` to leave the term out.
        real_label: target of real images under ``bce``; 0.9 is one-sided label smoothing (Salimans et al. 2016,
            arXiv 1606.03498).

    Raises:
        ValueError: for unknown losses, or a ``real_label`` outside (0.5, 1] or with another loss than ``bce``.
    """

    def __init__(
        self,
        pixel: str = "l1",
        adversarial: str = "bce",
        perceptual: PerceptualLoss | None = None,
        real_label: float = 1.0,
    ) -> None:
        if pixel not in DISTANCES:
            raise ValueError(f"pixel must be one of {', '.join(DISTANCES)}, got {pixel!r}")
        if not 0.5 < real_label <= 1.0 or (real_label < 1.0 and adversarial != "bce"):
            raise ValueError(f"expected real_label in (0.5, 1], and 1 without bce, got {real_label} with {adversarial}")
        self.pixel = DISTANCES[pixel]
        self.adversarial = adversarial_loss(adversarial)
        self.perceptual = perceptual
        self.real_label = real_label

    def generator_terms(
        self, batch: Mapping[str, Tensor], outputs: Tensor, discriminator: nn.Module | None
    ) -> dict[str, Tensor]:
        """Return the loss terms of the generator.

        Args:
            batch: ``label`` the truth, ``(batch, channels, height, width[, depth])``.
            outputs: the generator's result, like the truth.
            discriminator: ``None`` leaves all but the pixel term out.

        Returns:
            scalars by name.
        """
        terms = {"pixel": self.pixel(outputs, batch["label"])}
        if discriminator is not None:
            terms["adversarial"] = self.adversarial.generator(discriminator(outputs))
            if self.perceptual is not None:
                terms["perceptual"] = self.perceptual(outputs, batch["label"])
        return terms

    def discriminator_terms(
        self, batch: Mapping[str, Tensor], outputs: Tensor, discriminator: nn.Module
    ) -> dict[str, Tensor]:
        """Return the loss terms of the discriminator; arguments as above, ``outputs`` detached."""
        real, fake = discriminator(batch["label"]), discriminator(outputs)
        critic = self.adversarial.discriminator(real, fake)
        # cross entropy with target t is that with target 1, plus (1 - t) times the logit
        return {"critic": critic + (1 - self.real_label) * real.mean()}

    def discriminator_pairs(self, batch: Mapping[str, Tensor], outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Truth and result, for gradient penalties."""
        return batch["label"], outputs
