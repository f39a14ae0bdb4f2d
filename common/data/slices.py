"""A MONAI data set of slices: reads files lazily, keeps what it read, says which file is wrong."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from common.data.cached import CachedDataset
from common.data.finding import find_files, list_entries
from common.data.reader import SliceReader, open_slices
from common.errors import DataError
from common.operators.fourier import ifft2c

_SIZES = ("n_slices", "height", "width", "recon_height", "recon_width")
_KEPT = 64  # readers of a data set that are not opened anew for each slice


class SliceDataset(CachedDataset):
    """Slices as dictionaries of tensors.

    An item has the entries of its data list, and ``image``: the fully sampled slice, float32 or complex64
    ``(1, height, width)`` in image units (fully sampled k-space is transformed; where nothing will change the image, it
    stays in ``kspace`` too, and is not computed again). A file of undersampled k-space gives
    ``kspace``, complex64, and ``mask``, float32, of that shape instead, and ``image`` too where it stores a target of
    the size of the k-space or of ``(recon_height, recon_width)``.

    With ``coils="multi"`` an item of k-space always has ``kspace``, ``(n_coils, height, width)``, ``mask``,
    ``(1, height, width)``, only where it is undersampled, and as ``image`` the root sum of squares that the file
    stores, of those sizes. Reference lines that were measured for themselves are ``calibration``,
    ``(n_coils, height, width)``, 0 where there are none.

    Args:
        data: data list, as :func:`find_slices` gives it.
        transform: applied to an item after reading.
        cache: True to keep slices in memory once read, before the transform.
        fully_sampled: True to refuse undersampled k-space, as training must: it has no truth.
        options: options of :func:`~common.data.reader.open_slices`, e.g. ``intensity_range`` or ``coils``; the same as
            `find_slices` got.

    Raises:
        DataError: at an item, for undersampled k-space where ``fully_sampled`` is asked, naming the file.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable | None = None,
        cache: bool = False,
        fully_sampled: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(data, transform, cache)
        self.options = options
        self.fully_sampled = fully_sampled
        self._readers: OrderedDict[tuple[str, tuple[int, int] | None], SliceReader] = OrderedDict()

    def _read(self, entry: dict[str, Any]) -> dict[str, Any]:
        reader, index = self._reader(str(entry["path"])), entry["slice"]
        values = torch.from_numpy(reader.read(index))
        values = values if values.ndim == 3 else values[None]
        if reader.kind == "image":
            return {**entry, "image": values}
        mask = reader.mask(index)
        if mask is None and reader.coils != "multi":
            further = {"kspace": values} if not (self.transform.transforms or self.fully_sampled) else {}
            return {**entry, "image": ifft2c(values), **further}
        if mask is None:
            item = {**entry, "kspace": values}
        elif self.fully_sampled:
            raise DataError(
                f"{entry['path']}: expected fully sampled data to train on, got k-space with a mask of "
                f"{mask.mean():.0%}; move the file to a folder for inference, or remove the mask if it is not one"
            )
        else:
            sampled = torch.from_numpy(mask)[None].float()
            item = {**entry, "kspace": values * sampled, "mask": sampled}
            lines = reader.calibration(index) if reader.coils == "multi" else None
            item |= {} if lines is None else {"calibration": torch.from_numpy(lines)}
        target = reader.target(index)
        sizes = ((reader.height, reader.width), (reader.recon_height, reader.recon_width))
        if target is not None and target.shape in sizes:
            item["image"] = torch.from_numpy(target)[None]
        return item

    def _reader(self, path: str) -> SliceReader:
        """The reader of a file, opened anew if the file has changed."""
        key = path, _state(path)
        if key not in self._readers:
            self._readers[key] = open_slices(path, **self.options)
        self._readers.move_to_end(key)
        while len(self._readers) > _KEPT:
            self._readers.popitem(last=False)
        return self._readers[key]


def _state(path: str) -> tuple[int, int] | None:
    """Time of change and size; ``None`` for a file that is missing."""
    if not os.path.exists(path):
        return None
    state = os.stat(path)
    return state.st_mtime_ns, state.st_size


def list_slices(
    files: Iterable[Path | str], *, skip_bad_files: bool = False, **options: Any
) -> list[dict[str, str | int]]:
    """List the slices of files; reads headers only.

    An entry has ``path``, ``slice``, ``n_slices``, ``height``, ``width``, ``recon_height`` and ``recon_width``.

    Args:
        files: data files, for example from :func:`~common.data.finding.find_files`.
        skip_bad_files: option of :func:`~common.data.finding.list_entries`.
        options: options of :func:`~common.data.reader.open_slices`.
    """

    def describe(file: Mapping[str, str]) -> dict[str, int]:
        reader = open_slices(file["path"], **options)
        reader.source.close()
        return {name: getattr(reader, name) for name in _SIZES}

    return list_entries([{"path": str(file)} for file in files], describe, skip_bad_files)


def find_slices(
    dataset_dir: Path | str | Sequence[Path | str] | None,
    split: str | None = None,
    *,
    hint: str = "",
    skip_bad_files: bool = False,
    **options: Any,
) -> list[dict[str, Any]]:
    """The data list of a folder: the slices of its files, see :func:`~common.data.finding.find_files`.

    Raises:
        FileNotFoundError: the folder is missing or holds no data; ``hint`` says what to do.
        DataError: for a file that cannot be used; with ``skip_bad_files`` if none can.
    """
    return list_slices(find_files(dataset_dir, split, hint=hint), skip_bad_files=skip_bad_files, **options)
