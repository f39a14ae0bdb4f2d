"""NIfTI: orientation, slope, axes and names, against nibabel and SimpleITK."""

from __future__ import annotations

import gzip
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

from common.errors import DataError
from common.io import Geometry, Intensity, Spec, open_sink, open_source
from common.io.geometry import LPS_TO_RAS, enlargement_matrix

VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)  # (x, y, z)
AFFINE = np.array([[2.0, 0, 0, -40], [0, 2, 0, -30], [0, 0, 3, 5], [0, 0, 0, 1]])


def write(path: Path, values: np.ndarray = VALUES, affine: np.ndarray | None = AFFINE, **fields: Any) -> Path:
    """A file whose header entries are set after nibabel has checked them."""
    header = nibabel.Nifti1Image(values, affine).header
    header["vox_offset"] = 352
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + b"\0\0\0\0" + values.tobytes("F"))
    return path


def enlarged(path: Path, target: Path, scale: dict[str, int] | None = None) -> Any:
    """The file enlarged by repetition, written and opened with nibabel."""
    scale = scale or {"x": 2, "y": 2, "z": 2}
    with open_source(path) as source:
        spec, values = source.spec, source.read()
    for place, axis in enumerate(spec.axes):
        values = values.repeat(scale.get(axis, 1), place)
    open_sink(target, spec.enlarged(scale)).write_all(values)
    return nibabel.load(target)


def test_first_axis_is_x(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "a.nii")) as source:
        assert source.spec.axes == ("z", "y", "x")
        np.testing.assert_array_equal(
            source.read(), SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.nii")))
        )
        np.testing.assert_array_equal(source.read(source.spec.region(z=3, y=slice(1, 4)))[0], VALUES[:, 1:4, 3].T)


