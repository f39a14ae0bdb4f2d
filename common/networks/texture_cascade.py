"""The light cascade's generative extension, whose last stages are given noise and sampled textures.

After StyleGAN (Karras et al. 2019, arXiv 1812.04948), as joined to a reconstruction network in a public course project
on extremely sparse fastMRI data. That project's data consistency worked on magnitudes; here images are complex
throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from common.networks.blocks import pad_to_multiple
from common.networks.light_cascade import LightCascade
from common.networks.light_unet import LightUNet
from common.networks.mobilenet import MobileNetV2Features
from common.networks.texture_encoder import TextureEncoder, TextureMapping
from common.networks.weights import read_weights
from common.operators.fourier import complex_to_channels
from torch import Tensor

ONLY_TEXTURES = ("encoder.", "mapping.")
"""Names of the parts that a baseline does not have, beside injections and attention."""


class TextureCascade(LightCascade):
    """A light cascade that samples reconstructions.

    An encoder looks at the zero-filled image and gives distributions of texture vectors; a mapping makes styles of
    them; noise and styles go into every block of the last stages. One reconstruction is a sample: other noise, other
    details. Data consistency comes last, so no sample alters what was measured.

    Differs from the source: textures enter the last stages alone, so that samples share all the work before; there may
    be several vectors with a map of their shares; styles may vary in space.

    Args:
        n_stages: stages in all.
        n_texture_stages: last stages, which are given noise and styles.
        widths, shuffle, memory, n_conditions, n_dc_iterations: arguments of :class:`LightCascade`.
        n_textures: texture vectors of an image; 1 is one for the whole image.
        texture_size: numbers of a vector; 320 in the source.
        injection: ``adain`` as in the source or ``spatial``, see
            :class:`~common.networks.injection.TextureInjection`.
        attention: True adds self-attention to the coarsest level of the last stages.
        encoder_width: multiplier of MobileNetV2's channels.
        encoder_weights: torchvision's file of MobileNetV2, or ``None`` to start from random weights.

    Raises:
        ValueError: if there is no stage before the last ones, or no texture.
    """

    def __init__(
        self,
        n_stages: int = 6,
        n_texture_stages: int = 2,
        widths: Sequence[int] = (24, 48, 72),
        shuffle: int = 2,
        memory: int = 24,
        n_conditions: int = 32,
        n_dc_iterations: int = 4,
        n_textures: int = 1,
        texture_size: int = 320,
        injection: str = "spatial",
        attention: bool = False,
        encoder_width: float = 1.0,
        encoder_weights: str | Path | None = None,
    ) -> None:
        if not 0 < n_texture_stages < n_stages:
            raise ValueError(
                f"n_texture_stages must be at least 1 and below n_stages={n_stages}, got {n_texture_stages}"
            )
        if n_textures < 1 or texture_size < 1:
            raise ValueError(
                f"n_textures and texture_size must be at least 1, got {n_textures} and {texture_size}; the network "
                "without textures is LightCascade"
            )
        super().__init__(n_stages - n_texture_stages, widths, shuffle, memory, n_conditions, n_dc_iterations)
        self.n_shared = n_stages - n_texture_stages
        self.networks.extend(
            LightUNet(2, 2, widths, shuffle, memory, n_conditions, False, texture_size, injection, attention)
            for _ in range(n_texture_stages)
        )
        self.encoder = TextureEncoder(n_textures, texture_size, MobileNetV2Features(encoder_weights, encoder_width))
        self.mapping = TextureMapping(texture_size)
        self.n_latent = n_textures * texture_size

    def forward(self, measurement: Tensor, noise: Tensor | None = None) -> Tensor:
        """Draw one sample.

        Args:
            measurement: as for the cascade.
            noise: standard normal, ``(batch, 2, height, width)``: the first channel is injected, from the second the
                texture vectors are drawn. ``None`` is noise of zeros: the same image each time, and not a sample.

        Returns:
            float ``(batch, 2, height, width)``: real and imaginary image, in the image unit of the input.

        Raises:
            ValueError: for noise of another shape, or for fewer pixels than the texture vectors have numbers.
        """
        if noise is None:
            maps = torch.zeros_like(measurement[:, None, :1])
            deviates = torch.zeros([measurement.shape[0], 1, self.n_latent], device=measurement.device)
            return self._sampled(measurement, maps, deviates)[3][:, 0]
        return self.samples(measurement, noise[:, None])[:, 0]

    @torch.jit.export
    def samples(self, measurement: Tensor, noise: Tensor) -> Tensor:
        """Draw several samples of one measurement; the stages before the last ones are computed once.

        Args:
            measurement: as for ``forward``.
            noise: ``(batch, n_samples, 2, height, width)``.

        Returns:
            ``(batch, n_samples, 2, height, width)``.
        """
        return self._sampled(measurement, noise[:, :, :1], self._latent(noise))[3]

    @torch.jit.ignore
    def stages(self, measurement: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Compute what training looks at: two samples of each measurement, drawn with torch's random state.

        Returns:
            mean and log-variance of the texture vectors ``(batch, n_textures, size)``, the style map ``(batch, size, h,
            w)`` of the first sample, and two samples, each as the result of ``forward``.
        """
        batch, _, height, width = measurement.shape
        noise = torch.randn(batch, 2, 2, height, width, device=measurement.device)
        mean, log_variance, style, images = self._sampled(measurement, noise[:, :, :1], self._latent(noise))
        return mean, log_variance, style, images[:, 1], images[:, 0]

    def _sampled(self, measurement: Tensor, noise: Tensor, deviates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return mean and log-variance of the texture vectors, the style map of the first sample, and all samples.

        Args:
            measurement: ``(batch, channels, height, width)``.
            noise: injected noise, ``(batch, n_samples, 1, height, width)``.
            deviates: standard normal numbers of the texture vectors, ``(batch, n_samples, n_latent)``.
        """
        batch, height, width = measurement.shape[0], measurement.shape[-2], measurement.shape[-1]
        if noise.dim() != 5 or noise.shape[0] != batch or noise.shape[-2] != height or noise.shape[-1] != width:
            raise ValueError(
                "expected noise (batch, 2, height, width), for samples (batch, n_samples, 2, height, width), of the "
                f"measurement's batch, height and width {[batch, height, width]}, got shape {list(noise.shape)}"
            )
        n_samples = noise.shape[1]
        kspace, mask, maps, image, restore = self._network_units(measurement)
        mean, log_variance, shares = self.encoder(complex_to_channels(image).square().sum(dim=1, keepdim=True).sqrt())
        deviates = deviates.reshape(batch * n_samples, mean.shape[1], mean.shape[2])
        vectors = _each(mean, n_samples) + (0.5 * _each(log_variance, n_samples)).exp() * deviates
        style = self.mapping(vectors, _each(shares, n_samples))
        conditions, memory = self.conditions(mask), self._no_memory(image)
        injected = pad_to_multiple(noise.reshape(batch * n_samples, 1, height, width), self.multiple)
        for stage, network in enumerate(self.networks):
            if stage == self.n_shared:
                image, memory = _each(image, n_samples), _each(memory, n_samples)
                conditions = _each(conditions, n_samples)
                kspace, mask, restore = _each(kspace, n_samples), _each(mask, n_samples), _each(restore, n_samples)
                maps = _each(maps, n_samples) if maps.shape[0] > 1 else maps
            padded = self._padded(image)
            correction, memory = network(padded, memory, conditions, injected, style)
            image = self.consistency(self._corrected(image, correction), kspace, maps, mask)
        samples = complex_to_channels(image * restore).reshape(batch, n_samples, 2, height, width)
        styles = style.reshape(batch, n_samples, style.shape[1], style.shape[2], style.shape[3])
        return mean, log_variance, styles[:, 0], samples

    def _latent(self, noise: Tensor) -> Tensor:
        """The first numbers of the second channel of ``(batch, n_samples, 2, height, width)``, as many as needed."""
        if noise.shape[2] != 2 or noise.shape[-2] * noise.shape[-1] < self.n_latent:
            raise ValueError(
                f"expected noise of two channels and at least {self.n_latent} pixels, got shape {list(noise.shape)}; "
                "take larger images, or a network of fewer or smaller texture vectors"
            )
        places = torch.arange(self.n_latent, device=noise.device)
        return noise[:, :, 1].flatten(2).index_select(2, places)


def start_from_cascade(network: TextureCascade, path: str | Path) -> TextureCascade:
    """Load the weights of a trained :class:`~common.networks.light_cascade.LightCascade`, in place.

    What the cascade does not have (encoder, mapping, injections, attention) stays as it is. With ``spatial`` injections
    and noise of zeros the result is then that of the cascade.

    Args:
        network: receives the weights.
        path: ``.pt`` file of a cascade of the same stages, widths, memory and conditions.

    Returns:
        the network.

    Raises:
        FileNotFoundError, ValueError: as :func:`~common.networks.weights.read_weights`; and if the file has other
            weights than such a cascade, or some of another shape.
    """
    own, state = network.state_dict(), read_weights(path)
    shared = {name: value for name, value in own.items() if not _is_texture(name)}
    differing = sorted(shared.keys() ^ state.keys()) or [
        name for name, value in shared.items() if value.shape != state[name].shape
    ]
    if differing:
        raise ValueError(
            f"{path}: expected the weights of a light cascade with the same n_stages, widths, memory and n_conditions, "
            f"differs in {differing[0]!r}; train the cascade with the options of this network"
        )
    network.load_state_dict({**own, **state})
    return network


def train_textures_alone(network: TextureCascade) -> TextureCascade:
    """Leave to a training only what a cascade does not have, in place: encoder, mapping, injections and attention.

    The rest keeps its weights: with noise of zeros and no textures yet the network is the cascade, and training can add
    samples around its image but not spoil it.

    Args:
        network: commonly after :func:`start_from_cascade`.

    Returns:
        the network.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(_is_texture(name))
    return network


def _is_texture(name: str) -> bool:
    return name.startswith(ONLY_TEXTURES) or ".injection." in name or ".attention." in name


def _each(value: Tensor, n_samples: int) -> Tensor:
    """Each item repeated for its samples, ``(batch, ...)`` to ``(batch * n_samples, ...)``."""
    return value if n_samples == 1 else value.repeat_interleave(n_samples, dim=0)
