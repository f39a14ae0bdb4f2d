"""TIFF sources and the tiled BigTIFF sink against tifffile and Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from common.data import DataError
from common.data.volumes import Geometry, VolumeSpec, open_sink, open_source

REGION = (slice(2, 60), slice(31, 85), slice(1, 3))


def values(*shape: int, dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 127, shape).astype(dtype)


def spec_of(path: Path) -> VolumeSpec:
    with open_source(path) as source:
        return source.spec


def write(path: Path, volume: np.ndarray, geometry: Geometry | None = None, block: int = 100) -> None:
    spec = VolumeSpec(volume.shape, volume.dtype, geometry or Geometry.unknown(volume.ndim))
    with open_sink(path, spec, (block,) * volume.ndim) as sink:
        sink.create()
        for corner in np.ndindex(*(-(-n // block) for n in volume.shape)):
            region = tuple(slice(block * k, min(block * (k + 1), n)) for k, n in zip(corner, volume.shape, strict=True))
            sink.write(region, volume[region])
            np.testing.assert_array_equal(sink.read(region), volume[region])
        sink.finish()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rowsperstrip": 7},
        {"tile": (16, 32)},
        {"compression": "zlib"},
        {"compression": "zlib", "rowsperstrip": 5, "predictor": 2},
        {"compression": "zlib", "tile": (32, 16)},
        {"bigtiff": True, "byteorder": ">"},
        {"byteorder": ">", "tile": (16, 16)},
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_regions_of_pages_however_they_are_stored(tmp_path: Path, options: dict[str, Any], dtype: str) -> None:
    if options.get("predictor") and dtype == "float32":
        options = {**options, "predictor": None}
    volume = values(70, 90, 4, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", volume.transpose(2, 0, 1), photometric="minisblack", **options)
    tifffile.imwrite(tmp_path / "b.tif", volume[..., 0], **options)
    with open_source(tmp_path / "a.tif") as source:
        assert (source.spec.shape, source.spec.dtype.newbyteorder("=")) == (volume.shape, volume.dtype)
        np.testing.assert_array_equal(source.read(REGION), volume[REGION])
        np.testing.assert_array_equal(source.read((slice(0, 70), slice(0, 90), slice(0, 4))), volume)
    with open_source(tmp_path / "b.tif") as source:
        assert source.spec.shape == (70, 90)
        np.testing.assert_array_equal(source.read(REGION[:2]), volume[REGION[:2]][..., 0])


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_pages_that_another_package_must_decode(tmp_path: Path, compression: str) -> None:
    pages = [Image.fromarray(page) for page in values(3, 70, 90, dtype="uint8")]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression=compression)
    with Image.open(tmp_path / "a.tif") as image:
        expected = np.stack([np.asarray(page) for page in ImageSequence.all_frames(image)], axis=-1)
    with open_source(tmp_path / "a.tif") as source:
        np.testing.assert_array_equal(source.read(REGION), expected[REGION])


def test_a_tile_that_was_left_out_has_the_value_for_nothing(tmp_path: Path) -> None:
    tiles = iter([np.full((16, 16), 3, np.uint8), None, None, np.full((16, 16), 4, np.uint8)])
    tifffile.imwrite(tmp_path / "a.tif", tiles, shape=(32, 32), dtype=np.uint8, tile=(16, 16))
    with open_source(tmp_path / "a.tif") as source:
        np.testing.assert_array_equal(
            source.read((slice(0, 32), slice(0, 32))), np.kron([[3, 0], [0, 4]], np.ones((16, 16)))
        )


def test_an_imagej_stack_in_one_page(tmp_path: Path) -> None:
    volume = values(20, 30, 5)
    tifffile.imwrite(
        tmp_path / "a.tif",
        volume.transpose(2, 0, 1),
        imagej=True,
        metadata={"spacing": 2.5, "unit": "um", "axes": "ZYX"},
        resolution=(2, 4),
    )
    data = (tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        first, second = tiff.pages[0], tiff.pages[1]
        assert first.dataoffsets[0] + first.nbytes == tiff.pages[1].dataoffsets[0]
        pointer = first.offset + 2 + 12 * len(first.tags)  # to the next page: as above 4 GB there is none
        assert int.from_bytes(data[pointer : pointer + 4], "little") == second.offset
    (tmp_path / "a.tif").write_bytes(data[:pointer] + bytes(4) + data[pointer + 4 :])
    with open_source(tmp_path / "a.tif") as source:
        assert source.spec.geometry == Geometry((0.25, 0.5, 2.5), (0.0,) * 3, "micrometer")
        np.testing.assert_array_equal(source.read((slice(3, 9), slice(0, 30), slice(1, 4))), volume[3:9, :, 1:4])


def test_pixel_sizes_of_all_kinds_of_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    stack = values(5, 20, 30)
    tifffile.imwrite(path, stack)
    assert spec_of(path).geometry == Geometry.unknown(3)
    tifffile.imwrite(path, stack, resolution=(100, 50), resolutionunit="CENTIMETER")  # x, y
    assert spec_of(path).geometry == Geometry((0.02, 0.01, None), (0.0,) * 3, "centimeter")
    tifffile.imwrite(path, stack[0], resolution=(300, 300), resolutionunit="INCH")
    assert spec_of(path).geometry == Geometry((1 / 300, 1 / 300), (0.0,) * 2, "inch")
    tifffile.imwrite(
        path,
        stack,
        ome=True,
        metadata={
            "axes": "ZYX",
            "PhysicalSizeX": 1.5,
            "PhysicalSizeXUnit": "mm",
            "PhysicalSizeY": 500.0,
            "PhysicalSizeZ": 2.0,
            "PhysicalSizeZUnit": "mm",
        },
    )
    assert spec_of(path).geometry == Geometry((500.0, 1500.0, 2000.0), (0.0,) * 3, "micrometer")
    tifffile.imwrite(path, stack, ome=True, metadata={"axes": "ZYX"})
    assert spec_of(path).geometry == Geometry((None,) * 3, (0.0,) * 3)


def test_a_description_that_only_looks_like_ome(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values(20, 30), description="<?xml version='1.0'?><OME", metadata=None)
    tifffile.imwrite(tmp_path / "b.tif", values(20, 30), description="<?xml version='1.0'?><a></OME>", metadata=None)
    assert spec_of(tmp_path / "a.tif").geometry == spec_of(tmp_path / "b.tif").geometry == Geometry.unknown(2)
    assert "b.tif: pixel sizes are unknown, as its OME-XML cannot be read" in caplog.text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    shape=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    depth=st.integers(0, 3),
    block=st.integers(40, 300),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "int32", "float32", "float64", "int64", ">u2"]),
)
def test_tiled_files_are_what_was_written(
    tmp_path: Path, shape: tuple[int, int], depth: int, block: int, dtype: str
) -> None:
    volume = values(*shape, *([depth] if depth else []), dtype=dtype)
    write(tmp_path / "a.tif", volume, block=block)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_bigtiff
        assert all(page.is_tiled and page.compression == 1 for page in tiff.pages)
        assert len(tiff.pages) == max(depth, 1)
        got = np.stack([page.asarray().reshape(shape) for page in tiff.pages], axis=-1)
    np.testing.assert_array_equal(got.reshape(volume.shape), volume)
    assert got.dtype == np.dtype(dtype).newbyteorder("=")
    with open_source(tmp_path / "a.tif") as source:
        whole = tuple(slice(0, n) for n in source.spec.shape)
        np.testing.assert_array_equal(source.read(whole).reshape(volume.shape), volume)


def test_an_independent_reader_sees_the_pages(tmp_path: Path) -> None:
    volume = values(600, 300, 3)
    write(tmp_path / "a.tif", volume)
    with Image.open(tmp_path / "a.tif") as image:
        pages = [np.asarray(page) for page in ImageSequence.all_frames(image)]
    np.testing.assert_array_equal(np.stack(pages, axis=-1), volume)


@pytest.mark.parametrize("unit", ["nanometer", "micrometer", "millimeter", "centimeter", "meter", "inch"])
def test_pixel_sizes_are_written_for_all_readers(tmp_path: Path, unit: str) -> None:
    before = Geometry((0.5, 0.25, 2.0), (0.0,) * 3, unit)
    write(tmp_path / "a.tif", values(20, 30, 3), before)
    got = spec_of(tmp_path / "a.tif").geometry
    np.testing.assert_allclose(got.in_unit(unit).spacing, before.spacing)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_ome
        assert tiff.series[0].axes == "ZYX"
        assert tiff.series[0].shape == (3, 20, 30)
        x, y = (tiff.pages[0].tags.valueof(name) for name in ("XResolution", "YResolution"))
        centimeters = before.in_unit("centimeter").spacing
        assert x[1] / x[0] == pytest.approx(centimeters[1], rel=1e-3)
        assert y[1] / y[0] == pytest.approx(centimeters[0], rel=1e-3)


def test_the_same_values_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        write(tmp_path / name, values(70, 50, 2), Geometry((1.0, 1.0, 1.0), (0.0,) * 3, "micrometer"))
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_tiff_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values(20, 30, 3, dtype="uint8"), photometric="rgb")
    with pytest.raises(DataError, match="grey"):
        open_source(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", values(60, 60))
    (tmp_path / "b.tif").write_bytes((tmp_path / "b.tif").read_bytes()[:4000])
    with pytest.raises(DataError, match=r"b.tif: truncated"):
        open_source(tmp_path / "b.tif")
    with tifffile.TiffWriter(tmp_path / "c.tif") as tiff:
        tiff.write(values(20, 30))
        tiff.write(values(20, 31))
    with pytest.raises(DataError, match=r"c.tif: expected pages of one size and type"):
        open_source(tmp_path / "c.tif")
