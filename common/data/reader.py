"""Data files slice by slice: the place where stored values become image units."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from common.data.coils import Coils
from common.data.finding import mask_path
from common.data.kspace_slices import KspaceSlices, read_slice, source_key
from common.errors import DataError
from common.io import IntensityRange, Source, find_range, given_range, open_source
from common.io.kspace import central
from common.io.masks import open_mask

_ranges: dict[tuple[str, ...], tuple[float, float]] = {}
"""Ranges that took a pass over a file: made once in a process, also if the file is opened anew for its output."""


class SliceReader:
    """A source as slices in image units: ``intensity_range`` becomes [0, 1].

    The range is that of :func:`~common.io.find_range` for images. For k-space it is one number, the largest magnitude
    of the image: "auto" takes what the file declares (fastMRI's attribute ``max``: of the reconstruction; of several
    coils, of the root sum of squares), else the largest magnitude of the zero-filled images, found in one pass when it
    is first needed. Real values are scaled in double precision and then rounded to float32.

    A reader can be pickled and used in forked or spawned workers.

    Args:
        source: images or k-space with the axes ([coil,] [t,] [z,] y, x); one frame of t.
        intensity_range: the values that become [0, 1].
        mask: sampling mask of k-space; ``None``: the source's companion.
        coils: treatment of several coils: "single" refuses them, "emulated" combines them to one, see
            :class:`~common.data.kspace_slices.KspaceSlices`, and "multi" keeps them.
        remove_oversampling: True to reduce the rows of k-space to those of the image of ``recon_height`` rows.
            Exact for masks of whole columns, others are refused. ISMRMRD raw data come without oversampling anyway.

    Attributes:
        source: the source.
        path: the file.
        kind: "image" or "kspace".
        coils: as given.
        n_slices, height, width: sizes of what `read` gives.
        recon_height, recon_width: size of the image that the file asks for, at most that of the data.

    Raises:
        ValueError: for options that do not fit.
        DataError: for several frames, several coils where one is asked for, or non-Cartesian k-space.
    """

    def __init__(
        self,
        source: Source,
        *,
        intensity_range: IntensityRange = "auto",
        mask: Source | None = None,
        coils: Coils = "single",
        remove_oversampling: bool = False,
    ) -> None:
        self.source = source = _one_frame(source)
        spec = source.spec
        self.path, self.kind, self.coils = source.path, spec.kind, coils
        self.n_slices, self.height, self.width = (spec.size(axis) for axis in ("z", "y", "x"))
        _check_coils(source, coils)
        self._given, self._intensity_range = _given(source, intensity_range), intensity_range
        self.recon_height, self.recon_width = spec.recon_shape or (self.height, self.width)
        if remove_oversampling and self.kind == "kspace":
            self.height = self.recon_height
        self._kspace = None
        if self.kind == "kspace":
            mask = mask or source.companions.get("mask")
            self._kspace = KspaceSlices(source, mask, coils, self.height, (self.recon_height, self.recon_width))

    @property
    def range(self) -> tuple[float, float]:
        """The meant values that become 0 and 1; found at first use and kept."""
        if self._given is not None:
            return self._given
        key = (*source_key(self.source), str(self._intensity_range), *(self._kspace.key if self._kspace else ()))
        if key not in _ranges:
            if self._kspace is None:
                _ranges[key] = find_range(self.source, self._intensity_range)
            else:
                _ranges[key] = (0.0, self.source.spec.intensity.declared_max or self._kspace.peak() or 1.0)
        return _ranges[key]

    def read(self, index: int) -> np.ndarray:
        """One slice in image units, ``[height, width]``, float32, or complex64 if stored complex.

        With ``coils="multi"``, ``[coils, height, width]``.
        """
        index = self._checked(index)
        return self._unit(
            self.source, read_slice(self.source, index) if self._kspace is None else self._kspace.read(index)
        )

    def mask(self, index: int) -> np.ndarray | None:
        """Sampling mask of one slice, bool ``[height, width]``; ``None`` for images and fully sampled k-space.

        `read` does not apply it: values outside the mask are given as the file has them.
        """
        return None if self._kspace is None else self._kspace.mask(self._checked(index))

    def calibration(self, index: int) -> np.ndarray | None:
        """Separate reference lines of one slice in image units, complex64 ``[coils, height, width]``, 0 elsewhere.

        ``None`` for images, and for k-space without such lines.
        """
        lines = None if self._kspace is None else self._kspace.calibration(self._checked(index))
        return None if lines is None else self._unit(self.source, lines)

    def target(self, index: int) -> np.ndarray | None:
        """The file's own reconstruction of one slice in image units, or ``None``.

        Its size is that of the data or (recon_height, recon_width); fastMRI crops to 320 x 320 at the centre.
        """
        target = self.source.companions.get("target")
        if self._kspace is None or target is None:
            return None
        values = self._unit(target, read_slice(target, self._checked(index)))
        stored_height = self.source.spec.size("y")
        return values[central(stored_height, self.height)] if len(values) == stored_height else values

    def _unit(self, source: Source, stored: np.ndarray) -> np.ndarray:
        return source.to_unit(stored if stored.dtype.kind == "c" else stored.astype(np.float64), *self.range)

    def _checked(self, index: int) -> int:
        index = operator.index(index)
        if not 0 <= index < self.n_slices:
            raise IndexError(f"{self.path}: slice must be in [0, {self.n_slices - 1}], got {index}")
        return index


def open_slices(
    path: Path | str,
    *,
    intensity_range: IntensityRange = "auto",
    mask_file: Path | str | None = None,
    coils: Coils = "single",
    remove_oversampling: bool = False,
    source_options: Mapping[str, Any] | None = None,
) -> SliceReader:
    """Open a data file slice by slice; headers only. The options are those of :class:`SliceReader`.

    A sampling mask of k-space comes from ``mask_file``, else from the file, else from ``<stem>_mask.npy`` beside it;
    the last two at once are refused. ``source_options`` are those of :func:`~common.io.open_source`.

    Raises:
        FileNotFoundError: no such file.
        DataError: the file is not what its suffix says, or cannot be used.
    """
    options = dict(source_options or {})
    source = open_source(path, **options)
    try:
        mask = _chosen_mask(source, mask_file)
        if options.get("dc") == "corner" and mask is not source.companions.get("mask"):
            raise ValueError(
                f"{source.name}: dc='corner' moves a mask inside of the file, not one in a file of its own; store both "
                "centred"
            )
        return SliceReader(
            source, intensity_range=intensity_range, mask=mask, coils=coils, remove_oversampling=remove_oversampling
        )
    except BaseException:
        source.close()
        raise


def _chosen_mask(source: Source, mask_file: Path | str | None) -> Source | None:
    if mask_file is not None:
        if source.spec.kind != "kspace":
            raise ValueError(f"{source.name}: mask_file is for k-space, and this is an image; leave the option out")
        return open_mask(Path(mask_file), source.spec, source.name)
    beside, own = mask_path(source.path), source.companions.get("mask")
    if source.spec.kind != "kspace" or not beside.is_file():
        return own
    if own is not None and own.path != beside:
        raise DataError(f"{source.name}: two masks, {own.name} and {beside}; remove one or pass mask_file")
    return own or open_mask(beside, source.spec, source.name)


def _one_frame(source: Source) -> Source:
    if source.spec.kind == "noncartesian":
        raise DataError(
            f"{source.name}: expected images or Cartesian k-space, got non-Cartesian samples {source.spec}; take the "
            "bundle of cardiac series, which reads them"
        )
    if source.spec.size("t") > 1:
        raise DataError(
            f"{source.name}: expected slices, got the {source.spec.size('t')} frames of {source.spec}; choose one: "
            + source.option("frame", 0)
        )
    return source.select(t=0) if "t" in source.spec.axes else source


def _check_coils(source: Source, coils: Coils) -> None:
    if coils not in ("single", "emulated", "multi"):
        raise ValueError(f"coils must be 'single', 'emulated' or 'multi', got {coils!r}")
    spec = source.spec
    if spec.kind == "image" and coils == "multi":
        raise ValueError(f"{source.name}: coils='multi' is for k-space, and this is an image; leave the option out")
    if spec.size("coil") == 1 or (spec.kind == "kspace" and coils != "single"):
        return
    if spec.kind == "image":
        raise DataError(f"{source.name}: expected images of one channel, got {spec}; combine the coils before")
    raise DataError(
        f"{source.name}: expected k-space of one coil, got {spec}; combine the coils before. A bundle with the key "
        "coils does it for --coils emulated; one with configs/multicoil.json keeps them with that file"
    )


def _given(source: Source, intensity_range: IntensityRange) -> tuple[float, float] | None:
    found = given_range(intensity_range)
    if source.spec.kind == "kspace" and (found[0] != 0 if found else intensity_range != "auto"):
        raise ValueError(
            f"{source.name}: intensity_range of k-space is 'auto' or one number, the largest magnitude of the image, "
            f"got {intensity_range!r}"
        )
    return found
