"""A MONAI data set of slices: reads files lazily, keeps what it read, says which file is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

from common.data.cached import CachedDataset
from common.data.files import find_files
from common.data.readers import SliceReader, list_slices, open_slices
from common.errors import DataError
from common.operators.fourier import ifft2c


class SliceDataset(CachedDataset):
    """Slices as dictionaries of tensors.

    An item has the entries of its data list, and ``image``: the fully sampled slice, float32 or complex64
    ``(1, height, width)`` in image units (fully sampled k-space is transformed). A file of undersampled k-space gives
    ``kspace``, complex64, and ``mask``, float32, of that shape instead, and ``image`` too where it stores a reference
    reconstruction of that size.

    With ``coils="multi"`` an item of k-space always has ``kspace``, ``(n_coils, height, width)``, ``mask``,
    ``(1, height, width)``, only where it is undersampled, and as ``image`` the root sum of squares that the file
    stores, where it has the size of the k-space or ``(recon_height, recon_width)``.

    Args:
        data: see :func:`common.data.readers.list_slices`.
        transform: applied to an item after reading.
        cache: whether to keep slices in memory once read, before the transform.
        fully_sampled: whether undersampled k-space is refused, as training must: it has no truth.
        options: passed to :func:`common.data.readers.open_slices`, e.g. ``intensity_range`` or ``coils``; the same as
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
        self.options = tuple(sorted(options.items()))
        self.fully_sampled = fully_sampled

    def _read(self, entry: dict[str, Any]) -> dict[str, Any]:
        reader, index = _reader(str(entry["path"]), self.options), entry["slice"]
        values = torch.from_numpy(reader.read(index))
        values = values if values.ndim == 3 else values[None]
        if reader.kind == "image":
            return {**entry, "image": values}
        mask = reader.mask(index)
        if mask is None and reader.coils != "multi":
            return {**entry, "image": ifft2c(values)}
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
        sizes = {(reader.height, reader.width)}
        if reader.coils == "multi":
            sizes.add((reader.recon_height, reader.recon_width))
        reference = reader.reference(index)
        if reference is not None and reference.shape in sizes:
            item["image"] = torch.from_numpy(reference)[None]
        return item


@lru_cache(maxsize=1024)
def _reader(path: str, options: tuple[tuple[str, Any], ...]) -> SliceReader:
    return open_slices(path, **dict(options))


def find_slices(dataset_dir: str, split: str | None = None, *, hint: str = "", **options: Any) -> list[dict[str, Any]]:
    """The data list of a folder: :func:`~common.data.files.find_files`, then its slices; arguments as there.

    Options are those of :func:`~common.data.readers.open_slices`.
    """
    return list_slices(find_files(dataset_dir, split, hint=hint), **options)
