"""DICOM series: order, meaning of values, place in the patient; what is refused; derived series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_series import OBLIQUE, write_series
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless

from common.data import DataError, SliceDataset, find_files, find_slices, open_slices, write_volume
from common.data.dicom import open_series
from common.data.volumes import find_range, open_sink, open_source


def ct(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, shape).astype(np.uint16)


def itk_series(folder: Path) -> SimpleITK.Image:
    """By SimpleITK's GDCM, which sorts by place itself."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def whole(source: Any) -> np.ndarray:
    return source.read(tuple(slice(0, n) for n in source.spec.shape))


@pytest.mark.parametrize("orientation", [OBLIQUE, [1.0, 0, 0, 0, 1, 0], [0.0, 1, 0, 0, 0, -1]])
def test_a_series_is_in_the_order_of_its_places_as_another_reader_has_it(
    tmp_path: Path, orientation: list[float]
) -> None:
    volume = ct(5, 9, 7)
    write_series(tmp_path / "in", volume, orientation=orientation)
    (tmp_path / "in" / "readme.txt").write_text("not an image")
    (tmp_path / "in" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    expected = itk_series(tmp_path / "in")
    with open_source(tmp_path / "in") as source:
        assert source.spec.shape == (9, 7, 5)
        assert source.spec.dtype == np.uint16
        assert source.spec.geometry.spacing == pytest.approx((0.7, 0.5, 2.5))
        assert source.spec.geometry.unit == "millimeter"
        stored = whole(source)
        slope, intercept = source.spec.rescale
        np.testing.assert_array_equal(stored.transpose(2, 0, 1), volume)
        np.testing.assert_array_equal(
            (stored * slope + intercept).transpose(2, 0, 1), SimpleITK.GetArrayFromImage(expected).astype(float)
        )
        part = source.read((slice(2, 6), slice(1, 3), slice(1, 4)))
    np.testing.assert_array_equal(part.transpose(2, 0, 1), volume[1:4, 2:6, 1:3])
    affine = open_series(tmp_path / "in").affine
    assert affine is not None
    for row, column, index in [(0, 0, 0), (8, 6, 4), (3, 5, 2)]:
        place = expected.TransformIndexToPhysicalPoint((column, row, index))
        np.testing.assert_allclose(affine @ (row, column, index, 1), (*place, 1), atol=1e-4)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_other_encodings(tmp_path: Path, syntax: str) -> None:
    volume = ct(2, 9, 7)
    files = write_series(tmp_path / "in", volume.astype(">u2") if syntax == ExplicitVRBigEndian else volume)
    for file in files:
        data = pydicom.dcmread(file)
        if syntax == RLELossless:
            data.compress(RLELossless, generate_instance_uid=False)
        else:
            data.file_meta.TransferSyntaxUID = syntax
            data = pydicom.Dataset(data)
        data.file_meta = pydicom.dcmread(file).file_meta
        data.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(
            file,
            data,
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=syntax != ExplicitVRBigEndian,
            enforce_file_format=True,
        )
    with open_source(tmp_path / "in") as source:
        np.testing.assert_array_equal(whole(source).transpose(2, 0, 1), volume)
        sink = open_sink(tmp_path / "out", source.spec, source.spec.shape)
        with sink:
            sink.create()
            sink.write(tuple(slice(0, n) for n in source.spec.shape), whole(source))
            sink.finish()
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(itk_series(tmp_path / "out")), volume.astype(int) - 1024)


def test_the_smallest_value_of_monochrome1_is_white(tmp_path: Path) -> None:
    volume = ct(1, 4, 6)
    files = write_series(
        tmp_path,
        volume,
        bits=12,
        PhotometricInterpretation="MONOCHROME1",
        RescaleSlope=2,
        RescaleIntercept=10,
    )
    with open_source(files[0]) as source:
        assert source.spec.shape == (4, 6)
        assert source.spec.limits == (0, 4095)
        slope, intercept = source.spec.rescale
        np.testing.assert_array_equal(whole(source) * slope + intercept, (4095 - volume[0].astype(float)) * 2 + 10)
        assert find_range(source, "auto") == (0, float((4095 - volume[0].astype(float)).max() * 2 + 10))
    np.testing.assert_array_equal(
        open_slices(files[0], intensity_range=1.0).read(0), (4095 - volume[0].astype(float)) * 2 + 10
    )


