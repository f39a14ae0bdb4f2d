"""MONAI transforms and batch preparation."""

from common.transforms.acquire import PrepareAcquisition
from common.transforms.augmentation import RandomView
from common.transforms.classify import PrepareClasses
from common.transforms.flips import RandomFlips
from common.transforms.super_resolve import PrepareSuperResolution

__all__ = ["PrepareAcquisition", "PrepareClasses", "PrepareSuperResolution", "RandomFlips", "RandomView"]
