"""TIFF: axes, orientation, calibration and pixel sizes as the file gives them."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from common.errors import DataError
from common.io import Geometry, Spec, open_sink, open_source

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 48)).astype(np.uint8)
STACK = np.arange(4 * 2 * 20 * 24, dtype=np.uint16).reshape(4, 2, 20, 24)  # z, channel, y, x
PART = (slice(3, 17), slice(5, 46))
# what is stored for the picture `IMAGE`: the TIFF 6.0 text on Orientation, written out
STORED = {
    1: IMAGE,
    2: np.fliplr(IMAGE),
    3: np.rot90(IMAGE, 2),
    4: np.flipud(IMAGE),
    5: IMAGE.T,
    6: np.rot90(IMAGE),
    7: np.rot90(IMAGE, 2).T,
    8: np.rot90(IMAGE, -1),
}


def write(path: Path, values: np.ndarray, **options: Any) -> Path:
    tifffile.imwrite(path, values, **{"photometric": "minisblack", "metadata": None, **options})
    return path


@pytest.mark.parametrize(("tag", "compression"), [*product(range(1, 9), (None, "lzw"))])
def test_the_orientation_tag_is_followed(tag: int, compression: str | None, tmp_path: Path) -> None:
    options = {"extratags": [(274, "H", 1, tag, True)], "compression": compression, "rowsperstrip": 7}
    path = write(tmp_path / "turned.tif", STORED[tag], resolution=(10, 20), resolutionunit="CENTIMETER", **options)
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(), IMAGE)
        np.testing.assert_array_equal(source.read(PART), IMAGE[PART])
        np.testing.assert_array_equal(source.read(), np.asarray(Image.open(path)) if tag != 5 else IMAGE)
        # 10 stored columns and 20 stored rows per centimetre
        assert source.spec.geometry.spacing_mm == pytest.approx((0.5, 1.0) if tag < 5 else (1.0, 0.5))


@pytest.mark.parametrize(
    "options",
    [{"compression": name} for name in ("lzw", "zlib", "zstd", "jpeg2000", "lzma", "packbits", "webp", "jpegxl", "png")]
    + [{"compression": "lzw", "predictor": True}, {"byteorder": ">"}, {"compression": "zlib", "byteorder": ">"}]
    + [{"tile": (16, 32)}, {"tile": (16, 32), "compression": "lzw"}, {"bigtiff": True, "rowsperstrip": 3}],
)
def test_compressions_and_layouts(options: dict[str, Any], tmp_path: Path) -> None:
    lossless = {"lossless": True} if options.get("compression") == "webp" else None
    wide = IMAGE if options.get("compression") == "webp" else IMAGE.astype(np.uint16) * 257
    try:
        path = write(tmp_path / "a.tif", wide, **options, **({"compressionargs": lossless} if lossless else {}))
    except (ValueError, RuntimeError) as error:
        pytest.skip(f"imagecodecs does not write it: {error}")
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(PART), wide[PART])
        np.testing.assert_array_equal(source.read(), wide)


def test_hyperstacks_have_their_axes_named(tmp_path: Path) -> None:
    hyper = {"imagej": True, "metadata": {"axes": "ZCYX", "spacing": 2.0, "unit": "um"}, "resolution": (4, 2)}
    paths = [
        write(tmp_path / "imagej.tif", STACK, **hyper),
        write(tmp_path / "a.ome.tif", STACK.swapaxes(0, 1), ome=True, metadata={"axes": "CZYX", "PhysicalSizeZ": 2.0}),
        write(tmp_path / "shaped.tif", STACK.swapaxes(0, 1), metadata={"axes": "CZYX"}),
    ]
    for path in paths:
        with pytest.raises(DataError, match=r".*YX.: expected one channel, got 2: 0, 1; choose one: --source_options"):
            open_source(path)
        with open_source(path, channel=1) as source:
            assert source.spec.axes == ("z", "y", "x")
            np.testing.assert_array_equal(source.read(), STACK[:, 1])
            np.testing.assert_array_equal(source.read(source.spec.region(z=2, y=slice(3, 5))), STACK[2:3, 1, 3:5])
        with pytest.raises(DataError, match="no channel 2, it has 0, 1"):
            open_source(path, channel=2)
    with open_source(paths[0], channel=0) as source:
        assert source.spec.geometry.in_unit("micrometer").spacing == pytest.approx((2.0, 0.5, 0.25))
        assert source.identity() != open_source(paths[0], channel=1).identity()
    with open_source(paths[1], channel=0) as source:
        assert source.spec.geometry.spacing_mm == pytest.approx((2e-3, None, None))


def test_time_is_time(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tif", STACK[:, 0], imagej=True, metadata={"axes": "TYX", "finterval": 0.25})
    with open_source(path) as source:
        assert source.spec.axes == ("t", "y", "x")
        assert source.spec.geometry.frame_times_s == pytest.approx((0, 0.25, 0.5, 0.75))
    series = STACK[:, :, None].swapaxes(0, 2)  # 1, 2, 4
    with open_source(write(tmp_path / "tz.ome.tif", series[0], ome=True, metadata={"axes": "ZTYX"})) as source:
        assert source.spec.axes == ("t", "z", "y", "x")
        np.testing.assert_array_equal(source.read(), series[0].swapaxes(0, 1))


def test_pages_without_names_are_slices(tmp_path: Path) -> None:
    for name, values in (("pages", STACK[:, 0]), ("deep", STACK)):
        path = tmp_path / f"{name}.tif"
        with tifffile.TiffWriter(path) as tiff:
            for page in values.reshape(-1, 20, 24):
                tiff.write(page, photometric="minisblack", metadata=None)
        with open_source(path) as source:
            assert source.spec.axes == ("z", "y", "x")
            np.testing.assert_array_equal(source.read(), values.reshape(-1, 20, 24))
    with pytest.raises(DataError, match=r"expected axes for slices \(Z\) and time \(T\), got 4 x 2 x 20 x 24"):
        open_source(write(tmp_path / "two.tif", STACK, metadata={"axes": "QPYX"}))


def test_several_images_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "sizes.tif"
    with tifffile.TiffWriter(path) as tiff:
        for values in (IMAGE, IMAGE[:20]):
            tiff.write(values, photometric="minisblack", metadata=None)
    with pytest.raises(DataError, match=r"expected one image, got 2: 0 \(40 x 48 uint8\), 1 \(20 x 48 uint8\); choose"):
        open_source(path)
    with open_source(path, image=1) as source:
        np.testing.assert_array_equal(source.read(), IMAGE[:20])
    with tifffile.TiffWriter(path) as tiff:  # a pyramid is one image
        tiff.write(IMAGE, photometric="minisblack", metadata=None)
        tiff.write(IMAGE[::2, ::2], subfiletype=1, photometric="minisblack", metadata=None)
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(), IMAGE)


def test_calibrations_of_imagej(tmp_path: Path) -> None:
    signed = STACK[0, 0].astype(np.int32) * 100 - 20000
    raw = (signed + 32768).astype(np.uint16)
    plain = {"axes": "YX", "cf": 0}
    path = write(tmp_path / "signed.tif", raw, imagej=True, metadata={**plain, "c0": -32768.0, "c1": 1.0})
    with open_source(path) as source:
        assert source.spec.dtype == np.int16
        np.testing.assert_array_equal(source.read(), signed)
    metadata = {**plain, "c0": -1024.0, "c1": 0.5, "vunit": "HU"}
    with open_source(write(tmp_path / "line.tif", raw, imagej=True, metadata=metadata)) as source:
        assert source.spec.intensity.quantity == "HU"
        np.testing.assert_allclose(source.spec.intensity.meant(source.read()), raw * 0.5 - 1024)
        output = open_sink(tmp_path / "meant.tif", source.spec)
        assert output.spec.dtype == np.float32
    with pytest.raises(DataError, match="expected no calibration or a straight line, got ImageJ's function 21"):
        open_source(write(tmp_path / "od.tif", raw, imagej=True, metadata={**plain, "cf": 21}))


def test_imagej_stacks_above_4_gb_lie_behind_one_page(tmp_path: Path) -> None:
    """Such a file describes its slices in the text of its only page."""
    text = f"ImageJ=1.53t\nimages={len(STACK)}\nslices={len(STACK)}\nunit=mm\nspacing=3\n"
    path = write(tmp_path / "huge.tif", STACK[0, 0].astype(">u2"), byteorder=">", description=text, metadata=None)
    with open(path, "ab") as file:
        file.write(STACK[1:, 0].astype(">u2").tobytes())
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(), STACK[:, 0])
        assert source.spec.geometry.spacing_mm == (3, 1, 1)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 5)
    with pytest.raises(DataError, match="expected 4 images as its metadata declare, got 1; the file is truncated"):
        open_source(path)


@pytest.mark.parametrize("ome", [False, True])
def test_resolution_without_a_unit_is_unknown(ome: bool, tmp_path: Path) -> None:
    path = write(
        tmp_path / ("a.ome.tif" if ome else "a.tif"), IMAGE, resolution=(72, 72), resolutionunit="NONE", ome=ome
    )
    with open_source(path) as source:
        assert source.spec.geometry.spacing_mm == (None, None)


def test_samples_that_are_grey_and_colours(tmp_path: Path) -> None:
    grey = np.repeat(IMAGE[..., None], 3, -1)
    with open_source(write(tmp_path / "grey.tif", grey, photometric="rgb")) as source:
        np.testing.assert_array_equal(source.read(PART), IMAGE[PART])
    coloured = grey.copy()
    coloured[30, 40, 1] ^= 1
    with open_source(write(tmp_path / "colour.tif", coloured, photometric="rgb", compression="zlib")) as source:
        with pytest.raises(DataError, match="expected a grey image, got colours"):
            source.read()
        assert source.read((slice(0, 20), slice(0, 9))).shape == (20, 9)
    with open_source(write(tmp_path / "white.tif", 255 - IMAGE, photometric="miniswhite")) as source:
        np.testing.assert_array_equal(source.read(), IMAGE)
    with open_source(write(tmp_path / "bits.tif", IMAGE > 99)) as source:
        np.testing.assert_array_equal(source.read(), (IMAGE > 99) * 255)
    palette = np.zeros((3, 256), np.uint16)
    with pytest.raises(DataError, match="expected grey pixels, got PALETTE"):
        open_source(write(tmp_path / "p.tif", IMAGE, photometric="palette", colormap=palette))


def test_pixels_in_another_file_are_not_fetched(tmp_path: Path) -> None:
    text = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1"><Image ID="Image:0"><Pixels '
        'ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="48" SizeY="40" SizeZ="2" SizeC="1" SizeT="1">'
        '<Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData FirstZ="0" IFD="0" PlaneCount="1"><UUID '
        'FileName="a.ome.tif">urn:uuid:1</UUID></TiffData><TiffData FirstZ="1" IFD="0" PlaneCount="1"><UUID '
        'FileName="b.ome.tif">urn:uuid:2</UUID></TiffData></Pixels></Image></OME>'
    )
    write(tmp_path / "b.ome.tif", IMAGE)
    path = write(tmp_path / "a.ome.tif", IMAGE, description=text)
    with pytest.raises(DataError, match="expected 2 images as its metadata declare, got 1"):
        open_source(path)


def test_a_chain_of_pages_that_returns_ends(tmp_path: Path) -> None:
    path = tmp_path / "ring.tif"
    with tifffile.TiffWriter(path) as tiff:
        for page in STACK[:, 0]:
            tiff.write(page, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        first, last = tiff.pages[0].offset, tiff.pages[-1]
        place = last.offset + 2 + 12 * len(last.tags)
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(int(first).to_bytes(4, "little"))
    with pytest.raises(DataError, match="the chain of pages returns to byte"):
        open_source(path)


def test_written_files_are_tiled_and_named(tmp_path: Path) -> None:
    axes = ("t", "z", "y", "x")
    values = np.random.default_rng(1).normal(size=(2, 3, 300, 270)).astype("f4")
    geometry = Geometry.of_spacing(axes, {"x": 0.65, "y": 0.65, "z": 2.0}, "um", frame_times_s=[0, 1.5])
    path = open_sink(tmp_path / "out.tif", Spec(axes, values.shape, values.dtype, geometry)).write_all(values)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff
        assert tiff.is_ome
        assert tiff.series[0].axes == "TZYX"
        assert tiff.pages[0].tile == (256, 256)
        assert 'PhysicalSizeX="0.65" PhysicalSizeXUnit="\u00b5m"' in (tiff.ome_metadata or "")
        assert math.isclose(np.divide(*tiff.pages[0].tags.valueof("XResolution")), 10 / 0.65e-3, rel_tol=1e-6)
        np.testing.assert_array_equal(tiff.asarray(), values)
