"""The texture network that comes with the bundle: what it knows, and what its features answer to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_commands import ROOT
from scipy.ndimage import gaussian_filter
from torch import Tensor

from common.losses import PerceptualLoss
from common.networks import Vgg19Classifier, Vgg19Features
from common.phantoms.texture_phantom import TEXTURES, texture_phantom

WEIGHTS = ROOT / "bundles" / "ct_mri_srgan_d_super_resolution" / "models" / "vgg19_textures.pt"
WIDTH = 32
N_IMAGES = 2


@pytest.fixture(scope="module")
def weights() -> Path:
    if not WEIGHTS.is_file():
        pytest.skip(f"needs the trained texture network {WEIGHTS}; configs/train_vgg.json makes it")
    return WEIGHTS


@pytest.fixture(scope="module")
def textures() -> Tensor:
    """New ones: no training set has these seeds. (classes, images, height, width)"""
    images = [[texture_phantom(1_000_000 + seed, name, 97) for seed in range(N_IMAGES)] for name in TEXTURES]
    return torch.from_numpy(np.array(images))


def test_new_textures_are_told_apart(weights: Path, textures: Tensor) -> None:
    network = Vgg19Classifier(len(TEXTURES), width=WIDTH).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    with torch.no_grad():
        answers = torch.stack([network(images[:, None]).argmax(1) for images in textures])
    assert (answers == torch.arange(len(TEXTURES))[:, None]).float().mean() > 0.8


def test_features_mind_blur_more_than_a_shift_as_large_in_pixels(weights: Path, textures: Tensor) -> None:
    """Distance in units of the mean squared error of the pixels, for each class."""
    loss = PerceptualLoss(Vgg19Features(weights, width=WIDTH))
    sharp = textures[..., :96]
    blurred = torch.from_numpy(gaussian_filter(textures.numpy(), (0, 0, 1, 1))[..., :96])

    def relative(changed: Tensor, images: Tensor) -> float:
        with torch.no_grad():
            distance = loss(changed[:, None, :96], images[:, None, :96])
        return (distance / (changed[:, :96] - images[:, :96]).square().mean()).item()

    for name, image, blur, shift in zip(TEXTURES, sharp, blurred, textures[..., 1:], strict=True):
        assert relative(blur, image) > 10 * relative(shift, image), name
