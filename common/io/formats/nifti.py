"""NIfTI-1 and NIfTI-2 in one file, plain or gzipped (by the first bytes, whatever the name says).

The first axis of a NIfTI array is contiguous: it is x. Read: real and complex numbers of two to four axes. Written:
the same, with the header, both orientation matrices, their codes and the slope that came.
"""

from __future__ import annotations

import gzip
import logging
import os
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from common.errors import DataError, file_errors
from common.io.bounded import check_piece, n_bytes_of, unpack_gzip
from common.io.flat import FlatArray, flat_source
from common.io.geometry import MILLIMETERS, SECONDS, Geometry
from common.io.intensity import Intensity
from common.io.layout import Layout, fastest_first
from common.io.sink import Sink, write_flat
from common.io.source import Source
from common.io.spec import Spec

logger = logging.getLogger("recon")

_KIND = "a NIfTI image"
_GZIP = b"\x1f\x8b"
_CLASSES = {348: nibabel.nifti1.Nifti1Header, 540: nibabel.nifti2.Nifti2Header}  # by their size in bytes
_MAGIC = (b"n+1", b"n+2")
_LONGEST_HEADER = 2**24  # bytes, with extensions
_NIFTI1_LONGEST = 2**15 - 1
_UNITS = {"meter": "meter", "millimeter": "mm", "micrometer": "micron"}
_LENGTHS = {code: MILLIMETERS[name] for name, code in _UNITS.items()} | {"unknown": 1.0}
_TIME_UNITS = 0b111000  # bits of xyzt_units
_CODE_SCANNER = 1
_UNEVEN = 0.05  # of the mean interval: by how much one may differ
_SHEAR = 1e-4  # cosine of the angle between two axes from which on a matrix has shear, which a quaternion cannot hold


@dataclass(frozen=True, eq=False)
class NiftiNative:
    """Contents of a NIfTI file beyond a `Spec`.

    Attributes:
        header: header of nibabel; its type is that of the file.
        extensions: bytes between header and values.
        affine: the affine matrix of the geometry that came with it, index (x, y, z) to mm; ``None`` if there is none.
        forms: "sform" and "qform", where the code is not 0 and the form is valid: float64 ``(4, 4)`` in the order of
            the array and the unit of the header, and the code.
        slice_axis: the array axis that is z; 2 if there is none.
        is_xyt: True if the third axis is time.
    """

    header: Any
    extensions: bytes
    affine: np.ndarray | None
    forms: dict[str, tuple[np.ndarray, int]]
    slice_axis: int
    is_xyt: bool


def open_source(path: Path, *, axes: str | None = None, slice_axis: int | None = None) -> Source:
    """Open a NIfTI file.

    The geometry is that of the sform if its code is not 0, else of the qform, and voxel sizes that disagree with it
    are not used. Without both there is no orientation, and the voxel sizes are those of the header. Coordinates of
    unknown unit are mm if there is an orientation, whose spaces are defined in mm.

    Args:
        path: the file.
        axes: names of the array axes: "xy", "xyz", "xyt" (time instead of slices) or "xyzt"; by default the first of
            two, three, or four.
        slice_axis: array axis along which slices are counted, 0, 1 or 2. By default the last, or the only one of size
            1: an array (48, 1, 40) is one coronal slice of 48 columns and 40 rows.

    Raises:
        DataError: for colours, other axes, a matrix that is not invertible, and truncated files.
    """
    with file_errors(path, _KIND), FileIO(path) as file:
        is_packed = file.read(2) == _GZIP
        file.seek(0)
        header, extensions, offset = _read_header(gzip.GzipFile(fileobj=file) if is_packed else file)
        spec, array, layout = _describe(path, header, extensions, offset, axes, slice_axis)
        if is_packed:
            check_piece(array.end, path.stat().st_size, str(path))
        # unpacked to a temporary file at the first read, because it has no other access
        unpack = partial(unpack_gzip, path, array.end, _KIND) if is_packed else None
        source = flat_source(path, spec, array, layout, unpack=unpack, kind_of_file=_KIND)
        if not is_packed:
            source.keep(array.opened(FileIO(os.dup(file.fileno()))))
        return source


