"""Each format against an independent reader or writer: regions, types, geometry."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from common.data import DataError
from common.data.volumes import Geometry, VolumeSpec, open_sink, open_source

REGION = (slice(2, 7), slice(1, 9), slice(0, 2))


def values(*shape: int, dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 127, shape).astype(dtype)


def slices_first(volume: np.ndarray) -> np.ndarray:
    return volume.transpose(2, 0, 1) if volume.ndim == 3 else volume


def read_all(path: Path, **options: Any) -> tuple[np.ndarray, VolumeSpec]:
    with open_source(path, **options) as source:
        return source.read(tuple(slice(0, n) for n in source.spec.shape)), source.spec


def write_in_blocks(path: Path, volume: np.ndarray, geometry: Geometry | None = None, **more: Any) -> None:
    """In blocks of 5, last ones first."""
    spec = VolumeSpec(volume.shape, volume.dtype, geometry or Geometry.unknown(volume.ndim), **more)
    with open_sink(path, spec, (5,) * volume.ndim) as sink:
        sink.create()
        starts = [range(0, n, 5) for n in volume.shape]
        for corner in reversed(list(np.ndindex(*map(len, starts)))):
            region = tuple(slice(5 * k, min(5 * k + 5, n)) for k, n in zip(corner, volume.shape, strict=True))
            sink.write(region, volume[region])
            np.testing.assert_array_equal(sink.read(region), volume[region])
        sink.finish()
    assert path.exists()
    assert not sink.partial.exists()


# -- raw, npy, hdf5 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(13, 11), (13, 11, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "<u2", ">u2", "int16", "float32", ">f8"])
@pytest.mark.parametrize("suffix", [".raw", ".npy", ".h5", ".hdf5"])
def test_arrays_there_and_back(tmp_path: Path, suffix: str, dtype: str, shape: tuple[int, ...]) -> None:
    volume = values(*shape, dtype=dtype)
    path = tmp_path / f"out{suffix}"
    write_in_blocks(path, volume)
    expected = slices_first(volume)
    if suffix == ".raw":
        got = np.fromfile(path, dtype).reshape(expected.shape)
    elif suffix == ".npy":
        got = np.load(path)
    else:
        with h5py.File(path) as file:
            got = file["image"][()]
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == volume.dtype
    options = {"shape": expected.shape, "dtype": dtype} if suffix == ".raw" else {}
    back, spec = read_all(path, **options)
    np.testing.assert_array_equal(back, volume)
    assert (spec.shape, spec.dtype) == (shape, volume.dtype)


def test_regions_of_arrays(tmp_path: Path) -> None:
    volume = values(13, 11, 4)
    (tmp_path / "a.raw").write_bytes(b"header" + slices_first(volume).tobytes() + b"footer")
    np.save(tmp_path / "a.npy", slices_first(volume))
    np.save(tmp_path / "fortran.npy", np.asfortranarray(slices_first(volume)))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a/b", data=slices_first(volume), chunks=(2, 4, 4), compression="gzip")
        file["other"] = [1, 2, 3]
    for name, options in [
        ("a.raw", {"shape": [4, 13, 11], "dtype": "<u2", "offset": 6}),
        ("a.npy", {}),
        ("fortran.npy", {}),
        ("a.h5", {}),
        ("a.h5", {"dataset": "a/b"}),
    ]:
        with open_source(tmp_path / name, **options) as source:
            np.testing.assert_array_equal(source.read(REGION), volume[REGION])


def test_element_sizes_of_hdf5_are_kept(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = slices_first(values(6, 5, 4))
        file["image"].attrs["element_size_um"] = [8.0, 2.0, 4.0]  # z, y, x
    _, spec = read_all(tmp_path / "a.h5")
    assert spec.geometry == Geometry((2.0, 4.0, 8.0), (0.0, 0.0, 0.0), "micrometer")
    write_in_blocks(tmp_path / "b.h5", values(12, 10, 8), spec.geometry.enlarged((2, 2, 2)), dataset="a/c")
    with h5py.File(tmp_path / "b.h5") as file:
        np.testing.assert_allclose(file["a/c"].attrs["element_size_um"], [4, 1, 2])


def test_a_file_shorter_than_its_shape_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(100))
    with pytest.raises(DataError, match=r"a.raw: truncated, or .* 242 bytes are needed, it has 100"):
        open_source(tmp_path / "a.raw", shape=[11, 11], dtype="uint16")
    np.save(tmp_path / "a.npy", values(9, 9))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"a.npy: truncated"):
        open_source(tmp_path / "a.npy")


def test_hdf5_without_one_image(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"], file["b/c"], file["d"] = values(3, 4), values(3, 4), "text"
    with pytest.raises(DataError, match=r"expected one data set with two or three axes, found a, b/c; pass dataset="):
        open_source(tmp_path / "a.h5")
    with pytest.raises(DataError, match=r"no data set 'e', it holds a, b, d"):
        open_source(tmp_path / "a.h5", dataset="e")
    (tmp_path / "b.h5").write_text("hello")
    with pytest.raises(DataError, match=r"b.h5: cannot be read as an HDF5 file"):
        open_source(tmp_path / "b.h5")


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4, 5), (3, 0)])
def test_arrays_that_are_no_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match=r"a.npy: expected"):
        open_source(tmp_path / "a.npy")


@pytest.mark.parametrize("dtype", ["bool", "complex64", "float128", "U3"])
def test_values_that_are_not_real_numbers(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4), dtype))
    with pytest.raises(DataError, match=r"a.npy: expected real numbers of 8 to 64 bits"):
        open_source(tmp_path / "a.npy")


# -- NIfTI -------------------------------------------------------------------------------------------------------------

AFFINE = np.array([[0, -0.9, 0.1, 20], [1.1, 0, 0.2, -30], [0.1, 0.2, 3.0, 5], [0, 0, 0, 1]])


def nifti(path: Path, volume: np.ndarray, kind: Callable = nibabel.nifti1.Nifti1Image) -> Any:
    image = kind(volume, None)
    image.set_sform(AFFINE, code=2)
    image.set_qform(nibabel.affines.from_matvec(np.diag([1.1, 0.9, 3.0]), [1, 2, 3]), code=1)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"a scan"
    image.header["slice_code"] = 1
    image.header["slice_end"] = 3
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"kept"))
    nibabel.save(image, path)
    return image


def load(path: Path) -> Any:
    return nibabel.load(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
@pytest.mark.parametrize("kind", [nibabel.nifti1.Nifti1Image, nibabel.nifti2.Nifti2Image])
def test_nifti_geometry_is_that_of_the_same_field_of_view(tmp_path: Path, suffix: str, kind: Callable) -> None:
    volume = values(7, 9, 4, dtype="int16")
    nifti(tmp_path / f"in{suffix}", volume, kind)
    back, spec = read_all(tmp_path / f"in{suffix}", scratch_dir=tmp_path)
    np.testing.assert_array_equal(back, volume)
    big = volume.repeat(4, 0).repeat(4, 1).repeat(2, 2)
    write_in_blocks(tmp_path / f"out{suffix}", big, spec.geometry.enlarged((4, 4, 2)))
    before, after = load(tmp_path / f"in{suffix}"), load(tmp_path / f"out{suffix}")
    assert type(after) is kind
    np.testing.assert_array_equal(np.asarray(after.dataobj), big)
    assert after.get_data_dtype() == np.int16
    for form in ("get_sform", "get_qform"):
        (old, old_code), (new, code) = (getattr(image.header, form)(coded=True) for image in (before, after))
        assert code == old_code
        for corner in np.ndindex(2, 2, 2):  # the eight outer corners of the volume
            place = np.array(corner) * volume.shape - 0.5
            enlarged = np.array(corner) * big.shape - 0.5
            np.testing.assert_allclose(new @ [*enlarged, 1], old @ [*place, 1], atol=2e-5)
    np.testing.assert_allclose(after.header.get_zooms(), np.array(before.header.get_zooms()) / [4, 4, 2], rtol=1e-6)
    assert after.header.get_xyzt_units() == ("mm", "sec")
    assert after.header["descrip"].item() == b"a scan"
    assert after.header.extensions[0].get_content() == b"kept"
    assert (after.header["slice_code"], after.header["slice_end"]) == (0, 0)
    # a voxel keeps its place: the eight (here 32) children of one have its value
    index = np.linalg.inv(before.affine) @ after.affine @ [17, 30, 5, 1]
    assert volume[tuple(np.rint(index[:3]).astype(int))] == big[17, 30, 5]
    assert [path.name for path in tmp_path.iterdir() if "in" not in path.name] == [f"out{suffix}"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=3),
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64", ">i2", ">f4"]),
    trailing=st.booleans(),
)
def test_nifti_arrays_there_and_back(tmp_path: Path, shape: list[int], dtype: str, trailing: bool) -> None:
    volume = values(*shape, dtype=dtype)
    kind = np.dtype(dtype)
    stored = volume[..., None] if trailing and len(shape) == 3 else volume
    header = nibabel.nifti1.Nifti1Header(endianness=">" if kind.byteorder == ">" else "<")
    nibabel.save(nibabel.nifti1.Nifti1Image(stored, np.eye(4), header, dtype=kind), tmp_path / "in.nii")
    back, spec = read_all(tmp_path / "in.nii")
    assert back.dtype == kind
    np.testing.assert_array_equal(back, volume)
    write_in_blocks(tmp_path / "out.nii", volume, spec.geometry)
    after = load(tmp_path / "out.nii")
    np.testing.assert_array_equal(np.asarray(after.dataobj), volume)
    assert after.get_data_dtype() == kind


def test_nifti_from_elsewhere_has_sizes_and_no_orientation(tmp_path: Path) -> None:
    write_in_blocks(tmp_path / "a.nii", values(6, 5, 4), Geometry((2.5, 2.5, 5.0), (0.0,) * 3, "micrometer"))
    image = load(tmp_path / "a.nii")
    assert image.header.get_zooms() == (2.5, 2.5, 5.0)
    assert image.header.get_xyzt_units()[0] == "micron"
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (0, 0)
    write_in_blocks(tmp_path / "b.nii", values(6, 5), Geometry((1.0, 2.0), (0.0,) * 2, "inch"))
    np.testing.assert_allclose(load(tmp_path / "b.nii").header.get_zooms(), (25.4, 50.8))
    write_in_blocks(tmp_path / "c.nii", values(6, 5))
    assert load(tmp_path / "c.nii").header.get_xyzt_units()[0] == "unknown"


def test_nifti_slope_is_kept_where_it_can_be(tmp_path: Path) -> None:
    image = nibabel.nifti1.Nifti1Image(values(4, 5, 3, dtype="uint8"), np.eye(4))
    image.header.set_slope_inter(0.5, -20)
    nibabel.save(image, tmp_path / "in.nii")
    back, spec = read_all(tmp_path / "in.nii")
    assert (back.dtype, spec.rescale) == (np.uint8, (0.5, -20))
    write_in_blocks(tmp_path / "out.nii", back, spec.geometry, rescale=spec.rescale)
    np.testing.assert_allclose(load(tmp_path / "out.nii").get_fdata(), back * 0.5 - 20)
    other = open_sink(tmp_path / "out.tif", spec, (4, 5, 3)).spec
    assert (other.dtype, other.rescale) == (np.float32, (1.0, 0.0))


def test_nifti_2_where_an_axis_is_too_long_for_1(tmp_path: Path) -> None:
    nifti(tmp_path / "in.nii", values(2, 3, 4))
    _, spec = read_all(tmp_path / "in.nii")
    long = replace(spec.enlarged((1, 1, 1)), shape=(2**15, 2, 1))
    with open_sink(tmp_path / "out.nii", long, long.shape) as sink:
        sink.create()
        sink.write((slice(0, 2**15), slice(0, 2), slice(0, 1)), np.ones(long.shape, np.uint16))
        sink.finish()
    image = load(tmp_path / "out.nii")
    assert type(image) is nibabel.nifti2.Nifti2Image
    assert image.shape == long.shape
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
    np.testing.assert_allclose(image.header.get_qform()[:3, 3], [1, 2, 3])
    assert image.header["qform_code"] == 1


def test_nifti_is_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.nifti1.Nifti1Image(values(2, 3, 4, 5), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"a.nii: expected 2 or 3 dimensions, got \[2, 3, 4, 5\]"):
        open_source(tmp_path / "a.nii")
    (tmp_path / "b.nii").write_text("hello")
    with pytest.raises(DataError, match=r"b.nii: cannot be read as a NIfTI image"):
        open_source(tmp_path / "b.nii")
    nifti(tmp_path / "c.nii", values(9, 9, 9))
    packed = gzip.compress((tmp_path / "c.nii").read_bytes())
    (tmp_path / "c.nii.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"c.nii.gz: cannot be read as a NIfTI image"):
        open_source(tmp_path / "c.nii.gz")
    (tmp_path / "d.nii").write_bytes((tmp_path / "c.nii").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"d.nii: truncated"):
        open_source(tmp_path / "d.nii")
    with pytest.raises(DataError, match=r"e.nii: NIfTI has no values of type float16"):
        open_sink(tmp_path / "e.nii", VolumeSpec((3, 4), np.dtype("float16"), Geometry.unknown(2)), (3, 4))


# -- pictures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_and_folders_of_slices(tmp_path: Path, dtype: str) -> None:
    volume = values(13, 11, 12, dtype=dtype)
    write_in_blocks(tmp_path / "one.png", volume[..., 0])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "one.png")), volume[..., 0])
    np.testing.assert_array_equal(read_all(tmp_path / "one.png")[0], volume[..., 0])
    write_in_blocks(tmp_path / "slices", volume)
    assert [path.name for path in sorted((tmp_path / "slices").iterdir())] == [f"{n:02}.png" for n in range(12)]
    back, spec = read_all(tmp_path / "slices")
    np.testing.assert_array_equal(back, volume)
    with open_source(tmp_path / "slices") as source:
        np.testing.assert_array_equal(source.read(REGION), volume[REGION])
    assert spec.slice_names is not None
    named = spec.enlarged((1, 1, 1))
    assert named.slice_names == spec.slice_names
    assert spec.enlarged((2, 2, 2)).slice_names is None
    write_in_blocks(tmp_path / "named", volume[..., :2], slice_names=("b10.tif", "a.v2.png"))
    assert sorted(path.name for path in (tmp_path / "named").iterdir()) == ["a.v2.png", "b10.png"]
    write_in_blocks(tmp_path / "alike", volume[..., :2], slice_names=("a.tif", "a.png"))
    assert sorted(path.name for path in (tmp_path / "alike").iterdir()) == ["0.png", "1.png"]


def fails(*arguments: object, **options: object) -> None:
    raise OSError("full")


@pytest.mark.parametrize("name", ["a.png", "folder", "a.nii.gz"])
def test_what_is_packed_at_the_end_may_fail_and_be_packed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    volume = values(5, 4, 3) if name != "a.png" else values(5, 4)
    spec, whole = VolumeSpec(volume.shape, volume.dtype, Geometry.unknown(volume.ndim)), (5, 4, 3)[: volume.ndim]
    with open_sink(tmp_path / name, spec, whole) as sink:
        sink.create()
        sink.write(tuple(slice(0, n) for n in whole), volume)
        with monkeypatch.context() as patched:
            patched.setattr(Image.Image, "save", fails)
            patched.setattr("shutil.copyfileobj", fails)
            with pytest.raises(OSError, match="full"):
                sink.finish()
        assert [path.name for path in tmp_path.iterdir()] == [f"{name}.partial"]
        sink.finish()
    np.testing.assert_array_equal(read_all(tmp_path / name)[0], volume)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_pictures_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "slices"
    folder.mkdir()
    Image.fromarray(values(4, 5, dtype="uint8")).save(folder / "a.png")
    Image.fromarray(values(4, 6, dtype="uint8")).save(folder / "b.png")
    with pytest.raises(
        DataError, match=r"expected slices of one size and type, got \[4, 5\] uint8 \(a.png\) and \[4, 6\]"
    ):
        open_source(folder)
    np.save(folder / "b.npy", values(4, 5))
    with pytest.raises(DataError, match=r"expected pictures only, PNG or TIFF, found b.npy"):
        open_source(folder)
    spec = VolumeSpec((4, 5), np.dtype("float32"), Geometry.unknown(2))
    with pytest.raises(DataError, match=r"PNG holds integers of 8 or 16 bits, got float32; choose a .tif"):
        open_sink(tmp_path / "a.png", spec, (4, 5))
    with pytest.raises(DataError, match=r"20000 x 20000 pixels are too many for a PNG; choose a .tif"):
        open_sink(tmp_path / "a.png", replace(spec, shape=(20000, 20000), dtype=np.dtype("uint8")), (4, 5))
    with pytest.raises(
        DataError, match=r"expected a .png for one image and a folder for \[4, 5, 6\] slices, or a .tif"
    ):
        open_sink(
            tmp_path / "a.png",
            replace(spec, shape=(4, 5, 6), dtype=np.dtype("uint8"), geometry=Geometry.unknown(3)),
            (4, 5, 6),
        )
    with pytest.raises(DataError, match=r"slices: is there already; remove it, or choose another output"):
        open_sink(folder, replace(spec, shape=(4, 5, 6), dtype=np.dtype("uint8")), (4, 5, 6)).create()


# -- all ---------------------------------------------------------------------------------------------------------------


def test_options_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values(4, 5))
    for options, message in [
        ({"shape": [4, 5], "dtype": "uint8"}, r"a.npy: shape, dtype cannot be said of .npy; leave it out"),
        ({"dataset": "x"}, r"dataset cannot be said of .npy"),
        ({"spacing": [1]}, r"spacing must be 2 positive numbers, got \[1\]"),
        ({"spacing": [1, -1]}, r"spacing must be 2 positive numbers"),
        ({"spacing": [1, 1], "unit": "pixel"}, r"unit must be one of nanometer"),
    ]:
        with pytest.raises(ValueError, match=message):
            open_source(tmp_path / "a.npy", **options)
    _, spec = read_all(tmp_path / "a.npy", spacing=[2, 3], unit="um")
    assert spec.geometry == Geometry((2.0, 3.0), (0.0, 0.0), "micrometer")
    (tmp_path / "a.raw").touch()
    with pytest.raises(ValueError, match=r"a .raw file says nothing of itself; pass shape=\[...\] and dtype="):
        open_source(tmp_path / "a.raw")
    with pytest.raises(ValueError, match="dtype must be a NumPy type such as"):
        open_source(tmp_path / "a.raw", shape=[1, 1], dtype="uint9")
    with pytest.raises(FileNotFoundError, match=r"b.npy: no such file or folder; check the path"):
        open_source(tmp_path / "b.npy")
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=r"a.txt: unknown suffix, expected one of"):
        open_source(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"a.txt: unknown suffix, expected one of .* or none for a folder of slices"):
        open_sink(tmp_path / "a.txt", spec, (4, 5))


def test_what_a_file_is_changes_with_it(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values(4, 5))

    def identity() -> str:
        with open_source(tmp_path / "a.npy") as source:
            return source.identity()

    before = identity()
    assert identity() == before
    os.utime(tmp_path / "a.npy", ns=(1, 1))
    assert identity() != before


@pytest.mark.parametrize("suffix", [".npy", ".nii", ".h5", ".raw"])
def test_one_region_of_many_is_in_memory(tmp_path: Path, suffix: str) -> None:
    volume = values(64, 64, 128, dtype="float32")
    write_in_blocks(tmp_path / f"a{suffix}", volume[:5, :5, :5])  # imports are done
    spec = VolumeSpec(volume.shape, volume.dtype, Geometry.unknown(3))
    options = {"shape": (128, 64, 64), "dtype": "float32"} if suffix == ".raw" else {}
    region = (slice(10, 20), slice(30, 40), slice(50, 60))
    with open_sink(tmp_path / f"b{suffix}", spec, (64, 64, 64)) as sink:
        sink.create()
        sink.write(tuple(slice(0, n) for n in volume.shape), volume)
        sink.finish()
    tracemalloc.start()
    with open_source(tmp_path / f"b{suffix}", **options) as source:
        got = source.read(region)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(got, volume[region])
    assert peak < volume.nbytes / 8
