"""HDF5 and .npy against h5py and NumPy."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.data import DataError, open_slices, write_volume

KNEE_DIR = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "knee_mridata" / "singlecoil_val"


def random_kspace(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


def numpy_ifft2c(kspace: np.ndarray) -> np.ndarray:
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes), norm="ortho", axes=axes), axes)


def save_h5(path: Path, datasets: dict[str, np.ndarray | bytes], **attributes: object) -> Path:
    with h5py.File(path, "w") as file:
        for key, values in datasets.items():
            file[key] = values
        file.attrs.update(attributes)
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    suffix=st.sampled_from([".h5", ".hdf5", ".npy"]),
    dtype=st.sampled_from(["<c8", ">c8", "<c16"]),
)
def test_kspace_is_scaled_by_the_peak_of_its_images(
    tmp_path: Path, shape: tuple[int, int, int], suffix: str, dtype: str
) -> None:
    path, kspace = tmp_path / f"in{suffix}", random_kspace(shape).astype(dtype)
    if suffix == ".npy":
        np.save(path, kspace)
    else:
        save_h5(path, {"kspace": kspace})
    reader = open_slices(path)
    assert (reader.kind, reader.n_slices, reader.height, reader.width) == ("kspace", *shape)
    measured = np.stack([reader.read(i) for i in range(shape[0])])
    assert measured.dtype == np.complex64
    peak = np.abs(numpy_ifft2c(kspace)).max()
    np.testing.assert_allclose(measured, kspace / peak, rtol=1e-5)
    assert reader.mask(0) is None
    images = np.abs(numpy_ifft2c(measured)).astype(np.float32)
    write_volume(images, reader, tmp_path / f"out{suffix}")
    if suffix == ".npy":
        written = np.load(tmp_path / "out.npy")
    else:
        with h5py.File(tmp_path / f"out{suffix}") as file:
            written = file["reconstruction"][()]
    assert written.dtype == np.float32
    np.testing.assert_allclose(written, np.abs(numpy_ifft2c(kspace)), rtol=1e-4, atol=1e-6)


def test_fastmri_file(tmp_path: Path) -> None:
    kspace, cropped = random_kspace((2, 6, 9)), np.random.default_rng(1).random((2, 4, 4)).astype(np.float32)
    mask = np.array([0, 1, 0, 1, 1, 1, 0, 1, 0], dtype=bool)
    datasets: dict[str, np.ndarray | bytes] = {
        "kspace": kspace,
        "mask": mask,
        "reconstruction_esc": cropped,
        "ismrmrd_header": b"<xml/>",
    }
    path = save_h5(tmp_path / "in.h5", datasets, max=0.5, norm=2.0, acquisition="CORPD_FBK", patient_id="p")
    reader = open_slices(path)
    assert reader.scale == 0.5
    np.testing.assert_allclose(reader.read(1), kspace[1] / 0.5)
    np.testing.assert_array_equal(reader.mask(1), np.tile(mask, (6, 1)))
    reference = reader.reference(1)
    assert reference is not None
    np.testing.assert_allclose(reference, cropped[1] / 0.5)
    write_volume(np.full((2, 4, 4), 2.0, np.float32), reader, tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["reconstruction"][()], np.ones((2, 4, 4)))
        assert dict(file.attrs) == {"max": 0.5, "norm": 2.0, "acquisition": "CORPD_FBK", "patient_id": "p"}
        assert file["ismrmrd_header"][()] == b"<xml/>"


def test_other_layouts_of_one_coil(tmp_path: Path) -> None:
    kspace = random_kspace((2, 1, 6, 9))
    save_h5(tmp_path / "coil_axis.h5", {"kspace": kspace})
    np.testing.assert_array_equal(open_slices(tmp_path / "coil_axis.h5", intensity_range=1).read(1), kspace[1, 0])
    save_h5(tmp_path / "named.h5", {"scan/raw": kspace[0, 0], "scan/pattern": np.ones((6, 9), np.uint8) * 255})
    reader = open_slices(tmp_path / "named.h5", kspace_key="scan/raw", mask_key="scan/pattern", intensity_range=1)
    np.testing.assert_array_equal(reader.read(0), kspace[0, 0])
    np.testing.assert_array_equal(reader.mask(0), np.ones((6, 9), bool))


def test_images_in_hdf5(tmp_path: Path) -> None:
    images = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    reader = open_slices(save_h5(tmp_path / "in.h5", {"image": images}), kind="image", kspace_key="image")
    assert reader.kind == "image"
    np.testing.assert_allclose(reader.read(2), images[2] / 255, rtol=1e-6)


def test_npy_images_keep_their_dimensions(tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(size=(5, 4))
    np.save(tmp_path / "in.npy", np.asfortranarray(values))
    reader = open_slices(tmp_path / "in.npy")
    assert (reader.kind, reader.n_slices) == ("image", 1)
    assert reader.scale == np.abs(values).max()
    write_volume(reader.read(0)[None], reader, tmp_path / "out.npy")
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), values, rtol=1e-6)


def test_complex_npy_can_be_an_image(tmp_path: Path) -> None:
    values = random_kspace((2, 5, 4))
    np.save(tmp_path / "in.npy", values)
    reader = open_slices(tmp_path / "in.npy", kind="image")
    assert reader.read(0).dtype == np.complex64
    np.testing.assert_allclose(reader.read(0), values[0] / np.abs(values).max(), rtol=1e-6)


def test_one_slice_of_a_large_file_is_read(tmp_path: Path) -> None:
    # 4 GB of which one slice is written: chunks without data take no place
    shape, kspace = (2048, 512, 512), random_kspace((512, 512))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("kspace", shape, np.complex64, chunks=(1, 512, 512))
        dataset[1500] = kspace
    reader = open_slices(tmp_path / "a.h5", intensity_range=1)
    tracemalloc.start()
    values = reader.read(1500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(values, kspace)
    assert peak < 10 * kspace.nbytes


def test_one_slice_of_a_large_npy_is_read(tmp_path: Path) -> None:
    kspace = random_kspace((256, 256))
    array = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.complex64, (256, 256, 256))
    array[200] = kspace
    del array
    reader = open_slices(tmp_path / "a.npy", intensity_range=1)
    tracemalloc.start()
    values = reader.read(200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(values, kspace)
    assert peak < 10 * kspace.nbytes


def test_truncated_hdf5_is_refused(tmp_path: Path) -> None:
    path = save_h5(tmp_path / "a.h5", {"kspace": random_kspace((3, 32, 32))})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"a\.h5: cannot be read as an HDF5 file .*truncated") as caught:
        open_slices(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("datasets", "options", "reason"),
    [
        ({"image": np.ones((4, 5))}, {}, r"no data set 'kspace', it holds image"),
        ({}, {}, r"no data set 'kspace', it holds nothing"),
        ({"kspace/inner": np.ones(4)}, {}, r"no data set 'kspace', it holds kspace"),
        ({"kspace": np.ones((4, 5))}, {}, r"expected complex k-space, got float64"),
        ({"kspace": random_kspace((2, 15, 4, 5))}, {}, r"single-coil .* got \[2, 15, 4, 5\].*combine the coils"),
        ({"kspace": random_kspace((5,))}, {}, r"expected \[height, width\].*got 1 dimensions"),
        ({"kspace": random_kspace((0, 4, 5))}, {}, r"at least one pixel, got shape \[0, 4, 5\]"),
        ({"kspace": random_kspace((4, 5))}, {"mask_key": "pattern"}, r"no data set 'pattern', it holds kspace"),
        ({"kspace": random_kspace((4, 5)), "mask": np.ones(4)}, {}, "image and mask of different size"),
        (
            {"kspace": random_kspace((2, 4, 5)), "reconstruction_esc": np.ones((3, 4, 5))},
            {},
            "as many references as slices, got 3 and 2",
        ),
    ],
)
def test_unfit_hdf5_is_refused_when_opened(
    tmp_path: Path, datasets: dict[str, np.ndarray | bytes], options: dict[str, str], reason: str
) -> None:
    path = save_h5(tmp_path / "a.h5", datasets)
    with pytest.raises(DataError, match=reason) as caught:
        open_slices(path, mask_key=options.get("mask_key"))
    assert str(path) in str(caught.value)


def test_unfit_npy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("hello")
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    np.save(tmp_path / "channels.npy", np.ones((2, 4, 5, 2)))
    np.save(tmp_path / "words.npy", np.full((2, 2), "word"))
    np.save(tmp_path / "cut.npy", np.ones((40, 50)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:1000])
    for name, reason in [
        ("text", "NumPy array file"),
        ("objects", "NumPy array file"),
        ("channels", r"\[2, 4, 5, 2\]"),
        ("words", "real or complex numbers"),
        ("cut", "NumPy array file"),
    ]:
        with pytest.raises(DataError, match=rf"{name}\.npy: .*{reason}"):
            open_slices(tmp_path / f"{name}.npy")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1j * np.nan])
def test_not_a_number_names_file_and_slice(tmp_path: Path, bad: complex) -> None:
    kspace = random_kspace((3, 4, 5))
    kspace[1, 2, 3] = bad
    path = save_h5(tmp_path / "a.h5", {"kspace": kspace}, max=1.0)
    reader = open_slices(path)
    reader.read(0)
    with pytest.raises(DataError, match=r"a\.h5:kspace, slice 1: 1 of 20 values are NaN or infinite"):
        reader.read(1)
    with pytest.raises(DataError, match="slice 1"):
        _ = open_slices(save_h5(tmp_path / "b.h5", {"kspace": kspace})).scale


@pytest.mark.skipif(not KNEE_DIR.is_dir(), reason="the shared knee files are not here")
def test_real_knee_kspace_gives_its_reconstruction() -> None:
    path = sorted(KNEE_DIR.glob("*.h5"))[0]
    reader = open_slices(path, intensity_range=1)
    peak = open_slices(path).scale
    for index in range(reader.n_slices):
        reference = reader.reference(index)
        assert reference is not None
        image = np.abs(numpy_ifft2c(reader.read(index)))
        np.testing.assert_allclose(image / peak, reference / peak, rtol=0, atol=3e-7)
