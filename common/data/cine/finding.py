"""Which files of a folder are cine series, and which belong together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.data.cine.reader import HDF5_SUFFIXES, SUFFIXES, IntensityRange, open_cine
from common.data.files import POINT_TO_DATA, data_folder, dicom_files, natural_key, split_suffix

INPUT, TRUTH = "input_", "truth_"
_OTHER_NAME = {"valid": "validation", "validation": "valid"}

Files = tuple[Path, Path | None]
"""A file, and that of its truths if they have one of their own."""


def find_cine(
    dataset_dir: Path | str | None = None,
    split: str | None = None,
    hint: str = "",
    intensity_range: IntensityRange = "auto",
    input_file: Path | str | None = None,
    truth_file: Path | str | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """The data list of a set of cine series; shapes are read, not values.

    ``dataset_dir`` is

    - a folder with a subfolder ``split`` of files: ``train``, ``valid``, ``test``;
    - a folder of pairs, HDF5 files of inputs and of truths: ``input_train.h5``, ``truth_train.h5`` and likewise
      ``validation`` (or ``valid``), ``test``;
    - without ``split``: a folder of files (pairs among them), DICOM files or subfolders of these, or one file.

    Files are HDF5, NIfTI and DICOM, see :func:`~common.data.cine.open_cine`; in natural order. Hidden files and those
    of other suffixes are passed over.

    Args:
        dataset_dir: see above; not needed where two files are named.
        split: "train", "valid" or "test".
        hint: the way out, appended to the error: the command that makes synthetic data and the real data that fit.
        intensity_range: as :class:`~common.data.cine.CineDataset` will have it.
        input_file: an HDF5 file of inputs, in place of all that.
        truth_file: that of its truths; may be left out.
        options: of :func:`~common.data.cine.open_cine`.

    Returns:
        one entry a series: ``path`` (of pairs the input's), ``slice``, ``n_slices``, ``height``, ``width``,
        ``n_frames``, and of pairs ``truth_path``.

    Raises:
        FileNotFoundError: the folder is missing or holds no such file.
        DataError: a file is not what it should be.
    """
    if truth_file is not None and input_file is None:
        raise ValueError(f"truth_file {truth_file}: expected input_file beside it, got none; give dataset_dir instead")
    if input_file is not None:
        files: Sequence[Files] = [(Path(input_file), None if truth_file is None else Path(truth_file))]
    else:
        files = _files(dataset_dir, split, hint or POINT_TO_DATA)
    entries: list[dict[str, Any]] = []
    for path, truth_path in files:
        source = open_cine(path, truth_path, intensity_range=intensity_range, **options).source
        height, width, n_frames = source.size
        common: dict[str, Any] = {"n_slices": source.n_series, "height": height, "width": width, "n_frames": n_frames}
        if truth_path is not None:
            common["truth_path"] = str(truth_path)
        entries += [{"path": str(path), "slice": index, **common} for index in range(source.n_series)]
    return entries


def _files(dataset_dir: Path | str | None, split: str | None, hint: str) -> list[Files]:
    root = data_folder(dataset_dir, None, hint)
    if root.is_file() or dicom_files(root):
        if split:
            raise FileNotFoundError(f"dataset_dir: {root} has no folder {split}, it is one set; pass no split; {hint}")
        return [(root, None)]
    names = [split, _OTHER_NAME.get(split, split)] if split else []
    folder = next((root / name for name in names if (root / name).is_dir()), root)
    found = paired(sorted((path for path in folder.iterdir() if _is_cine(path)), key=natural_key))
    if split and folder == root:
        wanted = {f"{kind}{name}" for kind in (INPUT, TRUTH) for name in names}
        found = [files for files in found if split_suffix(files[0], SUFFIXES)[0] in wanted]
        if not found:
            raise FileNotFoundError(
                f"dataset_dir: no folder {root / split} and no file {INPUT}{split}.h5 there; {hint}"
            )
    if not found:
        raise FileNotFoundError(
            f"dataset_dir: no file of {', '.join(SUFFIXES)} and no DICOM series directly in {folder}; {hint}"
        )
    return found


def paired(paths: Sequence[Path]) -> list[Files]:
    """HDF5 inputs with their truths; a truth without input is a file of its own."""
    hdf5 = {path.name: path for path in paths if path.suffix.lower() in HDF5_SUFFIXES}
    truths = {path: hdf5.get(TRUTH + name.removeprefix(INPUT)) for name, path in hdf5.items() if name.startswith(INPUT)}
    return [(path, truths.get(path)) for path in paths if path not in truths.values()]


def _is_cine(path: Path) -> bool:
    if path.name[0] == ".":
        return False
    if path.is_dir():
        return bool(dicom_files(path))
    return bool(split_suffix(path, SUFFIXES)[1])
