"""Loss terms of the knee bundle's networks: images, structures, textures, and the spread of samples."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from common.losses import adversarial_loss
from common.operators import IntensityScaling, complex_to_channels, sense_adjoint, unpack_coils
from monai.losses import SSIMLoss
from torch import Tensor, nn


class ReconstructionObjective:
    """Terms of the baseline, unweighted, in network units (divided by the zero-filled image's largest magnitude).

    - ``image``: mean absolute difference of real and imaginary parts
    - ``ssim``: 1 - SSIM of magnitudes (Wang et al. 2004), in a Gaussian window of 11 pixels, data range 1
    """

    def __init__(self) -> None:
        self.scaling = IntensityScaling("peak")
        self.ssim = SSIMLoss(spatial_dims=2)

    def generator_terms(
        self, batch: Mapping[str, Tensor], outputs: Tensor | Sequence[Tensor], discriminator: nn.Module | None
    ) -> dict[str, Tensor]:
        """Return the loss terms of the network.

        Args:
            batch: ``image`` the measurement, see ``unpack_coils``; ``label`` the truth ``(batch, 2, height, width)``.
            outputs: the network's image, like the truth, or its stages, the last of which is the image.
            discriminator: not looked at.

        Returns:
            scalars by name.
        """
        _, factor = self._zero_filled(batch)
        image = outputs if isinstance(outputs, Tensor) else outputs[-1]
        return self._image_terms(image * factor, batch["label"] * factor)

    def discriminator_terms(
        self, batch: Mapping[str, Tensor], outputs: Any, discriminator: nn.Module
    ) -> dict[str, Tensor]:
        """Nothing: no discriminator is trained."""
        return {}

    def discriminator_pairs(self, batch: Mapping[str, Tensor], outputs: Any) -> tuple[Tensor, Tensor]:
        """Truth and result."""
        return batch["label"], outputs

    def _zero_filled(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """In network units ``(batch, 2, height, width)``, and what multiplied it."""
        masked_kspace, mask, sensitivity_maps = unpack_coils(batch["image"])
        zero_filled = complex_to_channels(sense_adjoint(masked_kspace, sensitivity_maps, mask))
        factor = self.scaling.factor(zero_filled)
        return zero_filled * factor, factor

    def _image_terms(self, image: Tensor, truth: Tensor) -> dict[str, Tensor]:
        return {"image": (image - truth).abs().mean(), "ssim": self.ssim(magnitude(image), magnitude(truth))}


class TextureGanObjective(ReconstructionObjective):
    """Terms of the generative network, unweighted; the baseline's are those of two samples, averaged.

    - ``diversity``: minus the mean absolute difference of the two samples. ``image + 0.5 diversity`` is the continuous
      ranked probability score of each pixel, estimated from two samples (Gneiting and Raftery 2007, doi
      10.1198/016214506000001437): smallest where samples are spread as the truth is uncertain, so that their
      standard deviation means something. The source has no such term, and noise that nothing rewards is ignored.
    - ``features``: mean distance of the two samples from the truth in the maps of a network that knows textures, where
      one is given: that of :class:`~common.metrics.PerceptualDistance`, of the middle half of the columns
    - ``kl``: of the texture vectors' distribution from the standard normal, for each number of a vector
    - ``texture``: mean absolute difference of the style map from the truth's texture statistics, cell by cell, or of
      their means over the image
    - ``adversarial`` for the generator, ``critic`` for the discriminator: (sample, zero-filled) against (truth,
      zero-filled), magnitudes; only where there is a discriminator

    Args:
        proxy: texture statistics of magnitudes, see :class:`~scripts.texture_proxy.GaborTextures`; on the device of the
            training. Its ``size`` is the networks' ``texture_size``.
        features: function from magnitudes to maps at several scales, see :class:`~scripts.texture_proxy.VggMaps`;
            ``None`` for none.
        adversarial: name of the adversarial loss; the source's is ``bce``, which is non-saturating.
        spatial: True compares textures cell by cell, False their means, as the source does with its one vector.
    """

    def __init__(
        self,
        proxy: nn.Module,
        features: Callable[[Tensor], Sequence[Tensor]] | None = None,
        adversarial: str = "bce",
        spatial: bool = True,
    ) -> None:
        super().__init__()
        self.proxy = proxy
        self.features = features
        self.adversarial = adversarial_loss(adversarial)
        self.spatial = spatial

    def generator_terms(
        self, batch: Mapping[str, Tensor], outputs: Any, discriminator: nn.Module | None
    ) -> dict[str, Tensor]:
        """Return the loss terms of the generator.

        ``outputs`` are the stages of :class:`~common.networks.TextureCascade` whose textures are trained.
        """
        mean, log_variance, style, second, first = outputs
        zero_filled, factor = self._zero_filled(batch)
        truth, first, second = batch["label"] * factor, first * factor, second * factor
        terms = {
            name: 0.5 * (value + other)
            for (name, value), other in zip(
                self._image_terms(first, truth).items(), self._image_terms(second, truth).values(), strict=True
            )
        }
        terms["diversity"] = -(first - second).abs().mean()
        if self.features is not None:
            terms["features"] = self._feature_distance(first, second, truth)
        terms["kl"] = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        terms["texture"] = self._texture_distance(style, magnitude(truth))
        if discriminator is not None:
            terms["adversarial"] = self.adversarial.generator(discriminator(_beside(first, zero_filled)))
        return terms

    def discriminator_terms(
        self, batch: Mapping[str, Tensor], outputs: Any, discriminator: nn.Module
    ) -> dict[str, Tensor]:
        """Return the loss terms of the discriminator; arguments as above, ``outputs`` detached."""
        real, fake = self.discriminator_pairs(batch, outputs)
        return {"critic": self.adversarial.discriminator(discriminator(real), discriminator(fake))}

    def discriminator_pairs(self, batch: Mapping[str, Tensor], outputs: Any) -> tuple[Tensor, Tensor]:
        """Magnitudes of truth and sample, each beside the zero-filled image, ``(batch, 2, height, width)``."""
        zero_filled, factor = self._zero_filled(batch)
        return _beside(batch["label"] * factor, zero_filled), _beside(outputs[-1] * factor, zero_filled)

    def _feature_distance(self, *images: Tensor) -> Tensor:
        """Mean distance of the first two images from the third."""
        assert self.features is not None
        width = images[0].shape[-1]
        middle = magnitude(torch.cat(images))[..., width // 4 : width - width // 4]
        units = [_unit(maps).chunk(3) for maps in self.features(middle)]
        squares = [(sample - truth).square().sum(dim=1).mean() for *samples, truth in units for sample in samples]
        return 0.5 * torch.stack(squares).sum()

    def _texture_distance(self, style: Tensor, truth: Tensor) -> Tensor:
        wanted = self.proxy(truth)
        if not self.spatial:
            return (style.mean(dim=(2, 3)) - wanted.mean(dim=(2, 3))).abs().mean()
        style = nn.functional.interpolate(style, size=wanted.shape[2:], mode="bilinear", align_corners=False)
        return (style - wanted).abs().mean()


def magnitude(channels: Tensor) -> Tensor:
    """``(batch, 2, height, width)`` to ``(batch, 1, height, width)``, with a gradient also at zero."""
    return (channels.square().sum(dim=1, keepdim=True) + 1e-12).sqrt()


def _unit(maps: Tensor) -> Tensor:
    maps = maps.float()
    return maps / (maps.square().sum(dim=1, keepdim=True) + 1e-12).sqrt()


def _beside(image: Tensor, zero_filled: Tensor) -> Tensor:
    return torch.cat((magnitude(image), magnitude(zero_filled)), dim=1)
