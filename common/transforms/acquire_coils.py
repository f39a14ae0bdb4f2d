"""``prepare_batch`` of multi-coil reconstruction: k-space of all coils in, measurement with maps and truth out."""

import zlib
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import torch
from common.operators.coils import simulated_sensitivity_maps
from common.operators.fourier import complex_to_channels, fft2c, ifft2c
from common.operators.masks import MaskSource
from common.operators.measurement import pack_measurement
from common.operators.phase import smooth_phase
from common.operators.sense import sense_adjoint
from common.operators.sensitivity import estimate_sensitivity_maps
from common.transforms.acquire import SeededAcquisition, note_sampling, plain_tensors, slice_names, truth_channels
from torch import Tensor


class PrepareCoilAcquisition(SeededAcquisition):
    """Simulates the acquisition of a batch of multi-coil k-space on the device, and estimates sensitivity maps.

    Batches of ``kspace`` alone are fully sampled: their coil images are augmented, masked and given noise. Those with
    ``mask`` too were measured by a scanner and are passed on as they are. In both cases the maps come from the centre
    of the measured k-space, so that inference can do the same. If a scanner measured reference lines separately, the
    maps come from these: ``calibration``, of the shape of ``kspace`` and 0 elsewhere.

    Images alone are seen by ``n_coils`` simulated coils: a ring of its own for each, see
    :func:`~common.operators.coils.simulated_sensitivity_maps`, and for images without phase a smooth random one. They
    are augmented before that, and are fully sampled k-space from then on.

    The truth of fully sampled k-space is its coil images combined with the maps of the fully sampled data (kept
    everywhere, whatever ``support``), ``sum_c conj(S_c) x_c``: complex, its magnitude that of the root sum of squares
    without most of the noise's bias. Its phase is turned at each pixel by that between the two sets of maps, so that
    the measurement's maps explain it. The truth of measured k-space is the stored reference, ``image``, or none.

    Args:
        mask: source of masks with a fully sampled centre, see :class:`~common.operators.masks.MaskSource`.
        sensitivity: method that estimates the maps, see :func:`~common.operators.estimate_sensitivity_maps`.
        support: fraction of the low-resolution image's peak below which the maps are 0; 0 keeps them everywhere.
        augmentation: function from coil images ``(batch, n_coils, height, width)`` and a generator to such images;
            None for none.
        noise_std: standard deviation of the real and of the imaginary part of the noise, in image units.
        by_file: True if masks and noise follow from the file's name, see
            :class:`~common.transforms.acquire.SeededAcquisition`.
        n_coils: coils that images without k-space are seen by; None refuses them.

    Raises:
        ValueError: at a call, if the centre is too small for maps, naming the batch's files, or there is no k-space.
    """

    def __init__(
        self,
        mask: MaskSource,
        sensitivity: str = "walsh",
        support: float = 0.0,
        augmentation: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        noise_std: float = 0.0,
        by_file: bool = False,
        n_coils: int | None = None,
    ) -> None:
        super().__init__(mask, augmentation, noise_std, by_file)
        self.sensitivity = sensitivity
        self.support = support
        self.n_coils = n_coils

    def __call__(
        self, batchdata: MutableMapping[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Make a measurement ``(batch, 4 n_coils + 1, h, w)``, and its truth ``(batch, 2, h, w)`` or None."""
        names = ("image", "kspace", "mask", "calibration")
        entries = plain_tensors(batchdata, device, names, non_blocking=non_blocking, **kwargs)
        generator = self._generator(device)
        if "kspace" not in entries and self.n_coils is not None:
            return self._measured(batchdata, self._seen(batchdata, entries["image"], generator), generator)
        if "kspace" not in entries:
            raise ValueError(
                f"{_files(batchdata)}expected multi-coil k-space, got images only; read the data with coils='multi', "
                "or prepare images with common.transforms.PrepareAcquisition"
            )
        kspace = entries["kspace"].to(torch.complex64)
        if "mask" in entries:
            mask = entries["mask"]
            note_sampling(batchdata, mask)
            lines = entries.get("calibration", kspace)
            measured = mask if lines is kspace else _measured_lines(lines, mask)
            hint = "the file holds no more: leave multicoil.json out and pass --coils emulated, which needs no maps"
            return pack_measurement(kspace, mask, self._maps(batchdata, lines, measured, hint)), truth_channels(entries)
        if self.augmentation is not None:
            kspace = fft2c(self._augmented(ifft2c(kspace), generator))
        return self._measured(batchdata, kspace, generator)

    def _seen(self, batchdata: Mapping[str, Any], images: Tensor, generator: torch.Generator) -> Tensor:
        """K-space ``(batch, n_coils, height, width)`` of augmented images that simulated coils see."""
        assert self.n_coils is not None
        images = self._augmented(images, generator)
        height, width = images.shape[2], images.shape[3]
        seen = []
        for n, image in enumerate(images.split(1)):
            if self.by_file:
                generator.manual_seed(zlib.crc32(f"{slice_names(batchdata)[n]}:coils".encode()))
            radius, turn = torch.rand(2, generator=generator, device=images.device).tolist()
            maps = simulated_sensitivity_maps(
                self.n_coils, height, width, radius=1.5 + 0.5 * radius, angle_deg=360 * turn
            ).to(images.device)
            if not image.is_complex():
                phase = smooth_phase(height, width, generator)
                image = image * torch.polar(torch.ones_like(phase), phase)
            seen.append(maps * image)
        return fft2c(torch.cat(seen))

    def _measured(
        self, batchdata: MutableMapping[str, Any], kspace: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Measurement and truth of fully sampled k-space."""
        mask = self._masks(batchdata, kspace, generator)
        masked_kspace = self._noisy(batchdata, mask * kspace, mask, generator)
        maps = self._maps(batchdata, masked_kspace, mask, "raise center_fractions")
        return pack_measurement(masked_kspace, mask, maps), complex_to_channels(self._truth(kspace, maps))

    def _maps(self, batchdata: Mapping[str, Any], masked_kspace: Tensor, mask: Tensor, hint: str) -> Tensor:
        try:
            return estimate_sensitivity_maps(masked_kspace, mask, method=self.sensitivity, support=self.support)
        except ValueError as error:
            raise ValueError(f"{_files(batchdata)}{error}; {hint}") from None

    def _truth(self, kspace: Tensor, maps: Tensor) -> Tensor:
        """Combine the coils of full k-space to one image, in the phase of the measurement's maps."""
        everywhere = torch.ones_like(kspace[:1, :1].real)
        full_maps = estimate_sensitivity_maps(kspace, everywhere, method=self.sensitivity)
        turn = (full_maps.conj() * maps).sum(dim=1, keepdim=True).angle()
        return sense_adjoint(kspace, full_maps, everywhere) * torch.polar(torch.ones_like(turn), -turn)


def _measured_lines(lines: Tensor, mask: Tensor) -> Tensor:
    """Mask of reference lines: the columns that are not 0, in the rows that the scan itself has."""
    columns = (lines != 0).flatten(1, 2).any(dim=1)[:, None, None]
    return (columns & (mask != 0).any(dim=3, keepdim=True)).to(mask)


def _files(batchdata: Mapping[str, Any]) -> str:
    """The files of a batch, where they are known, to begin an error with."""
    paths = [str(path) for path in dict.fromkeys(batchdata.get("path", []))]
    return f"{', '.join(paths)}: " if paths else ""
