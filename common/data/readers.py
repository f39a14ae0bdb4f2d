"""Reading data slice by slice, whatever the format: the place where stored values become image units."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from common.data.arrays import Hdf5Stack, NpyStack, optional_dataset
from common.data.coils import Coils, emulated_weights
from common.data.dicom_stack import DicomStack
from common.data.files import SUFFIXES, dicom_files, find_files, is_dicom, mask_path, split_suffix
from common.data.images import PngStack, TiffStack
from common.data.ismrmrd_header import HEADER_KEY, Encoding, hdf5_encoding
from common.data.ismrmrd_stack import IsmrmrdStack, is_ismrmrd
from common.data.nifti import NiftiStack
from common.data.oversampling import central_rows, crop_readout
from common.data.stacks import Slices, Stack
from common.data.stored_masks import StoredMask
from common.errors import DataError, file_errors
from common.operators.coils import root_sum_of_squares
from common.operators.fourier import ifft2c

__all__ = ["DataError", "SliceReader", "find_files", "list_slices", "open_slices"]

Kind = Literal["image", "kspace"]
IntensityRange = float | Sequence[float] | Literal["auto"]

# A pass over a file is made once in a process, also if the file is opened anew for each slice.
_peaks: dict[tuple[Any, ...], float] = {}
_weights: dict[tuple[Any, ...], np.ndarray] = {}

# Coils are combined by weights fitted to so much of a file: all of a volume would not fit into memory.
_FITTED_SLICES, _FITTED_PIXELS = 8, 2**15


class SliceReader:
    """A data file as slices in image units: ``read(i) = stored values / scale``.

    Opening reads headers only, `read` one slice only. No file is held open: readers can be pickled and used in
    forked or spawned workers.

    The scale, if ``intensity_range`` is "auto":

    - uint8 images: 255.
    - other images: the largest magnitude in the file, found in one pass over its slices when first needed. So a
      12-bit image in a uint16 file fills [0, 1], and values of a signed image lie in [-1, 1].
    - k-space: the HDF5 file's attribute ``max`` if it is there (fastMRI: the largest value of the reconstruction),
      else the largest magnitude of the zero-filled images of the file, in one pass.

    A file of zeros has scale 1. A number given as ``intensity_range`` is the scale; 1 leaves values as stored.
    For example a uint16 PNG with values up to 4000 reads 1000 as 0.25, and with ``intensity_range=65535`` as 0.0153.
    ``[low, high]`` is a window, for images alone: low is read as 0 and high as 1, such as [-1000, 2000] for CT.

    Several coils, as ``coils``:

    - "single": refused.
    - "emulated": combined to the k-space of one, see :func:`~common.data.coils.emulated_weights`. The weights are
      those of the volume, as fastMRI's: the fit sees the measured samples' images of up to 8 slices from all over it,
      within the recon size, and of these up to 32768 pixels drawn with a fixed seed (fastMRI: all), once in a process.
    - "multi": left as they are. The scale is the largest root sum of squares.

    Both scale by the attribute ``max`` where it is there, which in fastMRI's multi-coil files is of the root sum of
    squares.

    Attributes:
        path: the file.
        kind: "image", or "kspace": centred (DC at H//2, W//2) and orthonormal.
        n_slices, height, width: of what `read` gives.
        recon_height, recon_width: matrix of the image as the ISMRMRD header has it, at most the size of the data; the
            size of the data without a header.
        coils: as given.
        offset: stored value that is read as 0.
    """

    def __init__(
        self,
        stack: Stack,
        *,
        kind: Kind,
        intensity_range: IntensityRange = "auto",
        mask: Slices | None = None,
        reference: Slices | None = None,
        coils: Coils = "single",
        encoding: Encoding | None = None,
        remove_oversampling: bool = False,
    ) -> None:
        if kind == "kspace" and stack.dtype.kind != "c":
            raise DataError(
                f"{stack.name}: expected complex k-space, got {stack.dtype}; store complex64, or pass kind='image'"
            )
        _check_coils(stack, kind, coils)
        if reference is not None and reference.shape[0] != stack.shape[0]:
            raise DataError(
                f"{stack.name} and {reference.name}: expected as many references as slices, got {reference.shape[0]} "
                f"and {stack.shape[0]}; remove one of the data sets"
            )
        self.stack = stack
        self.path = stack.path
        self.kind = kind
        self.coils = coils
        self.n_slices, stored_height, self.width = stack.shape
        self.recon_height, self.recon_width = (stored_height, self.width)
        if encoding is not None:
            self.recon_height, self.recon_width = encoding.recon_size(stored_height, self.width)
        self.height = self.recon_height if remove_oversampling and kind == "kspace" else stored_height
        self._mask = None if mask is None else StoredMask(mask, stack.shape, stack.name)
        self._reference = reference
        self._scale, self.offset = _given_scale(intensity_range)
        if self.offset and kind == "kspace":
            raise ValueError(
                f"{stack.name}: intensity_range [low, high] is for images, and this is k-space; give a number"
            )

    @property
    def scale(self) -> float:
        """Stored units in one image unit; found at first use and kept."""
        if self._scale is None:
            if self.kind == "kspace" and self.stack.declared_peak is not None:
                self._scale = self.stack.declared_peak
            elif self.kind == "image" and self.stack.dtype == np.uint8:
                self._scale = 255.0
            else:
                self._scale = self._peak() or 1.0
        return self._scale

    def read(self, index: int) -> np.ndarray:
        """One slice in image units, ``[height, width]``, float32, or complex64 if stored complex.

        With ``coils="multi"``, ``[coils, height, width]``.
        """
        return self._in_image_units(self._values(index))

    def mask(self, index: int) -> np.ndarray | None:
        """Sampling mask of one slice, bool ``[height, width]``; None if none came with the data (fully sampled).

        `read` does not apply it: values outside the mask are given as the file has them.
        """
        if self._mask is None:
            return None
        mask = self._mask.read(self._checked(index))
        if len(mask) == self.height:
            return mask
        if (mask != mask[:1]).any():
            raise DataError(
                f"{self._mask.stack.name}, slice {index}: expected a mask of whole columns to remove oversampling "
                f"along the rows, got one that changes along them; leave out remove_oversampling"
            )
        return mask[: self.height]

    def reference(self, index: int) -> np.ndarray | None:
        """The file's own reconstruction of one slice in image units, or None.

        Its size can differ from the k-space's: fastMRI crops ``reconstruction_esc`` to 320 x 320 at the centre.
        """
        if self._reference is None:
            return None
        values = self._in_image_units(self._stored(self._reference, index))
        stored_height = self.stack.shape[1]
        if self.height < stored_height == len(values):
            return values[central_rows(stored_height, self.height)]
        return values

    def _checked(self, index: int) -> int:
        index = operator.index(index)
        if not 0 <= index < self.n_slices:
            raise IndexError(f"{self.path}: slice must be in [0, {self.n_slices - 1}], got {index}")
        return index

    def _values(self, index: int) -> np.ndarray:
        """One slice in stored units, of one coil, or of several with their axis."""
        if self.kind == "image":
            return self._stored(self.stack, index)
        values = self._coil_kspace(index)
        if self.coils == "emulated" and self.stack.n_coils > 1:
            return np.tensordot(self._combination().astype(values.dtype), values, axes=1)
        return values if self.coils == "multi" else values[0]

    def _coil_kspace(self, index: int) -> np.ndarray:
        """K-space of all coils in stored units, ``[coils, height, width]``."""
        values = self._stored(self.stack, index).reshape(self.stack.n_coils, *self.stack.shape[1:])
        return crop_readout(values, self.height)

    def _stored(self, stack: Slices, index: int) -> np.ndarray:
        index = self._checked(index)
        with file_errors(self.path, f"slice {index} of {list(stack.shape)} {stack.dtype}"):
            values = stack.load(index)
        if values.shape != stack.slice_shape:
            raise DataError(f"{stack.name}: changed since it was opened, slice {index} is now {list(values.shape)}")
        bad = int(values.size - np.isfinite(values).sum())
        if bad:
            raise DataError(
                f"{stack.name}, slice {index}: {bad} of {values.size} values are NaN or infinite; "
                f"repair or remove the file"
            )
        return values

    def _in_image_units(self, values: np.ndarray) -> np.ndarray:
        is_complex = np.iscomplexobj(values)
        scaled = np.divide(values - self.offset, self.scale, dtype=np.complex128 if is_complex else np.float64)
        return scaled.astype(np.complex64 if is_complex else np.float32)

    def _peak(self) -> float:
        key = (*self._state(), self.coils, self.height)
        if key not in _peaks:
            _peaks[key] = max(self._slice_peak(index) for index in range(self.n_slices))
        return _peaks[key]

    def _slice_peak(self, index: int) -> float:
        values = self._values(index)
        if self.kind == "kspace":
            values = self._zero_filled(values, index)
            if self.coils == "multi":
                return float(root_sum_of_squares(torch.from_numpy(values)[None]).max())
        # float64 first: abs of the smallest int16 does not fit int16
        return float(np.abs(values.astype(np.complex128 if np.iscomplexobj(values) else np.float64)).max())

    def _zero_filled(self, kspace: np.ndarray, index: int) -> np.ndarray:
        """Image of the measured samples, complex128, of the shape of ``kspace``."""
        mask = self.mask(index)
        measured = kspace if mask is None else kspace * mask
        return ifft2c(torch.from_numpy(measured.astype(np.complex128))).numpy()

    def _combination(self) -> np.ndarray:
        """Weights of the coils that emulate one, complex128 ``[coils]``."""
        key = (*self._state(), self.height, self.recon_height, self.recon_width)
        if key not in _weights:
            chosen = np.linspace(0, self.n_slices - 1, min(self.n_slices, _FITTED_SLICES)).round().astype(int)
            inside = (
                slice(None),
                central_rows(self.height, self.recon_height),
                central_rows(self.width, self.recon_width),
            )
            draw, wanted = np.random.default_rng(0), _FITTED_PIXELS // len(chosen)
            pixels = []
            for index in chosen:
                image = self._zero_filled(self._coil_kspace(int(index)), int(index))[inside]
                values = image.reshape(len(image), -1).T
                if len(values) > wanted:
                    values = values[np.sort(draw.choice(len(values), wanted, replace=False))]
                pixels.append(values)
            values = np.concatenate(pixels)
            _weights[key] = emulated_weights(values, np.linalg.norm(values, axis=1))
        return _weights[key]

    def _state(self) -> tuple[Any, ...]:
        """What the values of the file depend on."""
        sources = [self.stack] if self._mask is None else [self.stack, self._mask.stack]
        states = [(source.name, (state := source.path.stat()).st_mtime_ns, state.st_size) for source in sources]
        return self.kind, *states


def _check_coils(stack: Stack, kind: Kind, coils: Coils) -> None:
    if coils not in ("single", "emulated", "multi"):
        raise ValueError(f"coils must be 'single', 'emulated' or 'multi', got {coils!r}")
    if kind == "image" and coils == "multi":
        raise ValueError(f"{stack.name}: coils='multi' is for k-space, and this is an image; leave the option out")
    if stack.n_coils == 1 or (kind == "kspace" and coils != "single"):
        return
    shape = [stack.shape[0], stack.n_coils, *stack.shape[1:]]
    if kind == "image":
        raise DataError(f"{stack.name}: expected images [slices, height, width], got {shape}; reshape it")
    raise DataError(
        f"{stack.name}: expected single-coil [slices, height, width], got {shape}, which reads as [slices, coils, "
        f"height, width]; pass coils='emulated' to combine the coils to one, or coils='multi' to keep them"
    )


def _given_scale(intensity_range: IntensityRange) -> tuple[float | None, float]:
    """Scale, None if it is to be found, and offset."""
    if intensity_range == "auto":
        return None, 0.0
    ends = [0.0, intensity_range] if isinstance(intensity_range, (int, float)) else list(intensity_range)
    numbers = [end for end in ends if isinstance(end, (int, float))]
    if len(ends) != 2 or numbers != ends or not -np.inf < ends[0] < ends[1] < np.inf:
        raise ValueError(
            f"intensity_range must be 'auto', a positive number or two rising ones [low, high], got {intensity_range!r}"
        )
    return float(ends[1]) - float(ends[0]), float(ends[0])


def open_slices(
    path: Path | str,
    *,
    intensity_range: IntensityRange = "auto",
    mask_file: Path | str | None = None,
    kind: Literal["auto", "image", "kspace"] = "auto",
    slice_axis: int = -1,
    kspace_key: str = "kspace",
    mask_key: str | None = None,
    reference_key: str | None = None,
    series: str | None = None,
    coils: Coils = "single",
    remove_oversampling: bool = False,
    require_header: bool = False,
) -> SliceReader:
    """Opens a data file by its suffix (`SUFFIXES`, any case), or a DICOM series, a folder; headers only.

    A sampling mask comes from ``mask_file``, else from the HDF5 file's data set, else from ``<stem>_mask.npy``
    beside the data; the last two at once are refused.

    Args:
        path: PNG, TIFF, NIfTI, HDF5 (fastMRI's layout, or ISMRMRD raw data, which have the group ``dataset`` with
            ``data`` and ``xml``), ``.npy``, or a folder of DICOM files or one of them.
        intensity_range: the scale, see `SliceReader`.
        mask_file: a mask as ``.npy``, PNG or TIFF, ``[W]``, ``[H, W]`` or ``[slices, H, W]``.
        kind: "auto" takes HDF5 and complex ``.npy`` as k-space and the rest as images.
        slice_axis: array axis along which a NIfTI volume is cut.
        kspace_key: the HDF5 data set to read.
        mask_key: the HDF5 data set with the mask; None: ``mask`` if it is there.
        reference_key: the HDF5 data set with the reference; None: ``reconstruction_esc`` if it is there, for
            ``coils="multi"`` ``reconstruction_rss``.
        series: the ``SeriesInstanceUID`` to take from a folder of several DICOM series.
        coils: what is done with several coils, see `SliceReader`.
        remove_oversampling: whether the rows of k-space are reduced to those of the image of ``recon_height`` rows.
            Exact for masks of whole columns, others are refused. ISMRMRD raw data come without oversampling anyway.
        require_header: whether a file without ISMRMRD header is refused.

    Raises:
        FileNotFoundError: no such file.
        DataError: the file is not what its suffix says, has no k-space, several coils where one was asked for, a mask
            of another size, or a header that does not fit its k-space.
    """
    path = Path(path)
    if kind not in ("auto", "image", "kspace"):
        raise ValueError(f"kind must be 'auto', 'image' or 'kspace', got {kind!r}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; check the path")
    suffix = split_suffix(path)[1].lower()
    is_series = not suffix and (is_dicom(path) or bool(dicom_files(path)))
    if not path.is_file() and not is_series:
        raise DataError(f"{path}: expected a file, got a folder; list its files with find_files")
    mask: Slices | None = None
    reference: Slices | None = None
    encoding: Encoding | None = None
    if is_series:
        stack: Stack = DicomStack(path, series)
    elif suffix in (".h5", ".hdf5") and is_ismrmrd(path):
        stack = raw = IsmrmrdStack(path)
        mask, encoding = raw.sampling(), raw.encoding
    elif suffix in (".h5", ".hdf5"):
        stack = Hdf5Stack(path, kspace_key)
        mask = optional_dataset(path, mask_key, "mask")
        reference = optional_dataset(path, reference_key, f"reconstruction_{'rss' if coils == 'multi' else 'esc'}")
        encoding = hdf5_encoding(path)
    elif suffix in (".nii", ".nii.gz"):
        stack = NiftiStack(path, slice_axis)
    else:
        stack = _open_plain(path, suffix, min_ndim=2)
    if kind == "auto":
        measured = suffix in (".h5", ".hdf5") or (suffix == ".npy" and stack.dtype.kind == "c")
        kind = "kspace" if measured else "image"
    if encoding is not None and kind == "kspace" and not isinstance(stack, IsmrmrdStack):
        encoding.check_fit(*stack.shape[1:], stack.name)
    if require_header and encoding is None:
        raise DataError(
            f"{path}: expected an {HEADER_KEY} with an encoding, got none; add it, or leave out require_header"
        )
    return SliceReader(
        stack,
        kind=kind,
        intensity_range=intensity_range,
        mask=_chosen_mask(path, mask_file, mask),
        reference=reference,
        coils=coils,
        encoding=encoding,
        remove_oversampling=remove_oversampling,
    )


def list_slices(files: Iterable[Path | str], **options: Any) -> list[dict[str, str | int]]:
    """One entry a slice; reads headers only.

    An entry has ``path``, ``slice``, ``n_slices``, ``height``, ``width``, ``recon_height`` and ``recon_width``.

    Args:
        files: data files, for example from `find_files`.
        **options: of `open_slices`.
    """
    entries: list[dict[str, str | int]] = []
    for file in files:
        reader = open_slices(file, **options)
        size = {name: getattr(reader, name) for name in ("n_slices", "height", "width", "recon_height", "recon_width")}
        entries += [{"path": str(file), "slice": index, **size} for index in range(reader.n_slices)]
    return entries


def _open_plain(path: Path, suffix: str, *, min_ndim: int) -> Stack:
    if suffix == ".png":
        return PngStack(path)
    if suffix in (".tif", ".tiff"):
        return TiffStack(path)
    if suffix == ".npy":
        return NpyStack(path, min_ndim=min_ndim)
    raise DataError(f"{path}: unknown suffix {path.suffix!r}, expected one of {', '.join(SUFFIXES)}; convert the file")


def _chosen_mask(path: Path, mask_file: Path | str | None, own: Slices | None) -> Slices | None:
    if mask_file is not None:
        mask_file = Path(mask_file)
        if not mask_file.is_file():
            raise FileNotFoundError(f"mask_file: no file {mask_file}; check the path")
        suffix = split_suffix(mask_file)[1].lower()
        if suffix not in (".npy", ".png", ".tif", ".tiff"):
            raise DataError(f"{mask_file}: a mask file must be .npy, .png or .tif, got {suffix!r}; convert it")
        return _open_plain(mask_file, suffix, min_ndim=1)
    beside = mask_path(path)
    if not beside.is_file():
        return own
    if own is not None:
        raise DataError(f"{path}: two masks, {own.name} and {beside}; remove one or pass mask_file")
    return NpyStack(beside, min_ndim=1)
