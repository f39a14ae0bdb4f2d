"""Low- and high-resolution images of the same thing: which belong together, and a MONAI data set of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.data.cached import CachedDataset
from common.data.finding import POINT_TO_DATA, data_folder, find_files
from common.data.volumes import one_image, read_whole
from common.errors import DataError
from common.io import IntensityRange, find_range, open_source, split_suffix


def find_pairs(
    dataset_dir: Path | str | None, split: str, upscale: int, hint: str = "", kind: str = "unknown"
) -> list[dict[str, Any]]:
    """The data list of a folder of pairs, images or volumes, in natural order of the high-resolution ones.

    Two layouts are known; at upscale 4 and split "train"::

        train/HR/0001.png                               train/LR/0001.png
        train/HR/0001.png                               train/LR_x4/0001x4.png
        shuffled2D/shuffled2D_train_HR/0001.png         shuffled2D/shuffled2D_train_LR_unknown_X4/0001x4.png

    The second is that of DeepRockSR (Wang, Armstrong, Mostaghimi: A Diverse Super Resolution Dataset of Digital
    Rocks, Digital Rocks Portal 215, 2019), with one folder for each rock and "shuffled" with all, in 2-D (PNG) and 3-D
    (MATLAB files). ``dataset_dir`` is one of these, or the folder of them, of which the shuffled one is taken. The
    files of a pair have one stem; that of the low-resolution one may end in ``x4``, and their formats may differ.
    Nothing is opened.

    Args:
        dataset_dir: the folder.
        split: "train", "valid" or "test".
        upscale: ratio of the resolutions.
        hint: what to do, appended to errors about missing folders.
        kind: kind of DeepRockSR's low-resolution images: "default" (bicubic) or "unknown" (random kernels).

    Returns:
        ``[{"path": <high resolution>, "lr_path": ..., "upscale": ..., "slice": 0, "n_slices": 1}, ...]``.

    Raises:
        FileNotFoundError: no such folders.
        DataError: for images without a partner, either way, or with two.
    """
    folder = data_folder(dataset_dir, None, hint or POINT_TO_DATA)
    hr_folder, lr_folder = _folders(folder, split, upscale, kind, hint or POINT_TO_DATA)
    hr_paths = _by_stem(find_files(hr_folder, hint=hint))
    lr_paths = _by_stem(find_files(lr_folder, hint=hint))
    ending, partners = f"x{upscale}", dict[str, Path]()
    strays = []
    for stem, path in lr_paths.items():
        partner = stem if stem in hr_paths else stem.removesuffix(ending)
        if partner not in hr_paths:
            strays.append(path)
        elif partner in partners:
            raise DataError(f"{path}: {hr_paths[partner]} has a partner already, {partners[partner]}; remove one")
        partners[partner] = path
    _check_partners(strays, hr_folder, "high")
    _check_partners([path for stem, path in hr_paths.items() if stem not in partners], lr_folder, "low")
    return [
        {"path": str(path), "lr_path": str(partners[stem]), "upscale": upscale, "slice": 0, "n_slices": 1}
        for stem, path in hr_paths.items()
    ]


def _folders(folder: Path, split: str, upscale: int, kind: str, hint: str) -> tuple[Path, Path]:
    plain = folder / split / "HR"
    if plain.is_dir():
        names = ["LR", f"LR_x{upscale}", f"LR_X{upscale}"]
        candidates = [plain.with_name(name) for name in names]
        hr_folder = plain
    else:
        found = sorted(folder.glob(f"*_{split}_HR")) + sorted(folder.glob(f"*/*_{split}_HR"))
        chosen = [path for path in found if path.name.startswith("shuffled")] if len(found) > 1 else found
        if not found:
            raise FileNotFoundError(
                f"dataset_dir: no pairs in {folder}, expected {split}/HR and {split}/LR, or <name>_{split}_HR and "
                f"<name>_{split}_LR_{kind}_X{upscale} as DeepRockSR has them; {hint}"
            )
        if len(chosen) != 1:
            listed = ", ".join(str(path.relative_to(folder)) for path in found)
            raise DataError(f"{folder}: several sets of pairs, {listed}; point dataset_dir to the folder of one")
        hr_folder = chosen[0]
        candidates = [hr_folder.with_name(f"{hr_folder.name.removesuffix('HR')}LR_{kind}_X{upscale}")]
    there = [path for path in candidates if path.is_dir()]
    if len(there) == 1:
        return hr_folder, there[0]
    wanted = " or ".join(path.name for path in candidates)
    others = ", ".join(sorted(path.name for path in hr_folder.parent.iterdir() if path.is_dir())) or "nothing"
    raise FileNotFoundError(
        f"{hr_folder}: expected one folder {wanted} beside it, found {others}; check upscale and kind"
    )


def _by_stem(files: list[Path]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for path in files:
        stem = split_suffix(path)[0]
        if stem in paths:
            raise DataError(f"{path} and {paths[stem].name}: two images of one name; remove or rename one")
        paths[stem] = path
    return paths


def _check_partners(lonely: Sequence[Path], folder: Path, resolution: str) -> None:
    if lonely:
        more = f" (and {len(lonely) - 1} more)" if len(lonely) > 1 else ""
        raise DataError(
            f"{lonely[0]}: has no {resolution}-resolution partner in {folder}{more}; add it, or remove the file"
        )


class PairDataset(CachedDataset):
    """Pairs as dictionaries: ``image``, the low-, and ``label``, the high-resolution one, and the entry of the list.

    Both float32, ``(1, h, w)`` and ``(1, h * upscale, w * upscale)``, or with a third axis, depth, of volumes.

    Args:
        data: data list, as :func:`find_pairs` gives it.
        transform: applied to an item after reading.
        cache: True to keep pairs in memory once read, before the transform.
        intensity_range: what becomes [0, 1], see :func:`~common.io.find_range`: the same for both,
            found in the high-resolution one; with "auto", in each if their types differ.
        options: options of :func:`~common.io.open_source`.

    Raises:
        DataError: at an item, naming both files, if their sizes do not match the scale.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable | None = None,
        cache: bool = False,
        intensity_range: IntensityRange = "auto",
        **options: Any,
    ) -> None:
        super().__init__(data, transform, cache)
        self.intensity_range = intensity_range
        self.options = options

    def _read(self, entry: dict[str, Any]) -> dict[str, Any]:
        hr_path, lr_path, upscale = entry["path"], entry["lr_path"], entry["upscale"]
        with open_source(hr_path, **self.options) as hr_file, open_source(lr_path, **self.options) as lr_file:
            hr_source, lr_source = one_image(hr_file), one_image(lr_file)
            given, expected = hr_source.spec.shape, tuple(n * upscale for n in lr_source.spec.shape)
            if given != expected:
                sizes = [" x ".join(map(str, shape)) for shape in (expected, lr_source.spec.shape, given)]
                raise DataError(
                    f"{hr_path}: expected {sizes[0]} at upscale {upscale}, for {lr_path} of {sizes[1]}, got "
                    f"{sizes[2]}; correct the pair, or upscale"
                )
            hr_range = find_range(hr_source, self.intensity_range)
            own = self.intensity_range == "auto" and lr_source.spec.dtype != hr_source.spec.dtype
            lr_range = find_range(lr_source, "auto") if own else hr_range
            return {**entry, "image": read_whole(lr_source, *lr_range), "label": read_whole(hr_source, *hr_range)}
