"""An image and several samples of one measurement by a generative network, and how far they differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from common.errors import require_at_least
from common.operators.samples import pack_samples
from monai.inferers import Inferer
from torch import Tensor


class SamplingInferer(Inferer):
    """Makes an image without noise and samples around it; returns the image, how far samples deviate, and the first.

    The noise follows from the seed alone and is the same for every slice, so that a result depends neither on the
    batch nor on what was reconstructed before; it is drawn on the CPU, so that devices agree. Sample k does not depend
    on ``n_samples``: the first one is that of any larger number.

    Where samples agree with the image, the measurement (or the training data) decides; where they differ, the network
    makes up what it shows. Take the output apart with :class:`~common.transforms.SplitSamplesd`.

    Args:
        n_samples: number of samples; 0 for the image alone.
        seed: seed of the noise.
    """

    def __init__(self, n_samples: int = 8, seed: int = 0) -> None:
        require_at_least(0, n_samples=n_samples)
        self.n_samples = n_samples
        self.seed = seed

    def noise(self, height: int, width: int) -> Tensor:
        """Standard normal ``(n_samples, 2, height, width)``, float32, on the CPU."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.stack([torch.randn((2, height, width), generator=generator) for _ in range(self.n_samples)])

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Reconstruct.

        Args:
            inputs: measurements, ``(batch, channels, height, width)``.
            network: called with the measurements for the image; with ``samples(measurement, noise (batch, n_samples, 2,
                height, width))`` that returns real and imaginary parts of that shape.
            args: passed on to both.
            kwargs: passed on to both.

        Returns:
            float32 ``(batch, 5, height, width)``, see :func:`~common.operators.samples.pack_samples`; without samples
            the image ``(batch, 2, height, width)``.

        Raises:
            TypeError: if samples are wanted of a network without ``samples``.
        """
        image = network(inputs, *args, **kwargs)
        if self.n_samples == 0:
            return image
        # a network of several processes is wrapped
        samples = getattr(getattr(network, "module", network), "samples", None)
        if samples is None:
            raise TypeError(
                f"expected a generative network, with a method samples, got {type(network).__name__}; "
                "take n_samples 0 for one without noise"
            )
        noise = self.noise(inputs.shape[-2], inputs.shape[-1]).to(inputs.device)
        return pack_samples(image, samples(inputs, noise.expand(inputs.shape[0], -1, -1, -1, -1), *args, **kwargs))
