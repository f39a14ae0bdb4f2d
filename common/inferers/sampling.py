"""Several reconstructions of one measurement by a generative network, and how far they differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from common.errors import require_at_least
from common.operators.samples import pack_samples
from monai.inferers import Inferer
from torch import Tensor


class SamplingInferer(Inferer):
    """Draws samples of a reconstruction and gives their mean, their standard deviation and the first of them.

    The noise follows from the seed alone and is the same for every slice, so that a result depends neither on the
    batch nor on what was reconstructed before; it is drawn on the CPU, so that devices agree. Sample k does not depend
    on ``n_samples``: the first one is that of any larger number.

    Where samples agree, the measurement (or the training data) decides; where they differ, the network makes up what
    it shows. Take the output apart with :class:`~common.transforms.SplitSamplesd`.

    Args:
        n_samples: how many; with 1 the mean is the sample and the standard deviation 0.
        seed: seed of the noise.
    """

    def __init__(self, n_samples: int = 8, seed: int = 0) -> None:
        require_at_least(1, n_samples=n_samples)
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
            network: with ``samples(measurement, noise (batch, n_samples, 2, height, width))`` that returns real and
                imaginary parts of that shape.
            args: passed on to ``samples``.
            kwargs: passed on to ``samples``.

        Returns:
            float32 ``(batch, 5, height, width)``, see :func:`~common.operators.samples.pack_samples`.

        Raises:
            TypeError: if the network has no ``samples``.
        """
        # a network of several processes is wrapped
        samples = getattr(getattr(network, "module", network), "samples", None)
        if samples is None:
            raise TypeError(
                f"expected a generative network, with a method samples, got {type(network).__name__}; "
                "use SimpleInferer for one without noise"
            )
        noise = self.noise(inputs.shape[-2], inputs.shape[-1]).to(inputs.device)
        return pack_samples(samples(inputs, noise.expand(inputs.shape[0], -1, -1, -1, -1), *args, **kwargs))
