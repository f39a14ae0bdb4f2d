"""DICOM: order in space and time, intensities, multi-frame objects, derived series; against pydicom and SimpleITK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from common.errors import DataError
from common.io import format_of, open_sink, open_source
from common.io.geometry import LPS_TO_RAS, enlargement_matrix
from tests.io.dicom_files import CT, MR, PET, save, save_enhanced

pydicom = pytest.importorskip("pydicom", "3.0")

STORED = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)


def save_volume(folder: Path, stored: np.ndarray = STORED, step: Sequence[float] = (0, 0, 3), **tags: Any) -> Path:
    """One file for each slice, the names in another order than the places."""
    for n, values in enumerate(stored):
        save(folder / f"{len(stored) - n}.dcm", values, number=n + 1, position=np.multiply(n, step), **tags)
    return folder


def save_cine(folder: Path, names: Sequence[int], tags: Sequence[dict[str, Any]], **common: Any) -> Path:
    """A file for each frame, whose value is its number; ``names`` are instance numbers and file names."""
    for n, (name, own) in enumerate(zip(names, tags, strict=True)):
        save(folder / f"IM{name:04}", np.full((4, 5), n, np.int16), sop_class=MR, number=name, **(common | own))
    return folder


def enlarged(path: Path, target: Path, scale: dict[str, int]) -> Path:
    with open_source(path) as source:
        spec, values = source.spec, source.read()
    for place, axis in enumerate(spec.axes):
        values = values.repeat(scale.get(axis, 1), place)
    sink = open_sink(target, spec.enlarged(scale))
    return sink.write_all(values.astype(sink.spec.dtype))


def itk_affine(image: Any) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ affine


def sorted_by_place(folder: Path) -> list[str]:
    reader = SimpleITK.ImageSeriesReader()
    return list(reader.GetGDCMSeriesFileNames(str(folder)))


def test_slices_are_ordered_by_place(tmp_path: Path) -> None:
    folder = save_volume(tmp_path / "ct", spacing=(0.5, 0.7), RescaleSlope=2, RescaleIntercept=-100)
    image = SimpleITK.ReadImage(sorted_by_place(folder))
    with open_source(folder) as source:
        assert source.spec.axes == ("z", "y", "x")
        assert source.spec.intensity.quantity == "HU"
        np.testing.assert_array_equal(source.read(), STORED)
        np.testing.assert_array_equal(source.spec.intensity.meant(source.read()), SimpleITK.GetArrayFromImage(image))
        np.testing.assert_allclose(source.spec.geometry.affine, itk_affine(image), atol=1e-9)
        assert source.spec.geometry.spacing_mm == pytest.approx((3, 0.5, 0.7))


def test_gantry_tilt_is_kept_as_shear(tmp_path: Path) -> None:
    with open_source(save_volume(tmp_path / "ct", step=(0, 1.0, 3.0))) as source:
        np.testing.assert_allclose(source.spec.geometry.affine[:3, 2], (0, -1, 3))


def test_a_missing_slice_and_a_slice_twice_are_refused(tmp_path: Path) -> None:
    folder = save_volume(tmp_path / "ct")
    (folder / "3.dcm").rename(tmp_path / "kept.dcm")
    with pytest.raises(DataError, match=r"got 6 mm between 4\.dcm and 2\.dcm and 3 mm elsewhere"):
        open_source(folder)
    (tmp_path / "kept.dcm").rename(folder / "3.dcm")
    (folder / "again.dcm").write_bytes((folder / "3.dcm").read_bytes())
    with pytest.raises(DataError, match=r"got 2 at that of 3\.dcm and 1 elsewhere"):
        open_source(folder)


def test_of_two_series_one_is_chosen(tmp_path: Path) -> None:
    folder = save_volume(tmp_path / "ct", series="1.2.3")
    for n in range(5):
        save(folder / f"bone{n}.dcm", STORED[n] + 1, series="1.2.4", number=n + 1, position=(0, 0, 3 * n))
    with pytest.raises(DataError, match=r"found 2: .*--source_options \"\{'series': '1.2.[34]'\}\""):
        open_source(folder)
    with open_source(folder, series="1.2.4") as source:
        np.testing.assert_array_equal(source.read(), STORED + 1)
    with pytest.raises(DataError, match=r"no DICOM series 1.2.5"):
        open_source(folder, series="1.2.5")


def test_radiographs_of_one_folder_are_listed(tmp_path: Path) -> None:
    from common.io.formats.dicom import series_of

    for n in range(3):
        save(tmp_path / f"p{n}.dcm", STORED[n], series=f"1.2.{n}", position=None)
    assert series_of(tmp_path) == {f"1.2.{n}": (tmp_path / f"p{n}.dcm",) for n in range(3)}
    with open_source(tmp_path / "p1.dcm") as source:
        assert source.spec.axes == ("y", "x")
        assert source.spec.geometry.affine is None
        assert source.spec.geometry.spacing_mm == (1, 1)


def test_files_that_say_neither_place_nor_time_are_refused(tmp_path: Path) -> None:
    for n in range(3):
        save(tmp_path / f"p{n}.dcm", STORED[n], number=3 - n, position=None)
    with pytest.raises(DataError, match="say neither where they lie"):
        open_source(tmp_path)
    for axis in "tz":
        with open_source(tmp_path, axis=axis) as source:
            assert source.spec.size(axis) == 3
            np.testing.assert_array_equal(source.read().reshape(3, 6, 7), STORED[2::-1])


TEMPORAL = [{"TemporalPositionIdentifier": n + 1, "AcquisitionTime": f"1030{20 + 0.05 * n:09.6f}"} for n in range(6)]
RANDOM = [4, 2, 6, 1, 3, 5]


@pytest.mark.parametrize(
    ("tags", "interval"),
    [
        ([{"TriggerTime": 25 * n, "AcquisitionTime": "103020"} for n in range(6)], 0.025),
        (TEMPORAL, 0.05),
        ([{"AcquisitionTime": own["AcquisitionTime"]} for own in TEMPORAL], 0.05),
        (
            [
                {"AcquisitionTime": f"2359{59.7 + 0.1 * n:09.6f}" if n < 3 else f"0000{0.1 * n - 0.3:09.6f}"}
                for n in range(6)
            ],
            0.1,
        ),
        ([{"TriggerTime": 0, "TemporalPositionIdentifier": n + 1} for n in range(6)], None),
    ],
)
def test_frames_are_ordered_by_time_and_not_by_number(
    tmp_path: Path, tags: list[dict[str, Any]], interval: float | None
) -> None:
    with open_source(save_cine(tmp_path, RANDOM, tags)) as source:
        assert source.spec.axes == ("t", "z", "y", "x")
        np.testing.assert_array_equal(source.read()[:, 0, 0, 0], range(6))
        times = source.spec.geometry.frame_times_s
        assert (None if times is None else pytest.approx(interval, abs=1e-6)) == (times and times[1] - times[0])


def test_instance_numbers_order_what_has_no_time(tmp_path: Path) -> None:
    with open_source(save_cine(tmp_path, [1, 2, 3, 10, 11, 12], [{}] * 6)) as source:
        np.testing.assert_array_equal(source.read()[:, 0, 0, 0], range(6))
        assert source.spec.geometry.frame_times_s is None


def test_orders_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    tags = [{"TriggerTime": 25 * n, "TemporalPositionIdentifier": 6 - n} for n in range(6)]
    save_cine(tmp_path, RANDOM, tags)
    with pytest.raises(DataError, match="one order by TriggerTime and another one by TemporalPositionIdentifier"):
        open_source(tmp_path)
    with open_source(tmp_path, order="TemporalPositionIdentifier") as source:
        np.testing.assert_array_equal(source.read()[:, 0, 0, 0], range(6)[::-1])
    with pytest.raises(ValueError, match="order must be a tag that differs"):
        open_source(tmp_path, order="ContentTime")


def test_content_time_that_contradicts_the_numbers_is_refused(tmp_path: Path) -> None:
    save_cine(tmp_path, RANDOM, [{"ContentTime": f"10302{n}"} for n in range(6)])
    with pytest.raises(DataError, match="one order by ContentTime and another one by InstanceNumber"):
        open_source(tmp_path)


def test_two_images_of_one_time_are_refused(tmp_path: Path) -> None:
    save_cine(tmp_path, [1, 2, 3, 4], [{"TriggerTime": 25 * (n // 2)} for n in range(4)])
    with pytest.raises(DataError, match="TriggerTime does not tell apart"):
        open_source(tmp_path)


def test_magnitude_and_phase_are_told_apart(tmp_path: Path) -> None:
    tags = [{"TriggerTime": 25 * (n // 2), "ImageType": ["ORIGINAL", "PRIMARY", "MP"[n % 2], "ND"]} for n in range(8)]
    save_cine(tmp_path, range(1, 9), tags)
    with pytest.raises(DataError, match=r"got magnitude, phase .*--source_options \"\{'part': 'magnitude'\}\""):
        open_source(tmp_path)
    for part, first in (("magnitude", 0), ("phase", 1)):
        with open_source(tmp_path, part=part) as source:
            np.testing.assert_array_equal(source.read()[:, 0, 0, 0], range(first, 8, 2))


def test_echoes_are_no_frames(tmp_path: Path) -> None:
    save_cine(tmp_path, range(1, 5), [{"EchoTime": 10 * (1 + n % 2)} for n in range(4)])
    with pytest.raises(DataError, match=r"images of one EchoTime, got 10.0, 20.0"):
        open_source(tmp_path)


def test_slices_of_a_cine_may_be_series_of_their_own(tmp_path: Path) -> None:
    for z in range(3):
        for t in range(4):
            save(
                tmp_path / f"{z}{t}",
                np.full((4, 5), 10 * z + t, np.int16),
                sop_class=MR,
                series=f"1.2.{9 - z}",
                position=(0, 0, 8 * z),
                TriggerTime=f"{20 * t + z}",
            )
    with open_source(tmp_path) as source:
        np.testing.assert_array_equal(source.read()[:, :, 0, 0], [[10 * z + t for z in range(3)] for t in range(4)])
        np.testing.assert_allclose(source.spec.geometry.frame_times_s, 0.001 + 0.02 * np.arange(4))
        region = source.spec.region(t=2, z=slice(1, 3), y=slice(1, 3))
        np.testing.assert_array_equal(source.read(region), source.read()[region])
    (tmp_path / "13").unlink()
    with pytest.raises(DataError, match="as many images at each of 3 places"):
        open_source(tmp_path)


def test_slopes_of_each_slice_are_applied(tmp_path: Path) -> None:
    slopes = [0.11111111, 0.5, 0.33969228, 0.25, 2.0]
    for n, slope in enumerate(slopes):
        save(
            tmp_path / "pet" / f"{n}",
            STORED[n],
            sop_class=PET,
            number=n + 1,
            position=(0, 0, 3 * n),
            RescaleSlope=f"{slope}",
            RescaleIntercept="0",
            Units="BQML",
        )
    meant = STORED * np.array(slopes)[:, None, None]
    with open_source(tmp_path / "pet") as source:
        assert source.spec.dtype == np.float32
        assert (source.spec.intensity.is_scaled, source.spec.intensity.quantity) == (False, "BQML")
        np.testing.assert_allclose(source.read(), meant, rtol=1e-6)
    out = enlarged(tmp_path / "pet", tmp_path / "out", {"x": 2, "y": 2})
    image = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(sorted_by_place(out)))
    np.testing.assert_allclose(image[:, ::2, ::2], meant, rtol=0, atol=2e-5 * meant.max())
    assert [np.abs(pydicom.dcmread(file).pixel_array).max() for file in out.iterdir()] == [32767] * 5


def test_padding_window_and_mirrored_values(tmp_path: Path) -> None:
    tags = {
        "PixelPaddingValue": -2000,
        "RescaleIntercept": -1024,
        "WindowCenter": ["40", "300"],
        "WindowWidth": ["400", "1"],
    }
    stored = STORED.copy()
    stored[:, 0] = -2000
    with open_source(save_volume(tmp_path / "ct", stored, **tags)) as source:
        assert source.spec.intensity.padding == -2000
        assert source.spec.intensity.window == (-160, 239)
    out = enlarged(tmp_path / "ct", tmp_path / "out", {"x": 2, "y": 2})
    header = pydicom.dcmread(next(out.iterdir()))
    assert header.PixelPaddingValue == -2000
    assert (header.pixel_array[:2] == -2000).all()
    mirrored = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    save(tmp_path / "x.dcm", np.array([[0, 4095]], np.uint16), **mirrored)
    with open_source(tmp_path / "x.dcm") as source:
        np.testing.assert_array_equal(source.spec.intensity.meant(source.read()), [[4095, 0]])


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_uncompressed_values_of_some_bits(tmp_path: Path, syntax: str, dtype: Any) -> None:
    stored = np.arange(-20, 22, dtype=np.int16).reshape(6, 7) & 0x7FFF | 0x5000  # odd ones in the highest bits
    save(tmp_path / "a", stored.astype(dtype), BitsStored=12, HighBit=11)
    data = pydicom.dcmread(tmp_path / "a")
    data.convert_pixel_data()
    expected = data.pixel_array
    if syntax.endswith("2.2"):
        data.PixelData = stored.astype(">i2").tobytes()
    data.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(tmp_path / "b", data, enforce_file_format=True)
    with open_source(tmp_path / "b") as source:
        assert source.spec.intensity.limits == ((0, 4095) if dtype is np.uint16 else (-2048, 2047))
        np.testing.assert_array_equal(source.read(), expected)


def test_derived_series(tmp_path: Path) -> None:
    folder = save_volume(tmp_path / "ct", spacing=(0.5, 0.7), SliceThickness="3", RescaleIntercept=-100)
    with open_source(folder) as source:
        affine = source.spec.geometry.affine
    out = enlarged(folder, tmp_path / "out", {"x": 2, "y": 2, "z": 3})
    image = SimpleITK.ReadImage(sorted_by_place(out))
    np.testing.assert_allclose(itk_affine(image), affine @ enlargement_matrix([2, 2, 3]), atol=1e-6)
    expected = STORED.repeat(3, 0).repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), expected - 100)
    headers = [pydicom.dcmread(file) for file in sorted(out.iterdir())]
    assert [header.InstanceNumber for header in headers] == list(range(1, 16))
    assert {float(header.SliceThickness) for header in headers} == {1.0}
    assert len({header.SOPInstanceUID for header in headers}) == 15
    assert headers[0].ImageType[0] == "DERIVED"
    assert headers[0].SeriesInstanceUID != pydicom.dcmread(folder / "1.dcm").SeriesInstanceUID
    again = enlarged(folder, tmp_path / "again", {"x": 2, "y": 2, "z": 3})
    assert [file.read_bytes() for file in sorted(again.iterdir())] == [
        file.read_bytes() for file in sorted(out.iterdir())
    ]


def test_one_slice_and_one_frame_can_be_written(tmp_path: Path) -> None:
    with open_source(save_volume(tmp_path / "ct", SliceThickness="3")) as source:
        one = source.select(z=3)
        open_sink(tmp_path / "one.dcm", one.spec).write_all(one.read())
    with open_source(tmp_path / "one.dcm") as found:
        np.testing.assert_array_equal(found.read(), STORED[3])
        np.testing.assert_allclose(found.spec.geometry.affine, one.spec.geometry.affine)
    save_cine(tmp_path / "cine", range(1, 7), [{"TriggerTime": 25 * n} for n in range(6)])
    with open_source(tmp_path / "cine", frame=2) as frame:
        open_sink(tmp_path / "frame.dcm", frame.spec).write_all(frame.read())
    header = pydicom.dcmread(tmp_path / "frame.dcm")
    assert "TriggerTime" not in header
    assert (header.pixel_array == 2).all()


def test_what_is_not_written(tmp_path: Path) -> None:
    with open_source(save_volume(tmp_path / "ct")) as source:
        spec = source.spec
    with pytest.raises(DataError, match="expected a folder, without a suffix, for 5 DICOM images"):
        open_sink(tmp_path / "out.dcm", spec)
    with pytest.raises(DataError, match="DICOM is written of DICOM alone"):
        open_sink(tmp_path / "out.dcm", replace(spec, native=None))


SHARED = {
    "PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
    "PixelMeasuresSequence": {"PixelSpacing": [0.5, 0.7], "SliceThickness": 3.0, "SpacingBetweenSlices": 3.0},
    "PixelValueTransformationSequence": {"RescaleSlope": 2, "RescaleIntercept": -5, "RescaleType": "US"},
}


def test_enhanced_volume(tmp_path: Path) -> None:
    order = [3, 0, 4, 1, 2]  # frames in another order than the places
    frames = [
        {
            "PlanePositionSequence": {"ImagePositionPatient": [0, 0, 3.0 * z]},
            "FrameContentSequence": {
                "StackID": "1",
                "InStackPositionNumber": z + 1,
                "DimensionIndexValues": [1, z + 1],
            },
        }
        for z in order
    ]
    path = save_enhanced(tmp_path / "volume.dcm", STORED[order], frames, shared=SHARED)
    with open_source(path) as source:
        assert source.spec.axes == ("z", "y", "x")
        np.testing.assert_array_equal(source.read(), STORED)
        assert source.spec.geometry.spacing_mm == pytest.approx((3, 0.5, 0.7))
        assert (source.spec.intensity.slope, source.spec.intensity.intercept) == (2, -5)
        affine = source.spec.geometry.affine
    out = enlarged(path, tmp_path / "out.dcm", {"x": 4, "y": 4, "z": 2})
    with open_source(out) as found:
        np.testing.assert_allclose(found.spec.geometry.affine, affine @ enlargement_matrix([4, 4, 2]), atol=1e-6)
    image = SimpleITK.ReadImage(str(out))
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(image), 2 * STORED.repeat(2, 0).repeat(4, 1).repeat(4, 2) - 5
    )
    np.testing.assert_allclose(itk_affine(image), affine @ enlargement_matrix([4, 4, 2]), atol=1e-6)
    assert pydicom.dcmread(path).SOPInstanceUID != pydicom.dcmread(out).SOPInstanceUID


def test_enhanced_cine_with_phase(tmp_path: Path) -> None:
    frames = [
        {
            "PlanePositionSequence": {"ImagePositionPatient": [0, 0, 8.0 * z]},
            "CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": 30.0 * t},
            "MRImageFrameTypeSequence": {
                "FrameType": ["ORIGINAL", "PRIMARY", "FLOW", "NONE"],
                "ComplexImageComponent": part,
            },
        }
        for part in ("PHASE", "MAGNITUDE")
        for z in range(2)
        for t in range(4)
    ]
    stored = np.arange(16, dtype=np.uint16)[:, None, None] * np.ones((1, 3, 4), np.uint16)
    path = save_enhanced(tmp_path / "cine.dcm", stored, frames, shared=SHARED)
    with pytest.raises(DataError, match="got magnitude, phase"):
        open_source(path)
    with open_source(path, part="magnitude") as source:
        np.testing.assert_array_equal(source.read()[..., 0, 0], stored[8:, 0, 0].reshape(2, 4).T)
        np.testing.assert_allclose(source.spec.geometry.frame_times_s, 0.03 * np.arange(4))


def test_multi_frame_without_descriptions_of_frames(tmp_path: Path) -> None:
    stored = np.arange(8, dtype=np.uint16)[:, None, None] * np.ones((1, 3, 4), np.uint16)
    path = save(tmp_path / "IM0001", stored, sop_class=MR, NumberOfFrames=8, FrameTime="40")
    with open_source(path) as source:
        assert source.spec.axes == ("t", "z", "y", "x")
        np.testing.assert_array_equal(source.read()[:, 0], stored)
        np.testing.assert_allclose(source.spec.geometry.frame_times_s, 0.04 * np.arange(8))
    out = enlarged(path, tmp_path / "out.dcm", {"x": 2, "y": 2})
    np.testing.assert_array_equal(pydicom.dcmread(out).pixel_array, stored.repeat(2, 1).repeat(2, 2))
    assert list(pydicom.dcmread(out).PixelSpacing) == [0.5, 0.5]


def lossless_jpeg(values: np.ndarray) -> bytes:
    imagecodecs = pytest.importorskip("imagecodecs")
    return bytes(imagecodecs.ljpeg_encode(values, bitspersample=16))


def jpeg_ls(values: np.ndarray) -> bytes:
    imagecodecs = pytest.importorskip("imagecodecs")
    return bytes(imagecodecs.jpegls_encode(values))


@pytest.mark.parametrize(
    ("encode", "syntax"), [(lossless_jpeg, "1.2.840.10008.1.2.4.70"), (jpeg_ls, "1.2.840.10008.1.2.4.80")]
)
def test_what_pydicom_does_not_decode(tmp_path: Path, encode: Any, syntax: str) -> None:
    from pydicom.encaps import encapsulate

    stored = np.random.default_rng(0).integers(-900, 900, (3, 24, 20), np.int16)
    for n, values in enumerate(stored):
        path = save(
            tmp_path / f"{n}", values, number=n + 1, position=(0, 0, 2 * n), RescaleSlope=3, RescaleIntercept=-7
        )
        data = pydicom.dcmread(path)
        data.PixelData = encapsulate([encode(values.view(np.uint16))])
        data["PixelData"].VR = "OB"
        data.file_meta.TransferSyntaxUID = syntax
        data.save_as(path, enforce_file_format=True)
    with open_source(tmp_path) as source:
        np.testing.assert_array_equal(source.read(), stored)
        assert source.spec.intensity.slope == 3
    content = bytearray(path.read_bytes())
    content[-300:-100] = bytes(200)
    path.write_bytes(content[:-40])
    with pytest.raises(DataError) as error, open_source(tmp_path) as source:
        source.read()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "expected a grey image"),
        ({"BitsAllocated": 12}, "expected integer pixels"),
        ({"Rows": 60000, "Columns": 60000}, "truncated, or its header is damaged"),
        ({"NumberOfFrames": 2**30}, "truncated, or its header is damaged"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "not two perpendicular unit vectors"),
        ({"ModalityLUTSequence": [pydicom.Dataset()]}, "got a lookup table"),
        ({"RescaleSlope": "1e400"}, "cannot be read as a DICOM image"),
    ],
)
def test_what_is_refused(tmp_path: Path, tags: dict[str, Any], message: str) -> None:
    save(tmp_path / "a.dcm", STORED[0], sop_class=CT, **tags)
    with pytest.raises(DataError, match=message) as error:
        open_source(tmp_path / "a.dcm")
    assert "\n" not in str(error.value)


def test_a_damaged_file_of_a_folder_is_not_left_out(tmp_path: Path) -> None:
    folder = save_volume(tmp_path / "ct")
    (folder / "1.dcm").write_bytes(b"nothing")  # the last slice: the others are evenly spaced
    with pytest.raises(DataError, match=r"1\.dcm: cannot be read as a DICOM image"):
        open_source(folder)


def test_dicom_is_known_without_a_suffix(tmp_path: Path) -> None:
    save_cine(tmp_path / "cine", range(3), [{}] * 3)
    for path in (tmp_path / "cine", tmp_path / "cine" / "IM0001"):
        found = format_of(path)
        assert found is not None
        assert found.module == "dicom"
