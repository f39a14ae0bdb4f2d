"""``prepare_batch`` of a classifier: random views of images, and the numbers of their classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from common.transforms.crops import cropped, draw_generator, random_corners
from common.transforms.phase_value import PhasedTrainer, PhaseValue
from torch import Tensor


class PrepareClasses:
    """Crops, flips and changes the brightness and contrast of a batch of images, each its own way, on the device.

    Args:
        patch_size: height and width of the random crops, or those of each phase by name, for which this must be among
            the trainer's ``train_handlers`` too; ``None`` leaves images whole.
        augmentation: called with the crops and a generator, commonly :class:`~common.transforms.RandomFlips`.
        contrast: largest relative change of the contrast, about the mean of the image.
        brightness: largest shift of all values.
    """

    def __init__(
        self,
        patch_size: int | Mapping[str, int] | None = None,
        augmentation: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        contrast: float = 0.0,
        brightness: float = 0.0,
    ) -> None:
        sizes = patch_size.values() if isinstance(patch_size, Mapping) else [1 if patch_size is None else patch_size]
        if min(sizes, default=0) < 1:
            raise ValueError(f"patch_size must be at least 1, or None for whole images, got {patch_size}")
        self.patch_size = PhaseValue(patch_size)
        self.augmentation = augmentation
        self.contrast = contrast
        self.brightness = brightness

    def attach(self, trainer: PhasedTrainer) -> None:
        """Follow the phases of a trainer; called by it for each of its ``train_handlers``."""
        self.patch_size.attach(trainer)

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: torch.device | str | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Images ``(batch, 1, height, width)`` in [0, 1] and classes ``(batch,)``.

        Raises:
            ValueError: images smaller than ``patch_size``.
        """
        image = batchdata["image"].as_subclass(Tensor).to(device, non_blocking=non_blocking, **kwargs)
        generator = draw_generator(image.device)
        side, size = self.patch_size(), image.shape[2:]
        if side is not None:
            if min(size) < side:
                got = " x ".join(map(str, size))
                raise ValueError(f"expected images of at least {side} pixels for patch_size, got {got}")
            patch = [side, side]
            image = cropped(image, random_corners(len(image), size, patch, generator), patch)
        if self.augmentation is not None:
            image = self.augmentation(image, generator)
        if self.contrast or self.brightness:
            mean = image.mean(dim=(1, 2, 3), keepdim=True)
            draws = 2 * torch.rand((2, *mean.shape), generator=generator, device=image.device) - 1
            image = mean + self.brightness * draws[0] + (1 + self.contrast * draws[1]) * (image - mean)
            image = image.clamp(0, 1)
        return image, batchdata["label"].as_subclass(Tensor).to(device, non_blocking=non_blocking)
