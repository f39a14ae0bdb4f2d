"""Random flips and quarter turns of a batch of images or volumes, on the device: no value is interpolated."""

from collections.abc import Sequence

import torch
from torch import Tensor


class RandomFlips:
    """Flips along each spatial axis, and exchanges the first two, each for half of the samples.

    In 2-D these are the eight flips and quarter turns of a square. Axes are exchanged only where they are equally
    long, so that a batch keeps its shape.

    Args:
        axes: spatial axes to flip, 0 being the height; ``None`` is all. Anatomy has sides that a network may need:
            ``[1]`` flips axial slices left to right only.
        turns: True if the first two spatial axes are exchanged for half of the samples, where they are equally long.
    """

    def __init__(self, axes: Sequence[int] | None = None, turns: bool = True) -> None:
        self.axes = axes
        self.turns = turns

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a view of each image; two batches and generators of one state get the same views.

        Args:
            image: ``(batch, channels, height, width[, depth])``.
            generator: source of random numbers on the image's device.

        Returns:
            the same shape and dtype.
        """
        spatial = range(image.ndim - 2) if self.axes is None else self.axes
        for axis in spatial:
            image = self._sometimes(image.flip(axis + 2), image, generator)
        if self.turns and image.shape[2] == image.shape[3]:
            image = self._sometimes(image.transpose(2, 3), image, generator)
        return image

    def _sometimes(self, changed: Tensor, image: Tensor, generator: torch.Generator) -> Tensor:
        chosen = torch.rand((image.shape[0],), generator=generator, device=image.device) < 0.5
        return torch.where(chosen.reshape(-1, *[1] * (image.ndim - 1)), changed, image)
