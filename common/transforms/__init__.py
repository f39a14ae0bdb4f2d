"""MONAI transforms and batch preparation."""

from common.transforms.acquire import PrepareAcquisition
from common.transforms.augmentation import RandomView

__all__ = ["PrepareAcquisition", "RandomView"]