def _read_header(file: Any) -> tuple[Any, bytes, int]:
    """Header, extensions, and the place of the first value, of a file that is open at its start."""
    start = file.read(4)
    sizes = {int.from_bytes(start, order) for order in ("little", "big")}
    size = next(iter(sizes & _CLASSES.keys()), 0)
    if not size:
        raise ValueError(f"expected a header of 348 or 540 bytes, got {int.from_bytes(start, 'little')}")
    data = start + file.read(size - 4)
    header: Any = _CLASSES[size](data, check=False)
    magic = bytes(header["magic"]).rstrip(b"\0")[:3]
    if magic not in _MAGIC:
        raise ValueError(f"expected header and values in one file, magic n+1 or n+2, got {magic!r}")
    offset = int(header["vox_offset"]) or size + 4
    if not size <= offset <= _LONGEST_HEADER:
        raise ValueError(f"expected values behind the header of {size} bytes, got the place {offset}")
    return header, file.read(offset - size)[4:], offset


def _describe(
    path: Path, header: Any, extensions: bytes, offset: int, axes: str | None, slice_axis: int | None
) -> tuple[Spec, FlatArray, Layout]:
    names, sizes = _named_axes(path, header, axes)
    if slice_axis not in (None, 0, 1, 2) or (slice_axis is not None and "z" not in names):
        raise ValueError(f"{path}: slice_axis must be 0, 1 or 2, of a volume, got {slice_axis} for {' '.join(names)}")
    thin = [n for n in range(3) if sizes[n] == 1] if "z" in names else []
    if slice_axis is None:
        slice_axis = thin[0] if len(thin) == 1 else 2
    if "z" in names:
        names[:3] = [*"xy"[:slice_axis], "z", *"xy"[slice_axis:]]
    layout = Layout(tuple(names), tuple(sizes)).reversed
    dtype = header.get_data_dtype()
    if dtype.names or dtype.kind not in "iufc":
        raise DataError(f"{path}: expected real or complex numbers, got colours or {dtype}; convert them to grey")
    forms = {name: form for name in ("sform", "qform") if (form := _form(path, header, name)) is not None}
    geometry = _geometry(path, header, forms, layout.axes, _permutation(slice_axis), len(names))
    slope, intercept = header.get_slope_inter()
    low, high = float(header["cal_min"]), float(header["cal_max"])
    intensity = Intensity(
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        window=(low, high) if -np.inf < low < high < np.inf else None,
    )
    native = NiftiNative(header, extensions, geometry.affine, forms, slice_axis, "t" in names and len(names) == 3)
    spec = layout.spec(dtype.newbyteorder("="), geometry, intensity=intensity, native=native)
    n_bytes_of(layout.shape, dtype, str(path))
    return spec, FlatArray(offset, layout.shape, dtype), layout


def _named_axes(path: Path, header: Any, axes: str | None) -> tuple[list[str], list[int]]:
    """Names and sizes of the array axes; those of one entry at the end are left out."""
    n_axes = int(header["dim"][0])
    sizes = [int(n) for n in header["dim"][1 : 1 + max(0, min(n_axes, 7))]]
    names, sizes = fastest_first(path, sizes, axes, "xyzt")
    time_unit = int(header["xyzt_units"]) & _TIME_UNITS
    if "t" in names and sizes[-1] > 1 and time_unit not in (0, 8, 16, 24):
        raise DataError(f"{path}: expected time along axis {len(names)}, got a frequency; split the file")
    return names, sizes


