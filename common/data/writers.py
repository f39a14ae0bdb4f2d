"""Reconstructions back in the format and geometry their data came in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.data.files import split_suffix
from common.data.readers import SliceReader
from common.errors import DataError
from common.io.atomic import atomic_path


def output_path(path: Path | str, output_dir: Path | str) -> Path:
    """Where the reconstruction of ``path`` goes: ``output_dir/<stem>_recon<suffix>``, the suffix as it was."""
    stem, suffix = split_suffix(path)
    return Path(output_dir) / f"{stem}_recon{suffix}"


def write_volume(volume: np.ndarray, like: SliceReader, path: Path | str) -> Path:
    """Writes a reconstruction in stored units (``volume * like.scale + like.offset``), in the format that came.

    ======  =====================================================================================
    PNG     8 or 16 bit as it came, rounded and clipped
    TIFF    pages of the type that came, rounded and clipped for integers; resolution, ImageJ calibration
    NIfTI   float32; header, affine, sform and qform
    HDF5    data set ``reconstruction`` float32 ``[slices, height, width]``; attributes, ``ismrmrd_header``
    npy     float32, ``[height, width]`` if that came
    ======  =====================================================================================

    The file appears whole or not at all.

    Args:
        volume: real ``[slices, height, width]`` in image units. HDF5 and ``.npy`` take another height and width
            than was read, the others do not.
        like: the reader of the input.
        path: the output, with the same kind of suffix as the input; not the input itself.

    Returns:
        the path written.
    """
    path, volume = Path(path), np.asarray(volume)
    given, wanted = split_suffix(path)[1].lower(), split_suffix(like.path)[1].lower()
    if _format(given) != _format(wanted):
        raise ValueError(f"{path}: the output of a {wanted} file ends in {wanted}, got {given or path.suffix!r}")
    if path.resolve() == like.path.resolve():
        raise ValueError(f"{path}: the output would replace its input; choose another output_dir")
    if volume.dtype.kind not in "buif":
        raise ValueError(f"{path}: expected a real volume, got {volume.dtype}; take the magnitude")
    expected = like.stack.shape
    compared = slice(0, 1) if like.stack.resizable else slice(None)
    if volume.ndim != 3 or volume.shape[compared] != expected[compared]:
        raise ValueError(
            f"{path}: expected a volume {list(expected)} [slices, height, width] as {like.path} has, "
            f"got {list(volume.shape)}"
        )
    if not np.isfinite(volume).all():
        raise DataError(f"{path}: not written, the reconstruction of {like.path} has NaN or infinite values")
    stored = volume.astype(np.float64) * like.scale + like.offset
    with atomic_path(path) as temporary:
        like.stack.write(stored, temporary)
    return path


def _format(suffix: str) -> str:
    return {".tiff": ".tif", ".hdf5": ".h5"}.get(suffix, suffix)
