"""Adversarial losses, penalties of the discriminator, image losses, perceptual loss."""

from common.losses.adversarial import ADVERSARIAL_LOSSES, AdversarialLoss, adversarial_loss
from common.losses.image import masked_kspace_l1, total_variation
from common.losses.penalties import GradientPenalty, R1Penalty
from common.losses.perceptual import PerceptualLoss

__all__ = [
    "ADVERSARIAL_LOSSES",
    "AdversarialLoss",
    "GradientPenalty",
    "PerceptualLoss",
    "R1Penalty",
    "adversarial_loss",
    "masked_kspace_l1",
    "total_variation",
]