def _geometry(
    path: Path,
    header: Any,
    forms: dict[str, tuple[np.ndarray, int]],
    axes: tuple[str, ...],
    order: np.ndarray,
    n_axes: int,
) -> Geometry:
    length_unit, time_unit = _units(header)
    steps = np.abs(np.asarray(header["pixdim"][1:5], np.float64))
    times = None
    if "t" in axes and time_unit in SECONDS and 0 < steps[n_axes - 1] < np.inf:
        start = float(np.nan_to_num(header["toffset"], posinf=0, neginf=0))
        frames = start + steps[n_axes - 1] * np.arange(int(header["dim"][n_axes]))
        times = (frames * SECONDS[time_unit]).tolist()
    if forms:
        form = forms.get("sform") or forms["qform"]
        return Geometry.of_affine(axes, np.diag([*[_LENGTHS[length_unit]] * 3, 1.0]) @ form[0] @ order, times)
    if max(int(header["sform_code"]), int(header["qform_code"])) > 0:
        raise DataError(
            f"{path}: expected an invertible sform or a valid qform, as its codes promise; correct the matrix, or set "
            "both codes to 0"
        )
    return Geometry.of_spacing(
        axes, dict(zip("xyz", order[:3, :3].T @ steps[:3], strict=True)), length_unit, frame_times_s=times
    )


def _units(header: Any) -> tuple[str, str]:
    """Units of length and time of a header; "unknown" for codes that NIfTI does not define."""
    try:
        length, time = header.get_xyzt_units()
    except KeyError:
        return "unknown", "unknown"
    return str(length), str(time)


def _form(path: Path, header: Any, name: str) -> tuple[np.ndarray, int] | None:
    """One of the two matrices of a header; ``None`` if its code is 0, or, with a warning, if it is broken."""
    code = int(header[f"{name}_code"])
    if code <= 0:
        return None
    try:
        checked = header.copy()
        checked["pixdim"][1:4] = np.abs(checked["pixdim"][1:4])
        if checked["pixdim"][0] not in (-1, 1):  # 0 counts as 1
            checked["pixdim"][0] = 1
        matrix = np.array(checked.get_sform() if name == "sform" else checked.get_qform(), np.float64)
        Geometry.of_affine(("z", "y", "x"), matrix)
    except (ValueError, nibabel.spatialimages.HeaderDataError) as error:
        logger.warning(f"{path}: its {name} is not used, because it is no valid orientation ({error})")
        return None
    return matrix, code


def _permutation(slice_axis: int) -> np.ndarray:
    """Matrix from index (x, y, z, 1) to the index of the array, whose axis ``slice_axis`` is z."""
    order = [n for n in range(3) if n != slice_axis]
    return np.eye(4)[:, [*order, slice_axis, 3]]


def open_sink(path: Path, spec: Spec) -> Sink:
    """Open a writer of a NIfTI file, gzipped if the name ends so.

    Header, matrices, codes, slope and order of axes are those of a NIfTI input. Without one an affine matrix becomes
    the sform (code 1), and the qform too unless it has shear; without an affine matrix both codes are 0. NIfTI-2 where
    an axis is longer than NIfTI-1 can count, 32767. Frame times are kept if they are even.

    Raises:
        DataError: for an axis of coils, or what NIfTI cannot hold.
    """
    if "coil" in spec.axes:
        raise DataError(f"{path}: NIfTI has no axis for coils, got {spec}; choose another format")
    native = spec.native if isinstance(spec.native, NiftiNative) else None
    slice_axis = native.slice_axis if native and "z" in spec.axes else 2
    names = [*"xy"[:slice_axis], "z", *"xy"[slice_axis:]] if "z" in spec.axes else ["x", "y"]
    sizes = [spec.size(name) for name in names]
    if "t" in spec.axes:
        sizes += [spec.size("t")] if len(sizes) == 3 or (native and native.is_xyt) else [1, spec.size("t")]
        names.append("t")
    extensions = native.extensions if native else b""
    try:
        header = _new_header(path, spec, native, sizes, len(extensions))
    except nibabel.spatialimages.HeaderDataError as error:
        raise DataError(f"{path}: NIfTI cannot hold {spec} ({error}); choose another format") from error
    octets = header.binaryblock + bytes([bool(extensions), 0, 0, 0]) + extensions
    order = [spec.axes.index(name) for name in reversed(names)]
    return Sink(path, spec, partial(_encode, octets, header.get_data_dtype(), order))


def _encode(header: bytes, dtype: np.dtype, order: list[int], path: Path, sink: Sink) -> None:
    write_flat(path, header, sink, dtype, order, packed=sink.path.suffix.lower() == ".gz")


