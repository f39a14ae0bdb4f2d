"""Adversarial losses, penalties of the discriminator, image losses."""

from common.losses.adversarial import ADVERSARIAL_LOSSES, AdversarialLoss, adversarial_loss
from common.losses.image import masked_kspace_l1, total_variation
from common.losses.penalties import GradientPenalty, R1Penalty

__all__ = [
    "ADVERSARIAL_LOSSES",
    "AdversarialLoss",
    "GradientPenalty",
    "R1Penalty",
    "adversarial_loss",
    "masked_kspace_l1",
    "total_variation",
]
