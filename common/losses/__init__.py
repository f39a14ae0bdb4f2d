"""Adversarial losses, penalties of the discriminator, image losses, perceptual loss, SRGAN's and cine objectives."""

from common.losses.adversarial import ADVERSARIAL_LOSSES, AdversarialLoss, adversarial_loss
from common.losses.cine import CINE_LOSSES, CineObjective
from common.losses.classification import ClassifierObjective
from common.losses.image import masked_kspace_l1, total_variation
from common.losses.penalties import GradientPenalty, R1Penalty
from common.losses.perceptual import PerceptualLoss
from common.losses.srgan import SrGanObjective
from common.losses.texture_proxy import GaborTextures, HighPass, MobileNetTextures

__all__ = [
    "ADVERSARIAL_LOSSES",
    "CINE_LOSSES",
    "AdversarialLoss",
    "CineObjective",
    "ClassifierObjective",
    "GaborTextures",
    "GradientPenalty",
    "HighPass",
    "MobileNetTextures",
    "PerceptualLoss",
    "R1Penalty",
    "SrGanObjective",
    "adversarial_loss",
    "masked_kspace_l1",
    "total_variation",
]
