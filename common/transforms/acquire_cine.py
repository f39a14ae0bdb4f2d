"""``prepare_batch`` of dynamic MRI: from series to the input of the network and the truth."""

import zlib
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch
from common.operators.coil_mixing import compress_coils
from common.operators.coils import simulated_sensitivity_maps
from common.operators.fourier import complex_to_channels, fft2c
from common.operators.gradient_delays import delay_corrected, estimate_gradient_delays
from common.operators.gridding import readout_maps, zero_filled_frames
from common.operators.masks.kt import KtMasks
from common.operators.phase import smooth_phase
from common.operators.radial_scan import RadialScan
from common.operators.radial_series import RadialGridding
from common.operators.sensitivity import estimate_sensitivity_maps
from common.operators.series import aliased_magnitude, batch_to_frames, frames_to_batch, pack_series
from common.transforms.acquire import SeededAcquisition, note_readouts, note_sampling, plain_tensors, slice_names
from torch import Tensor

MEASUREMENTS = ("simulated", "stored")


class PrepareCine(SeededAcquisition):
    """Undersamples a batch of series on the device, or passes on measured data.

    Of each batch it takes, in this order:

    - ``kspace`` and ``mask``, measured by a scanner. Maps of several coils are estimated from the mean of all frames.
    - ``samples`` and ``trajectory``, measured along readouts such as spokes, likewise. Magnitudes are gridded frame by
      frame, see :func:`~common.operators.gridding.zero_filled_frames`; with a radial scan in place of masks the network
      takes them as :class:`~common.operators.radial_series.RadialGridding` packs them.
    - ``recon``, stored aliased magnitudes, where ``measurement`` is ``stored``, or where there is nothing else.
    - ``truth``: it is given coils, transformed, masked with another mask in each frame, and given noise. A truth
      without phase is given a smooth random one before: k-space of real images is symmetric, so that one half would
      determine the other.

    With a :class:`~common.operators.radial_scan.RadialScan` in place of masks, a truth is measured on its spokes, with
    its coils and its noise. The truth of the batch is ``truth``, or none.

    Args:
        mask: source of masks ``(batch, 1, height, width, frames)``, or the radial scan.
        complex_image: True if the network takes the measurement, see :func:`~common.operators.series.pack_series`, and
            the truth is real and imaginary part; False if it takes magnitudes ``(batch, 1, height, width, frames)``.
        measurement: ``simulated`` from the truth, or ``stored`` aliased magnitudes.
        n_coils: number of simulated receive coils, which stand in a ring.
        n_virtual_coils: virtual coils that more measured ones are compressed to; None keeps all.
        gradient_delays: True to correct measured spokes, see
            :func:`~common.operators.gradient_delays.estimate_gradient_delays`.
        augmentation: function from ``(batch, frames, height, width)`` and a generator to such a batch, which treats
            all frames alike; None for none.
        noise_std: standard deviation of the real and of the imaginary part of Gaussian noise in k-space, in units of
            the truth.
        by_file: True if masks and noise follow from the file's name and the number of the series in it, and the phase
            from the name, so that an evaluation repeats.
        n_frames: frames of a window that is drawn of each series, for training; None takes all.

    Raises:
        ValueError: for an unknown ``measurement`` or a number out of range; at a call, for a batch that lacks what is
            needed, naming its files.
    """

    def __init__(
        self,
        mask: KtMasks | RadialScan,
        complex_image: bool = False,
        measurement: str = "simulated",
        n_coils: int = 1,
        augmentation: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        noise_std: float = 0.0,
        by_file: bool = False,
        n_virtual_coils: int | None = None,
        gradient_delays: bool = False,
        n_frames: int | None = None,
    ) -> None:
        super().__init__(mask, augmentation, noise_std, by_file)
        if measurement not in MEASUREMENTS:
            raise ValueError(f"measurement must be one of {', '.join(MEASUREMENTS)}, got {measurement!r}")
        if n_coils < 1:
            raise ValueError(f"n_coils must be at least 1, got {n_coils}")
        if complex_image and measurement == "stored":
            raise ValueError(
                "expected measurement 'simulated' for a network that takes k-space, got 'stored': aliased magnitudes "
                "have none; take a network of magnitudes, magnitudes.json, or data with the truth or k-space"
            )
        if isinstance(mask, RadialScan) and not complex_image:
            raise ValueError(
                "expected complex_image for a radial scan, whose measurement has complex images, got False"
            )
        self.complex_image = complex_image
        self.measurement = measurement
        self.n_coils = n_coils
        self.n_virtual_coils = n_virtual_coils
        self.gradient_delays = gradient_delays
        self.n_frames = n_frames
        self.radial = mask if isinstance(mask, RadialScan) else None

    def __call__(
        self, batchdata: MutableMapping[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Make the network's input and its truth, ``(batch, 1 or 2, height, width, frames)`` or None."""
        names = ("recon", "truth", "kspace", "mask", "samples", "trajectory")
        entries = plain_tensors(batchdata, device, names, non_blocking=non_blocking, **kwargs)
        truth = entries.get("truth")
        if "kspace" in entries and "mask" in entries:
            note_sampling(batchdata, entries["mask"])
            kspace = self._compressed(entries["kspace"])
            measured = pack_series(kspace, entries["mask"], _maps(kspace, entries["mask"]))
            return self._input(measured), None if truth is None else self._label(truth)
        if "samples" in entries and "trajectory" in entries:
            gridded = self._gridded(batchdata, entries["samples"], entries["trajectory"])
            return gridded, None if truth is None else self._label(truth)
        if "recon" in entries and (self.measurement == "stored" or truth is None) and not self.complex_image:
            return self._stored(entries["recon"], truth)
        if truth is None or self.measurement == "stored":
            lacking = "imagesRecon" if self.measurement == "stored" else "imagesTrue or kspace with mask"
            raise ValueError(
                f"{', '.join(dict.fromkeys(batchdata['path']))}: expected {lacking}, got {', '.join(entries)} only; "
                "use such data, or the other `measurement`, or magnitudes.json for aliased magnitudes"
            )
        return self._simulated(batchdata, truth)

    def _compressed(self, kspace: Tensor) -> Tensor:
        return kspace if self.n_virtual_coils is None else compress_coils(kspace, self.n_virtual_coils)

    def _gridded(self, batchdata: MutableMapping[str, Any], samples: Tensor, trajectory: Tensor) -> Tensor:
        """Magnitudes of non-Cartesian series by gridding, or the packed measurement of a network that takes it."""
        if self.complex_image and self.radial is None:
            raise ValueError(
                f"{', '.join(dict.fromkeys(batchdata['path']))}: expected Cartesian k-space for this network, got "
                "samples along readouts; take radial.json, whose network takes them, or magnitudes.json"
            )
        shape = (int(batchdata["height"][0]), int(batchdata["width"][0]))
        note_readouts(batchdata, trajectory, shape)
        series = []
        for own, places in zip(self._compressed(samples.transpose(1, 2)).transpose(1, 2), trajectory, strict=True):
            if self.gradient_delays:
                places = delay_corrected(places, estimate_gradient_delays(own, places))
            if self.radial is not None:
                series.append(RadialGridding(places, shape).pack(own)[0])
                continue
            images = zero_filled_frames(own, places, readout_maps(own, places, shape))
            series.append(images.abs().permute(1, 2, 3, 0))
        return torch.stack(series)

    def _stored(self, recon: Tensor, truth: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if truth is None:
            return recon, None
        both = self._views(torch.cat((recon, truth.abs()), dim=4), self._generator(recon.device))
        recon, truth = both.chunk(2, dim=4)
        return recon, truth

    def _simulated(self, batchdata: MutableMapping[str, Any], truth: Tensor) -> tuple[Tensor, Tensor]:
        generator = self._generator(truth.device)
        truth = self._views(truth, generator)
        if self.n_frames is not None and self.n_frames < truth.shape[4]:
            start = int(torch.randint(truth.shape[4] - self.n_frames + 1, (), generator=generator, device=truth.device))
            truth = truth[..., start : start + self.n_frames]
        if not truth.is_complex():
            truth = truth * self._phases(batchdata, truth, generator)
        if self.radial is not None:
            return self._scanned(batchdata, truth, generator)
        mask = self._masks(batchdata, truth, generator)
        maps = None
        if self.n_coils > 1:
            maps = simulated_sensitivity_maps(self.n_coils, truth.shape[2], truth.shape[3]).to(truth.device)
        coil_images = truth if maps is None else truth * maps[..., None]
        kspace = batch_to_frames(fft2c(frames_to_batch(coil_images.to(torch.complex64))), truth.shape[0])
        return self._input(
            pack_series(mask * self._noisy(batchdata, kspace, mask, generator), mask, maps)
        ), self._label(truth)

    def _scanned(
        self, batchdata: MutableMapping[str, Any], truth: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Measure each series of a batch on its own spokes."""
        assert self.radial is not None
        pairs = []
        for name, series in zip(slice_names(batchdata), truth.split(1), strict=True):
            if self.by_file:
                generator.manual_seed(zlib.crc32(name.encode()))
            pairs.append(self.radial(series, generator))
        measurements, labels = zip(*pairs, strict=True)
        batchdata["mask_family"] = [self.radial.order] * len(pairs)
        batchdata["rate"] = batchdata["sampled"] = [round(self.radial.n_spokes / max(truth.shape[2:4]), 4)] * len(pairs)
        return self._input(torch.cat(measurements)), self._label(torch.cat(labels))

    def _input(self, measurement: Tensor) -> Tensor:
        return measurement if self.complex_image else aliased_magnitude(measurement)

    def _label(self, truth: Tensor) -> Tensor:
        return complex_to_channels(truth.to(torch.complex64)) if self.complex_image else truth.abs()

    def _mask_names(self, batchdata: Mapping[str, Any]) -> list[str]:
        return slice_names(batchdata)  # the series of a file may be different hearts

    def _views(self, series: Tensor, generator: torch.Generator) -> Tensor:
        """Augment all frames alike: they are the channels of the augmentation."""
        return self._augmented(series[:, 0].movedim(-1, 1), generator).movedim(1, -1)[:, None]

    def _phases(self, batchdata: Mapping[str, Any], truth: Tensor, generator: torch.Generator) -> Tensor:
        """Complex ``(batch, 1, height, width, 1)`` of magnitude 1."""
        phases = []
        for path in batchdata["path"]:
            if self.by_file:
                generator.manual_seed(zlib.crc32(f"{Path(path).name}:phase".encode()))
            phases.append(smooth_phase(truth.shape[2], truth.shape[3], generator))
        phase = torch.stack(phases)[:, None, :, :, None]
        return torch.polar(torch.ones_like(phase), phase)


def _maps(kspace: Tensor, mask: Tensor) -> Tensor | None:
    """Sensitivity maps of several coils, ``(batch, n_coils, height, width)``, from the mean of all frames' samples."""
    if kspace.shape[1] == 1:
        return None
    counts = mask.sum(dim=4)
    return estimate_sensitivity_maps((kspace * mask).sum(dim=4) / counts.clamp(min=1), (counts > 0).to(mask.dtype))
