"""A cascade that reconstructs, and a generative U-Net after it, which samples the textures it injects.

Textures and noise enter as in StyleGAN (Karras et al. 2019, arXiv 1812.04948), joined with data-consistent
reconstruction as in a public course project on extremely sparse fastMRI data. That project's data consistency worked on
magnitudes; here images are complex throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from common.errors import require_at_least
from common.networks.attention import BottleneckAttention
from common.networks.batch_norms import freeze_batch_norm
from common.networks.blocks import crop_to_size, pad_to_multiple
from common.networks.injection import TextureInjection
from common.networks.light_cascade import LightCascade
from common.networks.light_unet import LightUNet, space_to_depth
from common.networks.mobilenet import MobileNetV2Features
from common.networks.texture_encoder import TextureEncoder, TextureMapping
from common.operators.fourier import channels_to_complex, complex_to_channels
from torch import Tensor, nn


class TextureUNet(LightUNet):
    """A :class:`~common.networks.light_unet.LightUNet` with an injection of noise and textures after every block.

    The correction is zero at the start.

    Args:
        in_channels: number of channels of the input.
        widths: channels of the levels.
        shuffle: side of the blocks of pixels that become channels.
        n_conditions: length of the condition vectors.
        texture_channels: channels of the style maps.
        injection: kind of the injections, see :class:`~common.networks.injection.TextureInjection`.
        attention: True adds self-attention at the coarsest level.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        shuffle: int,
        n_conditions: int,
        texture_channels: int,
        injection: str = "spatial",
        attention: bool = True,
    ) -> None:
        super().__init__(in_channels, 2, widths, shuffle, 0, n_conditions)

        def injected(channels: int) -> TextureInjection:
            return TextureInjection(channels, texture_channels, shuffle * shuffle, injection)

        self.encoder_injections = nn.ModuleList(injected(width) for width in widths[:-1])
        self.bottom_injection = injected(widths[-1])
        self.attention = BottleneckAttention(widths[-1]) if attention else nn.Identity()
        self.decoder_injections = nn.ModuleList(injected(width) for width in list(reversed(widths))[1:])
        nn.init.zeros_(self.tail.weight)

    def sampled(self, image: Tensor, conditions: Tensor, noise: Tensor, style: Tensor) -> Tensor:
        """Compute a correction.

        Args:
            image: ``(batch, in_channels, height, width)``, height and width multiples of ``multiple``.
            conditions: ``(batch, n_conditions)``.
            noise: standard normal, ``(batch, 1, height, width)``.
            style: style maps, ``(batch, texture_channels, any height, any width)``.

        Returns:
            ``(batch, 2, height, width)``.
        """
        skips: list[Tensor] = []
        noises: list[Tensor] = []
        features = self.entrance(image, None)
        noise = space_to_depth(noise.contiguous(), self.shuffle)
        for encoder, injection, down in zip(self.encoders, self.encoder_injections, self.downs):  # noqa: B905
            features = injection(encoder(features, conditions), noise, style)
            skips.append(features)
            noises.append(noise)
            noise = 2.0 * nn.functional.avg_pool2d(noise, 2)  # standard normal again
            features = down(features)
        features = self.attention(self.bottom_injection(self.bottom(features, conditions), noise, style))
        for up, decoder, injection in zip(self.ups, self.decoders, self.decoder_injections):  # noqa: B905
            features = injection(decoder(up(features) + skips.pop(), conditions), noises.pop(), style)
        return self.exit(features)[0]


