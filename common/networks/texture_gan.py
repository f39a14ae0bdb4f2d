"""Reconstruction by data-consistent U-Nets, and its generative extension, which samples the textures it injects.

The baseline follows Adaptive-CS-Network (Pezzotti et al. 2020, arXiv 2004.07339), the extension StyleGAN (Karras et al.
2019, arXiv 1812.04948), as joined in a public course project on extremely sparse fastMRI data. That project's data
consistency worked on magnitudes; here images are complex throughout.
"""

from pathlib import Path

import torch
from common.errors import require_at_least
from common.networks.batch_norms import freeze_batch_norm
from common.networks.mobilenet import MobileNetV2Features
from common.networks.shrinkage_unet import ShrinkageUNet
from common.networks.texture_encoder import TextureEncoder, TextureMapping
from common.networks.weights import read_weights
from common.operators.fourier import channels_to_complex, complex_to_channels
from common.operators.measurement import unpack_coils
from common.operators.scaling import peak_and_phase
from common.operators.sense import sense_adjoint, sense_forward
from common.operators.sense_consistency import SenseDataConsistency
from torch import Tensor, nn


class ConsistentUpdate(nn.Module):
    """``x -> x - step * e + network([x, e])``, ``e = A^H (A x - y)`` the residual of data consistency.

    Args:
        network: U-Net from four channels to two, see :class:`~common.networks.shrinkage_unet.ShrinkageUNet`.

    The step is learned, and 1 at the start: for one coil ``x - e`` has the measured samples.
    """

    def __init__(self, network: ShrinkageUNet) -> None:
        super().__init__()
        self.network = network
        self.step = nn.Parameter(torch.ones(()))

    def forward(
        self, image: Tensor, masked_kspace: Tensor, mask: Tensor, sensitivity_maps: Tensor, noise: Tensor, style: Tensor
    ) -> Tensor:
        """Image ``(batch, 2, height, width)`` to the same; k-space, mask and maps as ``unpack_coils`` gives them."""
        predicted = sense_forward(channels_to_complex(image), sensitivity_maps, mask)
        residual = complex_to_channels(sense_adjoint(predicted - masked_kspace, sensitivity_maps, mask))
        correction = self.network(torch.cat((image, residual), dim=1), noise, style)
        return image - self.step * residual + correction.to(image.dtype)


class UnrolledUNets(nn.Module):
    """The baseline: zero-fill, then :class:`ConsistentUpdate` several times, then hard data consistency.

    Works for one coil and, with sensitivity maps in the measurement, for several. The unit and the phase of the
    zero-filled image, which are known without the truth, are taken out before and put back after, see
    :func:`~common.operators.scaling.peak_and_phase`. Differs from the source: complex images in two
    channels and no hard sigmoid at the end; corrections instead of images; no dropout. Data consistency takes 8
    iterations of conjugate gradients for several coils; one coil is exact.

    Args:
        n_blocks: updates, one after another, each with its own weights.
        width, threshold: arguments of the U-Nets, see :class:`ShrinkageUNet`. Three blocks of width 32: 31,151,253
            parameters.
    """

    def __init__(self, n_blocks: int = 3, width: int = 32, threshold: float = 1.0) -> None:
        super().__init__()
        require_at_least(1, n_blocks=n_blocks)
        self.blocks = nn.ModuleList(ConsistentUpdate(ShrinkageUNet(4, 2, width, threshold)) for _ in range(n_blocks))
        self.consistency = SenseDataConsistency(8)

    def forward(self, measurement: Tensor, noise: Tensor | None = None) -> Tensor:
        """Reconstruct.

        Args:
            measurement: float, ``(batch, 3, height, width)`` for one coil, ``(batch, 4 coils + 1, height, width)`` for
                several; see :func:`~common.operators.pack_measurement`.
            noise: taken so that all networks of the family are called alike; not looked at.

        Returns:
            float ``(batch, 2, height, width)``: real and imaginary image, in the image unit of the input.
        """
        masked_kspace, mask, sensitivity_maps = unpack_coils(measurement)
        kspace, restore = self._network_units(masked_kspace, mask, sensitivity_maps)
        zero_filled = complex_to_channels(sense_adjoint(kspace, sensitivity_maps, mask))
        image = self._refined(zero_filled, kspace, mask, sensitivity_maps)
        return self._finished(image, kspace, mask, sensitivity_maps, restore)

    def _network_units(self, masked_kspace: Tensor, mask: Tensor, sensitivity_maps: Tensor) -> tuple[Tensor, Tensor]:
        """The measurement in network units, and what multiplies images back to their own."""
        factor, restore = peak_and_phase(complex_to_channels(sense_adjoint(masked_kspace, sensitivity_maps, mask)))
        return masked_kspace * factor, restore

    def _refined(self, image: Tensor, masked_kspace: Tensor, mask: Tensor, sensitivity_maps: Tensor) -> Tensor:
        for block in self.blocks:
            image = block(image, masked_kspace, mask, sensitivity_maps, image, image)
        return image

    def _finished(
        self, image: Tensor, masked_kspace: Tensor, mask: Tensor, sensitivity_maps: Tensor, restore: Tensor
    ) -> Tensor:
        finished = self.consistency(channels_to_complex(image), masked_kspace, sensitivity_maps, mask)
        return complex_to_channels(finished * restore)


