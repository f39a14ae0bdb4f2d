"""A 16-bit TIFF of odd size, a DICOM series and a NIfTI through a MONAI evaluator, looked at by other readers."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
import tifffile
from dicom_series import write_series
from nearest_network import Nearest, enlarge_files
from PIL import Image

from common.inferers import FileInferer


def ct(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4096, shape).astype(np.uint16)


def itk_series(folder: Path) -> SimpleITK.Image:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def outer_corners(image: SimpleITK.Image) -> np.ndarray:
    """Half a pixel beyond the outer centres, in mm."""
    size = np.array(image.GetSize())
    ends = [(size * corner - 0.5).tolist() for corner in np.ndindex(*(2,) * len(size))]
    return np.array([image.TransformContinuousIndexToPhysicalPoint(end) for end in ends])


def test_a_tiff_of_16_bits_and_odd_size(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 65536, (45, 61)).astype(np.uint16)
    (tmp_path / "in").mkdir()
    tifffile.imwrite(
        tmp_path / "in" / "rock.tif",
        image,
        photometric="minisblack",
        compression="zlib",
        resolution=(1000, 500),  # pixels per centimetre: 10 um wide, 20 um high
        resolutionunit="CENTIMETER",
    )
    (output,) = enlarge_files(tmp_path / "in", FileInferer(tmp_path / "out", tile_size=20), Nearest(4))
    with Image.open(output) as picture:
        assert picture.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(picture), image.repeat(4, 0).repeat(4, 1))
        tags = picture.tag_v2  # type: ignore[attr-defined]
        assert (float(tags[282]), float(tags[283]), tags[296]) == pytest.approx((4000, 2000, 3))
        assert 'PhysicalSizeX="0.00025" PhysicalSizeXUnit="cm"' in tags[270]
        assert 'PhysicalSizeY="0.0005" PhysicalSizeYUnit="cm"' in tags[270]


@pytest.mark.parametrize(("dims", "scale"), [(2, (2, 2, 1)), (3, (2, 2, 2))])
@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_a_dicom_series(tmp_path: Path, dims: int, scale: tuple[int, int, int], dtype: str) -> None:
    volume = ct(5, 21, 17).astype(dtype)
    write_series(tmp_path / "in" / "1.2.840", volume, bits=13)
    run = FileInferer(tmp_path / "out", tile_size=10, intensity_range=[-1024, 3071])
    (output,) = enlarge_files(tmp_path / "in", run, Nearest(2, dims))
    assert output == tmp_path / "out" / "1.2.840_x2"
    one, other = itk_series(tmp_path / "in" / "1.2.840"), itk_series(output)
    expected = SimpleITK.GetArrayFromImage(one)
    for axis, factor in zip((1, 2, 0), scale, strict=True):
        expected = expected.repeat(factor, axis)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(other), expected)
    np.testing.assert_allclose(other.GetSpacing(), np.array(one.GetSpacing()) / [scale[n] for n in (1, 0, 2)])
    np.testing.assert_allclose(other.GetDirection(), one.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(outer_corners(other), outer_corners(one), atol=1e-4)
    (again,) = enlarge_files(tmp_path / "in", run, Nearest(2, dims))  # kept, though a folder is never replaced
    assert again == output
    header = pydicom.dcmread(sorted(output.iterdir())[0])
    assert (header.ImageType[0], header.BitsStored, header.PatientID) == ("DERIVED", 13, "P1")


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32"])
def test_a_nifti_volume(tmp_path: Path, dtype: str) -> None:
    volume = (ct(13, 11, 9) // 17).astype(dtype)
    affine = np.array([[0, 0, -2.0, 90], [-0.5, 0.1, 0, 40], [0.1, 0.5, 0, -70], [0, 0, 0, 1]])
    image = nibabel.nifti1.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    (tmp_path / "in").mkdir()
    nibabel.save(image, tmp_path / "in" / "brain.nii.gz")
    run = FileInferer(tmp_path / "out", tile_size=6, intensity_range=[0, 255])
    (output,) = enlarge_files(tmp_path / "in", run, Nearest(3, 3))
    assert output == tmp_path / "out" / "brain_x3.nii.gz"
    one, other = (SimpleITK.ReadImage(str(path)) for path in (tmp_path / "in" / "brain.nii.gz", output))
    expected = SimpleITK.GetArrayFromImage(one).repeat(3, 0).repeat(3, 1).repeat(3, 2)
    np.testing.assert_allclose(SimpleITK.GetArrayFromImage(other), expected, rtol=1e-6)
    assert SimpleITK.GetArrayFromImage(other).dtype == np.dtype(dtype)
    np.testing.assert_allclose(other.GetSpacing(), np.array(one.GetSpacing()) / 3, rtol=1e-6)
    np.testing.assert_allclose(other.GetDirection(), one.GetDirection(), atol=1e-5)
    np.testing.assert_allclose(outer_corners(other), outer_corners(one), atol=1e-3)
    written = nibabel.nifti1.Nifti1Image.from_filename(output)
    enlargement = np.diag([1 / 3, 1 / 3, 1 / 3, 1])
    enlargement[:3, 3] = -1 / 3
    np.testing.assert_allclose(written.affine, affine @ enlargement, atol=1e-5)
    assert nibabel.aff2axcodes(written.affine) == nibabel.aff2axcodes(affine)


@pytest.mark.parametrize("dims", [2, 3])
def test_padding_of_a_dicom_series_stays_padding(tmp_path: Path, dims: int) -> None:
    volume = ct(3, 12, 16).astype(np.int16)
    volume[:, :, :4] = -2000  # outside of the scanner's circle
    write_series(tmp_path / "in" / "head", volume, bits=16, PixelPaddingValue=-2000)
    run = FileInferer(tmp_path / "out", tile_size=9, intensity_range=[0, 3071])
    (output,) = enlarge_files(tmp_path / "in", run, Nearest(2, dims))
    headers = [pydicom.dcmread(file) for file in sorted(output.iterdir())]
    padding = [header.pixel_array == header.PixelPaddingValue for header in headers]
    assert all(one[:, :8].all() and not one[:, 8:].any() for one in padding)


def test_radiographs_of_one_folder_are_enlarged_one_by_one(tmp_path: Path) -> None:
    for index in range(3):
        write_series(tmp_path / "all" / str(index), ct(1, 12, 16), series=str(index))
        (file,) = (tmp_path / "all" / str(index)).iterdir()
        (tmp_path / "in").mkdir(exist_ok=True)
        file.rename(tmp_path / "in" / f"chest{index}.dcm")
    outputs = enlarge_files(tmp_path / "in", FileInferer(tmp_path / "out", intensity_range=3071), Nearest(2))
    assert outputs == [tmp_path / "out" / f"chest{index}_x2.dcm" for index in range(3)]


def test_a_header_with_its_values_becomes_one_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    image = SimpleITK.GetImageFromArray(ct(4, 12, 16))
    image.SetSpacing((0.7, 0.5, 1.25))
    image.SetOrigin((-120.0, -95.5, 33.25))
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, -1))
    SimpleITK.WriteImage(image, str(tmp_path / "in" / "scan.mhd"))
    with caplog.at_level("INFO", logger="recon"):
        (output,) = enlarge_files(tmp_path / "in", FileInferer(tmp_path / "out"), Nearest(2, 3))
    assert output == tmp_path / "out" / "scan_x2.mha"
    assert "scan.mhd: .mhd is read and not written, so the output is .mha" in caplog.text
    other = SimpleITK.ReadImage(str(output))
    np.testing.assert_allclose(outer_corners(other), outer_corners(image), atol=1e-4)
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(other), ct(4, 12, 16).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    )
