"""MONAI transforms and batch preparation."""

from common.transforms.acquire import PrepareAcquisition
from common.transforms.acquire_cine import PrepareCine
from common.transforms.acquire_coils import PrepareCoilAcquisition
from common.transforms.augmentation import RandomView
from common.transforms.classify import PrepareClasses
from common.transforms.contrast import RandomContrast
from common.transforms.flips import RandomFlips
from common.transforms.measured_views import InOrder, RandomRows, Reduce
from common.transforms.sampled import CropToReconSpaced, SplitSamplesd
from common.transforms.super_resolve import PrepareSuperResolution
