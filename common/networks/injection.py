"""Injection of noise and of texture styles into feature maps.

After StyleGAN (Karras et al. 2019, arXiv 1812.04948): noise with a learned strength for each channel, then a scale and
a shift that are affine in the style.
"""

from torch import Tensor, nn

INJECTIONS = ("adain", "spatial")


class TextureInjection(nn.Module):
    """``(1 + scale(style)) * normalise(features + strength(features) * mix(noise)) + shift(style)``.

    The strength of the noise is an affine function of the features at each place and the mix a linear one of the noise
    channels, so that the spread of samples follows from what is in the image. StyleGAN has one strength for each
    channel.

    - ``adain``: adaptive instance normalisation (Huang and Belongie 2017, arXiv 1703.06868), StyleGAN's: features are
      normalised in each image and channel, which takes more than one place, and the style is averaged over all places.
    - ``spatial``: scale and shift vary from place to place as the style map does, in the manner of SPADE (Park et al.
      2019, arXiv 1903.07291), and features are not normalised.

    Args:
        channels: number of channels of the features.
        texture_channels: number of channels of the style map.
        noise_channels: number of channels of the noise.
        mode: one of ``INJECTIONS``.
        noise_strength: strength at the start; not zero, where samples that do not differ have no gradient to differ.
    """

    def __init__(
        self,
        channels: int,
        texture_channels: int,
        noise_channels: int = 1,
        mode: str = "spatial",
        noise_strength: float = 0.1,
    ) -> None:
        super().__init__()
        if mode not in INJECTIONS:
            raise ValueError(f"injection must be one of {', '.join(INJECTIONS)}, got {mode!r}")
        self.spatial = mode == "spatial"
        self.strength = nn.Conv2d(channels, channels, 1)
        self.mix = nn.Conv2d(noise_channels, channels, 1, bias=False)
        self.affine = nn.Conv2d(texture_channels, 2 * channels, 1)
        nn.init.normal_(self.mix.weight, std=noise_channels**-0.5)
        for layer in (self.strength, self.affine):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, noise_strength if layer is self.strength else 0.0)

    def forward(self, features: Tensor, noise: Tensor, style: Tensor) -> Tensor:
        """Inject.

        Args:
            features: ``(batch, channels, height, width)``.
            noise: standard normal, ``(batch, noise_channels, height, width)``.
            style: ``(batch, texture_channels, h, w)``, enlarged to the features' size as needed.

        Returns:
            like the features.
        """
        features = features + self.strength(features) * self.mix(noise)
        if self.spatial:
            modulation = nn.functional.interpolate(
                self.affine(style), size=[features.shape[-2], features.shape[-1]], mode="bilinear", align_corners=False
            )
        else:
            features = nn.functional.instance_norm(features)
            modulation = self.affine(style.mean(dim=(2, 3), keepdim=True))
        scale, shift = modulation.to(features.dtype).chunk(2, dim=1)
        return features * (1 + scale) + shift