def test_voxel_sizes_that_disagree_with_the_matrix_are_not_used(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", pixdim=[1, 1.75, 1.75, 5, 1, 1, 1, 1], sform_code=1, qform_code=0)
    with open_source(path) as source:
        assert source.spec.geometry.spacing_mm == (3, 2, 2)
        np.testing.assert_allclose(source.spec.geometry.affine, AFFINE)
    image = enlarged(path, tmp_path / "b.nii")
    np.testing.assert_allclose(image.header.get_zooms(), (1, 1, 1.5))
    np.testing.assert_allclose(image.affine, AFFINE @ enlargement_matrix([2, 2, 2]))
    assert int(image.header["qform_code"]) == 0


def test_both_matrices_and_their_codes_are_kept(tmp_path: Path) -> None:
    c, s = np.cos(0.4), np.sin(0.4)
    qform = AFFINE.copy()
    qform[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([2.0, 2, 3])
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    image.set_sform(AFFINE, 4)
    image.set_qform(qform, 1)
    nibabel.save(image, tmp_path / "a.nii")
    result = enlarged(tmp_path / "a.nii", tmp_path / "b.nii.gz")
    for found, code, expected in ((*result.get_sform(coded=True), AFFINE), (*result.get_qform(coded=True), qform)):
        np.testing.assert_allclose(found, expected @ enlargement_matrix([2, 2, 2]), atol=1e-5)
        assert code == (4 if expected is AFFINE else 1)


def test_shear_stays_in_the_sform(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[1, 2] = 1.1
    image = nibabel.Nifti1Image(VALUES, sheared)
    image.set_sform(sheared, 1)
    image.header["qform_code"] = 0
    nibabel.save(image, tmp_path / "a.nii")
    result = enlarged(tmp_path / "a.nii", tmp_path / "b.nii", {"x": 4, "y": 4})
    np.testing.assert_allclose(result.affine, sheared @ enlargement_matrix([4, 4, 1]), atol=1e-6)
    spec = Spec(("z", "y", "x"), (6, 5, 4), np.dtype("i2"), Geometry.of_affine("zyx", sheared))
    open_sink(tmp_path / "c.nii", spec).write_all(VALUES.T)  # not from NIfTI: a quaternion cannot hold the shear
    other = nibabel.load(tmp_path / "c.nii")
    assert (int(other.header["sform_code"]), int(other.header["qform_code"])) == (1, 0)
    np.testing.assert_allclose(other.affine, sheared, atol=1e-6)


def test_a_broken_quaternion_beside_a_good_sform_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.nii", qform_code=1, quatern_b=1.3)
    with caplog.at_level(logging.WARNING, "recon"), open_source(path) as source:
        np.testing.assert_allclose(source.spec.geometry.affine, AFFINE)
    assert "qform is not used" in caplog.text
    image = enlarged(path, tmp_path / "b.nii")
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (2, 0)
    np.testing.assert_allclose(image.affine, AFFINE @ enlargement_matrix([2, 2, 2]))


def test_broken_matrices_without_a_good_one_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", sform_code=1, srow_x=[0, 0, 0, 0], qform_code=0)
    with pytest.raises(DataError, match="expected an invertible sform"):
        open_source(path)


@pytest.mark.parametrize(("dtype", "slope", "intercept"), [("i2", -0.5, 600.0), ("u1", 10.0, 0.0)])
def test_slope_is_kept_and_applied_once(tmp_path: Path, dtype: str, slope: float, intercept: float) -> None:
    stored = VALUES.astype(dtype)
    path = write(tmp_path / "a.nii", stored, datatype=stored_code(dtype), scl_slope=slope, scl_inter=intercept)
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(), stored.T)
        meant = nibabel.load(path).get_fdata().T
        np.testing.assert_allclose(source.spec.intensity.meant(source.read()), meant)
        unit = source.read_unit(None, 100.0, 500.0)
    np.testing.assert_allclose(unit, (meant - 100) / 400, rtol=1e-5, atol=1e-5)
    image = enlarged(path, tmp_path / "b.nii", {"x": 1})
    np.testing.assert_allclose(image.get_fdata().T, meant)
    assert image.get_data_dtype() == dtype


def stored_code(dtype: str) -> int:
    return {"i2": 4, "u1": 2}[dtype]


@pytest.mark.parametrize("field", [{"scl_slope": 0}, {"scl_slope": np.nan, "scl_inter": np.nan}])
def test_no_slope_is_no_scaling(tmp_path: Path, field: dict[str, float]) -> None:
    with open_source(write(tmp_path / "a.nii", **field)) as source:
        assert not source.spec.intensity.is_scaled


def test_a_window_is_read(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "a.nii", cal_min=-10, cal_max=90)) as source:
        assert source.spec.intensity.window == (-10, 90)


def test_gzip_is_known_by_the_first_bytes(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(gzip.compress(plain))
    (tmp_path / "b.nii.gz").write_bytes(plain)
    for name in ("a.nii", "b.nii.gz"):
        with open_source(tmp_path / name) as source:
            np.testing.assert_array_equal(source.read(), VALUES.T)


@pytest.mark.parametrize(("place", "axis"), [(0, "sagittal"), (1, "coronal")])
def test_one_slice_that_is_not_the_last_axis(tmp_path: Path, place: int, axis: str) -> None:
    shape = [7, 5]
    shape.insert(place, 1)
    values = np.arange(35, dtype=np.int16).reshape(shape)
    affine = np.array([[2.0, 0, 0.3, -4], [0, 3, 0, -3], [0, 0, 4, 5], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "a.nii.gz")
    with open_source(tmp_path / "a.nii.gz") as source:
        assert source.spec.shape == (1, 5, 7)
        np.testing.assert_array_equal(source.read()[0], values.squeeze().T)
        columns = [n for n in range(3) if n != place]
        np.testing.assert_allclose(source.spec.geometry.affine[:, [*columns, 3]][:3, 2], affine[:3, 3])
        np.testing.assert_allclose(source.spec.geometry.affine[:3, :3], affine[:3, [*columns, place]])
    image = enlarged(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", {"x": 4, "y": 4})
    factors = [4, 4]
    factors.insert(place, 1)
    assert image.shape == tuple(n * factor for n, factor in zip(shape, factors, strict=True))
    np.testing.assert_allclose(image.affine, affine @ enlargement_matrix(factors), atol=1e-5)
    expected = values.repeat(factors[0], 0).repeat(factors[1], 1).repeat(factors[2], 2)
    np.testing.assert_array_equal(np.asarray(image.dataobj), expected)


def test_slice_axis_is_an_option(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii")
    with open_source(path, slice_axis=0) as source:
        np.testing.assert_array_equal(source.read(), VALUES.transpose(0, 2, 1))
        np.testing.assert_allclose(source.spec.geometry.spacing_mm, (2, 3, 2))
        first = source.select(z=1)
        corner = AFFINE @ [1, 0, 0, 1]
        np.testing.assert_allclose(first.spec.geometry.affine[:, 3], corner)
    with pytest.raises(ValueError, match="slice_axis must be 0, 1 or 2"):
        open_source(path, slice_axis=3)


def test_series_of_volumes(tmp_path: Path) -> None:
    values = np.arange(4 * 5 * 3 * 6, dtype=np.float32).reshape(4, 5, 3, 6)
    image = nibabel.Nifti1Image(values, AFFINE)
    image.header.set_zooms((2, 2, 3, 25))
    image.header.set_xyzt_units("mm", "msec")
    image.header["toffset"] = 10
    nibabel.save(image, tmp_path / "a.nii")
    with open_source(tmp_path / "a.nii") as source:
        assert source.spec.axes == ("t", "z", "y", "x")
        np.testing.assert_allclose(source.spec.geometry.frame_times_s, 0.01 + 0.025 * np.arange(6))
        np.testing.assert_array_equal(source.read(source.spec.region(t=4, z=1))[0, 0], values[:, :, 1, 4].T)
    result = enlarged(tmp_path / "a.nii", tmp_path / "b.nii", {"x": 2, "y": 2})
    np.testing.assert_allclose(result.header.get_zooms(), (1, 1, 3, 25))
    assert result.header.get_xyzt_units() == ("mm", "msec")
    with open_source(tmp_path / "a.nii", frame=2) as frame:
        open_sink(tmp_path / "c.nii", frame.spec).write_all(frame.read())
    np.testing.assert_array_equal(nibabel.load(tmp_path / "c.nii").get_fdata(), values[..., 2])
    np.testing.assert_allclose(nibabel.load(tmp_path / "c.nii").affine, AFFINE)


def test_third_axis_is_time_if_one_says_so(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    image.header.set_zooms((2, 2, 0.04))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "a.nii")
    with open_source(tmp_path / "a.nii", axes="xyt") as source:
        assert source.spec.axes == ("t", "y", "x")
        np.testing.assert_allclose(source.spec.geometry.frame_times_s, 0.04 * np.arange(6), rtol=1e-6)
        open_sink(tmp_path / "b.nii", source.spec).write_all(source.read())
    other = nibabel.load(tmp_path / "b.nii")
    np.testing.assert_array_equal(np.asarray(other.dataobj), VALUES)
    np.testing.assert_allclose(other.affine, image.affine)
    np.testing.assert_allclose(other.header.get_zooms(), (2, 2, 0.04))


def test_micrometers_are_converted(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, np.diag([650.0, 650, 1000, 1]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    with open_source(tmp_path / "a.nii") as source:
        np.testing.assert_allclose(source.spec.geometry.spacing_mm, (1, 0.65, 0.65))
    result = enlarged(tmp_path / "a.nii", tmp_path / "b.nii")
    np.testing.assert_allclose(result.affine, np.diag([650.0, 650, 1000, 1]) @ enlargement_matrix([2, 2, 2]))
    assert result.header.get_xyzt_units()[0] == "micron"


def test_extensions_byte_order_and_description_are_kept(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    image = nibabel.Nifti1Image(VALUES.astype(">i2"), AFFINE, header)
    image.header["descrip"] = b"made here"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"keep me"))
    nibabel.save(image, tmp_path / "a.nii")
    result = enlarged(tmp_path / "a.nii", tmp_path / "b.nii")
    assert bytes(result.header["descrip"]).rstrip(b"\0") == b"made here"
    assert result.header.extensions[0].get_content().rstrip(b"\0") == b"keep me"
    assert result.header.endianness == ">"
    np.testing.assert_array_equal(np.asarray(result.dataobj)[::2, ::2, ::2], VALUES)


def test_long_axes_are_written_as_nifti_2(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", np.zeros((9000, 1, 1), np.int16))
    with open_source(path) as source:
        spec = source.spec.enlarged({"x": 4})
    open_sink(tmp_path / "b.nii", spec).write_all(np.zeros((1, 1, 36000), np.int16))
    image = nibabel.load(tmp_path / "b.nii")
    assert isinstance(image, nibabel.Nifti2Image)
    assert image.shape == (36000, 1, 1)
    np.testing.assert_allclose(image.affine, AFFINE @ enlargement_matrix([4, 1, 1]))


def test_orientation_of_another_format_is_written(tmp_path: Path) -> None:
    spec = Spec(("z", "y", "x"), (6, 5, 4), np.dtype("i2"), Geometry.of_affine("zyx", AFFINE))
    open_sink(tmp_path / "a.nii", replace(spec, intensity=Intensity(slope=2.0))).write_all(VALUES.T)
    image = SimpleITK.ReadImage(str(tmp_path / "a.nii"))
    np.testing.assert_allclose(image.GetSpacing(), (2, 2, 3))
    np.testing.assert_allclose(image.GetOrigin(), (LPS_TO_RAS @ AFFINE)[:3, 3])
    np.testing.assert_allclose(SimpleITK.GetArrayFromImage(image), 2 * VALUES.T)


def test_uneven_times_are_not_made_even(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = Spec(("t", "y", "x"), (3, 5, 4), np.dtype("i2"), Geometry.unknown("yx", (0.0, 0.1, 0.5)))
    with caplog.at_level(logging.WARNING, "recon"):
        open_sink(tmp_path / "a.nii", spec).write_all(np.zeros((3, 5, 4), np.int16))
    assert "even ones only" in caplog.text
    with open_source(tmp_path / "a.nii") as source:
        assert source.spec.geometry.frame_times_s is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim": [5, 4, 5, 2, 1, 3, 1, 1]}, "got the size"),
        ({"dim": [1, 120, 1, 1, 1, 1, 1, 1]}, "got the size"),
        ({"dim": [3, 4, -5, 6, 1, 1, 1, 1]}, "got the size"),
        ({"dim": [4, 4, 5, 2, 3, 1, 1, 1], "xyzt_units": 2 + 32}, "got a frequency"),
        ({"dim": [3, 32000, 32000, 32000, 1, 1, 1, 1]}, "truncated"),
        ({"datatype": 128, "bitpix": 24}, "got colours"),
        ({"datatype": 999}, "cannot be read as a NIfTI image"),
        ({"magic": b"ni1"}, "expected header and values in one file"),
        ({"vox_offset": 1e12}, "expected values behind the header"),
    ],
)
def test_what_is_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as error, open_source(write(tmp_path / "a.nii", **fields)) as source:
        source.read()
    assert "\n" not in str(error.value)


def test_a_gzip_bomb_is_unpacked_up_to_what_its_header_declares(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(plain + bytes(2**26)))
    with open_source(tmp_path / "a.nii.gz") as source:
        np.testing.assert_array_equal(source.read(), VALUES.T)
    huge = write(tmp_path / "b.nii", dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(huge))
    with pytest.raises(DataError, match="its header declares"):
        open_source(tmp_path / "b.nii.gz")
