"""NIfTI against nibabel."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.data import DataError, open_slices, write_volume

AFFINE = np.array([[0, -0.9, 0.1, 20], [1.1, 0, 0.2, -30], [0.1, 0.2, 3.0, 5], [0, 0, 0, 1]])


def save(path: Path, values: np.ndarray, *, slope: float | None = None) -> nibabel.nifti1.Nifti1Image:
    image = nibabel.nifti1.Nifti1Image(values, None)
    image.set_sform(AFFINE, code=2)
    image.set_qform(AFFINE, code=1)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"a scan"
    if slope is not None:
        image.header.set_slope_inter(slope, 3)
    nibabel.save(image, path)
    return image


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7)),
    axis=st.integers(-3, 2),
    dtype=st.sampled_from(["int16", "uint16", "float32", "float64"]),
    suffix=st.sampled_from([".nii", ".nii.gz", ".NII"]),
)
def test_volume_and_geometry_come_back(
    tmp_path: Path, shape: tuple[int, int, int], axis: int, dtype: str, suffix: str
) -> None:
    values = (np.random.default_rng(1).random(shape) * 1000).astype(dtype)
    original = save(tmp_path / f"in{suffix}", values)
    reader = open_slices(tmp_path / f"in{suffix}", slice_axis=axis)
    assert reader.n_slices == shape[axis]
    slices = [reader.read(i) for i in range(reader.n_slices)]
    assert slices[0].shape == (reader.height, reader.width)
    np.testing.assert_allclose(np.stack(slices, axis=axis) * reader.scale, values, rtol=1e-6)
    write_volume(np.stack(slices), reader, tmp_path / f"out{suffix}")
    written = nibabel.nifti1.Nifti1Image.from_filename(tmp_path / f"out{suffix}")
    assert written.get_data_dtype() == np.float32
    np.testing.assert_allclose(written.get_fdata(), values, rtol=1e-6)
    np.testing.assert_array_equal(written.affine, nibabel.nifti1.Nifti1Image.from_filename(reader.path).affine)
    for form in ("get_sform", "get_qform"):
        (expected, expected_code), (got, code) = (getattr(i.header, form)(coded=True) for i in (original, written))
        assert code == expected_code
        np.testing.assert_allclose(got, expected, atol=1e-6)
    for key in ("pixdim", "xyzt_units", "descrip"):
        assert (
            written.header[key].tobytes() == nibabel.nifti1.Nifti1Image.from_filename(reader.path).header[key].tobytes()
        )


def test_scaled_integers_read_as_their_values(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    values = stored * 0.5 + 3
    save(tmp_path / "in.nii", stored, slope=0.5)
    reader = open_slices(tmp_path / "in.nii")
    assert reader.scale == pytest.approx(values.max())  # not 255: the stored type says nothing of scaled values
    np.testing.assert_allclose(reader.read(2), values[..., 2] / values.max(), rtol=1e-6)
    write_volume(np.stack([reader.read(i) for i in range(4)]), reader, tmp_path / "out.nii")
    np.testing.assert_allclose(nibabel.nifti1.Nifti1Image.from_filename(tmp_path / "out.nii").get_fdata(), values)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3, 1)])
def test_two_dimensions_and_a_fourth_of_one_are_kept(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(2).random(shape).astype(np.float32)
    save(tmp_path / "in.nii", values)
    reader = open_slices(tmp_path / "in.nii")
    assert (reader.height, reader.width) == (5, 4)
    write_volume(np.stack([reader.read(i) for i in range(reader.n_slices)]), reader, tmp_path / "out.nii")
    written = nibabel.nifti1.Nifti1Image.from_filename(tmp_path / "out.nii")
    assert written.shape == shape
    np.testing.assert_allclose(written.get_fdata(), values, rtol=1e-6)


def test_nifti2_stays_nifti2(tmp_path: Path) -> None:
    image = nibabel.nifti2.Nifti2Image(np.ones((4, 5, 6), np.float32), AFFINE)
    nibabel.save(image, tmp_path / "in.nii")
    reader = open_slices(tmp_path / "in.nii")
    write_volume(np.ones((6, 4, 5), np.float32), reader, tmp_path / "out.nii")
    assert type(nibabel.load(tmp_path / "out.nii")) is nibabel.nifti2.Nifti2Image


def test_one_slice_of_many_is_read(tmp_path: Path) -> None:
    values = np.random.default_rng(3).random((64, 64, 128)).astype(np.float32)
    save(tmp_path / "in.nii", values)
    reader = open_slices(tmp_path / "in.nii", intensity_range=1)
    reader.read(0)
    tracemalloc.start()
    image = reader.read(99)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(image, values[..., 99])
    assert peak < values.nbytes / 8


def test_gzip_is_read_in_any_order(tmp_path: Path) -> None:
    values = np.random.default_rng(4).random((8, 9, 10)).astype(np.float32)
    save(tmp_path / "in.nii.gz", values)
    reader = open_slices(tmp_path / "in.nii.gz", intensity_range=1)
    for index in (7, 0, 9, 3, 3):
        np.testing.assert_array_equal(reader.read(index), values[..., index])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    save(path, np.random.default_rng(5).random((16, 16, 16)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"a\.nii.*(truncated|slice 15)") as caught:
        open_slices(path).read(15)
    assert "\n" not in str(caught.value)


def test_text_and_time_series_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_text("hello")
    with pytest.raises(DataError, match=r"a\.nii: cannot be read as a NIfTI image"):
        open_slices(tmp_path / "a.nii")
    save(tmp_path / "b.nii", np.ones((4, 5, 6, 7), np.float32))
    with pytest.raises(DataError, match=r"expected 2 or 3 dimensions, got \[4, 5, 6, 7\]"):
        open_slices(tmp_path / "b.nii")
    save(tmp_path / "c.nii", np.ones((4, 5, 6), np.float32))
    with pytest.raises(ValueError, match=r"slice_axis must be in \[-3, 2\], got 3"):
        open_slices(tmp_path / "c.nii", slice_axis=3)
