"""Writing: names, refusals, and nothing half-written. Round trips are with the formats' own tests."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from PIL import Image

from common.data import DataError, SliceReader, VolumeAssembler, open_slices, output_path, write_volume
from common.io import open_source
from common.io.atomic import atomic_path
from common.io.formats import picture
from tests.io.mrd import header


@pytest.fixture
def reader(tmp_path: Path) -> SliceReader:
    Image.fromarray(np.full((4, 6), 100, np.uint8)).save(tmp_path / "in.png")
    return open_slices(tmp_path / "in.png")


def test_names_keep_the_suffix(tmp_path: Path) -> None:
    names = ["a.nii", "a.nii.gz", "a.png", "a.tif", "b.v2.h5", "c.mat", "d.mhd", "e.npz", "f.JPG", "series"]
    outputs = [output_path(f"in/{name}", tmp_path).name for name in names]
    assert outputs == [
        "a_recon.nii",
        "a_recon.nii.gz",
        "a_recon.png",
        "a_recon.tif",
        "b.v2_recon.h5",
        "c_recon.h5",
        "d_recon.mha",
        "e_recon.npy",
        "f_recon.png",
        "series_recon",
    ]


def test_folders_are_made(reader: SliceReader, tmp_path: Path) -> None:
    path = write_volume(np.ones((1, 4, 6), np.float32), reader, tmp_path / "new" / "folder" / "out.png")
    assert path.is_file()
    assert os.listdir(path.parent) == ["out.png"]


@pytest.mark.parametrize(
    ("volume", "name", "reason"),
    [
        (np.ones((1, 6, 4)), "out.png", r"expected a volume \[1, 4, 6\] .* got \[1, 6, 4\]"),
        (np.ones((2, 4, 6)), "out.png", r"got \[2, 4, 6\]"),
        (np.ones((4, 6)), "out.png", r"got \[4, 6\]"),
        (np.ones((1, 4, 6), np.complex64), "out.png", "real volume, got complex64; take the magnitude"),
        (np.full((1, 4, 6), np.nan), "out.png", r"not written, the reconstruction of .*in\.png .*NaN"),
        (np.ones((1, 4, 6)), "out.jpg", r"out\.jpg: \.jpg is not written"),
        (np.ones((1, 4, 6)), "in.png", "would replace its input"),
    ],
)
def test_unfit_volume_is_refused_and_nothing_written(
    reader: SliceReader, tmp_path: Path, volume: np.ndarray, name: str, reason: str
) -> None:
    before = (tmp_path / "in.png").read_bytes()
    with pytest.raises(ValueError, match=reason):
        write_volume(volume, reader, tmp_path / name)
    assert os.listdir(tmp_path) == ["in.png"]
    assert (tmp_path / "in.png").read_bytes() == before


def test_failure_in_the_middle_leaves_the_older_file(
    reader: SliceReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out.png").write_text("older")

    def half(values: np.ndarray, path: Path, native: object) -> None:
        path.write_text("half")
        raise ValueError("stopped")

    monkeypatch.setattr(picture, "write_png", half)
    with pytest.raises(ValueError, match="stopped"):
        write_volume(np.ones((1, 4, 6)), reader, tmp_path / "out.png")
    assert sorted(os.listdir(tmp_path)) == ["in.png", "out.png"]
    assert (tmp_path / "out.png").read_text() == "older"


def nifti(path: Path, dtype: type = np.int16) -> nibabel.nifti1.Nifti1Image:
    """Values ``[x, y, z]`` with a slope, an oblique sform and another qform."""
    values = np.random.default_rng(0).integers(0, 3000, (5, 4, 3)).astype(dtype)
    image = nibabel.nifti1.Nifti1Image(values, None)
    image.set_sform(np.array([[0, -0.9, 0.1, 20], [1.1, 0, 0.2, -30], [0.1, 0.2, 3.0, 5], [0, 0, 0, 1]]), code=2)
    image.set_qform(np.diag([2.0, 2, 3, 1]), code=1)
    image.header.set_slope_inter(0.5, 3)
    image.header["descrip"] = b"a scan"
    nibabel.save(image, path)
    return nibabel.nifti1.Nifti1Image.from_filename(path)


def test_nifti_comes_back_with_its_header(tmp_path: Path) -> None:
    before = nifti(tmp_path / "in.nii.gz")
    reader = open_slices(tmp_path / "in.nii.gz")
    volume = np.stack([reader.read(index) for index in range(3)])
    assert volume.shape == (3, 4, 5)  # x runs along a row
    np.testing.assert_allclose(volume[1].T * reader.range[1], before.get_fdata()[..., 1], rtol=1e-6)
    after = nibabel.nifti1.Nifti1Image.from_filename(write_volume(volume, reader, tmp_path / "out.nii.gz"))
    np.testing.assert_array_equal(np.asarray(after.dataobj.get_unscaled()), np.asarray(before.dataobj.get_unscaled()))
    for key in ("sform_code", "qform_code", "descrip"):
        assert after.header[key] == before.header[key]
    assert (after.dataobj.slope, after.dataobj.inter) == (0.5, 3)
    np.testing.assert_allclose(after.get_sform(), before.get_sform(), atol=1e-5)
    np.testing.assert_allclose(after.get_qform(), before.get_qform(), atol=1e-5)
    plain = nibabel.nifti1.Nifti1Image.from_filename(write_volume(volume, reader, tmp_path / "f.nii", np.float32))
    assert plain.get_data_dtype() == np.float32
    np.testing.assert_allclose(plain.dataobj.get_unscaled(), before.get_fdata(), rtol=1e-6)  # without slope


def test_an_enlarged_volume_has_the_field_of_view_of_its_input(tmp_path: Path) -> None:
    before = nifti(tmp_path / "in.nii")
    reader = open_slices(tmp_path / "in.nii")
    volume = np.repeat(np.repeat(np.stack([reader.read(index) for index in range(3)]), 2, 1), 2, 2)
    after = nibabel.nifti1.Nifti1Image.from_filename(write_volume(volume, reader, tmp_path / "out.nii", upscale=2))
    assert after.shape == (10, 8, 3)
    np.testing.assert_array_equal(after.get_fdata(), before.get_fdata().repeat(2, 0).repeat(2, 1))
    for corner in ([-0.5, -0.5, -0.5], [4.5, 3.5, 2.5]):  # outer edges of the first and the last pixel
        enlarged = [2 * corner[0] + 0.5, 2 * corner[1] + 0.5, corner[2]]
        np.testing.assert_allclose(after.affine @ [*enlarged, 1], before.affine @ [*corner, 1], atol=1e-5)


def test_the_middle_of_kspace_keeps_its_pixel_size_and_place(tmp_path: Path) -> None:
    xml = header((16, 12, 1), (48, 24, 3), (8, 8, 1), (24, 16, 3))
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["kspace"], file["ismrmrd_header"] = np.ones((2, 16, 12), np.complex64), xml
    reader = open_slices(tmp_path / "in.h5", intensity_range=4.0)
    volume = np.random.default_rng(0).random((2, 8, 8)).astype(np.float32)
    with open_source(write_volume(volume, reader, tmp_path / "out.nii")) as written:
        assert written.spec.geometry.spacing_mm == pytest.approx((3, 3, 2))
        np.testing.assert_array_equal(written.read(), 4 * volume)
    with open_source(write_volume(volume, reader, tmp_path / "out.tif")) as written:
        assert written.spec.geometry.spacing_mm == pytest.approx((3, 3, 2))
    with pytest.raises(ValueError, match=r"expected a volume \[2, 16, 12\] .* got \[2, 17, 12\]"):
        write_volume(np.ones((2, 17, 12)), reader, tmp_path / "out.h5")


def test_atomic_path_obeys_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with atomic_path(tmp_path / "out.nii.gz") as temporary:
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(".nii.gz")
        temporary.touch()
    assert (tmp_path / "out.nii.gz").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_slices_in_any_order_become_volumes(tmp_path: Path) -> None:
    volumes = {f"{name}.npy": np.random.default_rng(i).random((3 + i, 4, 5)) for i, name in enumerate("ab")}
    slices = [(name, index, volume) for name, volume in volumes.items() for index in range(len(volume))]
    assembler = VolumeAssembler()
    done = {}
    for place in np.random.default_rng(2).permutation(len(slices)):
        name, index, volume = slices[place]
        result = assembler.add(name, index, len(volume), volume[index])
        if result is not None:
            done[name] = result
    assembler.finish()
    assert sorted(done) == sorted(volumes)
    for name, volume in volumes.items():
        np.testing.assert_array_equal(done[name], volume)


def test_assembler_keeps_its_own_copy() -> None:
    assembler, buffer = VolumeAssembler(), np.zeros((2, 2))
    assembler.add("a.h5", 0, 2, buffer)
    buffer += 1
    volume = assembler.add("a.h5", 1, 2, buffer)
    assert volume is not None
    assert volume[:, 0, 0].tolist() == [0, 1]


def test_assembler_refuses_what_does_not_fit() -> None:
    assembler = VolumeAssembler()
    assembler.add("a.h5", 1, 4, np.zeros((2, 3)))
    with pytest.raises(DataError, match=r"a\.h5: slice 1 came twice"):
        assembler.add("a.h5", 1, 4, np.zeros((2, 3)))
    with pytest.raises(DataError, match=r"a\.h5: got slice 4 of 4, expected 0 <= slice < 4"):
        assembler.add("a.h5", 4, 4, np.zeros((2, 3)))
    with pytest.raises(DataError, match="got slice 0 of 5, expected 0 <= slice < 4"):
        assembler.add("a.h5", 0, 5, np.zeros((2, 3)))
    with pytest.raises(DataError, match=r"slice 0 is \[3, 2\], expected 2-D like the others \[\(2, 3\)\]"):
        assembler.add("a.h5", 0, 4, np.zeros((3, 2)))
    with pytest.raises(DataError, match=r"a\.h5 lacks slices 0, 2, 3; reconstruct all"):
        assembler.finish()
    assert assembler.add("b.png", 0, 1, np.zeros((2, 3))) is not None
    with pytest.raises(DataError, match=r"b\.png: slice 0 came twice"):
        assembler.add("b.png", 0, 1, np.zeros((2, 3)))


def test_h5_attribute_types_survive(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["kspace"] = np.ones((2, 4, 5), np.complex64)
        file.attrs["fov_mm"] = np.array([160.0, 150.0])
        file.attrs["acquisition"] = "CORPD_FBK"
    write_volume(np.ones((2, 4, 5)), open_slices(tmp_path / "in.h5"), tmp_path / "out.HDF5")
    with h5py.File(tmp_path / "out.HDF5") as file:
        assert (file["reconstruction"].shape, file["reconstruction"].dtype) == ((2, 4, 5), np.float32)
        assert file.attrs["fov_mm"].tolist() == [160.0, 150.0]
        assert file.attrs["acquisition"] == "CORPD_FBK"
        assert list(file) == ["reconstruction"]
