"""Random contrast of a batch of images or volumes, on the device."""

import torch
from torch import Tensor


class RandomContrast:
    """Random gamma curve and gain of each image, each for half of the images.

    ``image`` becomes ``gain * image ** gamma``, both drawn uniformly. It stands for scanners, sequences and windows
    that the training data lack.

    Args:
        gamma: lowest and highest exponent, above 0.
        gain: lowest and highest factor, above 0.

    Raises:
        ValueError: if a range is not in order or not above 0.
    """

    def __init__(self, gamma: tuple[float, float] = (0.7, 1.4), gain: tuple[float, float] = (0.5, 1.0)) -> None:
        for name, (low, high) in (("gamma", gamma), ("gain", gain)):
            if not 0 < low <= high:
                raise ValueError(f"expected 0 < low <= high for {name}, got {low} and {high}")
        self.gamma = gamma
        self.gain = gain

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a contrast for each image; two batches and generators of one state get the same contrasts.

        Args:
            image: real, ``(batch, channels, *spatial)``, intensities from 0; negative ones become 0.
            generator: generator on the device of the image.

        Returns:
            Images of the same shape and dtype.
        """
        shape = (len(image), *[1] * (image.ndim - 1))

        def drawn(low: float, high: float) -> Tensor:
            value, chosen = torch.rand((2, *shape), generator=generator, device=generator.device)
            return torch.where(chosen < 0.5, low + (high - low) * value, torch.ones_like(value))

        return drawn(*self.gain) * image.clamp(min=0) ** drawn(*self.gamma)
