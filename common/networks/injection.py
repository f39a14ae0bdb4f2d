"""Injection of noise and of texture styles into feature maps.

After StyleGAN (Karras et al. 2019, arXiv 1812.04948): noise with a learned strength for each channel, then a scale and
a shift that are affine in the style.
"""

import torch
from torch import Tensor, nn

INJECTIONS = ("adain", "spatial")


class TextureInjection(nn.Module):
    """``(1 + scale(style)) * normalise(features + strength * noise) + shift(style)``.

    - ``adain``: adaptive instance normalisation (Huang and Belongie 2017, arXiv 1703.06868), StyleGAN's: features are
      normalised in each image and channel, which takes more than one place, and the style is averaged over all places.
    - ``spatial``: scale and shift vary from place to place as the style map does, in the manner of SPADE (Park et al.
      2019, arXiv 1903.07291), and features stay as the batch norm before left them. With scale and shift of zero, as at
      the start, nothing but noise is added: a trained network without injections is a starting point.

    Args:
        channels: number of channels of the features.
        texture_channels: number of channels of the style map.
        mode: one of ``INJECTIONS``.
        noise_strength: at the start; not zero, where samples that do not differ have no gradient to differ.
    """

    def __init__(
        self, channels: int, texture_channels: int, mode: str = "spatial", noise_strength: float = 0.05
    ) -> None:
        super().__init__()
        if mode not in INJECTIONS:
            raise ValueError(f"injection must be one of {', '.join(INJECTIONS)}, got {mode!r}")
        self.spatial = mode == "spatial"
        self.strength = nn.Parameter(torch.full((1, channels, 1, 1), noise_strength))
        self.affine = nn.Conv2d(texture_channels, 2 * channels, 1)
        nn.init.zeros_(self.affine.weight)
        if self.affine.bias is not None:
            nn.init.zeros_(self.affine.bias)

    def forward(self, features: Tensor, noise: Tensor, style: Tensor) -> Tensor:
        """Inject.

        Args:
            features: ``(batch, channels, height, width)``.
            noise: ``(batch, 1, height, width)``.
            style: ``(batch, texture_channels, h, w)``, enlarged to the features' size as needed.

        Returns:
            like the features.
        """
        features = features + (self.strength * noise).to(features.dtype)
        if self.spatial:
            modulation = nn.functional.interpolate(
                self.affine(style), size=[features.shape[-2], features.shape[-1]], mode="bilinear", align_corners=False
            )
        else:
            features = nn.functional.instance_norm(features)
            modulation = self.affine(style.mean(dim=(2, 3), keepdim=True))
        scale, shift = modulation.to(features.dtype).chunk(2, dim=1)
        return features * (1 + scale) + shift


class NoInjection(nn.Module):
    """Features as they are; stands where a network has no textures."""

    def forward(self, features: Tensor, noise: Tensor, style: Tensor) -> Tensor:
        """The features."""
        return features
