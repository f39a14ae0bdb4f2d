"""Data consistency: the step that returns a reconstruction to the measured samples."""

from common.operators.fourier import fft2c, ifft2c
from torch import Tensor, nn


class HardDataConsistency(nn.Module):
    """Replaces the measured samples: ``x -> F^H ((1 - M) F x + M y)``.

    Exact for noiseless measurements: the measured samples of the output equal ``y`` to rounding, and an
    image that already agrees with ``y`` stays as it is.
    """

    def forward(self, image: Tensor, masked_kspace: Tensor, mask: Tensor) -> Tensor:
        """Make an image consistent.

        Args:
            image: complex, ``(batch, 1, height, width)``.
            masked_kspace: measured k-space, complex, same shape, zero where not sampled.
            mask: float, 1 where sampled, ``(batch or 1, 1, height, width)``.

        Returns:
            complex image, same shape.
        """
        return ifft2c((1 - mask) * fft2c(image) + mask * masked_kspace)


class SoftDataConsistency(nn.Module):
    """Averages the measured with the predicted samples, for noisy measurements.

    On sampled positions ``F x -> (F x + lambda y) / (1 + lambda)`` (Schlemper et al. 2018,
    doi 10.1109/TMI.2017.2760978, eq. 6), the minimiser of ``|F z - F x|^2 + lambda |M F z - y|^2``.
    ``lambda`` = 0 returns the image unchanged, a large one approaches :class:`HardDataConsistency`.

    Args:
        weight: ``lambda`` >= 0, the trust in the measurement: variance of the prior's error over variance of
            the k-space noise.

    Raises:
        ValueError: if ``weight`` is negative.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight (lambda) must be at least 0, got {weight}; 0 ignores the measurement")
        self.step = weight / (1.0 + weight)

    def forward(self, image: Tensor, masked_kspace: Tensor, mask: Tensor) -> Tensor:
        """Make an image more consistent; arguments as in :class:`HardDataConsistency`."""
        kspace = fft2c(image)
        return ifft2c(kspace + mask * (self.step * (masked_kspace - kspace)))
