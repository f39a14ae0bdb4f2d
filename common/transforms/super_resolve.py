"""``prepare_batch`` of super-resolution: high-resolution images or pairs in, low-resolution image and truth out."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from common.errors import DataError
from common.operators.degradation import Degradation
from common.transforms.crops import cropped, draw_generator, random_corners
from common.transforms.phase_value import PhasedTrainer, PhaseValue
from torch import Tensor

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


class PrepareSuperResolution:
    """Makes low-resolution images of a whole batch on the device, and crops both at the same places.

    A batch with ``image`` or ``label`` alone gives high-resolution images (complex ones as their magnitude), which
    are degraded. One with both gives pairs, ``image`` the low- and ``label`` the high-resolution one, which are only
    augmented and cropped.

    In training the images are augmented, degraded and cropped, in this order: patches have the degradation of the
    image they come from, not that of a patch with edges of its own. ``margin`` bounds what this costs.

    Patches may grow with the phases of a training: give ``patch_size`` by the phase's name. The phase comes from the
    :class:`~common.engines.GanTrainer` that this is the ``prepare_batch`` of, which attaches it.

    Args:
        upscale: whole factor between the two resolutions.
        degradation: degradation that makes the low-resolution images, see :mod:`common.operators.degradation`; ``None``
            for pairs.
        patch_size: side of the low-resolution patches in pixels, or one by each phase's name; ``None`` keeps whole
            images.
        augmentation: function from a batch of images and a generator to such a batch, or several applied in turn. Both
            images of a pair are augmented one after the other with a generator of the same state, see
            :class:`~common.transforms.RandomFlips`.
        by_file: True for evaluation: images stay whole, and the degradation's draws follow from the file's name and
            the slice, so that it repeats on one kind of device. False: they follow from torch's random state.
        margin: low-resolution pixels about a patch that are degraded with it and then cut off. ``None`` degrades
            whole images, which is exact, as k-space truncation needs it. 4 is exact to rounding for reductions other
            than that; blur adds its reach, four ``sigma / upscale``. Saves time with images much larger than
            patches, and volumes.
        candidates: number of places drawn for each patch; the one with the largest standard deviation is taken. With
            more than 1, fewer patches contain only background.

    Raises:
        ValueError: for arguments that do not fit together; at a training's start, for patch sizes of other phases
            than it has.
        DataError: at a call, naming the file: for pairs that do not match ``upscale``, images smaller than a patch,
            or images without a degradation.
    """

    def __init__(
        self,
        upscale: int,
        degradation: Degradation | None = None,
        patch_size: int | Mapping[str, int] | None = None,
        augmentation: Augmentation | Sequence[Augmentation] | None = None,
        by_file: bool = False,
        margin: int | None = None,
        candidates: int = 1,
    ) -> None:
        if degradation is not None and degradation.upscale != upscale:
            raise ValueError(f"expected a degradation of {upscale=}, got one of {degradation.upscale}; make them equal")
        if by_file and (patch_size is not None or augmentation is not None):
            raise ValueError("by_file evaluates whole images; leave out patch_size and augmentation")
        sizes = patch_size.values() if isinstance(patch_size, Mapping) else [1 if patch_size is None else patch_size]
        if min(sizes, default=0) < 1 or candidates < 1 or (margin is not None and margin < 0):
            raise ValueError(
                "expected patch_size and candidates of at least 1 and margin of at least 0, got "
                f"{patch_size=}, {candidates=}, {margin=}"
            )
        self.upscale = upscale
        self.degradation = degradation
        self.patch_size = PhaseValue(patch_size)
        self.augmentations = [augmentation] if callable(augmentation) else list(augmentation or [])
        self.by_file = by_file
        self.margin = margin
        self.candidates = candidates

    def attach(self, trainer: PhasedTrainer) -> None:
        """Follow the phases of a trainer; called by the one that this is the ``prepare_batch`` of."""
        self.patch_size.attach(trainer)

    def __call__(
        self, batchdata: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Make low-resolution images ``(batch, channels, h, w[, d])`` and their truth, ``upscale`` times as large."""

        def plain(key: str) -> Tensor:
            """Entry on the device, real, without MONAI's metadata, whose bookkeeping slows every later operation."""
            image = batchdata[key].as_subclass(Tensor).to(device, non_blocking=non_blocking, **kwargs)
            return image.abs() if image.is_complex() else image

        file = batchdata["path"][0] if "path" in batchdata else "a batch without paths"
        if "image" in batchdata and "label" in batchdata:
            pair = plain("image"), plain("label")
            self._check_pair(*pair, file)
            return pair if self.by_file else self._training_pair(*pair, file)
        if self.degradation is None:
            raise DataError(
                f"{file}: expected an 'image' and its 'label', got one image; give a degradation to make it"
            )
        hr_image = self._whole_blocks(plain("image" if "image" in batchdata else "label"), file)
        if self.by_file:
            return self._evaluation_images(hr_image, self.degradation, batchdata), hr_image
        return self._training_images(hr_image, self.degradation, file)

    # -- three ways to a low-resolution image ----------------------------------------------------------------

    def _evaluation_images(self, hr_image: Tensor, degradation: Degradation, batchdata: Mapping[str, Any]) -> Tensor:
        if "path" not in batchdata:
            raise ValueError("by_file expects the entry 'path' in a batch, got none; see common.data.SliceDataset")
        slices = batchdata.get("slice", torch.zeros(len(batchdata["path"]), dtype=torch.int64))
        generator = torch.Generator(hr_image.device)
        lr_images = []
        for one, path, index in zip(hr_image.split(1), batchdata["path"], slices, strict=True):
            generator.manual_seed(zlib.crc32(f"{Path(path).name}:{int(index)}".encode()))
            lr_images.append(degradation(one, generator))
        return torch.cat(lr_images)

    def _training_images(self, hr_image: Tensor, degradation: Degradation, file: str) -> tuple[Tensor, Tensor]:
        generator = draw_generator(hr_image.device)
        hr_image = self._augmented(hr_image, generator)
        size = [n // self.upscale for n in hr_image.shape[2:]]
        patch = self._patch(size, file)
        corners = self._corners(hr_image, size, patch, generator)
        if self.margin is not None:
            window = [min(p + 2 * self.margin, n) for p, n in zip(patch, size, strict=True)]
            last = torch.tensor([n - w for w, n in zip(window, size, strict=True)], device=hr_image.device)
            starts = torch.minimum((corners - self.margin).clamp(min=0), last)
            hr_image = cropped(hr_image, starts * self.upscale, [w * self.upscale for w in window])
            corners = corners - starts
        return self._paired_crop(degradation(hr_image, generator), hr_image, corners, patch)

    def _training_pair(self, lr_image: Tensor, hr_image: Tensor, file: str) -> tuple[Tensor, Tensor]:
        generator = draw_generator(lr_image.device)
        state = generator.get_state()
        lr_image = self._augmented(lr_image, generator)
        generator.set_state(state)
        hr_image = self._augmented(hr_image, generator)
        size = list(lr_image.shape[2:])
        patch = self._patch(size, file)
        return self._paired_crop(lr_image, hr_image, self._corners(hr_image, size, patch, generator), patch)

    # -- their parts -----------------------------------------------------------------------------------------

    def _augmented(self, image: Tensor, generator: torch.Generator) -> Tensor:
        for augmentation in self.augmentations:
            image = augmentation(image, generator)
        return image

    def _corners(
        self, hr_image: Tensor, size: Sequence[int], patch: Sequence[int], generator: torch.Generator
    ) -> Tensor:
        """First low-resolution pixels of the patches, ``(batch, dims)``."""
        draws = [random_corners(len(hr_image), size, patch, generator) for _ in range(self.candidates)]
        if len(draws) == 1:
            return draws[0]
        hr_patch = [p * self.upscale for p in patch]
        patches = (cropped(hr_image, corners * self.upscale, hr_patch) for corners in draws)
        best = torch.stack([patch.flatten(1).std(dim=1) for patch in patches]).argmax(dim=0)
        return torch.stack(draws)[best, torch.arange(len(best), device=best.device)]

    def _paired_crop(
        self, lr_image: Tensor, hr_image: Tensor, corners: Tensor, patch: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        label = cropped(hr_image, corners * self.upscale, [p * self.upscale for p in patch])
        return cropped(lr_image, corners, patch), label

    def _patch(self, size: Sequence[int], file: str) -> Sequence[int]:
        """Low-resolution size of the patches to cut from images of a low-resolution ``size``."""
        side = self.patch_size()
        if side is None:
            return size
        if side > min(size):
            least, got = side * self.upscale, " x ".join(str(n * self.upscale) for n in size)
            raise DataError(
                f"{file}: expected a high-resolution image of at least {least} pixels along each axis for patch_size "
                f"{side} at upscale {self.upscale}, got {got}; lower patch_size, or leave the file out"
            )
        return [side] * len(size)

    def _whole_blocks(self, hr_image: Tensor, file: str) -> Tensor:
        """Without the last rows and columns that fill no low-resolution pixel."""
        if (least := float(hr_image.min())) < -0.05:  # what a resampling leaves is less
            raise DataError(
                f"{file}: expected intensities in [0, 1], got {least:.2g}; say which stored values become 0 and 1, "
                "intensity_range=[low, high], for example [-1000, 2000] for CT"
            )
        if min(hr_image.shape[2:]) < self.upscale:
            got = " x ".join(map(str, hr_image.shape[2:]))
            raise DataError(f"{file}: expected at least {self.upscale} pixels along each axis, got {got}")
        for axis in range(2, hr_image.ndim):
            hr_image = hr_image.narrow(axis, 0, hr_image.shape[axis] // self.upscale * self.upscale)
        return hr_image

    def _check_pair(self, lr_image: Tensor, hr_image: Tensor, file: str) -> None:
        expected = (*lr_image.shape[:2], *(n * self.upscale for n in lr_image.shape[2:]))
        if tuple(hr_image.shape) != expected:
            sizes = [" x ".join(map(str, shape)) for shape in (expected[1:], lr_image.shape[1:], hr_image.shape[1:])]
            raise DataError(
                f"{file}: expected a high-resolution image of {sizes[0]} (channels first) for a low-resolution one of "
                f"{sizes[1]} at upscale {self.upscale}, got {sizes[2]}; correct the pair, or upscale"
            )
