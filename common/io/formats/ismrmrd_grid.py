"""Lines of ISMRMRD raw data: those of one image, and their places on a grid.

Flags and counters are those of version 1 of the format (Inati et al. 2017, doi 10.1002/mrm.26089).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from common.errors import DataError
from common.io.choice import chosen, listed
from common.io.ismrmrd_header import Encoding

REFERENCE, REFERENCE_AND_IMAGING, _REVERSED = 20, 21, 22  # numbers of flags, from 1
NOISE = 19
# noise, navigator, phase correction, feedback, dummy, surface coil correction, phase stabilisation and its reference
SKIPPED = (NOISE, 23, 24, 26, 27, 28, 29, 30, 31)
ONE_SIZE = ("active_channels", "number_of_samples", "center_sample", "discard_pre", "discard_post")
_CHOSEN = ("contrast", "repetition", "set")  # counters whose values are images of their own
_SAME_PLACE = 1e-3  # mm: rounding must not sort slices of one position


@dataclass(frozen=True, eq=False)
class Grid:
    """Places of the samples of a scan.

    Attributes:
        encoding: first encoding of the header, with the readout as it was sampled.
        n_coils: receiver coils.
        n_samples: samples of a line.
        used: those that are used.
        rows: rows of the encoded matrix to which they go.
        height: rows of the image's field of view.
        numbers: for each (frame, slice), the places of its lines in the file.
        columns: for each of these lines, its column.
        full: columns of which a fully sampled slice lacks none.
        shape: number of frames and slices.
    """

    encoding: Encoding
    n_coils: int
    n_samples: int
    used: slice
    rows: np.ndarray
    height: int
    numbers: dict[tuple[int, int], np.ndarray]
    columns: dict[tuple[int, int], np.ndarray]
    full: frozenset[int]
    shape: tuple[int, int]

    def row_mask(self) -> np.ndarray:
        """Rows with samples, bool ``[height]``, of the cropped readout, whose samples lie further apart."""
        encoded = self.encoding.encoded[0]
        places = np.rint((np.arange(self.height) - self.height // 2) * (encoded / self.height)).astype(int)
        return np.isin((places + encoded // 2).clip(0, encoded - 1), self.rows)

    @property
    def is_full(self) -> bool:
        """Return True if every slice has all its samples."""
        every = all(self.full <= {int(n) for n in columns} for columns in self.columns.values())
        return every and bool(self.row_mask().all())


def has_flag(heads: np.ndarray, *flags: int) -> np.ndarray:
    """Return for each line whether one of the flags, numbered from 1, is set."""
    bits = sum(1 << (flag - 1) for flag in flags)
    return (heads["flags"] & np.uint64(bits)) != 0


def with_counter(heads: np.ndarray, lines: np.ndarray, counter: str, value: int | None, name: str) -> np.ndarray:
    """The lines of one value of a counter, which must be chosen if there are several."""
    values = heads["idx"][counter][lines]
    return lines[values == chosen(np.unique(values).tolist(), value, counter, counter, name)]


def is_integrated(heads: np.ndarray, imaging: np.ndarray, reference: np.ndarray, encoding: Encoding) -> bool:
    """Return True for reference lines that the accelerated scan left out; else they are a scan of their own."""
    if encoding.calibration in ("embedded", "interleaved"):
        return True
    counters = heads["idx"]
    own = [np.unique(counters[name][imaging]).tolist() for name in _CHOSEN]
    if encoding.calibration in ("separate", "external") or own != [
        np.unique(counters[name][reference]).tolist() for name in _CHOSEN
    ]:
        return False

    def places(lines: np.ndarray) -> set[tuple[int, ...]]:
        names = ("slice", "phase", "kspace_encode_step_1")
        return set(zip(*(counters[name][lines].tolist() for name in names), strict=True))

    return places(imaging).isdisjoint(places(reference))


def checked_encoding(encoding: Encoding | None, name: str) -> Encoding:
    """Return the encoding if it is that of Cartesian 2-D slices, else raise DataError."""
    if encoding is None:
        raise DataError(f"{name}: expected an ISMRMRD header with an encoding, got none; convert the scan again")
    if encoding.trajectory != "cartesian":
        raise DataError(
            f"{name}: expected a Cartesian trajectory, got {encoding.trajectory or 'none'!r}; grid the scan to "
            "Cartesian k-space before, or give its reconstructed images"
        )
    if encoding.encoded[2] > 1:
        raise DataError(
            f"{name}: expected 2-D slices, got a 3-D encoding with {encoding.encoded[2]} partitions; transform them to "
            "slices and write fastMRI's layout"
        )
    return encoding


def check_lines(heads: np.ndarray, name: str) -> None:
    """Check that the lines of one image are alike, and read in one direction, else raise DataError."""
    if has_flag(heads, _REVERSED).any():
        raise DataError(f"{name}: expected lines read in one direction, got reversed ones (EPI); correct them before")
    for counter in ONE_SIZE:
        found = np.unique(heads[counter])
        if len(found) > 1:
            raise DataError(
                f"{name}: expected lines of one {counter}, got {listed(found.tolist())}; write a file for each"
            )
    if len(np.unique(heads["idx"]["kspace_encode_step_2"])) > 1:
        raise DataError(f"{name}: expected 2-D slices, got lines of several kspace_encode_step_2; write slices")
    if (found := np.unique(heads["encoding_space_ref"])).tolist() != [0]:
        raise DataError(
            f"{name}: expected lines of the first encoding, got {listed(found.tolist())}; write a file for each"
        )


def sampled_readout(head: np.ndarray, encoding: Encoding, name: str) -> Encoding:
    """The encoding with the readout as it was sampled.

    Some headers give the encoded matrix at base resolution while lines keep their oversampling: lines of a whole
    multiple of the matrix, centred, cover that multiple of the field of view.

    Raises:
        DataError: for centred lines as short as the image's, whose oversampling may have been removed or not.
    """
    n_samples, rows = int(head["number_of_samples"]), encoding.encoded[0]
    is_centred = int(head["center_sample"]) == n_samples // 2
    if n_samples > rows and n_samples % rows == 0 and is_centred:
        factor = n_samples // rows
        return replace(
            encoding,
            encoded=(n_samples, *encoding.encoded[1:]),
            encoded_fov=(encoding.encoded_fov[0] * factor, *encoding.encoded_fov[1:]),
            recon=encoding.recon or encoding.encoded,
            recon_fov=encoding.recon_fov if encoding.recon else encoding.encoded_fov,
        )
    if encoding.recon is not None and is_centred and n_samples == encoding.recon[0] < rows:
        raise DataError(
            f"{name}: expected lines of {rows} samples as the encoded matrix has, got {n_samples} as the image has; "
            f"write {n_samples} as encoded matrix if oversampling was removed, or fill the lines up"
        )
    return encoding


def grid_of(
    heads: np.ndarray, lines: np.ndarray, encoding: Encoding, order: list[int], name: str, frames: int | None = None
) -> Grid:
    """Places of lines; ``frames`` is the number of frames that reference lines of one frame are for."""
    counters = heads["idx"][lines]
    columns, full = _columns(counters["kspace_encode_step_1"].astype(int), encoding, name)
    used, rows = _readout(heads[lines[0]], encoding, name)
    phases = np.unique(counters["phase"]).tolist()
    numbers, places = {}, {}
    n_frames = len(phases) if frames is None else frames
    for z, number in enumerate(order):
        of_slice = counters["slice"] == number
        for t in range(n_frames):
            inside = of_slice & (counters["phase"] == phases[t]) if len(phases) == n_frames else of_slice
            if not inside.any() and frames is None:
                raise DataError(f"{name}: slice {number} has no lines of phase {phases[t]}; the scan is incomplete")
            numbers[t, z], places[t, z] = lines[inside], columns[inside]
    height = encoding.wanted(0, encoding.encoded[0])
    n_coils, n_samples = (int(heads[field][lines[0]]) for field in ("active_channels", "number_of_samples"))
    return Grid(encoding, n_coils, n_samples, used, rows, height, numbers, places, full, (n_frames, len(order)))


def _columns(steps: np.ndarray, encoding: Encoding, name: str) -> tuple[np.ndarray, frozenset[int]]:
    """Columns of phase-encoding steps, and those that a fully sampled slice has."""
    width = encoding.encoded[1]
    low, high, centre = encoding.line_limits or (0, width - 1, width // 2)
    columns = steps - centre + width // 2
    if columns.min() < 0 or columns.max() >= width:
        raise DataError(
            f"{name}: expected phase-encoding lines {centre - width // 2} to {centre - width // 2 + width - 1} for an "
            f"encoded matrix of {width} with its centre at {centre}, got {steps.min()} to {steps.max()}; correct the "
            "header"
        )
    # padding is alike on both sides of the centre, up to one line; what is missing on one side only is undersampling
    reach = min(max(centre - low, high - centre), 2 * width)
    full = {*range(max(low, 0), min(high, low + 4 * width) + 1), *range(centre - reach + 1, centre + reach)}
    return columns, frozenset(step - centre + width // 2 for step in full) & frozenset(range(width))


def _readout(head: np.ndarray, encoding: Encoding, name: str) -> tuple[slice, np.ndarray]:
    """The samples of a line that are used, and the rows ``[samples]`` to which they go."""
    n_samples, rows = int(head["number_of_samples"]), encoding.encoded[0]
    start, stop = int(head["discard_pre"]), n_samples - int(head["discard_post"])
    first = 0 if n_samples == rows else rows // 2 - int(head["center_sample"])
    places = np.arange(start, stop) + first
    if not len(places) or places[0] < 0 or places[-1] >= rows:
        raise DataError(
            f"{name}: expected lines that fit an encoded matrix of {rows} along the readout, got {n_samples} samples "
            f"with their centre at {int(head['center_sample'])}; correct the header"
        )
    return slice(start, stop), places


def slices_in_order(heads: np.ndarray) -> tuple[list[int], float | None]:
    """Counters of the slices in the order of their positions, and their distance in mm.

    The distance is ``None`` for one slice (then it is its thickness), and NaN where positions do not give it.
    """
    found, first = np.unique(heads["idx"]["slice"], return_index=True)
    direction = heads["slice_dir"][0].astype(float)
    along = np.nan_to_num(heads["position"][first].astype(float) @ direction)
    along = np.round(along / _SAME_PLACE) * _SAME_PLACE
    order = np.lexsort((found, along))
    counters = [int(found[n]) for n in order]
    if len(counters) == 1:
        return counters, None
    steps = np.diff(along[order]) / max(float(np.linalg.norm(direction)), 1e-6)
    is_regular = steps.min() > 0 and steps.max() - steps.min() <= 0.01 * steps.max() + 2 * _SAME_PLACE
    return counters, float(steps.mean()) if is_regular else float("nan")
