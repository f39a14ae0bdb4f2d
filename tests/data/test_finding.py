"""Which entries of a folder are data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data.finding import find_files, find_images, mask_path


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_known_suffixes_in_natural_order_and_nothing_else(tmp_path: Path) -> None:
    names = ["slice2.png", "slice10.PNG", "a.nii.gz", "b.h5", "c.mha", "d.mat", "e.cfl"]
    others = [".hidden.png", "a_mask.npy", "notes.txt", "preview.jpg", "x.tif.partial", "e.hdr", "DICOMDIR"]
    touch(*(tmp_path / name for name in names + others))
    assert [path.name for path in find_files(tmp_path)] == [
        "a.nii.gz", "b.h5", "c.mha", "d.mat", "e.cfl", "slice2.png", "slice10.PNG",
    ]  # fmt: skip
    assert find_images(tmp_path)[0] == {"path": str(tmp_path / "a.nii.gz")}


def test_values_of_a_header_are_no_file_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path / "scan.mhd", tmp_path / "scan.raw", tmp_path / "other.raw")
    assert [path.name for path in find_files(tmp_path)] == ["other.raw", "scan.mhd"]


def test_subfolders_of_slices_are_volumes_and_others_are_passed_over(tmp_path: Path) -> None:
    for name in ("volume/0.png", "volume/1.png", "mixed/0.png", "mixed/notes.txt", "empty/.hidden"):
        touch(tmp_path / name)
    touch(
        tmp_path / "outputs" / "a_x2.png", tmp_path / "outputs" / "a_x2.png.json", tmp_path / "v.tif.partial" / "0.png"
    )
    assert [path.name for path in find_files(tmp_path)] == ["volume"]
    assert [path.name for path in find_files(tmp_path, "volume")] == ["0.png", "1.png"]


def test_pictures_of_a_split_are_no_volume(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "0.png", tmp_path / "test" / "0.png", tmp_path / "singlecoil_val" / "0.png")
    with pytest.raises(FileNotFoundError, match="dataset_dir: no image or volume"):
        find_files(tmp_path)
    assert find_files(tmp_path, "test") == [tmp_path / "test" / "0.png"]


def test_one_file_in_place_of_a_folder(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    assert find_files(tmp_path / "a.npy") == [tmp_path / "a.npy"]


def test_the_files_of_one_person_of_a_split_by_a_pattern(tmp_path: Path) -> None:
    touch(*(tmp_path / "valid" / name for name in ("a_10.png", "a_2.png", "b_1.png")))
    assert [path.name for path in find_files(tmp_path, "valid/a_*")] == ["a_2.png", "a_10.png"]
    with pytest.raises(FileNotFoundError, match=r"valid/c_\*; make some"):
        find_files(tmp_path, "valid/c_*", hint="make some")


@pytest.mark.parametrize("dataset_dir", [None, "", "missing", "empty"])
def test_a_folder_without_data_says_what_to_do(tmp_path: Path, dataset_dir: str | None) -> None:
    (tmp_path / "empty").mkdir()
    folder = tmp_path / dataset_dir if dataset_dir else dataset_dir
    with pytest.raises(FileNotFoundError, match=r"dataset_dir.*; make some"):
        find_files(folder, hint="make some")


def test_masks_lie_beside_data() -> None:
    assert mask_path("folder/a.b.nii.gz") == Path("folder/a.b_mask.npy")


def test_a_folder_of_pictures_is_a_list_of_them(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        Image.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / name)
    assert [path.name for path in find_files(tmp_path)] == ["a.png", "b.png"]
