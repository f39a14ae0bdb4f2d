"""Random views that an acquisition could have made, and several augmentations in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from common.errors import require_at_least
from common.transforms.phase_value import PhasedTrainer, PhaseValue
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
        require_at_least(1, height=height)
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


class Reduce:
    """Images of a lower resolution: means of blocks of pixels.

    An early phase of a training on images of half the side costs a quarter and learns most of what it would learn on
    whole images.

    Args:
        factor: side of a block, 1 for whole images; or one by name for each phase of the training.
    """

    def __init__(self, factor: int | Mapping[str, int]) -> None:
        self.factor = PhaseValue(factor, "factor")

    def attach(self, trainer: PhasedTrainer) -> None:
        """Follow the phases of a trainer."""
        self.factor.attach(trainer)

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """``(batch, channels, height, width)`` to ``(batch, channels, height // factor, width // factor)``.

        Args:
            image: real or complex; rows and columns beyond a multiple of the factor are left out.
            generator: not used.
        """
        factor = self.factor() or 1
        if factor == 1:
            return image
        batch, channels = image.shape[:2]
        height, width = image.shape[2] // factor, image.shape[3] // factor
        whole = image[:, :, : height * factor, : width * factor]
        return whole.reshape(batch, channels, height, factor, width, factor).mean(dim=(3, 5))


class InOrder:
    """Several augmentations one after another.

    Args:
        augmentations: each maps a batch of images and a generator to such a batch.
    """

    def __init__(self, augmentations: Sequence[Augmentation]) -> None:
        self.augmentations = tuple(augmentations)

    def attach(self, trainer: PhasedTrainer) -> None:
        """Let those that follow the phases of a training know its trainer."""
        for augmentation in self.augmentations:
            if hasattr(augmentation, "attach"):
                augmentation.attach(trainer)

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """The last one's result."""
        for augmentation in self.augmentations:
            image = augmentation(image, generator)
        return image