class TextureUNets(UnrolledUNets):
    """The generative extension: the last update is given noise and texture styles, sampled for the image at hand.

    An encoder looks at the zero-filled image and gives distributions of texture vectors; a mapping makes styles of
    them; noise and styles go into every block of the last U-Net. One reconstruction is a sample: other noise, other
    details. Data consistency comes last, so no sample alters what was measured.

    Differs from the source: the textures enter the last update alone, so that samples share all the work before it;
    there may be several vectors with a map of their shares, and styles may vary in space.

    Args:
        n_blocks, width, threshold: arguments of :class:`UnrolledUNets`.
        n_textures: texture vectors of an image; 1 is one for the whole image.
        texture_size: numbers of a vector; 320 in the source.
        injection: ``adain`` as in the source or ``spatial``, see
            :class:`~common.networks.injection.TextureInjection`.
        attention: True adds self-attention to the bottom of the last U-Net.
        encoder_width: multiplier of MobileNetV2's channels.
        encoder_weights: torchvision's file of MobileNetV2, or ``None`` to start from random weights.
    """

    def __init__(
        self,
        n_blocks: int = 3,
        width: int = 32,
        threshold: float = 1.0,
        n_textures: int = 1,
        texture_size: int = 320,
        injection: str = "adain",
        attention: bool = False,
        encoder_width: float = 1.0,
        encoder_weights: str | Path | None = None,
    ) -> None:
        if n_blocks < 2:
            raise ValueError(f"expected n_blocks of at least 2, the last for the textures, got {n_blocks}")
        require_at_least(1, n_textures=n_textures, texture_size=texture_size)  # else it is UnrolledUNets
        super().__init__(n_blocks - 1, width, threshold)
        self.encoder = TextureEncoder(n_textures, texture_size, MobileNetV2Features(encoder_weights, encoder_width))
        self.mapping = TextureMapping(texture_size)
        self.texture_block = ConsistentUpdate(ShrinkageUNet(4, 2, width, threshold, texture_size, injection, attention))
        self.n_latent = n_textures * texture_size

    def forward(self, measurement: Tensor, noise: Tensor | None = None) -> Tensor:
        """One sample.

        Args:
            measurement: as for the baseline.
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
        """Several samples of one measurement: the updates before the last are made once.

        Args:
            measurement: as for ``forward``.
            noise: ``(batch, n_samples, 2, height, width)``.

        Returns:
            ``(batch, n_samples, 2, height, width)``.
        """
        return self._sampled(measurement, noise[:, :, :1], self._latent(noise))[3]

    @torch.jit.ignore
    def stages(self, measurement: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return two samples of each measurement, drawn with torch's random state, and their distribution.

        Returns:
            mean and log-variance of the texture vectors ``(batch, n_textures, size)``, the style map ``(batch, size, h,
            w)`` of the first sample, and two samples, each as the result of ``forward``.
        """
        batch, _, height, width = measurement.shape
        noise = torch.randn(batch, 2, 2, height, width, device=measurement.device)
        mean, log_variance, style, images = self._sampled(measurement, noise[:, :, :1], self._latent(noise))
        return mean, log_variance, style, images[:, 1], images[:, 0]

    def _sampled(self, measurement: Tensor, noise: Tensor, deviates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Texture distribution, style map of the first sample and all samples.

        Of noise ``(batch, n_samples, 1, height, width)`` and the texture vectors' ``(batch, n_samples, n_latent)``.
        """
        masked_kspace, mask, sensitivity_maps = unpack_coils(measurement)
        batch, height, width = measurement.shape[0], measurement.shape[-2], measurement.shape[-1]
        if noise.dim() != 5 or noise.shape[0] != batch or noise.shape[-2] != height or noise.shape[-1] != width:
            raise ValueError(
                "expected noise (batch, 2, height, width), for samples (batch, n_samples, 2, height, width), of the "
                f"measurement's batch, height and width {[batch, height, width]}, got shape {list(noise.shape)}"
            )
        n_samples = noise.shape[1]
        kspace, restore = self._network_units(masked_kspace, mask, sensitivity_maps)
        zero_filled = complex_to_channels(sense_adjoint(kspace, sensitivity_maps, mask))
        image = self._refined(zero_filled, kspace, mask, sensitivity_maps)
        mean, log_variance, shares = self.encoder(zero_filled.square().sum(dim=1, keepdim=True).sqrt())
        deviates = deviates.reshape(batch * n_samples, mean.shape[1], mean.shape[2])
        vectors = _each(mean, n_samples) + (0.5 * _each(log_variance, n_samples)).exp() * deviates
        style = self.mapping(vectors, _each(shares, n_samples))
        maps = sensitivity_maps if sensitivity_maps.shape[0] == 1 else _each(sensitivity_maps, n_samples)
        repeated = _each(kspace, n_samples), _each(mask, n_samples), maps
        injected = noise[:, :, :1].reshape(batch * n_samples, 1, height, width)
        samples = self.texture_block(_each(image, n_samples), repeated[0], repeated[1], repeated[2], injected, style)
        finished = self._finished(samples, repeated[0], repeated[1], repeated[2], _each(restore, n_samples))
        styles = style.reshape(batch, n_samples, style.shape[1], style.shape[2], style.shape[3])
        return mean, log_variance, styles[:, 0], finished.reshape(batch, n_samples, 2, height, width)

    def _latent(self, noise: Tensor) -> Tensor:
        """The first numbers of the second channel of ``(batch, n_samples, 2, height, width)``, as many as needed."""
        if noise.shape[2] != 2 or noise.shape[-2] * noise.shape[-1] < self.n_latent:
            raise ValueError(
                f"expected noise of two channels and at least {self.n_latent} pixels, got shape {list(noise.shape)}; "
                "take larger images, or a network of fewer or smaller texture vectors"
            )
        places = torch.arange(self.n_latent, device=noise.device)
        return noise[:, :, 1].flatten(2).index_select(2, places)


def start_from_baseline(network: TextureUNets, path: str | Path) -> TextureUNets:
    """Take the weights of a trained baseline with as many blocks, in place; what it does not have stays as it is.

    With ``spatial`` injections and noise of zeros the result is then that of the baseline, as long as injections and
    attention are as they were made.

    Args:
        network: network that receives the weights.
        path: file of :class:`UnrolledUNets`, with the same ``n_blocks`` and ``width``.

    Raises:
        FileNotFoundError, ValueError: as :func:`~common.networks.weights.read_weights`; and if the file has other
            weights than such a baseline, or some of another shape.
    """
    own, state = network.state_dict(), read_weights(path)
    n_shared = len(network.blocks)
    places = {name: name for name in own if name.startswith("blocks.")}
    for name in own:
        if name.startswith("blocks.0."):
            part = name.removeprefix("blocks.0.")
            places[f"texture_block.{part}"] = f"blocks.{n_shared}.{part}"
    wanted = set(places.values())
    wrong = [f"{name!r}, which it does not have" for name in state if name not in wanted]
    wrong += [f"no {name!r}" for name in places.values() if name not in state]
    wrong = wrong or [
        f"{name!r} of shape {list(state[name].shape)}"
        for place, name in places.items()
        if state[name].shape != own[place].shape
    ]
    if wrong:
        raise ValueError(
            f"{path}: expected the weights of a baseline of the same width, with {n_shared + 1} blocks, got "
            f"{wrong[0]}; train the baseline with the same n_blocks and width"
        )
    network.load_state_dict({**own, **{place: state[name] for place, name in places.items()}})
    return network


def train_textures_alone(network: TextureUNets) -> TextureUNets:
    """Leave to a training only what a baseline does not have, in place: encoder, mapping, injections and attention.

    The rest keeps its weights, and all batch norms their statistics: with noise of zeros and no textures yet it is the
    baseline, and training can add samples around its image but not spoil it.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(_is_texture(name))
    return freeze_batch_norm(network)  # type: ignore[return-value]


def _is_texture(name: str) -> bool:
    return name.startswith(("encoder.", "mapping.")) or "injection" in name or ".attention." in name


def _each(value: Tensor, n_samples: int) -> Tensor:
    """Each item repeated for its samples, ``(batch, ...)`` to ``(batch * n_samples, ...)``."""
    return value if n_samples == 1 else value.repeat_interleave(n_samples, dim=0)
