"""From an image to the textures it lacks: a distribution of texture vectors, and where each of them applies."""

import torch
from common.networks.mobilenet import MobileNetV2Features
from torch import Tensor, nn


class TextureEncoder(nn.Module):
    """Features of the zero-filled image to texture vectors ``z ~ N(mu, sigma^2)`` and to a map of their shares.

    ``mu`` and ``log sigma^2`` come from the averaged features by two linear layers each with one in common. At each
    place, shares of the vectors that add up to 1 come from the features there.

    Args:
        n_textures: number of vectors; 1 is one texture for the whole image, as in StyleGAN.
        size: numbers of a vector.
        features: from ``(batch, 1, height, width)`` to feature maps; has ``channels``.
    """

    def __init__(self, n_textures: int, size: int, features: MobileNetV2Features) -> None:
        super().__init__()
        self.n_textures = n_textures
        self.size = size
        self.features = features
        self.hidden = nn.Sequential(nn.Linear(features.channels, size), nn.LeakyReLU(0.2))
        self.mean = nn.Linear(size, n_textures * size)
        self.log_variance = nn.Linear(size, n_textures * size)
        self.shares = nn.Conv2d(features.channels, n_textures, 1)

    def forward(self, magnitude: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(batch, 1, height, width)``, about [0, 1], to mean, log-variance and shares.

        Returns:
            the first two ``(batch, n_textures, size)``, the log-variance in [-10, 10]; the shares ``(batch, n_textures,
            height / 32, width / 32)``, rounded up.
        """
        features = self.features(magnitude)
        hidden = self.hidden(features.mean(dim=(2, 3)))
        shape = (magnitude.shape[0], self.n_textures, self.size)
        log_variance = self.log_variance(hidden).clamp(-10.0, 10.0)
        return self.mean(hidden).reshape(shape), log_variance.reshape(shape), self.shares(features).softmax(dim=1)


class TextureMapping(nn.Module):
    """Texture vectors to styles: four linear layers with LeakyReLU, as StyleGAN's mapping network.

    The styles are spread over the image by the vectors' shares.

    Args:
        size: numbers of a vector, before and after.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(size, size), nn.LeakyReLU(0.2),
            nn.Linear(size, size), nn.LeakyReLU(0.2),
            nn.Linear(size, size), nn.LeakyReLU(0.2),
            nn.Linear(size, size),
        )  # fmt: skip

    def forward(self, vectors: Tensor, shares: Tensor) -> Tensor:
        """``(batch, n_textures, size)`` and shares ``(batch, n_textures, h, w)`` to styles ``(batch, size, h, w)``."""
        return torch.einsum("bts,bthw->bshw", self.layers(vectors), shares)
