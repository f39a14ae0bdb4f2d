"""Ignite handler that writes reconstructions for evaluation and for viewers: fastMRI's HDF5 layout, and NIfTI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from common.data.reader import SliceReader
from common.data.writers import meant_values, write_volume
from common.errors import DataError
from common.handlers.save_reconstructions import SaveReconstructions, magnitude_array
from common.io import split_suffix, to_dtype
from common.io.atomic import atomic_path
from common.io.hdf5_file import Hdf5Native

FORMATS = ("h5", "nifti")
_RESIDUAL = "kspace_residual"
_HDF5 = (".h5", ".hdf5")


class SaveSampledVolumes(SaveReconstructions):
    """Collects slices to volumes and writes each, with what its samples say, once its last slice has come.

    ======  =====================================================================================
    h5      named as the input (``.h5``), so that fastMRI's ``evaluate`` pairs the two: data sets float32
            ``[slices, height, width]``, ``reconstruction``, and of samples ``reconstruction_std`` and
            ``reconstruction_sample``; the input's attributes and ``ismrmrd_header``; attributes
            ``kspace_residual_max``, ``kspace_residual_mean``, of the sample ``kspace_residual_max_sample``,
            ``kspace_residual_mean_sample``
    nifti   ``<stem>.nii.gz``, ``<stem>_std.nii.gz``, float32 ``[width, height, slices]``, with the voxel size and, if
            the input has one, the orientation of the input; a NIfTI input's suffix and header
    ======  =====================================================================================

    All are magnitudes in stored units; ``reconstruction_std`` is the deviation of the samples. Files appear whole or
    not at all.

    For an evaluator that decollates: per item ``engine.state.output`` has "pred" (real, imaginary) and, where there are
    samples, "std" and "sample", see :class:`~common.transforms.SplitSamplesd`; and "kspace_residual" if
    :class:`~common.handlers.kspace_residual.KspaceResidualReport` measures it. ``engine.state.batch`` has "path",
    "slice", "n_slices".

    Args:
        output_dir: folder of the files; made if need be. Not the folder of the input.
        formats: files to write, "h5", "nifti" or both.
        attributes: further ones for the HDF5 file, for instance the number of samples and the seed.
        options: those of :func:`common.data.reader.open_slices` that the data was read with.

    Raises:
        ValueError: for unknown formats.
        DataError: in a run, for volumes that are not finite, and for a file that would replace the input or that of
            another input.
    """

    def __init__(
        self,
        output_dir: str | Path,
        formats: Sequence[str] = FORMATS,
        attributes: Mapping[str, float | str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(output_dir, **options)
        self.formats = [formats] if isinstance(formats, str) else list(formats)
        if not self.formats or not set(self.formats) <= set(FORMATS):
            raise ValueError(f"formats: expected one or more of {', '.join(FORMATS)}, got {formats!r}; correct them")
        self.attributes = dict(attributes or {})
        self._sources: dict[Path, Path] = {}

    def _start(self, engine: Any) -> None:
        super()._start(engine)
        self._sources = {}

    def _images(self, images: dict[str, Any]) -> dict[str, np.ndarray]:
        kept = super()._images(images)
        for name in ("std", "sample"):
            if name in images:
                kept[f"reconstruction_{name}"] = magnitude_array(images[name])
        if _RESIDUAL in images:
            kept[_RESIDUAL] = images[_RESIDUAL].cpu().numpy()[None]
        return kept

    def _write(self, like: SliceReader, volumes: dict[str, np.ndarray]) -> None:
        attributes = {**self.attributes, **_residual_attributes(volumes.pop(_RESIDUAL, None))}
        for name, volume in volumes.items():
            if not np.isfinite(volume).all():
                raise DataError(f"{like.path}: not written, its {name} has NaN or infinite values; check the network")
        low, high = like.range
        if "reconstruction_std" in volumes:  # a deviation has no offset: 0 stays 0
            volumes["reconstruction_std"] = volumes["reconstruction_std"] - low / (high - low)
        stem, suffix = split_suffix(like.path)
        if "h5" in self.formats:
            name = like.path.name if suffix.lower() in _HDF5 else f"{stem}.h5"
            _write_hdf5(volumes, like, self._free(name, like), attributes)
        if "nifti" in self.formats:
            suffix = suffix if suffix.lower().startswith(".nii") else ".nii.gz"
            for name, ending in (("reconstruction", ""), ("reconstruction_std", "_std")):
                if name in volumes:
                    write_volume(volumes[name], like, self._free(f"{stem}{ending}{suffix}", like), np.float32)

    def _free(self, name: str, like: SliceReader) -> Path:
        """Return the path of a file, which no other input has taken.

        Raises:
            DataError: two inputs have results of this name.
        """
        path = self.output_dir / name
        source = self._sources.setdefault(path, like.path)
        if source != like.path or path.resolve() == like.path.resolve():
            raise DataError(
                f"{path}: the output of {like.path} would replace {'that of ' * (source != like.path)}{source}; choose "
                "another output_dir for it"
            )
        return path


def _residual_attributes(residuals: np.ndarray | None) -> dict[str, float]:
    """Largest and mean of ``[slices, 1, 1 or 2]``, of the reconstruction and of the sample."""
    attributes = {}
    for ending, values in zip(("", "_sample"), [] if residuals is None else residuals[:, 0].T, strict=False):
        attributes[f"{_RESIDUAL}_max{ending}"] = float(values.max())
        attributes[f"{_RESIDUAL}_mean{ending}"] = float(values.mean())
    return attributes


def _write_hdf5(
    volumes: Mapping[str, np.ndarray], like: SliceReader, path: Path, attributes: Mapping[str, float | str]
) -> None:
    with atomic_path(path) as temporary:
        if isinstance(like.source.spec.native, Hdf5Native):  # brings the attributes and the header
            write_volume(volumes["reconstruction"], like, temporary, np.float32)
        with h5py.File(temporary, "a") as file:
            for name, volume in volumes.items():
                if name not in file:
                    file.create_dataset(name, data=to_dtype(meant_values(volume, like), np.dtype(np.float32)))
            file.attrs.update(attributes)
