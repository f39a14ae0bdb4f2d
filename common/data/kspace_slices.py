"""Slices of k-space: their coils, the mask that came with them, and the scale of their images."""

from __future__ import annotations

import numpy as np
import torch
from common.data.coils import emulated_weights
from common.errors import DataError
from common.io import Source
from common.io.kspace import central, crop_readout
from common.operators.coils import root_sum_of_squares
from common.operators.fourier import ifft2c

# Coils are combined by weights fitted to so much of a file: all of a volume would not fit into memory.
_FITTED_SLICES, _FITTED_PIXELS = 8, 2**15

_weights: dict[tuple[str, ...], np.ndarray] = {}
"""Weights of coils: fitted once in a process, also if the file is opened anew for its output."""


class KspaceSlices:
    """K-space of a source slice by slice, in stored units.

    Emulated coils: the weights are those of the volume, as fastMRI's: the fit sees the measured samples' images of up
    to 8 slices from all over it, within the recon size, and of these up to 32768 pixels drawn with a fixed seed
    (fastMRI: all). They are found at first use and kept.

    Args:
        source: k-space with the axes ([coil,] [z,] y, x).
        mask: its sampling mask, ``None`` if it is fully sampled.
        coils: "single", "emulated" or "multi".
        height: rows of the image that are kept, at most those of the source.
        recon_size: (height, width) of the image, within which coils are fitted.
    """

    def __init__(
        self, source: Source, mask: Source | None, coils: str, height: int, recon_size: tuple[int, int]
    ) -> None:
        self.source = source
        self.height, self.width = height, source.spec.size("x")
        self._mask = mask
        self._coils = coils
        self._recon_size = recon_size

    @property
    def key(self) -> tuple[str, ...]:
        """Text that changes with what the values depend on besides the source."""
        mask = () if self._mask is None else source_key(self._mask)
        return (self._coils, str(self.height), str(self._recon_size), *mask)

    def read(self, index: int) -> np.ndarray:
        """One slice ``[height, width]``; of coils "multi" ``[coils, height, width]``."""
        values = self._coils_of(self.source, index)
        if self._coils == "emulated" and len(values) > 1:
            key = (*source_key(self.source), *self.key)
            if key not in _weights:
                _weights[key] = self._combination()
            return np.tensordot(_weights[key].astype(values.dtype), values, axes=1)
        return values if self._coils == "multi" else values[0]

    def calibration(self, index: int) -> np.ndarray | None:
        """Separate reference lines of one slice, ``[coils, height, width]``, 0 elsewhere; ``None`` without any."""
        lines = self.source.companions.get("calibration")
        return None if lines is None else self._coils_of(lines, index)

    def mask(self, index: int) -> np.ndarray | None:
        """Sampling mask of one slice, bool ``[height, width]``; ``None`` if the file is fully sampled.

        Raises:
            DataError: if rows are left out and the mask differs along them.
        """
        if self._mask is None:
            return None
        values = read_slice(self._mask, index)
        stored = np.broadcast_to(values, (self.source.spec.size("y"), self.width))
        if self.height < len(stored) and (stored != stored[:1]).any():
            raise DataError(
                f"{self._mask.name}, slice {index}: expected a mask of whole columns to remove oversampling along the "
                "rows, got one that changes along them; leave out remove_oversampling"
            )
        return stored[: self.height].copy()

    def peak(self) -> float:
        """Largest magnitude of the zero-filled images; of coils "multi" the largest root sum of squares."""
        return max(self._slice_peak(index) for index in range(self.source.spec.size("z")))

    def _coils_of(self, source: Source, index: int) -> np.ndarray:
        values = read_slice(source, index)
        values = values if values.ndim == 3 else values[None]
        return crop_readout(values, self.height)

    def _slice_peak(self, index: int) -> float:
        image = self._zero_filled(self.read(index), index)
        if self._coils == "multi":
            return float(root_sum_of_squares(torch.from_numpy(image)[None]).max())
        return float(np.abs(image).max())

    def _zero_filled(self, kspace: np.ndarray, index: int) -> np.ndarray:
        """Image of the measured samples, complex128, of the shape of ``kspace``."""
        mask = self.mask(index)
        measured = kspace if mask is None else kspace * mask
        return ifft2c(torch.from_numpy(measured.astype(np.complex128))).numpy()

    def _combination(self) -> np.ndarray:
        """Weights of the coils that emulate one, complex128 ``[coils]``."""
        n_slices = self.source.spec.size("z")
        chosen = np.linspace(0, n_slices - 1, min(n_slices, _FITTED_SLICES)).round().astype(int)
        recon_height, recon_width = self._recon_size
        inside = (slice(None), central(self.height, recon_height), central(self.width, recon_width))
        draw, wanted = np.random.default_rng(0), _FITTED_PIXELS // len(chosen)
        pixels = []
        for index in chosen:
            image = self._zero_filled(self._coils_of(self.source, int(index)), int(index))[inside]
            values = image.reshape(len(image), -1).T
            if len(values) > wanted:
                values = values[np.sort(draw.choice(len(values), wanted, replace=False))]
            pixels.append(values)
        values = np.concatenate(pixels)
        return emulated_weights(values, np.linalg.norm(values, axis=1))


def source_key(source: Source) -> tuple[str, str, str]:
    """Text that changes when the values of a source do."""
    return str(source.path), source.identity(), str(source.fill)


def read_slice(source: Source, index: int) -> np.ndarray:
    """One slice along z without that axis; sources of one slice, such as a mask for all, give that one."""
    if "z" not in source.spec.axes:
        return source.read()
    place = source.spec.axes.index("z")
    return source.read(source.spec.region(z=index if source.spec.size("z") > 1 else 0)).squeeze(place)