def test_signed_values(tmp_path: Path) -> None:
    volume = ct(2, 3, 4).astype(np.int16) - 2000
    write_series(tmp_path / "in", volume, bits=13)
    with open_source(tmp_path / "in") as source:
        assert (source.spec.dtype, source.spec.limits) == (np.int16, (-4096, 4095))
        np.testing.assert_array_equal(whole(source).transpose(2, 0, 1), volume)


# -- refused -----------------------------------------------------------------------------------------------------------


def refused(folder: Path, match: str, **options: Any) -> None:
    for read in (open_source, open_slices):
        with pytest.raises(DataError, match=match) as caught:
            read(folder, **options)
        assert "\n" not in str(caught.value)


def test_several_series_are_named_and_one_can_be_chosen(tmp_path: Path) -> None:
    volume = ct(2, 4, 5)
    write_series(tmp_path, volume)
    write_series(tmp_path, volume + 1, series="two")
    uid = pydicom.dcmread(tmp_path / "IM001_two").SeriesInstanceUID
    refused(tmp_path, rf"found 2: .*chest one, 2 images.*{uid} \(chest two, 2 images\); pass series=")
    refused(tmp_path, r"no DICOM series 1.2, found .*choose one of these", series="1.2")
    with open_source(tmp_path, series=uid) as source:
        np.testing.assert_array_equal(whole(source).transpose(2, 0, 1), volume + 1)
        assert uid in source.identity()
    assert open_slices(tmp_path, series=uid, intensity_range=1.0).read(1).max() == volume[1].max() + 1 - 1024


def test_a_missing_slice_is_named_by_its_neighbours(tmp_path: Path) -> None:
    files = write_series(tmp_path, ct(6, 4, 5))
    files[3].unlink()
    refused(
        tmp_path, r"expected evenly spaced slices, got 5 mm between IM004_one and IM002_one and 2.5 mm elsewhere; a sl"
    )


@pytest.mark.parametrize(
    ("tags", "match"),
    [
        ({"ImagePositionPatient": [[0.0, 0, 0], [0.0, 0, 1], [0.0, 0, 1]]}, "evenly spaced slices, got"),
        ({"ImagePositionPatient": None}, "expected ImagePositionPatient in each file of a series"),
        ({"ImageOrientationPatient": [[1.0, 0, 0, 0, 1, 0], OBLIQUE, OBLIQUE]}, "expected the orientation"),
        ({"RescaleSlope": [1, 1, 2]}, "expected RescaleSlope 2.0 as IM.* has, got 1.0; keep what differs"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "expected a grey image, .* got RGB; convert it"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "expected a grey image, .* got PALETTE COLOR"),
        ({"NumberOfFrames": 7}, r"IM.*: expected one image in a file, got 7 frames .* split it"),
        ({"BitsAllocated": 1, "BitsStored": 1}, "expected integer pixels of 8, 16 or 32 bits, got 1 bits"),
    ],
)
def test_what_is_no_volume_of_grey_slices(tmp_path: Path, tags: dict[str, Any], match: str) -> None:
    write_series(tmp_path, ct(3, 4, 5), **tags)
    refused(tmp_path, match)


def test_no_image_no_decoder_and_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_series(tmp_path / "cut", ct(2, 40, 50))
    files[0].write_bytes(files[0].read_bytes()[:-100])
    with open_source(tmp_path / "cut") as source, pytest.raises(DataError, match=r"IM002_one: cannot be read as a DIC"):
        whole(source)
    (tmp_path / "one.dcm").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"one.dcm: cannot be read as a DICOM file"):
        open_source(tmp_path / "one.dcm")
    write_series(tmp_path / "jpeg", ct(2, 4, 5))
    for file in (tmp_path / "jpeg").iterdir():
        data = pydicom.dcmread(file)
        data.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8"])
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        data.file_meta.TransferSyntaxUID = JPEGLSLossless
        pydicom.dcmwrite(file, data)
    refused(tmp_path / "jpeg", r"IM.*: compressed as JPEG-LS .*, for which no decoder is installed; pip install pylib")
    write_series(tmp_path / "sr", ct(1, 4, 5), Rows=None)
    refused(tmp_path / "sr", "expected a DICOM image, found none")
    with pytest.raises(ValueError, match=r"spacing cannot be said of \.dcm; leave it out"):
        open_source(tmp_path / "cut", spacing=[1, 1, 1])
    monkeypatch.setattr("common.data.dicom.optional_import", lambda *arguments: (None, False))
    refused(tmp_path / "cut", "DICOM needs the package pydicom, version 3; pip install")


