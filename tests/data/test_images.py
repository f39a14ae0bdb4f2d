"""PNG and TIFF against Pillow and tifffile."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from common.data import DataError, open_slices, write_volume

IN_ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)


def random_values(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return generator.normal(0, 100, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def grey_ramp(height: int, width: int) -> np.ndarray:
    """No row, column, flip or transpose of it equals another."""
    return (np.arange(height)[:, None] * 16 + np.arange(width)).astype(np.uint8)


@IN_ONE_FOLDER
@given(
    dtype=st.sampled_from(["uint8", "uint16"]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_png_comes_back_as_it_was(tmp_path: Path, dtype: str, height: int, width: int, seed: int) -> None:
    values = random_values(dtype, (height, width), seed)
    Image.fromarray(values).save(tmp_path / "in.png")
    reader = open_slices(tmp_path / "in.png")
    assert (reader.kind, reader.n_slices, reader.height, reader.width) == ("image", 1, height, width)
    image = reader.read(0)
    assert image.dtype == np.float32
    scale = 255 if dtype == "uint8" else values.max() or 1
    np.testing.assert_allclose(image, values / scale, rtol=1e-6)
    write_volume(image[None], reader, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as written:
        back = np.asarray(written)
        assert written.mode in (["L"] if dtype == "uint8" else ["I;16", "I"])  # "I" before Pillow 11
    np.testing.assert_array_equal(back, values)


@IN_ONE_FOLDER
@given(
    dtype=st.sampled_from(["uint8", "uint16", "int16", "uint32", "float32", "float64"]),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    compression=st.sampled_from([None, "zlib"]),
    byteorder=st.sampled_from(["<", ">"]),
)
def test_tiff_comes_back_as_it_was(
    tmp_path: Path, dtype: str, shape: tuple[int, int, int], compression: str | None, byteorder: Any
) -> None:
    values = random_values(dtype, shape)
    with tifffile.TiffWriter(tmp_path / "in.TIF", byteorder=byteorder) as tiff:
        for page in values:
            tiff.write(page, photometric="minisblack", compression=compression)
    reader = open_slices(tmp_path / "in.TIF")
    assert (reader.n_slices, reader.height, reader.width) == shape
    volume = np.stack([reader.read(i) for i in range(shape[0])])
    assert volume.dtype == np.float32
    np.testing.assert_allclose(volume * reader.scale, values, rtol=2e-7, atol=1e-30)
    write_volume(volume, reader, tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as written:
        assert len(written.pages) == shape[0]
        pages = np.stack([page.asarray() for page in written.pages])
    assert pages.dtype == values.dtype
    np.testing.assert_allclose(pages.astype(np.float64), values.astype(np.float64), rtol=2e-7, atol=1e-30)
    if dtype in ("uint8", "uint16", "int16"):
        np.testing.assert_array_equal(pages, values)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
def test_rows_are_height_and_columns_width(tmp_path: Path, suffix: str) -> None:
    picture = Image.new("L", (5, 3))  # Pillow's size is width, height
    picture.putpixel((4, 0), 255)  # the corner at the right of the top row
    picture.save(tmp_path / f"in{suffix}")
    reader = open_slices(tmp_path / f"in{suffix}")
    assert (reader.height, reader.width) == (3, 5)
    assert reader.read(0)[0, 4] == 1
    assert reader.read(0).sum() == 1


def test_every_page_of_a_lzw_tiff_is_read(tmp_path: Path) -> None:
    values = random_values("uint16", (3, 7, 5))
    pages = [Image.fromarray(page) for page in values]
    pages[0].save(tmp_path / "in.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    reader = open_slices(tmp_path / "in.tif", intensity_range=1)
    np.testing.assert_array_equal(np.stack([reader.read(i) for i in range(3)]), values)


def test_tiff_keeps_resolution_and_imagej_calibration(tmp_path: Path) -> None:
    values = random_values("uint16", (3, 7, 5))
    metadata = {"spacing": 2.5, "unit": "um", "axes": "ZYX"}
    tifffile.imwrite(tmp_path / "in.tif", values, imagej=True, resolution=(4.0, 8.0), metadata=metadata)
    reader = open_slices(tmp_path / "in.tif")
    write_volume(np.stack([reader.read(i) for i in range(3)]), reader, tmp_path / "out.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), values)
    with tifffile.TiffFile(tmp_path / "out.tif") as written:
        assert written.is_imagej
        assert written.imagej_metadata is not None
        assert written.imagej_metadata["spacing"] == 2.5
        assert written.pages[0].resolution == (4.0, 8.0)


def test_png_keeps_pixel_density(tmp_path: Path) -> None:
    Image.fromarray(grey_ramp(4, 6)).save(tmp_path / "in.png", dpi=(300, 150))
    reader = open_slices(tmp_path / "in.png")
    write_volume(reader.read(0)[None], reader, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as written:
        assert written.info["dpi"] == pytest.approx((300, 150), abs=0.1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_in_another_mode_reads_as_grey(tmp_path: Path, mode: str) -> None:
    values = grey_ramp(4, 6)
    Image.fromarray(values).convert(mode).save(tmp_path / "in.png")
    np.testing.assert_allclose(open_slices(tmp_path / "in.png").read(0), values / 255, rtol=1e-6)


def test_bilevel_reads_as_black_and_white(tmp_path: Path) -> None:
    values = grey_ramp(4, 6) % 3 == 0
    Image.fromarray(values).save(tmp_path / "in.png")
    np.testing.assert_array_equal(open_slices(tmp_path / "in.png").read(0), values)


def test_grey_tiff_in_three_channels_reads_as_grey(tmp_path: Path) -> None:
    values = grey_ramp(4, 6)
    tifffile.imwrite(tmp_path / "in.tif", np.stack([values] * 3, axis=-1), photometric="rgb")
    reader = open_slices(tmp_path / "in.tif")
    assert (reader.n_slices, reader.height, reader.width) == (1, 4, 6)
    np.testing.assert_allclose(reader.read(0), values / 255, rtol=1e-6)


def test_integers_are_rounded_and_clipped(tmp_path: Path) -> None:
    Image.fromarray(grey_ramp(1, 4)).save(tmp_path / "in.png")
    volume = np.array([[[-0.5, 1.4, 100.4 / 255, 100.6 / 255]]], dtype=np.float32)
    write_volume(volume, open_slices(tmp_path / "in.png"), tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as written:
        np.testing.assert_array_equal(np.asarray(written), [[0, 255, 100, 101]])


def test_one_page_of_many_is_read(tmp_path: Path) -> None:
    values = random_values("uint16", (64, 128, 128))
    tifffile.imwrite(tmp_path / "in.tif", values, photometric="minisblack")
    reader = open_slices(tmp_path / "in.tif", intensity_range=1)
    reader.read(0)  # first use allocates caches
    tracemalloc.start()
    image = reader.read(40)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(image, values[40])
    assert peak < values.nbytes / 4


def save_colour_png(path: Path) -> None:
    colours = np.zeros((4, 6, 3), np.uint8)
    colours[1, 2] = 10, 20, 30
    Image.fromarray(colours).save(path)


def save_transparent_png(path: Path) -> None:
    Image.fromarray(np.stack([grey_ramp(4, 6)] * 2, axis=-1)).save(path)


def save_text(path: Path) -> None:
    path.write_text("not a picture\n")


def save_nothing(path: Path) -> None:
    path.write_bytes(b"")


def save_cut(path: Path) -> None:
    """A valid file without its last third."""
    values = random_values("uint16", (5, 40, 30))
    if path.suffix == ".png":
        Image.fromarray(values[0]).save(path)
    else:
        tifffile.imwrite(path, values, photometric="minisblack")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def save_pages_cut_between(path: Path) -> None:
    """The second page is gone altogether: only the chain tells."""
    pages = [Image.fromarray(page) for page in random_values("uint8", (3, 20, 20))]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with tifffile.TiffFile(path) as tiff:
        cut = tiff.pages[1].offset
    path.write_bytes(path.read_bytes()[:cut])


def save_pages_of_two_sizes(path: Path) -> None:
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(grey_ramp(4, 6), photometric="minisblack")
        tiff.write(grey_ramp(4, 5), photometric="minisblack")


def save_white_is_zero(path: Path) -> None:
    tifffile.imwrite(path, grey_ramp(4, 6), photometric="miniswhite")


def save_not_a_number(path: Path) -> None:
    tifffile.imwrite(path, np.array([[1, np.nan]], np.float32))


@pytest.mark.parametrize(
    ("save", "name", "reason"),
    [
        (save_text, "a.png", "not a PNG image"),
        (save_text, "a.tif", "TIFF image"),
        (save_nothing, "a.png", "not a PNG image"),
        (save_nothing, "a.tif", "TIFF image"),
        (save_cut, "a.png", "slice 0.*truncated"),
        (save_cut, "a.tif", "truncated"),
        (save_pages_cut_between, "a.tif", "truncated"),
        (save_colour_png, "a.png", "got colours"),
        (save_transparent_png, "a.png", "transparent"),
        (save_pages_of_two_sizes, "a.tif", r"\[4, 6\] uint8 and, page 1, \[4, 5\]"),
        (save_white_is_zero, "a.tif", "MINISWHITE"),
        (save_not_a_number, "a.tif", "slice 0: 1 of 2 values are NaN"),
    ],
)
def test_bad_file_is_refused_in_one_line(
    tmp_path: Path, save: object, name: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(save)
    save(tmp_path / name)
    with pytest.raises(DataError, match=reason) as caught:
        open_slices(tmp_path / name).read(0)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not caplog.records


def test_colour_of_16_bits_is_refused_and_not_cut_to_8(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)  # 1 x 1, 16 bit, red green blue
    pixel = zlib.compress(bytes([0, 1, 2, 1, 2, 1, 2]))
    content = chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(DataError, match="16-bit colour"):
        open_slices(tmp_path / "a.png")


def test_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(grey_ramp(4, 6) + i) for i in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="animation of 3"):
        open_slices(tmp_path / "a.png")
