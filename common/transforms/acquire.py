"""``prepare_batch`` of reconstruction: fully sampled images or measured k-space in, measurement and truth out."""

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.operators.acquisition import SingleCoilAcquisition
from common.operators.fourier import complex_to_channels, ifft2c
from common.operators.masks import MaskSource
from common.operators.measurement import pack_measurement


class PrepareAcquisition:
    """Acquires a whole batch on the device.

    Batches of ``image`` are augmented, masked and given noise; those of ``kspace`` and ``mask``, measured by a
    scanner, are passed on as they are; their truth is ``image`` where there is one.

    Args:
        mask: draws masks, see :class:`~common.operators.masks.MaskSampler`.
        augmentation: maps a batch of images ``(batch, 1, height, width)`` and a generator to such a batch.
        noise_std: standard deviation of complex Gaussian noise in k-space, in image units, of the real and of
            the imaginary part.
        by_file: whether masks and noise follow from the file's name, so that an evaluation repeats (all slices
            of a file share a mask), or from torch's random state, for training.
        nonnegative: whether the network takes only images whose real and imaginary parts are not negative, as the
            intensity scaling ``shifted`` does. Checked where ``by_file``.

    Raises:
        ValueError: at a call, for an image with phase where ``nonnegative`` is asked, naming the file.
    """

    def __init__(
        self,
        mask: MaskSource,
        augmentation: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        noise_std: float = 0.0,
        by_file: bool = False,
        nonnegative: bool = False,
    ) -> None:
        if noise_std < 0:
            raise ValueError(f"noise_std must be at least 0, got {noise_std}")
        self.mask = mask
        self.augmentation = augmentation
        self.noise_std = noise_std
        self.by_file = by_file
        self.nonnegative = nonnegative

    def __call__(
        self, batchdata: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Make a measurement ``(batch, 3, height, width)``, and its truth ``(batch, 2, height, width)`` or ``None``."""

        def plain(key: str) -> Tensor:
            """On the device, without MONAI's metadata, whose bookkeeping slows every later operation."""
            return batchdata[key].as_subclass(Tensor).to(device, non_blocking=non_blocking, **kwargs)

        if "kspace" in batchdata:
            kspace, mask = plain("kspace"), plain("mask")
            self._check_phase(ifft2c(kspace), batchdata)
            truth = plain("image").to(torch.complex64) if "image" in batchdata else None
            return pack_measurement(kspace, mask), None if truth is None else complex_to_channels(truth)
        image = plain("image")
        generator = torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))
        if self.augmentation is not None:
            image = self.augmentation(image, generator)
        image = image.to(torch.complex64)
        self._check_phase(image, batchdata)
        mask = self._masks(batchdata, image, generator)
        kspace = SingleCoilAcquisition(mask)(image)
        if self.noise_std > 0:
            kspace = kspace + mask * self._noise(batchdata, kspace, generator)
        return pack_measurement(kspace, mask), complex_to_channels(image)

    def _check_phase(self, image: Tensor, batchdata: Mapping[str, Any]) -> None:
        if not (self.by_file and self.nonnegative):
            return
        channels = complex_to_channels(image)
        power = channels.square().sum(dim=(1, 2, 3))
        negative = channels.clamp(max=0).square().sum(dim=(1, 2, 3)) / power.clamp(min=torch.finfo(power.dtype).tiny)
        # aliasing of a magnitude image stays below a tenth; arbitrary phase gives a half
        for path, fraction in zip(batchdata["path"], negative.tolist(), strict=True):
            if fraction > 0.25:
                raise ValueError(
                    f"{path}: expected an image without phase, as scaling 'shifted' takes it, but {fraction:.0%} of "
                    "its energy is in negative parts; use weights trained with `--scaling peak`, and that option here"
                )

    def _masks(self, batchdata: Mapping[str, Any], image: Tensor, generator: torch.Generator) -> Tensor:
        shape = (image.shape[-2], image.shape[-1])
        if not self.by_file:
            seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
            return self.mask(shape, seed=seed, batch=image.shape[0], device=image.device)
        names = [Path(path).name for path in batchdata["path"]]
        return self.mask(shape, seed=names, batch=len(names), device=image.device)

    def _noise(self, batchdata: Mapping[str, Any], kspace: Tensor, generator: torch.Generator) -> Tensor:
        if not self.by_file:
            return self.noise_std * _complex_normal(kspace.shape, generator)
        slices = zip(batchdata["path"], batchdata["slice"], strict=True)
        seeds = [f"{Path(path).name}:{int(index)}" for path, index in slices]
        return self.noise_std * torch.cat(
            [_complex_normal(kspace[:1].shape, generator.manual_seed(zlib.crc32(seed.encode()))) for seed in seeds]
        )


def _complex_normal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    parts = torch.randn((2, *shape), generator=generator, device=generator.device)
    return torch.complex(parts[0], parts[1])