def _new_header(path: Path, spec: Spec, native: NiftiNative | None, sizes: list[int], n_extension: int) -> Any:
    given = native.header if native else None
    is_long = max(sizes) > _NIFTI1_LONGEST or isinstance(given, nibabel.nifti2.Nifti2Header)
    header = _copied(given, nibabel.nifti2.Nifti2Header if is_long else nibabel.nifti1.Nifti1Header)
    if given is not None and given.get_data_shape() != tuple(sizes):
        for name in ("slice_code", "slice_start", "slice_end", "slice_duration"):  # of the slices that were
            header[name] = 0
    header.set_data_dtype(spec.dtype)
    header.set_data_shape(sizes)
    header.set_slope_inter(spec.intensity.slope, spec.intensity.intercept)
    header["vox_offset"] = int(header["sizeof_hdr"]) + 4 + n_extension
    header["magic"] = type(header)()["magic"]
    _set_place(path, spec, header, native, len(sizes))
    return header


def _set_place(path: Path, spec: Spec, header: Any, native: NiftiNative | None, time_axis: int) -> None:
    """Set matrices, voxel sizes, units and times of a header."""
    geometry = spec.geometry
    order = _permutation(native.slice_axis if native and "z" in spec.axes else 2)
    length_unit, time_unit = _units(header)
    header["sform_code"] = header["qform_code"] = 0
    if geometry.affine is None:
        geometry = geometry if geometry.unit in _UNITS else geometry.in_unit("millimeter")
        length_unit = _UNITS.get(geometry.unit or "", "unknown")
        unknown = 1.0 if geometry.unit is None else 0.0
        steps = {axis: unknown if n is None else n for axis, n in geometry.steps.items()}
        header["pixdim"][1:4] = order[:3, :3] @ [steps.get(axis, unknown) for axis in "xyz"]
    else:
        length_unit = length_unit if native and native.forms else "mm"
        for name, (form, code) in _forms(geometry.affine, native, order).items():
            header["pixdim"][1:4] = np.linalg.norm(form[:3, :3], axis=0)
            (header.set_sform if name == "sform" else header.set_qform)(form, code)
    times = geometry.frame_times_s
    if times is None:
        time_unit = "unknown"
    elif len(times) > 1:
        time_unit = time_unit if time_unit in SECONDS else "sec"
        intervals = np.diff(times) / SECONDS[time_unit]
        header["pixdim"][time_axis], header["toffset"] = np.mean(intervals), times[0] / SECONDS[time_unit]
        if np.ptp(intervals) > _UNEVEN * np.mean(intervals):
            logger.warning(f"{path}: frame times are not kept, because NIfTI has even ones only")
            header["pixdim"][time_axis], header["toffset"], time_unit = 0, 0, "unknown"
    header.set_xyzt_units(length_unit, time_unit)


def _copied(given: Any, kind: Any) -> Any:
    """A new header of a type with the entries of another one that both types have; the byte order is kept."""
    if isinstance(given, kind):
        return given.copy()
    header: Any = kind() if given is None else kind(endianness=given.endianness)
    if given is not None:
        for name in set(header.keys()) & set(given.keys()) - {"sizeof_hdr", "magic", "vox_offset", "dim"}:
            header[name] = given[name]
    return header


def _forms(affine: np.ndarray, native: NiftiNative | None, order: np.ndarray) -> dict[str, tuple[np.ndarray, int]]:
    """Return sform and qform of an output: those of the input, moved as its affine matrix was moved."""
    if native is not None and native.affine is not None:
        moved = _permutation(native.slice_axis) @ np.linalg.inv(native.affine) @ affine @ order.T
        return {name: (form @ moved, code) for name, (form, code) in native.forms.items()}
    form = affine @ order.T
    directions = form[:3, :3] / np.linalg.norm(form[:3, :3], axis=0)
    names = ("sform", "qform") if np.abs(directions.T @ directions - np.eye(3)).max() < _SHEAR else ("sform",)
    return dict.fromkeys(names, (form, _CODE_SCANNER))
