"""DICOM series as slices for training, and their reconstructions, looked at by SimpleITK and pydicom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import SimpleITK
from dicom_series import write_series

from common.data import SliceDataset, find_files, find_slices, open_slices, write_volume


def ct(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, shape).astype(np.uint16)


def itk_series(folder: Path) -> SimpleITK.Image:
    """By SimpleITK's GDCM, which sorts by place itself."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def test_folders_of_series_are_training_data(tmp_path: Path) -> None:
    first, second = ct(3, 9, 7), ct(2, 8, 6, seed=1)
    write_series(tmp_path / "train" / "patient10", first)
    write_series(tmp_path / "train" / "patient9", second)
    assert find_files(tmp_path, "train") == [tmp_path / "train" / name for name in ("patient9", "patient10")]
    data = find_slices(tmp_path, "train")
    assert [(Path(item["path"]).name, item["slice"], item["height"]) for item in data] == [
        ("patient9", 0, 8),
        ("patient9", 1, 8),
        *(("patient10", index, 9) for index in range(3)),
    ]
    items = SliceDataset(data, fully_sampled=True, intensity_range=1000.0)
    np.testing.assert_allclose(items[2]["image"][0], (first[0].astype(float) - 1024) / 1000, rtol=1e-6)
    assert find_files(tmp_path / "train" / "patient9") == [tmp_path / "train" / "patient9"]


def test_reconstructions_become_a_series_of_their_own(tmp_path: Path) -> None:
    volume = ct(3, 9, 7)
    write_series(tmp_path / "in", volume, bits=12)
    reader = open_slices(tmp_path / "in", intensity_range=1.0)
    values = np.stack([reader.read(index) for index in range(3)]) + 0.3
    values[0, 0, 0] = 5000  # 12 bits hold 3071 after the intercept
    write_volume(values, reader, tmp_path / "out")
    one, other = itk_series(tmp_path / "in"), itk_series(tmp_path / "out")
    expected = SimpleITK.GetArrayFromImage(one)
    expected[0, 0, 0] = 3071
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(other), expected)
    for get in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(other, get)(), getattr(one, get)())
    before, after = (pydicom.dcmread(tmp_path / name / "IM001_one") for name in ("in", "out"))
    assert after.SeriesInstanceUID != before.SeriesInstanceUID
    assert (after.ImageType[0], after.PatientID) == ("DERIVED", before.PatientID)