class TextureCascade(nn.Module):
    """A :class:`~common.networks.light_cascade.LightCascade`, and samples around its image.

    Without noise the result is the cascade's image. With noise it is a sample, ``DC(x + correction)``: an encoder looks
    at the zero-filled image and gives distributions of texture vectors, a mapping makes styles of them, and a U-Net
    with noise and styles injected after every block corrects the image ``x`` of the cascade. Other noise gives other
    details. Data consistency comes last, so no sample alters what was measured. A new network's samples are the
    cascade's image.

    Differs from the source: the textures enter one U-Net after the reconstruction, so that samples share all the work
    before it; there may be several vectors with a map of their shares, styles may vary in space, and the strength of
    the noise follows from the features.

    Args:
        n_stages, widths, shuffle, memory, n_conditions, n_dc_iterations: arguments of the cascade.
        n_textures: texture vectors of an image; 1 is one for the whole image.
        texture_size: numbers of a vector; 320 in the source.
        texture_widths: channels of the levels of the U-Net of the samples.
        injection: ``adain`` as in the source or ``spatial``, see
            :class:`~common.networks.injection.TextureInjection`.
        attention: True adds self-attention to the bottom of the U-Net of the samples.
        encoder_width: multiplier of MobileNetV2's channels.
        encoder_weights: torchvision's file of MobileNetV2, or ``None`` to start from random weights.

    Raises:
        ValueError: for options below 1.
    """

    def __init__(
        self,
        n_stages: int = 6,
        widths: Sequence[int] = (24, 48, 72),
        shuffle: int = 2,
        memory: int = 24,
        n_conditions: int = 32,
        n_dc_iterations: int = 4,
        n_textures: int = 8,
        texture_size: int = 32,
        texture_widths: Sequence[int] = (32, 48, 72),
        injection: str = "spatial",
        attention: bool = True,
        encoder_width: float = 0.35,
        encoder_weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        require_at_least(1, n_textures=n_textures, texture_size=texture_size)
        self.cascade = LightCascade(n_stages, widths, shuffle, memory, n_conditions, n_dc_iterations)
        self.encoder = TextureEncoder(n_textures, texture_size, MobileNetV2Features(encoder_weights, encoder_width))
        freeze_batch_norm(self.encoder)
        self.mapping = TextureMapping(texture_size)
        self.texture_unet = TextureUNet(8, texture_widths, shuffle, n_conditions, texture_size, injection, attention)
        self.n_latent = n_textures * texture_size

    def forward(self, measurement: Tensor, noise: Tensor | None = None) -> Tensor:
        """Reconstruct.

        Args:
            measurement: float, ``(batch, 3, height, width)`` for one coil, ``(batch, 4 n_coils + 1, height, width)``
                for several; see :func:`~common.operators.measurement.pack_measurement`.
            noise: standard normal, ``(batch, 2, height, width)``, for a sample: the first channel is injected, from the
                second the texture vectors are drawn. ``None`` for the cascade's image.

        Returns:
            float ``(batch, 2, height, width)``: real and imaginary image, in the image unit of the input.

        Raises:
            ValueError: for noise of another shape, or for fewer pixels than the texture vectors have numbers.
        """
        if noise is None:
            return self.cascade(measurement)
        return self.samples(measurement, noise[:, None])[:, 0]

    @torch.jit.export
    def samples(self, measurement: Tensor, noise: Tensor) -> Tensor:
        """Several samples of one measurement, which share the work of the cascade.

        Args:
            measurement: as for ``forward``.
            noise: ``(batch, n_samples, 2, height, width)``.

        Returns:
            ``(batch, n_samples, 2, height, width)``.
        """
        return self._sampled(measurement, noise)[3]

    @torch.jit.ignore
    def stages(self, measurement: Tensor) -> tuple[Tensor, ...]:
        """Return what a training looks at: the cascade's stages, or, if only the textures are trained, two samples.

        Returns:
            the result of :meth:`LightCascade.stages`; or mean and log-variance of the texture vectors ``(batch,
            n_textures, size)``, the style map ``(batch, size, h, w)`` of the first sample, and two samples, drawn with
            torch's random state, each like the result of ``forward``.
        """
        if any(parameter.requires_grad for parameter in self.cascade.parameters()):
            return self.cascade.stages(measurement)
        batch, _, height, width = measurement.shape
        noise = torch.randn(batch, 2, 2, height, width, device=measurement.device)
        mean, log_variance, style, images = self._sampled(measurement, noise)
        return mean, log_variance, style, images[:, 1], images[:, 0]

    def _sampled(self, measurement: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Texture distribution, style map of the first sample and all samples."""
        batch, height, width = measurement.shape[0], measurement.shape[-2], measurement.shape[-1]
        if noise.dim() != 5 or [noise.shape[0], noise.shape[2], noise.shape[3], noise.shape[4]] != [
            batch, 2, height, width,
        ] or height * width < self.n_latent:  # fmt: skip
            raise ValueError(
                "expected noise (batch, 2, height, width), for samples (batch, n_samples, 2, height, width), of the "
                f"measurement's batch, height and width {[batch, height, width]}, and at least {self.n_latent} pixels, "
                f"got shape {list(noise.shape)}; take larger images, or a network of fewer or smaller texture vectors"
            )
        n_samples = noise.shape[1]
        cascade = self.cascade
        kspace, mask, maps, zero_filled, restore = cascade.network_units(measurement)
        _, halfway, raw, image = cascade.refined(zero_filled, kspace, mask, maps)
        seen = torch.cat([complex_to_channels(one) for one in (image, raw, halfway, zero_filled)], dim=1)
        mean, log_variance, shares = self.encoder(seen[:, 6:].square().sum(dim=1, keepdim=True).sqrt())
        deviates = noise[:, :, 1].flatten(2).index_select(2, torch.arange(self.n_latent, device=noise.device))
        deviates = deviates.reshape(batch * n_samples, mean.shape[1], mean.shape[2])
        vectors = _each(mean, n_samples) + (0.5 * _each(log_variance, n_samples)).exp() * deviates
        style = self.mapping(vectors, _each(shares, n_samples))
        multiple = self.texture_unet.multiple
        injected = pad_to_multiple(noise[:, :, :1].reshape(batch * n_samples, 1, height, width), multiple)
        correction = self.texture_unet.sampled(
            _each(cascade.input_scale * pad_to_multiple(seen, multiple), n_samples),
            _each(cascade.conditions(mask), n_samples),
            injected,
            style,
        )
        corrected = _each(image, n_samples) + channels_to_complex(crop_to_size(correction, height, width).float())
        maps = maps if maps.shape[0] == 1 else _each(maps, n_samples)
        finished = cascade.consistency(corrected, _each(kspace, n_samples), maps, _each(mask, n_samples))
        samples = complex_to_channels(finished * _each(restore, n_samples))
        styles = style.reshape(batch, n_samples, style.shape[1], style.shape[2], style.shape[3])
        return mean, log_variance, styles[:, 0], samples.reshape(batch, n_samples, 2, height, width)


def train_cascade_alone(network: TextureCascade) -> TextureCascade:
    """Leave only the cascade to a training, in place."""
    network.requires_grad_(False).cascade.requires_grad_(True)
    return network


def train_textures_alone(network: TextureCascade) -> TextureCascade:
    """Leave all but the cascade to a training, in place: the image without noise stays the same."""
    network.requires_grad_(True).cascade.requires_grad_(False)
    return network


def _each(value: Tensor, n_samples: int) -> Tensor:
    """Each item repeated for its samples, ``(batch, ...)`` to ``(batch * n_samples, ...)``."""
    return value if n_samples == 1 else value.repeat_interleave(n_samples, dim=0)
