"""RefineGAN's objective: what the generator and the critic minimise.

Quan, Nguyen-Duc, Jeong 2018, doi 10.1109/TMI.2018.2820120.
"""

from collections.abc import Mapping, Sequence

import torch
from common.losses import adversarial_loss
from common.operators import (
    IntensityScaling,
    channels_to_complex,
    complex_to_channels,
    fft2c,
    sense_adjoint,
    unpack_coils,
)
from torch import Tensor, nn

Stages = tuple[Tensor, Tensor, Tensor, Tensor]
IMAGES = 2.0  # A and B
PAIRS = 4.0  # AA, AB, BA, BB


class RefineGanObjective:
    """Terms of the cyclic adversarial objective, unweighted, in network units.

    With ``d`` the critic, ``r`` = mask entries / sampled entries, ``x`` the truth, ``s', s, t', t`` the stages
    and all norms means over elements:

    - ``image``: ``r |x - s|_1 + r |x - t|_1``
    - ``error``: ``r |x - s'|_1 + r |x - t'|_1``, before data consistency
    - ``frequency``: ``r^2 |y - M F s'|_1 + r^2 |y - M F t'|_1``
    - ``total_variation``: of ``s`` and ``t``, summed per image
    - ``adversarial``: over both stages and the pairs AA, AB, BA, BB of fake and real, ``-d(fake)`` for the
      generator, ``d(fake) - d(real)`` for the critic
    - ``difference``: ``|x - t|_1`` in image units, without ``r``; not in the paper. It alone trains a light cascade.

    The paper draws two random images A and B per iteration. Here A is the batch and B the batch rolled by one,
    so each image plays both parts. Every term that looks at one image at a time is then the same number for A
    and for B: it is computed once and counted twice. A mean over the batch of a loss that takes real and fake
    scores apart, as all those on offer do, does not see who is paired with whom: the four pairs are four
    times one. The paper's weights are image 10, error 1000, frequency 1, total_variation 1e-4, adversarial 1.

    Args:
        scaling: the generator's intensity scaling, see :class:`~common.operators.IntensityScaling`.
        adversarial: name of the adversarial loss; the paper's is ``wasserstein``.
        both_images: False leaves ``s'`` and ``s`` out of all terms: halfway through a cascade of many stages an image
            need not look finished.
    """

    def __init__(self, scaling: str = "shifted", adversarial: str = "wasserstein", both_images: bool = True) -> None:
        self.scaling = IntensityScaling(scaling)
        self.adversarial = adversarial_loss(adversarial)
        self.first = 0 if both_images else 1

    def generator_terms(
        self, batch: Mapping[str, Tensor], outputs: Stages, discriminator: nn.Module | None
    ) -> dict[str, Tensor]:
        """Return the loss terms of the generator.

        Args:
            batch: ``image`` the measurement ``(batch, 3 or 4 n_coils + 1, height, width)``, ``label`` the truth
                ``(batch, 2, height, width)`` in image units. Of several coils ``y`` in ``frequency`` is the k-space of
                the truth.
            outputs: the generator's stages, each like the truth.
            discriminator: the critic; ``None`` leaves the adversarial term out.

        Returns:
            scalars by name.
        """
        mask, zero_filled, truth, raw, consistent = self._network_units(batch, outputs)
        rarity = mask.numel() / mask.sum()
        measured = zero_filled if batch["image"].shape[1] == 3 else truth
        terms = {
            "image": IMAGES * rarity * _sum([_l1(image, truth) for image in consistent]),
            "error": IMAGES * rarity * _sum([_l1(image, truth) for image in raw]),
            "frequency": IMAGES * rarity**2 * _sum([masked_kspace_l1(image, measured, mask) for image in raw]),
            "total_variation": IMAGES * _sum([total_variation(image) for image in consistent]),
            "difference": _l1(outputs[3], batch["label"]),
        }
        if discriminator is not None:
            scores = [self.adversarial.generator(discriminator(image)) for image in consistent]
            terms["adversarial"] = PAIRS * _sum(scores)
        return terms

    def discriminator_terms(
        self, batch: Mapping[str, Tensor], outputs: Stages, discriminator: nn.Module
    ) -> dict[str, Tensor]:
        """Return the loss terms of the critic; arguments as above, ``outputs`` detached."""
        _, _, truth, _, consistent = self._network_units(batch, outputs)
        real = discriminator(truth)
        losses = [self.adversarial.discriminator(real, discriminator(fake)) for fake in consistent]
        return {"critic": PAIRS * _sum(losses)}

    def discriminator_pairs(self, batch: Mapping[str, Tensor], outputs: Stages) -> tuple[Tensor, Tensor]:
        """Real and fake images between which a gradient penalty is taken: the truth and the result."""
        _, _, truth, _, consistent = self._network_units(batch, outputs)
        return truth, consistent[-1]

    def _network_units(
        self, batch: Mapping[str, Tensor], outputs: Stages
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]:
        """Return mask, zero-filled image, truth, images before and images after data consistency."""
        masked_kspace, mask, sensitivity_maps = unpack_coils(batch["image"])
        zero_filled = complex_to_channels(sense_adjoint(masked_kspace, sensitivity_maps, mask))
        factor = self.scaling.factor(zero_filled)
        raw1, consistent1, raw2, consistent2 = (self.scaling.normalise(stage, factor) for stage in outputs)
        return (
            mask,
            self.scaling.normalise(zero_filled, factor),
            self.scaling.normalise(batch["label"], factor),
            [raw1, raw2][self.first :],
            [consistent1, consistent2][self.first :],
        )


def _sum(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()


def _l1(image: Tensor, target: Tensor) -> Tensor:
    return (image - target).abs().mean()


def total_variation(image: Tensor) -> Tensor:
    """Anisotropic total variation: absolute differences of neighbours summed per image, mean over the batch.

    A unit step edge across an image of height ``h`` and one channel has total variation ``h``.
    """
    rows = (image[..., 1:, :] - image[..., :-1, :]).abs().sum()
    columns = (image[..., :, 1:] - image[..., :, :-1]).abs().sum()
    return (rows + columns) / image.shape[0]


def masked_kspace_l1(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference of two images' k-space, real and imaginary part, zero where not sampled.

    The mean is over all elements, sampled or not.

    Args:
        image: real and imaginary channel, ``(batch, 2, height, width)``.
        target: the same shape; its sampled k-space is the measurement.
        mask: float, 1 where sampled, ``(batch or 1, 1, height, width)``.
    """
    difference = mask * fft2c(channels_to_complex((image - target).float()))
    return 0.5 * (difference.real.abs().mean() + difference.imag.abs().mean())