# -- slices ------------------------------------------------------------------------------------------------------------


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
    assert after.SeriesDescription == "chest one reconstruction"


# -- derived series ----------------------------------------------------------------------------------------------------


def nearest(source: Path, output: Path, scale: tuple[int, ...]) -> None:
    """Each value repeated ``scale`` times."""
    with open_source(source) as opened:
        values = whole(opened)
        for axis, factor in enumerate(scale):
            values = values.repeat(factor, axis)
        spec = opened.spec.enlarged(scale)
        sink = open_sink(output, spec, spec.shape)
        with sink:
            sink.create()
            sink.write(tuple(slice(0, n) for n in spec.shape), values)
            sink.finish()


@pytest.mark.parametrize("scale", [(4, 4, 1), (2, 2, 2), (3, 3, 3)])
def test_an_enlarged_series_fills_the_same_room(tmp_path: Path, scale: tuple[int, int, int]) -> None:
    volume = ct(5, 9, 7)
    write_series(tmp_path / "in", volume)
    nearest(tmp_path / "in", tmp_path / "out", scale)
    one, other = itk_series(tmp_path / "in"), itk_series(tmp_path / "out")
    assert other.GetSize() == (7 * scale[1], 9 * scale[0], 5 * scale[2])
    np.testing.assert_allclose(
        other.GetSpacing(), np.array(one.GetSpacing()) / (scale[1], scale[0], scale[2]), rtol=1e-6
    )
    np.testing.assert_allclose(other.GetDirection(), one.GetDirection(), atol=1e-6)
    for corner in np.ndindex(2, 2, 2):  # outer corners of the volumes, half a pixel beyond the outer centres
        ends = [np.array(image.GetSize()) * corner - 0.5 for image in (one, other)]
        places = [
            image.TransformContinuousIndexToPhysicalPoint([float(n) for n in end])
            for image, end in zip((one, other), ends, strict=True)
        ]
        np.testing.assert_allclose(places[1], places[0], atol=1e-4)
    for row, column, index in [(0, 0, 0), (8, 6, 4), (4, 2, 3)]:
        place = one.TransformIndexToPhysicalPoint((column, row, index))
        assert other[other.TransformPhysicalPointToIndex(place)] == one[column, row, index]
    values = SimpleITK.GetArrayFromImage(one)
    for axis, factor in zip((1, 2, 0), scale, strict=True):
        values = values.repeat(factor, axis)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(other), values)


