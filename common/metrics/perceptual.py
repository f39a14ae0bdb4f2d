"""Perceptual distance: how different two images look to a network that knows textures."""

from __future__ import annotations

import torch
from common.metrics.slices import mean_over_slices
from common.networks.vgg import Vgg19Features, Weights, width_of
from torch import Tensor


class PerceptualDistance:
    """Distance of two images in the features of VGG19, after LPIPS (Zhang et al. 2018, arXiv 1801.03924).

    The activated maps at the ends of VGG19's five blocks are scaled to unit length over their channels at each
    position; their squared difference is summed over channels, averaged over positions and summed over blocks: 0 for
    equal images, at most 10. Differs from LPIPS: no weights of channels learnt from human judgement, all count alike;
    and the features are mostly those of a network trained on textures. Distances by different weight files, and
    published LPIPS values, cannot be compared.

    Args:
        weights: file of weights, see :class:`common.networks.Vgg19`.
        width: number of feature maps of the network's first block; None takes that of the file.

    Raises:
        FileNotFoundError, ValueError: as :class:`common.networks.Vgg19`.
    """

    def __init__(self, weights: Weights, width: int | None = None) -> None:
        self.features = Vgg19Features(weights, activation=True, width=width_of(weights) if width is None else width)

    @torch.no_grad()
    def __call__(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        """Measure the distance of each pair of images, on their device.

        Args:
            sr_image: float, ``(batch, 1, height, width)`` in [0, 1], each side at least 16 pixels; or volumes
                ``(batch, 1, height, width, depth)``, which get the mean over the slices of the three axes.
            hr_image: the same shape.

        Returns:
            float32 ``(batch,)``.

        Raises:
            ValueError: if the shapes differ, are not of images or volumes, or an image is too small.
        """
        if sr_image.shape != hr_image.shape or sr_image.dim() not in (4, 5):
            raise ValueError(
                "a perceptual distance expects images (batch, 1, height, width[, depth]) of one shape, got "
                f"{list(sr_image.shape)} and {list(hr_image.shape)}"
            )
        self.features.to(sr_image.device)
        sr_image, hr_image = sr_image.float(), hr_image.float()
        if sr_image.dim() == 5:
            return mean_over_slices(self._of_images, sr_image, hr_image)
        # one by one: maps of the first block are many times as large as the image
        return torch.cat([self._of_images(*pair) for pair in zip(sr_image.split(1), hr_image.split(1), strict=True)])

    def _of_images(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        distance = sr_image.new_zeros(len(sr_image))
        for sr_maps, hr_maps in zip(
            self.features.block_maps(sr_image), self.features.block_maps(hr_image), strict=True
        ):
            squares = (_unit(sr_maps) - _unit(hr_maps)).square().sum(dim=1)
            distance += squares.mean(dim=(1, 2))
        return distance


def _unit(maps: Tensor) -> Tensor:
    return maps / (maps.norm(dim=1, keepdim=True) + 1e-10)
