"""Perceptual loss: distance of two images in the features of a network, for images and volumes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

DISTANCES = {"mse": F.mse_loss, "l1": F.l1_loss}


class PerceptualLoss(nn.Module):
    """``mean((phi(sr) - phi(hr))^2)``, ``phi`` the feature maps of a network (Johnson et al. 2016, arXiv 1603.08155).

    A volume is compared slice by slice along each of its three axes (Wang et al. 2020, arXiv 1907.07131); the loss is
    the mean of the three. Its gradient reaches the super-resolved image alone. Feature maps are taken as they come
    from images in [0, 1]; SRGAN's paper multiplies them by 1 / 12.75, which is a weight of 1 / 163 on this loss.

    Identical images have loss 0; images that differ by 0.1 everywhere have 0.01 where ``phi`` is the identity.

    Args:
        features: 2-D network from images ``(batch, channels, height, width)`` in [0, 1] to feature maps, commonly
            :class:`~common.networks.Vgg19Features`; it should be frozen.
        distance: ``mse``, or ``l1`` for the mean absolute difference.
        slices_per_axis: slices of a volume that are drawn, without repetition, along each axis at each call, the same
            in all volumes of a batch. ``None`` compares all.
        batch_size: images or slices that pass the network at once. Where there are more, their activations are not
            kept but computed again for the gradient: memory does not grow with the number of slices, and a
            training step takes about one forward pass more. ``None`` passes all at once.

    Raises:
        ValueError: for another distance, or numbers below 1.
    """

    def __init__(
        self,
        features: nn.Module,
        distance: str = "mse",
        slices_per_axis: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if distance not in DISTANCES:
            raise ValueError(f"distance must be one of {', '.join(DISTANCES)}, got {distance!r}")
        for name, value in (("slices_per_axis", slices_per_axis), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, or None for all at once, got {value}")
        self.features = features
        self.distance = DISTANCES[distance]
        self.slices_per_axis = slices_per_axis
        self.batch_size = batch_size

    def forward(self, sr_image: Tensor, hr_image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The loss, a scalar.

        Args:
            sr_image: float, ``(batch, channels, height, width)`` or ``(batch, channels, height, width, depth)``.
            hr_image: the same shape; gets no gradient.
            generator: random state, on the CPU, of the slices that are drawn; ``None``: torch's own.

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
            places = self._places(sr_image.shape[axis], generator).to(sr_image.device)
            losses.append(self._between(_slices(sr_image, axis, places), _slices(hr_image, axis, places)))
        return torch.stack(losses).mean()

    def _places(self, n_slices: int, generator: torch.Generator | None) -> Tensor:
        if self.slices_per_axis is None or self.slices_per_axis >= n_slices:
            return torch.arange(n_slices)
        return torch.randperm(n_slices, generator=generator)[: self.slices_per_axis]

    def _between(self, sr_images: Tensor, hr_images: Tensor) -> Tensor:
        at_once = self.batch_size or len(sr_images)
        total = sr_images.new_zeros(())
        for sr_part, hr_part in zip(sr_images.split(at_once), hr_images.split(at_once), strict=True):
            with torch.no_grad():
                hr_features = self.features(hr_part)
            if len(sr_images) > at_once and torch.is_grad_enabled():
                sr_features = checkpoint(self.features, sr_part, use_reentrant=False, preserve_rng_state=False)
            else:
                sr_features = self.features(sr_part)
            total = total + self.distance(sr_features, hr_features) * (len(sr_part) / len(sr_images))
        return total


def _slices(volume: Tensor, axis: int, places: Tensor) -> Tensor:
    """Slices across one axis as a batch of images, ``(batch * len(places), channels, ., .)``."""
    return volume.index_select(axis, places).movedim(axis, 1).flatten(0, 1)
