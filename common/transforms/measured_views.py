"""Random views that an acquisition could have made, and several augmentations in order."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


class RandomRows:
    """A random strip of rows, of all columns, for each image of a batch.

    With masks of whole columns the rows of an image are measured independently of each other: a strip, masked by the
    same columns, is aliased exactly as it is in the whole image. Training on strips costs as much less as they are
    smaller, and its physics stays exact.

    Args:
        height: rows of the strip; images of no more rows stay whole.
    """

    def __init__(self, height: int) -> None:
        if height < 1:
            raise ValueError(f"height must be at least 1, got {height}")
        self.height = height

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """``(batch, channels, rows, columns)`` to ``(batch, channels, min(rows, height), columns)``.

        Args:
            image: real or complex.
            generator: on the image's device.
        """
        free = image.shape[-2] - self.height
        if free <= 0:
            return image
        tops = torch.randint(free + 1, (image.shape[0],), generator=generator, device=image.device)
        rows = tops[:, None] + torch.arange(self.height, device=image.device)
        places = torch.arange(image.shape[0], device=image.device)[:, None]
        return image.transpose(1, 2)[places, rows].transpose(1, 2)


class InOrder:
    """Several augmentations one after another.

    Args:
        augmentations: each maps a batch of images and a generator to such a batch.
    """

    def __init__(self, augmentations: Sequence[Augmentation]) -> None:
        self.augmentations = tuple(augmentations)

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """The last one's result."""
        for augmentation in self.augmentations:
            image = augmentation(image, generator)
        return image
