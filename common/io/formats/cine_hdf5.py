"""HDF5 files of cine series: aliased and true images, measured k-space, and the results of a reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from common.errors import DataError
from common.io.atomic import atomic_path
from common.io.formats import hdf5
from common.io.geometry import Geometry, even_times
from common.io.hdf5_file import (
    SUFFIXES,
    attributes_of,
    contents_of,
    described,
    dtype_of,
    find,
    hdf5_source,
    keep_open,
    open_hdf5,
    positive_number,
)
from common.io.intensity import Intensity
from common.io.kspace import KspaceSource
from common.io.layout import Layout
from common.io.source import Companion, Source
from common.io.spec import Kind

RECON, TRUTH, PHASE, KSPACE, MASK = "imagesRecon", "imagesTrue", "phaseTrue", "kspace", "mask"
IMAGES = ("input", "result", "truth")
_SERIES = ("z", "y", "x", "t")
_UNEVEN = 0.05  # of the mean interval of frames: by how much one may differ


def recognises(path: Path) -> bool:
    """Return True for a file with ``imagesTrue`` or ``imagesRecon``, or k-space whose mask has its frames."""
    shapes = contents_of(path).shapes
    if TRUTH in shapes or RECON in shapes:
        return True
    kspace, mask = shapes.get(KSPACE, ()), shapes.get(MASK, ())
    if len(kspace) not in (4, 5) or "ismrmrd_header" in shapes:
        return False
    series = kspace if len(kspace) == 4 else (kspace[0], *kspace[2:])
    slices = (kspace[0], *kspace[2:])  # of fastMRI's mask [slices, height, width]
    return mask == series or (len(mask) == 3 and mask == series[1:] and mask != slices)


def open_source(path: Path, *, dataset: str | None = None, axes: str | None = None, dc: str | None = None) -> Source:
    """Open the series of a file, each an entry of z.

    ============  ==========================================================================================
    imagesTrue    real ``[N, H, W, T]``: the truth; floating point is in [0, 1]
    imagesRecon   likewise: the aliased input
    phaseTrue     radians ``[N, H, W, T]``: the truth is ``imagesTrue * exp(i phaseTrue)``
    kspace        complex ``[N, H, W, T]`` or ``[N, n_coils, H, W, T]``, centred, orthonormal
    mask          0 or 1, ``[N, H, W, T]`` or ``[H, W, T]``: where ``kspace`` was sampled
    ============  ==========================================================================================

    The source is ``kspace`` where there is one, else ``imagesTrue``, else ``imagesRecon`` (``spec.dataset`` says
    which); the others are its companions "target", "aliased", "phase" and "mask". Pixel size and frame times are the
    attributes ``pixel_size_mm`` (rows, columns), ``slice_distance_mm`` and ``frame_interval_s``. Another ``dataset`` is
    read as :func:`common.io.formats.hdf5.open_source` does.
    """
    if dataset is not None and dataset not in (RECON, TRUTH, KSPACE):
        return hdf5.open_source(path, dataset=dataset, axes=axes, dc=dc)
    with described(path) as file:
        attributes = attributes_of(file)
        opened = {key: _series(path, file, key, attributes) for key in (KSPACE, TRUTH, RECON, PHASE)}
        found = {key: source for key, source in opened.items() if source is not None}
        main = found[next(key for key in ((dataset,) if dataset else (KSPACE, TRUTH, RECON)) if key in found)]
        _check_alike(main, found)
        keep_open(main, file[main.spec.dataset], file)
        others = {"target": TRUTH, "aliased": RECON, "phase": PHASE if TRUTH in found else ""}
        companions: dict[Any, Source] = {
            name: found[key] for name, key in others.items() if key in found and found[key] is not main
        }
        if main.spec.kind != "kspace":
            main.companions.update(companions)
            return main
        item = find(file, MASK, path)
        shape = tuple(item.shape or ()) if isinstance(item, h5py.Dataset) else ()
        mask = hdf5.mask_of(path, file, MASK, main.spec, main.name, _SERIES if len(shape) == 4 else _SERIES[1:])
        if mask is None:
            raise DataError(
                f"{path}: no data set {MASK} beside {KSPACE}; add one, 1 where sampled, [series, height, width, frames]"
            )
        return KspaceSource(main, dc, companions={**companions, "mask": mask})


def truth_of(path: Path, file: h5py.File) -> dict[Companion, Source]:
    """Return ``imagesTrue`` and ``phaseTrue`` of a file as the companions "target" and "phase" of its raw data."""
    attributes = attributes_of(file)
    found: dict[Companion, Source | None] = {"target": _series(path, file, TRUTH, attributes)}
    if found["target"] is not None:
        found["phase"] = _series(path, file, PHASE, attributes)
    return {name: source for name, source in found.items() if source is not None}


def _series(path: Path, file: h5py.File, key: str, attributes: Mapping[str, Any]) -> Source | None:
    item = find(file, key, path)
    if not isinstance(item, h5py.Dataset):
        return None
    shape, dtype, is_kspace = tuple(item.shape or ()), dtype_of(item), key == KSPACE
    name = f"{path}:{key}"
    if len(shape) != 4 and not (is_kspace and len(shape) == 5):
        raise DataError(f"{name}: expected [series, height, width, frames], got {list(shape)}; reshape it")
    if dtype.kind not in ("c" if is_kspace else "uif"):
        raise DataError(
            f"{name}: expected {'complex k-space' if is_kspace else 'real numbers'}, got {dtype}; store such"
        )
    stored = _SERIES if len(shape) == 4 else ("z", "coil", *_SERIES[1:])
    layout = Layout(stored, shape, {"coil": 0} if len(shape) == 5 and shape[1] == 1 else {})
    if shape[-1] < 2:
        raise DataError(
            f"{name}: expected series of 2 frames or more, [series, height, width, frames], got {list(shape)}; give "
            "the series with its frames"
        )
    # floating-point images are in [0, 1] by the convention of the format
    declared = positive_number(attributes.get("max")) if is_kspace else (1.0 if dtype.kind == "f" else None)
    rule = Intensity() if key == PHASE else Intensity(declared_max=declared)
    kind: Kind = "kspace" if is_kspace else "image"
    spec = layout.spec(dtype, _geometry(attributes, layout), kind=kind, intensity=rule, dataset=key)
    return hdf5_source(path, spec, layout, item)


def _check_alike(main: Source, found: Mapping[str, Source]) -> None:
    for other in found.values():
        one, two = ([s.spec.size(axis) for axis in ("z", "y", "x", "t")] for s in (main, other))
        if one != two:
            raise DataError(
                f"{other.name}: expected {one} [series, height, width, frames] as {main.name} has, got {two}; give "
                "data sets that belong together"
            )


def _geometry(attributes: Mapping[str, Any], layout: Layout) -> Geometry:
    pixel = np.ravel(attributes.get("pixel_size_mm", ()))
    steps = {"z": positive_number(attributes.get("slice_distance_mm"))}
    if pixel.dtype.kind in "uif" and len(pixel) in (1, 2):
        steps |= {"y": float(pixel[0]), "x": float(pixel[-1])}
    interval = positive_number(attributes.get(hdf5.INTERVAL))
    times = even_times(layout.sizes[layout.axes.index("t")], interval)
    return Geometry.of_spacing(layout.axes, steps, "millimeter", frame_times_s=times)


def series_attributes(files: Sequence[Path], geometry: Geometry) -> dict[str, Any]:
    """Return the attributes of series, under the names that their own results have.

    Args:
        files: their files, of which HDF5 files give their attributes.
        geometry: place of the pixels and frames, for other files.

    Returns:
        ``pixel_size_mm`` (rows, columns), ``slice_distance_mm`` and ``frame_interval_s`` or, of uneven frames,
        ``frame_times_s``, as far as they are known; and the attributes of the files.
    """
    found: dict[str, Any] = {}
    *slices, y, x = geometry.spacing_mm
    if y is not None and x is not None:
        found["pixel_size_mm"] = [y, x]
    if slices and slices[0] is not None:
        found["slice_distance_mm"] = slices[0]
    times, interval = geometry.frame_times_s, geometry.frame_interval_s
    if times is not None and interval is not None:
        steps = np.diff(times)
        if np.ptp(steps) > _UNEVEN * interval:
            found["frame_times_s"] = list(times)
        else:
            found["frame_interval_s"] = float(f"{interval:.9g}")  # times of day leave errors in the last digits
    for path in files:
        if path.suffix.lower() in SUFFIXES:
            with open_hdf5(path) as file:
                found |= {name: n for name, n in attributes_of(file, texts=True).items() if n is not None}
    return found


@dataclass(frozen=True)
class ResultSeries:
    """One reconstructed series.

    Attributes:
        images: returns "input", "result" and perhaps "truth", float32 ``[height, width, frames]`` in [0, 1].
        source: the file that it comes from, and its number in it: "scan.h5:0".
        intensity_range: the values in that file that are 0 and 1 here.
        size: height, width, frames.
        attributes: what the file says, such as ``pixel_size_mm`` and ``frame_interval_s``.
    """

    images: Callable[[], Mapping[str, np.ndarray]]
    source: str
    intensity_range: tuple[float, float]
    size: tuple[int, int, int]
    attributes: Mapping[str, Any]


def write_results(path: Path, series: Sequence[ResultSeries]) -> None:
    """Write series of one size to an HDF5 file, which appears whole or not at all.

    ================  ==================================================================================
    input             float32 ``[N, H, W, T]``, magnitudes, in [0, 1] as the network saw them
    result, truth     likewise; ``truth`` where one series has it at least, NaN for the others
    sources           ``"<file>:<number of the series in it>"``
    intensity_range   float64 ``[N, 2]``: the values in the source file that are 0 and 1 here
    ================  ==================================================================================

    One chunk is one series. An attribute that all sources have is one of the result if they agree, and a data set of
    its name, ``[N, ...]``, if they differ in numbers.

    Args:
        path: the file to be.
        series: at least one.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for n, one in enumerate(series):
            for name, values in one.images().items():
                if name not in file:
                    shape, chunks = (len(series), *one.size), (1, *one.size)
                    file.create_dataset(name, shape, np.float32, chunks=chunks, fillvalue=np.nan)
                file[name][n] = values
        file["sources"] = [one.source for one in series]
        file["intensity_range"] = np.array([one.intensity_range for one in series], np.float64)
        for name in sorted(set.intersection(*(set(one.attributes) for one in series)) - set(file)):
            stored = [np.asarray(one.attributes[name]) for one in series]
            if all(np.array_equal(stored[0], other) for other in stored):
                file.attrs[name] = series[0].attributes[name]
            elif len({(one.shape, one.dtype.kind) for one in stored}) == 1 and stored[0].dtype.kind in "biuf":
                file[name] = np.stack(stored)
