"""Statistics of several samples of one reconstruction, as channels of one tensor."""

import torch
from torch import Tensor

N_CHANNELS = 5
WINDOW = 5


def pack_samples(image: Tensor, samples: Tensor) -> Tensor:
    """Image ``x``, deviation of samples ``x_k`` from it, and first sample, stacked.

    Args:
        image: real and imaginary part, ``(batch, 2, height, width)``.
        samples: likewise, ``(batch, n_samples, 2, height, width)``.

    Returns:
        float32 ``(batch, 5, height, width)``: image (real, imaginary), root mean square of ``|x_k - x|`` over the
        samples and 5 x 5 pixels, first sample (real, imaginary). The neighbours count, because a few samples alone
        give a noisy estimate. For instance the samples 1 and 1 + 2i deviate by 1 from the image 1 + 1i.
    """
    image, samples = image.float(), samples.float()
    squares = (samples - image[:, None]).square().sum(dim=2, keepdim=True).mean(dim=1)
    squares = torch.nn.functional.avg_pool2d(squares, WINDOW, 1, WINDOW // 2, count_include_pad=False)
    return torch.cat((image, squares.sqrt(), samples[:, 0]), dim=1)


def split_samples(packed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Image, deviation and first sample out of ``(..., 5, height, width)``; inverse of the above."""
    image, deviation, sample = packed.split((2, 1, 2), dim=-3)
    return image, deviation, sample
