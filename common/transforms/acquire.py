"""``prepare_batch`` of reconstruction: fully sampled images or measured k-space in, measurement and truth out."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from common.operators.fourier import complex_to_channels, fft2c, ifft2c
from common.operators.masks import MaskSource
from common.operators.measurement import pack_measurement
from common.transforms.phase_value import PhasedTrainer
from torch import Tensor


class DrawnMask(Protocol):
    """Interface of a source of masks of slices or series, see :class:`~common.operators.masks.MaskSource`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Draw masks of a shape, or measure."""
        ...

    def drawn(self, seed: int | str) -> tuple[str, float | None]:
        """Return family and sampled fraction of the mask of a seed."""
        ...


class SeededAcquisition:
    """Base class of batch preparations: draws the masks and the noise of a batch from seeds.

    Args:
        mask: source of masks of slices, see :class:`~common.operators.masks.MaskSource`, or of series.
        augmentation: function from a batch of images ``(batch, channels, height, width)`` and a generator to such a
            batch; None leaves images as they are.
        noise_std: standard deviation of complex Gaussian noise in k-space, in image units, of the real and of
            the imaginary part.
        by_file: True for evaluation: masks and noise follow from the file's name, so that they repeat, and all slices
            of a file share a mask. False for training: they follow from torch's random state.
    """

    def __init__(
        self,
        mask: DrawnMask,
        augmentation: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        noise_std: float = 0.0,
        by_file: bool = False,
    ) -> None:
        if noise_std < 0:
            raise ValueError(f"noise_std must be at least 0, got {noise_std}")
        self.mask = mask
        self.augmentation = augmentation
        self.noise_std = noise_std
        self.by_file = by_file

    def attach(self, trainer: PhasedTrainer) -> None:
        """Attach the trainer to an augmentation that depends on the phase of the training."""
        attach = getattr(self.augmentation, "attach", None)
        if attach is not None:
            attach(trainer)

    def _generator(self, device: torch.device) -> torch.Generator:
        """Return a generator for one batch, seeded from torch's random state."""
        return torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))

    def _augmented(self, image: Tensor, generator: torch.Generator) -> Tensor:
        return image if self.augmentation is None else self.augmentation(image, generator)

    def _masks(self, batchdata: MutableMapping[str, Any], image: Tensor, generator: torch.Generator) -> Tensor:
        """Masks of the images' size, ``(batch, 1, height, width)``, or of series with their frames last."""
        shape = tuple(image.shape[2:])
        if not self.by_file:
            seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
            return self.mask(shape, seed=seed, batch=image.shape[0], device=image.device)
        names = self._mask_names(batchdata)
        mask = self.mask(shape, seed=names, batch=len(names), device=image.device)
        note_sampling(batchdata, mask, [self.mask.drawn(name) for name in names])
        return mask

    def _mask_names(self, batchdata: Mapping[str, Any]) -> list[str]:
        """Return the seed of each mask if ``by_file``: the names of the files."""
        return [Path(path).name for path in batchdata["path"]]

    def _noisy(self, batchdata: Mapping[str, Any], kspace: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """The samples of the mask with their noise."""
        if self.noise_std == 0:
            return kspace
        if not self.by_file:
            return kspace + mask * self.noise_std * _complex_normal(kspace.shape, generator)
        seeds = [zlib.crc32(name.encode()) for name in slice_names(batchdata)]
        noise = [_complex_normal(kspace[:1].shape, generator.manual_seed(seed)) for seed in seeds]
        return kspace + mask * self.noise_std * torch.cat(noise)


class PrepareAcquisition(SeededAcquisition):
    """Simulates the acquisition of a whole batch on the device.

    Batches of ``image``, perhaps with its ``kspace``, are augmented, masked and given noise; those of ``kspace`` and
    ``mask``, measured by a scanner, are passed on as they are; their truth is ``image`` where there is one.

    Args:
        mask: source of masks, see :class:`~common.operators.masks.MaskSource`.
        augmentation: function from images ``(batch, 1, height, width)`` and a generator to such images; None for none.
        noise_std: standard deviation of the real and of the imaginary part of the noise, in image units.
        by_file: True if masks and noise follow from the file's name, see :class:`SeededAcquisition`.
        nonnegative: True if the network takes only images whose real and imaginary parts are not negative, as the
            intensity scaling ``shifted`` does. Checked only if ``by_file``.

    Raises:
        ValueError: at a call, for an image with phase if ``nonnegative``, naming the file.
    """

    def __init__(
        self,
        mask: MaskSource,
        augmentation: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        noise_std: float = 0.0,
        by_file: bool = False,
        nonnegative: bool = False,
    ) -> None:
        super().__init__(mask, augmentation, noise_std, by_file)
        self.nonnegative = nonnegative

    def __call__(
        self, batchdata: MutableMapping[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Make a measurement ``(batch, 3, height, width)``, and its truth ``(batch, 2, height, width)`` or ``None``."""
        entries = plain_tensors(batchdata, device, non_blocking=non_blocking, **kwargs)
        kspace = entries.get("kspace")
        if kspace is not None and kspace.shape[1] > 1:
            raise ValueError(
                f"{', '.join(dict.fromkeys(map(str, batchdata.get('path', ['k-space']))))}: expected one coil, got "
                f"{kspace.shape[1]}; add configs/multicoil.json to --config_file, or pass --coils emulated"
            )
        if kspace is not None and "mask" in entries:
            note_sampling(batchdata, entries["mask"])
            self._check_phase(ifft2c(kspace), batchdata)
            return pack_measurement(kspace, entries["mask"]), truth_channels(entries)
        generator = self._generator(device)
        image = entries["image"] if kspace is None or "image" in entries else ifft2c(kspace)
        image = self._augmented(image, generator).to(torch.complex64)
        self._check_phase(image, batchdata)
        mask = self._masks(batchdata, image, generator)
        if kspace is None or self.augmentation is not None:
            kspace = fft2c(image)
        kspace = self._noisy(batchdata, mask * kspace, mask, generator)
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
                    "its energy is in negative parts; use weights trained with `--network_options#scaling peak`, "
                    "and that option here"
                )


def note_sampling(
    batchdata: MutableMapping[str, Any], mask: Tensor, drawn: Sequence[tuple[str, float | None]] | None = None
) -> None:
    """Add to a batch how its items are sampled, for tables and for the record of a run.

    The entries are "mask_family" (a family of masks, or "measured"), "rate" (the sampled fraction that was asked for,
    else the one that the mask has) and "sampled" (the fraction that the mask has), a value per item.

    Args:
        batchdata: batch that gets the entries.
        mask: 1 where sampled, ``(batch, 1, height, width[, frames])``.
        drawn: family and rate of each item's mask, see :meth:`~common.operators.masks.MaskSource.drawn`; None for masks
            of a scanner.
    """
    sampled = mask.flatten(1).double().mean(dim=1).tolist()
    families, rates = zip(*(drawn or [("measured", None)] * len(sampled)), strict=True)
    batchdata["mask_family"] = list(families)
    batchdata["rate"] = [round(own, 4) if rate is None else rate for rate, own in zip(rates, sampled, strict=True)]
    batchdata["sampled"] = sampled


def note_readouts(batchdata: MutableMapping[str, Any], trajectory: Tensor, shape: tuple[int, int]) -> None:
    """Add to a batch how its non-Cartesian items are sampled, as :func:`note_sampling` does.

    The sampled fraction is the number of readouts of a frame over that of the lines of a Cartesian scan, at most 1.

    Args:
        batchdata: batch that gets the entries.
        trajectory: ``(batch, frames, readouts, samples, 2)``.
        shape: height and width of the images.
    """
    rate = min(trajectory.shape[2] / max(shape), 1.0)
    batchdata["mask_family"] = ["measured"] * len(trajectory)
    batchdata["rate"] = [round(rate, 4)] * len(trajectory)
    batchdata["sampled"] = [rate] * len(trajectory)


def slice_names(batchdata: Mapping[str, Any]) -> list[str]:
    """``<file name>:<number>`` of each slice or series of a batch: the same on every machine."""
    places = zip(batchdata["path"], batchdata["slice"], strict=True)
    return [f"{Path(path).name}:{int(index)}" for path, index in places]


def plain_tensors(
    batchdata: Mapping[str, Any],
    device: torch.device,
    names: Sequence[str] = ("image", "kspace", "mask"),
    **options: Any,
) -> dict[str, Tensor]:
    """Return the named entries of a batch that exist, as plain tensors on the device.

    MONAI's metadata are dropped, because their bookkeeping slows every later operation.
    """
    names = [name for name in names if name in batchdata]
    return {name: batchdata[name].as_subclass(Tensor).to(device, **options) for name in names}


def truth_channels(entries: Mapping[str, Tensor]) -> Tensor | None:
    """Return the stored reference of measured k-space, ``image``, as ``(batch, 2, height, width)``, or ``None``."""
    return complex_to_channels(entries["image"].to(torch.complex64)) if "image" in entries else None


def _complex_normal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    parts = torch.randn((2, *shape), generator=generator, device=generator.device)
    return torch.complex(parts[0], parts[1])
