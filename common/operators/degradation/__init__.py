"""Degradations: from a high-resolution image to a low-resolution one, for a whole batch on its device.

A degradation is called with images ``(batch, channels, height, width[, depth])`` in units of [0, 1] and a generator on
their device. Strengths are drawn per sample from ranges; equal states of the generator give equal results. Nothing is
clipped: kernels with negative lobes and noise leave [0, 1] a little. ``degradation`` makes one by name, and a
configuration composes its own:

    {"_target_": "common.operators.degradation.DegradationChain", "random_order": true, "steps": [
        {"_target_": "common.operators.degradation.GaussianBlur", "sigma": [0.2, 1.5]},
        {"_target_": "common.operators.degradation.Downscale", "upscale": 4, "kernels": ["bilinear", "bicubic"]},
        {"_target_": "common.operators.degradation.GaussianNoise", "std": [0.0, 0.02]}]}
"""

from common.operators.degradation.blur import BoxBlur, GaussianBlur, blur, box_kernels, gaussian_kernels
from common.operators.degradation.chain import Degradation, DegradationChain, OneOf
from common.operators.degradation.kspace import KspaceTruncation, truncate_kspace
from common.operators.degradation.noise import GaussianNoise, PoissonNoise, RicianNoise
from common.operators.degradation.presets import DEGRADATIONS, degradation
from common.operators.degradation.resize import KERNELS, Downscale, resampling_matrix, resize

__all__ = [
    "DEGRADATIONS",
    "KERNELS",
    "BoxBlur",
    "Degradation",
    "DegradationChain",
    "Downscale",
    "GaussianBlur",
    "GaussianNoise",
    "KspaceTruncation",
    "OneOf",
    "PoissonNoise",
    "RicianNoise",
    "blur",
    "box_kernels",
    "degradation",
    "gaussian_kernels",
    "resampling_matrix",
    "resize",
    "truncate_kspace",
]
