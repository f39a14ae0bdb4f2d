"""Adversarial losses, penalties of the discriminator, perceptual loss, SRGAN's objective."""

from common.losses.adversarial import ADVERSARIAL_LOSSES, AdversarialLoss, adversarial_loss
from common.losses.penalties import R1Penalty
from common.losses.perceptual import PerceptualLoss
from common.losses.srgan import SrGanObjective
