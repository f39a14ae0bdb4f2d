"""Statistics of several samples of one reconstruction, as channels of one tensor."""

import torch
from torch import Tensor

N_CHANNELS = 5


def pack_samples(samples: Tensor) -> Tensor:
    """Mean, standard deviation and first of samples ``x_k``, stacked.

    Args:
        samples: real and imaginary part, ``(batch, n_samples, 2, height, width)``.

    Returns:
        float32 ``(batch, 5, height, width)``: mean (real, imaginary), standard deviation
        ``sqrt(mean_k |x_k - mean|^2)``, first sample (real, imaginary). For instance the samples 1 and 1 + 2i have the
        mean 1 + 1i and the standard deviation 1. One sample has 0.
    """
    samples = samples.float()
    mean = samples.mean(dim=1)
    std = (samples - mean[:, None]).square().sum(dim=2, keepdim=True).mean(dim=1).sqrt()
    return torch.cat((mean, std, samples[:, 0]), dim=1)


def split_samples(packed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard deviation and first sample out of ``(..., 5, height, width)``; inverse of the above."""
    mean, std, sample = packed.split((2, 1, 2), dim=-3)
    return mean, std, sample
