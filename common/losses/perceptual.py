"""Perceptual loss: distance of two images in the features of a network, for images and volumes."""

import torch
import torch.nn.functional as F
from common.errors import require_at_least
from torch import Tensor, nn


class PerceptualLoss(nn.Module):
    """``mean((phi(sr) - phi(hr))^2)``, ``phi`` the feature maps of a network (Johnson et al. 2016, arXiv 1603.08155).

    A volume is compared slice by slice along each of its three axes (Wang et al. 2020, arXiv 1907.07131); the loss is
    the mean of the three. Its gradient reaches the super-resolved image alone. Feature maps are taken as they come
    from images in [0, 1]; SRGAN's paper multiplies them by 1 / 12.75, which is a weight of 1 / 163 on this loss.

    Identical images have loss 0; images that differ by 0.1 everywhere have 0.01 where ``phi`` is the identity.

    Args:
        features: 2-D network from images ``(batch, channels, height, width)`` in [0, 1] to feature maps, commonly
            :class:`~common.networks.Vgg19Features`; it should be frozen.
        slices_per_axis: number of slices of a volume that are drawn, without repetition, along each axis at each call,
            the same in all volumes of a batch. ``None`` compares all.

    Raises:
        ValueError: for a number below 1.
    """

    def __init__(self, features: nn.Module, slices_per_axis: int | None = None) -> None:
        super().__init__()
        require_at_least(1, slices_per_axis=1 if slices_per_axis is None else slices_per_axis)
        self.features = features
        self.slices_per_axis = slices_per_axis

    def forward(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        """Compute the loss, a scalar; slices are drawn from torch's random state.

        Args:
            sr_image: float, ``(batch, channels, height, width)`` or ``(batch, channels, height, width, depth)``.
            hr_image: the same shape; gets no gradient.

        Raises:
            ValueError: if the shapes differ or are not of images or volumes.
        """
        if sr_image.shape != hr_image.shape or sr_image.dim() not in (4, 5):
            raise ValueError(
                "expected two batches of one shape, (batch, channels, height, width) or (batch, channels, height, "
                f"width, depth), got {list(sr_image.shape)} and {list(hr_image.shape)}"
            )
        if sr_image.dim() == 4:
            return self._between(sr_image, hr_image)
        losses = []
        for axis in (2, 3, 4):
            places = self._places(sr_image.shape[axis]).to(sr_image.device)
            losses.append(self._between(_slices(sr_image, axis, places), _slices(hr_image, axis, places)))
        return torch.stack(losses).mean()

    def _places(self, n_slices: int) -> Tensor:
        if self.slices_per_axis is None or self.slices_per_axis >= n_slices:
            return torch.arange(n_slices)
        return torch.randperm(n_slices)[: self.slices_per_axis]

    def _between(self, sr_images: Tensor, hr_images: Tensor) -> Tensor:
        with torch.no_grad():
            hr_features = self.features(hr_images)
        return F.mse_loss(self.features(sr_images), hr_features)


def _slices(volume: Tensor, axis: int, places: Tensor) -> Tensor:
    """Slices across one axis as a batch of images, ``(batch * len(places), channels, ., .)``."""
    return volume.index_select(axis, places).movedim(axis, 1).flatten(0, 1)
