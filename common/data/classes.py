"""Images in folders by class, to train a classifier on; photographs among them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common.errors import DataError
from common.io import natural_key, open_source
from monai.data import Dataset
from PIL import Image

CLASS_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
HELD_BACK = 5
"""Of undivided folders every so many-th image is for validation."""


def find_classes(dataset_dir: Path | str | None, split: str = "train", *, hint: str = "") -> list[dict[str, Any]]:
    """The data list of a folder of classes, in the order of their names.

    Either ``dataset_dir/<split>/<class>/<image>`` with the same classes in each split, or, as the Describable Textures
    Dataset (DTD, Cimpoi et al. 2014, doi:10.1109/CVPR.2014.461) comes, ``dataset_dir/<class>/<image>``: then every
    fifth image of a class is in "valid", the others are in "train". Hidden files and folders are passed over.

    Args:
        dataset_dir: the folder.
        split: "train" or "valid".
        hint: text appended to the errors: the command that makes synthetic data.

    Returns:
        items with ``path`` and ``label``, the number of the class: 0, 1, ...

    Raises:
        FileNotFoundError: there is no such folder, it has fewer than two classes, or one of them has no image.
        ValueError: the classes of ``split`` are not those of "train".
    """
    hint = hint or "point dataset_dir to a folder with train/<class>/ and valid/<class>/"
    if dataset_dir is None or not str(dataset_dir):
        raise FileNotFoundError(f"dataset_dir is not set; {hint}")
    root = Path(dataset_dir)
    if not root.is_dir():
        raise FileNotFoundError(f"dataset_dir: no folder {root}; {hint}")
    divided = (root / "train").is_dir() or (root / split).is_dir()
    folders = _class_folders(root / split if divided else root, hint)
    if divided and split != "train":
        trained, found = {folder.name for folder in _class_folders(root / "train", hint)}, {f.name for f in folders}
        if trained != found:
            raise ValueError(
                f"{root / split}: expected the classes of train/, got {', '.join(sorted(found - trained)) or 'none'} "
                f"besides and {', '.join(sorted(trained - found)) or 'none'} missing; give both the same folders"
            )
    items = []
    for label, folder in enumerate(folders):
        images = _images(folder)
        if not divided:
            images = [path for n, path in enumerate(images) if (n % HELD_BACK == HELD_BACK - 1) == (split == "valid")]
        if not images:
            least = "" if divided else f" for {split} (of {HELD_BACK} images one is for validation)"
            raise FileNotFoundError(
                f"dataset_dir: no image ({', '.join(CLASS_SUFFIXES)}) in the class {folder}{least}; "
                "add some, or remove the folder"
            )
        items += [{"path": str(path), "label": label} for path in images]
    return items


def count_classes(data: Sequence[dict[str, Any]]) -> int:
    """Number of classes in a data list."""
    return 1 + max(item["label"] for item in data)


class ClassDataset(Dataset):
    """Images of classes as dictionaries: ``image``, float32 ``(1, size, size)`` in [0, 1], ``label`` and ``path``.

    Of an image its largest square in the middle is taken, and brought to ``size`` if it is larger (antialiased).
    Colours become grey (ITU-R 601 luma). 8 bit only. What was read is kept in memory, as 8 bit.

    Args:
        data: data list, as :func:`find_classes` gives it.
        size: height and width of all images, in pixels.

    Raises:
        DataError: at an item, for an unreadable image, one of more than 8 bit, or one smaller than ``size``.
    """

    def __init__(self, data: Sequence[dict[str, Any]], size: int) -> None:
        super().__init__(data)
        self.size = size
        self._kept: dict[int, torch.Tensor] = {}

    def _transform(self, index: int) -> dict[str, Any]:
        entry = self.data[index]
        if index not in self._kept:
            self._kept[index] = torch.from_numpy(_read_grey(Path(entry["path"]), self.size))[None]
        return {**entry, "image": self._kept[index].float() / 255}


def _class_folders(folder: Path, hint: str) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"dataset_dir: no folder {folder}; {hint}")
    folders = sorted((path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."), key=natural_key)
    if len(folders) < 2:
        raise FileNotFoundError(f"dataset_dir: expected two folders or more in {folder}, one a class; {hint}")
    return folders


def _images(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if path.suffix.lower() in CLASS_SUFFIXES and path.name[0] != ".")
    return sorted((path for path in files if path.is_file()), key=natural_key)


def _read_grey(path: Path, size: int) -> np.ndarray:
    with open_source(path, luma=True) as source:
        spec = source.spec
        if spec.dtype != np.uint8 or len(spec.shape) != 2:
            raise DataError(f"{path}: expected one image of 8 bit, got {spec}; save it as 8-bit grey")
        side = min(spec.shape)
        if side < size:
            got = " x ".join(map(str, spec.shape))
            raise DataError(f"{path}: expected at least {size} x {size} pixels, got {got}; lower image_size")
        top, left = ((n - side) // 2 for n in spec.shape)
        square = source.read(spec.region(y=slice(top, top + side), x=slice(left, left + side)))
    return square if side == size else np.array(Image.fromarray(square).resize((size, size), Image.Resampling.LANCZOS))
