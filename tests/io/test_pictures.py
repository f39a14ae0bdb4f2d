"""Pictures and folders of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from common.errors import DataError
from common.io import Geometry, Spec, open_sink, open_source

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 31)).astype(np.uint8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_modes_that_are_grey(mode: str, tmp_path: Path) -> None:
    picture = Image.fromarray(IMAGE).convert(mode)
    picture.save(tmp_path / "a.png")
    with open_source(tmp_path / "a.png") as source:
        assert source.spec.dtype == np.uint8
        assert source.spec.geometry.spacing_mm == (None, None)
        np.testing.assert_array_equal(source.read(), np.asarray(picture.convert("L")))


def test_colours_and_transparent_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([IMAGE, IMAGE, IMAGE[::-1]])).save(tmp_path / "rgb.png")
    Image.fromarray(IMAGE).save(tmp_path / "key.png", transparency=int(IMAGE[3, 4]))
    for name, message in (("rgb.png", "got colours"), ("key.png", "got transparent pixels")):
        with open_source(tmp_path / name) as source, pytest.raises(DataError, match=message):
            source.read()


def test_sixteen_bits_and_density_return(tmp_path: Path) -> None:
    values = IMAGE.astype(np.uint16) * 257
    Image.fromarray(values).save(tmp_path / "a.png", dpi=(300, 300))
    with open_source(tmp_path / "a.png") as source:
        np.testing.assert_array_equal(source.read(), values)
        open_sink(tmp_path / "b.png", source.spec).write_all(values)
    with Image.open(tmp_path / "b.png") as written:
        assert written.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_a_photograph_is_shown_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(IMAGE)).save(tmp_path / "a.jpg", exif=exif, quality=100)
    with open_source(tmp_path / "a.jpg") as source:
        assert source.spec.shape == IMAGE.shape
        assert np.abs(source.read().astype(int) - IMAGE).max() < 4


def test_types_that_png_cannot_hold(tmp_path: Path) -> None:
    spec = Spec(("y", "x"), IMAGE.shape, np.dtype("f4"), Geometry.unknown("yx"))
    with pytest.raises(DataError, match=r"PNG holds integers of 8 or 16 bits .* float32; .*--output_suffix .tif"):
        open_sink(tmp_path / "a.png", spec)
    huge = replace(spec, shape=(12000, 12800), dtype=np.dtype("u2"))
    with pytest.raises(DataError, match=r"got 12000 x 12800 .*; .*--output_suffix .tif"):
        open_sink(tmp_path / "a.png", huge)
    with pytest.raises(DataError, match=r"a.jpg: .jpg is not written"):
        open_sink(tmp_path / "a.jpg", spec)


@pytest.mark.parametrize(
    ("dtype", "suffix", "written"), [("f4", ".tif", ".tif"), ("u2", ".tif", ".tif"), ("u2", ".png", ".png")]
)
def test_a_folder_of_slices_returns_in_its_format(dtype: str, suffix: str, written: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    stack = np.random.default_rng(0).integers(0, 60000, (11, 8, 9)).astype(dtype)
    for n, values in enumerate(stack):
        path = folder / f"slice {n}{suffix}"  # 10 comes after 9
        if suffix == ".png":
            Image.fromarray(values).save(path)
        else:
            tifffile.imwrite(path, values, photometric="minisblack", metadata=None, resolution=(4, 2), resolutionunit=3)
    with open_source(folder) as source:
        np.testing.assert_array_equal(source.read(), stack)
        sizes = (None, 5.0, 2.5) if suffix == ".tif" else (None,) * 3
        assert source.spec.geometry.spacing_mm == pytest.approx(sizes)
        open_sink(tmp_path / "out", source.spec).write_all(stack)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(
        f"slice {n}{written}" for n in range(11)
    )
    with open_source(tmp_path / "out") as source:
        np.testing.assert_array_equal(source.read(), stack)


def test_slices_that_differ_are_refused(tmp_path: Path) -> None:
    for n, values in enumerate((IMAGE, IMAGE[:9])):
        Image.fromarray(values).save(tmp_path / f"{n}.png")
    with pytest.raises(
        DataError, match=r"expected slices of one size, type and pixel size, got 20 x 31 \(y, x\) uint8"
    ):
        open_source(tmp_path)
