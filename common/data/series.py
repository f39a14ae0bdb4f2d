"""Cine series, moving pictures of a heart: which files have them, and a MONAI data set of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from common.data.cached import CachedDataset
from common.data.finding import POINT_TO_DATA, data_folder, find_files, list_entries
from common.data.series_reader import CineReader, open_cine
from common.errors import DataError
from common.io import FORMATS, IntensityRange, format_of, split_suffix

INPUT, TRUTH = "input_", "truth_"

_OTHER_NAME = {"valid": "validation", "validation": "valid"}
_HDF5 = (".h5", ".hdf5")
_ITEM_PARTS = ("recon", "truth", "kspace", "mask", "samples", "trajectory")

Files = tuple[Path, Path | None]
"""A file, and that of its truths if they have one of their own."""


def find_cine(
    dataset_dir: Path | str | None = None,
    split: str | None = None,
    hint: str = "",
    intensity_range: IntensityRange = "auto",
    input_file: Path | str | None = None,
    truth_file: Path | str | None = None,
    source_options: Mapping[str, Any] | None = None,
    skip_bad_files: bool = False,
) -> list[dict[str, Any]]:
    """The data list of a set of cine series; shapes are read, not values.

    ``dataset_dir`` is

    - a folder with a subfolder ``split`` of files: ``train``, ``valid``, ``test``;
    - a folder of pairs, HDF5 files of inputs and of truths: ``input_train.h5``, ``truth_train.h5`` and likewise
      ``validation`` (or ``valid``), ``test``;
    - without ``split``: a folder of files (pairs among them), DICOM files or subfolders of these, or one file.

    Files are those of :func:`~common.data.find_files`, in natural order. Single pictures (PNG) and folders of them are
    passed over: they have no axis of time.

    Args:
        dataset_dir: folder or file, as above; not needed where two files are named.
        split: "train", "valid" or "test".
        hint: what to do, appended to errors: the command that makes synthetic data and the real data that fit.
        intensity_range: as :class:`CineDataset` will have it.
        input_file: a file of inputs, in place of all that.
        truth_file: that of its truths; may be left out.
        source_options: options of :func:`~common.io.open_source`.
        skip_bad_files: option of :func:`~common.data.finding.list_entries`.

    Returns:
        one entry a series: ``path`` (of pairs the input's), ``slice``, ``n_slices``, ``height``, ``width``,
        ``n_frames``, and of pairs ``truth_path``.

    Raises:
        FileNotFoundError: the folder is missing or has no such file.
        DataError: a file is not what it should be.
    """
    if truth_file is not None and input_file is None:
        raise ValueError(f"truth_file {truth_file}: expected input_file beside it, got none; give dataset_dir instead")
    if input_file is not None:
        files: Sequence[Files] = [(Path(input_file), None if truth_file is None else Path(truth_file))]
    else:
        files = _files(dataset_dir, split, hint or POINT_TO_DATA)

    def describe(entry: Mapping[str, str]) -> dict[str, int]:
        reader = open_cine(*_files_of(entry), intensity_range=intensity_range, source_options=source_options)
        reader.close()
        height, width, n_frames = reader.size
        return {"n_slices": reader.n_series, "height": height, "width": width, "n_frames": n_frames}

    return list_entries([_entry_of(*pair) for pair in files], describe, skip_bad_files)


def _entry_of(path: Path, truth_path: Path | None) -> dict[str, str]:
    return {"path": str(path), **({} if truth_path is None else {"truth_path": str(truth_path)})}


def _files_of(entry: Mapping[str, str]) -> Files:
    return Path(entry["path"]), Path(entry["truth_path"]) if "truth_path" in entry else None


def _files(dataset_dir: Path | str | None, split: str | None, hint: str) -> list[Files]:
    root = data_folder(dataset_dir, None, hint)
    names = [split, _OTHER_NAME.get(split, split)] if split else []
    folder = next((root / name for name in names if (root / name).is_dir()), root)
    listed = find_files(folder, hint=hint)
    if split and (root.is_file() or listed == [root]):
        raise FileNotFoundError(f"dataset_dir: {root} has no folder {split}, it is one set; pass no split; {hint}")
    found = paired([path for path in listed if _may_have_time(path)] if listed != [root] else listed)
    if split and folder == root:
        wanted = {f"{kind}{name}" for kind in (INPUT, TRUTH) for name in names}
        found = [files for files in found if split_suffix(files[0])[0] in wanted]
        if not found:
            raise FileNotFoundError(
                f"dataset_dir: no folder {root / split} and no file {INPUT}{split}.h5 there; {hint}"
            )
    if not found:
        raise FileNotFoundError(f"dataset_dir: no series directly in {folder}, single pictures only; {hint}")
    return found


def _may_have_time(path: Path) -> bool:
    if path.is_dir():
        found = format_of(path)
    else:  # by the name alone: a damaged file is reported when it is opened
        found = next((one for one in FORMATS if split_suffix(path)[1].lower() in one.suffixes), None)
    return found is None or found.module not in ("picture", "slices")


def paired(paths: Sequence[Path]) -> list[Files]:
    """HDF5 inputs with their truths; a truth without input is a file of its own."""
    hdf5 = {path.name: path for path in paths if path.suffix.lower() in _HDF5}
    truths = {path: hdf5.get(TRUTH + name.removeprefix(INPUT)) for name, path in hdf5.items() if name.startswith(INPUT)}
    return [(path, truths.get(path)) for path in paths if path not in truths.values()]


class CineDataset(CachedDataset):
    """Series as dictionaries of tensors, time last.

    An item has the entries of its data list, whichever the files have of

    - ``recon``, the aliased input, float32 ``(1, height, width, frames)``, 0 to 1 for the intensity range;
    - ``truth``, likewise, or complex64 where the file has a phase;
    - ``kspace``, measured, complex64 ``(n_coils, height, width, frames)``, 0 where not sampled, and ``mask``, float32
      ``(1, height, width, frames)``;
    - ``samples``, non-Cartesian, complex64 ``(frames, n_coils, readouts, samples)``, and ``trajectory``, float32
      ``(frames, readouts, samples, 2)``, row and column in cycles per pixel;

    and ``intensity_range``, float64 ``(2,)``: the values of the file that became 0 and 1.

    Args:
        data: data list, as :func:`find_cine` gives it.
        transform: applied to an item after reading.
        cache: True to keep series in memory once read, before the transform.
        intensity_range: what becomes [0, 1], see :class:`~common.data.series_reader.CineReader`.
        source_options: options of :func:`~common.io.open_source`; the same as `find_cine` got.

    Raises:
        DataError: at an item, naming the file, for what cannot be read; at a batch, for series of different sizes.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable | None = None,
        cache: bool = False,
        intensity_range: IntensityRange = "auto",
        source_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data, transform, cache)
        self.intensity_range = intensity_range
        self.source_options = dict(source_options or {})
        self._readers: dict[Files, CineReader] = {}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The items of a batch, as PyTorch's loaders ask for them."""
        items = [self[index] for index in indices]
        _check_alike(items)
        return items

    def _read(self, entry: dict[str, Any]) -> dict[str, Any]:
        files = _files_of(entry)
        if files not in self._readers:
            self._readers[files] = open_cine(
                *files, intensity_range=self.intensity_range, source_options=self.source_options
            )
        reader = self._readers[files]
        values = reader.read(entry["slice"])
        return {**entry, **values, "intensity_range": torch.tensor(reader.intensity_range, dtype=torch.float64)}


def _check_alike(items: Sequence[dict[str, Any]]) -> None:
    """Check that the series of a batch can be stacked."""
    first = items[0]
    for item in items[1:]:
        for part in _ITEM_PARTS:
            expected, got = ([*one[part].shape] if part in one else "none" for one in (first, item))
            if expected != got:
                raise DataError(
                    f"{item['path']}: expected {part} {expected} as {first['path']} in the same batch has, got {got}; "
                    "pass batch_size 1 for series that differ, or give series of one size"
                )
