"""Reconstructions back in the format and geometry their data came in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from common.data.reader import SliceReader
from common.errors import DataError
from common.io import Spec, open_sink, output_suffix, split_suffix
from common.io.kspace import central
from common.io.naming import WRITTEN


def output_path(path: Path | str, output_dir: Path | str) -> Path:
    """Path of the reconstruction of a file: ``output_dir/<stem>_recon<suffix>``.

    The suffix stays as it was if files of that suffix are written; ``.npz`` becomes ``.npy``, ``.mhd`` ``.mha``, and a
    format that is only read, such as MATLAB, becomes ``.h5``.
    """
    stem, suffix = split_suffix(path)
    written = output_suffix(suffix)
    return Path(output_dir) / f"{stem}_recon{written if written.lower() in ('', *WRITTEN) else '.h5'}"


def write_volume(
    volume: np.ndarray, like: SliceReader, path: Path | str, dtype: np.dtype | type | None = None, upscale: int = 1
) -> Path:
    """Write a reconstruction in the units, with the geometry and all else of its input that the format can hold.

    The file appears whole or not at all.

    Args:
        volume: real ``[slices, height, width]`` in image units; of k-space also a part cropped at the centre.
        like: the reader of the input.
        path: the output, not the input itself; its suffix chooses the format.
        dtype: type of the stored values, which are then the meant ones; ``None``: type and slope of the input, float32
            of complex ones.
        upscale: how many times as high and wide as the input the volume is, with the same field of view.

    Returns:
        the path written.

    Raises:
        ValueError: for a volume that does not fit the input.
        DataError: for values that are not finite or that the type cannot hold, and formats that cannot hold them.
    """
    path, volume = Path(path), np.asarray(volume)
    if path.resolve() == like.path.resolve():
        raise ValueError(f"{path}: the output would replace its input; choose another output_dir")
    if volume.dtype.kind not in "buif":
        raise ValueError(f"{path}: expected a real volume, got {volume.dtype}; take the magnitude")
    spec = _spec(volume.shape, like, path, upscale)
    if dtype is not None:
        spec = replace(spec, dtype=np.dtype(dtype), intensity=spec.intensity.as_meant())
    sink = open_sink(path, spec)
    try:
        stored = sink.spec.intensity.stored(meant_values(volume, like), sink.spec.dtype)
    except DataError as error:
        raise DataError(f"{path}: not written, the reconstruction of {like.path} is no image: {error}") from error
    return sink.write_all(stored.reshape(sink.spec.shape))


def meant_values(volume: np.ndarray, like: SliceReader) -> np.ndarray:
    """Values in the units of the input, after its slope and intercept, of values in image units; float64."""
    low, high = like.range
    return low + volume.astype(np.float64) * (high - low)


def _spec(shape: tuple[int, ...], like: SliceReader, path: Path, upscale: int) -> Spec:
    """Spec of a reconstruction ``[slices, height, width]``."""
    spec = like.source.spec.enlarged({"y": upscale, "x": upscale})
    rows, columns = spec.shape[-2:]
    is_part = len(shape) == 3 and spec.kind == "kspace" and 0 < shape[1] <= rows and 0 < shape[2] <= columns
    if shape != (like.n_slices, rows, columns) and not (is_part and shape[0] == like.n_slices):
        raise ValueError(
            f"{path}: expected a volume {[like.n_slices, rows, columns]} [slices, height, width], as {like.path} "
            f"asks for, got {list(shape)}"
        )
    sizes = {**dict(zip(spec.axes, spec.shape, strict=True)), "y": shape[1], "x": shape[2]}
    return spec.as_image(
        np.float32 if spec.dtype.kind == "c" else spec.dtype,
        shape=tuple(n for axis, n in sizes.items() if axis != "coil"),
        geometry=spec.geometry.cropped({"y": central(rows, shape[1]).start, "x": central(columns, shape[2]).start}),
    )
