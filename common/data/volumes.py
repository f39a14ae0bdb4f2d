"""Volumes that fit into memory, as a MONAI data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common.data.cached import CachedDataset
from common.data.finding import find_images
from common.errors import DataError
from common.io import IntensityRange, Source, find_range, open_source
from torch import Tensor


def one_image(source: Source) -> Source:
    """Return the image or volume, with the axes (y, x) or (z, y, x), of a source of real values.

    Raises:
        DataError: for k-space, complex values, or several frames or coils.
    """
    spec = source.spec
    if spec.kind != "image":
        raise DataError(f"{source.name}: expected images, got k-space {spec}; reconstruct it before")
    if spec.dtype.kind == "c":
        raise DataError(f"{source.name}: expected real values, got {spec}; save the magnitudes")
    if spec.size("coil") > 1:
        raise DataError(f"{source.name}: expected one image or volume, got {spec}; combine the coils before")
    if spec.size("t") > 1:
        raise DataError(
            f"{source.name}: expected one image or volume, got the {spec.size('t')} frames of {spec}; choose one: "
            + source.option("frame", 0)
        )
    single = {axis: 0 for axis in ("coil", "t") if axis in spec.axes}
    return source.select(**single) if single else source


def read_whole(source: Source, low: float, high: float) -> Tensor:
    """The whole image or volume, float32 ``(1, height, width[, depth])``; ``low`` becomes 0 and ``high`` 1."""
    values = source.read_unit(None, low, high)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(1, 2, 0) if values.ndim == 3 else values))[None]


def find_volumes(
    dataset_dir: Path | str | None,
    split: str | None = None,
    hint: str = "",
    intensity_range: IntensityRange = "auto",
    source_options: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The data list of a folder of volumes: :func:`~common.data.find_images`, opened to see that they are volumes.

    The options are those of :class:`VolumeDataset`, so that what does not fit is found here; ``hint`` says what to do.

    Returns:
        ``[{"path": ..., "slice": 0, "n_slices": 1}, ...]``: a volume counts as one slice.

    Raises:
        DataError: for an image of two axes.
    """
    found = find_images(dataset_dir, split, hint)
    for item in found:
        with open_source(item["path"], **(source_options or {})) as source:
            image = one_image(source)
            if len(image.spec.shape) != 3:
                raise DataError(
                    f"{source.name}: expected a volume, got one image of {image.spec}; put the slices of a volume "
                    "into a folder of their own, or in one file"
                )
            if intensity_range != "measured":
                find_range(image, intensity_range)
    return [{**item, "slice": 0, "n_slices": 1} for item in found]


class VolumeDataset(CachedDataset):
    """Whole volumes as dictionaries: ``image``, float32 ``(1, height, width, depth)``, and the entry of the data list.

    Args:
        data: data list, as :func:`find_volumes` gives it.
        transform: applied to an item after reading.
        cache: True to keep volumes in memory once read, before the transform.
        intensity_range: what becomes [0, 1], see :func:`~common.io.find_range`.
        source_options: options of :func:`~common.io.open_source`, by name.
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
        self.options = dict(source_options or {})

    def _read(self, entry: dict[str, Any]) -> dict[str, Any]:
        with open_source(entry["path"], **self.options) as source:
            image = one_image(source)
            return {**entry, "image": read_whole(image, *find_range(image, self.intensity_range))}