def test_what_an_enlarged_series_says(tmp_path: Path) -> None:
    block = {"PatientComments": "kept", "SeriesDescription": "x" * 60}
    files = write_series(tmp_path / "in", ct(3, 9, 7), **block)
    for file in files:
        data = pydicom.dcmread(file)
        private = data.private_block(0x0011, "MAKER", create=True)
        private.add_new(0x01, "LO", "rows 9")
        data.add_new((0x6000, 0x0010), "US", 9)
        data.save_as(file)
    nearest(tmp_path / "in", tmp_path / "flat", (2, 2, 1))
    nearest(tmp_path / "in", tmp_path / "deep", (2, 2, 2))
    before = [pydicom.dcmread(file) for file in files]
    flat = [pydicom.dcmread(tmp_path / "flat" / file.name) for file in files]
    for old, new in zip(before, flat, strict=True):
        assert (new.Rows, new.Columns, list(new.PixelSpacing)) == (18, 14, [0.35, 0.25])
        assert list(new.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
        assert new.SeriesDescription == "x" * 44 + " super-resolution x2"
        assert new.SourceImageSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
        kept = ["SOPClassUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientComments", "Modality"]
        kept += ["RescaleSlope", "RescaleIntercept", "WindowCenter", "BitsStored", "InstanceNumber", "SliceThickness"]
        kept += ["SpacingBetweenSlices", "SliceLocation", "ImageOrientationPatient", "PhotometricInterpretation"]
        assert {name: new[name].value for name in kept} == {name: old[name].value for name in kept}
        assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID != old.SOPInstanceUID
        assert "SmallestImagePixelValue" not in new
        assert not [element for element in new if element.tag.is_private or element.tag.group == 0x6000]
    assert len({new.SOPInstanceUID for new in flat}) == 3
    (uid,) = {new.SeriesInstanceUID for new in flat}
    assert uid != before[0].SeriesInstanceUID
    deep = [pydicom.dcmread(file) for file in sorted((tmp_path / "deep").iterdir())]
    assert [new.filename.name if isinstance(new.filename, Path) else Path(new.filename).name for new in deep] == [
        f"{n}.dcm" for n in range(6)
    ]
    assert [int(new.InstanceNumber) for new in deep] == [6, 5, 4, 3, 2, 1]  # against the places, as they came
    assert {(float(new.SliceThickness), float(new.SpacingBetweenSlices)) for new in deep} == {(1.25, 1.25)}
    assert not any("SliceLocation" in new for new in deep)
    nearest(tmp_path / "in", tmp_path / "again", (2, 2, 1))
    for file in files:
        assert (tmp_path / "again" / file.name).read_bytes() == (tmp_path / "flat" / file.name).read_bytes()


def test_an_image_alone_and_odd_bytes(tmp_path: Path) -> None:
    volume = ct(1, 3, 3).astype(np.uint8)
    (file,) = write_series(tmp_path, volume, ImageType=None)
    nearest(file, tmp_path / "out.dcm", (3, 3))
    nearest(file, tmp_path / "same.dcm", (1, 1))
    one, other = (SimpleITK.ReadImage(str(path)) for path in (file, tmp_path / "out.dcm"))
    np.testing.assert_allclose(other.GetSpacing()[:2], np.array(one.GetSpacing()[:2]) / 3)
    expected = [
        one.TransformContinuousIndexToPhysicalPoint((-1 / 3, -1 / 3, 0.0)),
        one.TransformContinuousIndexToPhysicalPoint((2 + 1 / 3, 2 + 1 / 3, 0.0)),
    ]
    ends = [other.TransformIndexToPhysicalPoint(index) for index in ((0, 0, 0), (8, 8, 0))]
    np.testing.assert_allclose(ends, expected, atol=1e-5)
    assert pydicom.dcmread(tmp_path / "out.dcm").ImageType == ["DERIVED", "PRIMARY"]
    np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "same.dcm").pixel_array, volume[0])


def test_a_nifti_of_a_series_lies_where_the_series_does(tmp_path: Path) -> None:
    volume = ct(5, 9, 7)
    write_series(tmp_path / "in", volume)
    nearest(tmp_path / "in", tmp_path / "out.nii.gz", (2, 2, 2))
    image = nibabel.nifti1.Nifti1Image.from_filename(tmp_path / "out.nii.gz")
    assert image.header.get_zooms() == pytest.approx((0.35, 0.25, 1.25))
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    np.testing.assert_allclose(image.header.get_qform(), image.affine, atol=1e-3)
    expected = itk_series(tmp_path / "in")
    for row, column, index in [(0, 0, 0), (8, 6, 4)]:
        place = expected.TransformIndexToPhysicalPoint((column, row, index))
        left, posterior, superior = place
        where = np.linalg.inv(image.affine) @ (-left, -posterior, superior, 1)
        np.testing.assert_allclose(where[:3], [2 * n + 0.5 for n in (row, column, index)], atol=1e-3)
    np.testing.assert_array_equal(
        image.get_fdata()[::2, ::2, ::2].transpose(2, 0, 1), SimpleITK.GetArrayFromImage(expected).astype(float)
    )


def test_formats_that_cannot_be(tmp_path: Path) -> None:
    write_series(tmp_path / "in", ct(2, 4, 5))
    with open_source(tmp_path / "in") as source:
        with pytest.raises(DataError, match="expected a folder, without a suffix, for 2 DICOM slices"):
            open_sink(tmp_path / "out.dcm", source.spec, (4, 5, 2))
        assert open_sink(tmp_path / "1.2.840_x4", source.spec, (4, 5, 2)).spec.series is not None
        with pytest.raises(DataError, match=r"out.jpg: unknown suffix"):
            open_sink(tmp_path / "out.jpg", source.spec, (4, 5, 2))
    np.save(tmp_path / "plain.npy", ct(4, 5))
    with open_source(tmp_path / "plain.npy") as source, pytest.raises(DataError, match="DICOM is written of DICOM al"):
        open_sink(tmp_path / "out.dcm", source.spec, (4, 5))
