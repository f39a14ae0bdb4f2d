"""OME-Zarr against the zarr package; skipped without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data import DataError
from common.data.volumes import Geometry, VolumeSpec, open_sink, open_source
from common.data.volumes.ome_zarr import _chunk

zarr = pytest.importorskip("zarr", minversion="3.0")


def values(*shape: int, dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60000, shape).astype(dtype)


def write(path: Path, volume: np.ndarray, geometry: Geometry, block: int) -> None:
    spec = VolumeSpec(volume.shape, volume.dtype, geometry)
    with open_sink(path, spec, (block,) * volume.ndim) as sink:
        sink.create()
        for corner in np.ndindex(*(-(-n // block) for n in volume.shape)):
            region = tuple(slice(block * k, min(block * (k + 1), n)) for k, n in zip(corner, volume.shape, strict=True))
            sink.write(region, volume[region])
            np.testing.assert_array_equal(sink.read(region), volume[region])
        sink.finish()


def test_a_volume_with_its_pyramid_and_pixel_sizes(tmp_path: Path) -> None:
    volume = values(521, 300, 5)
    geometry = Geometry((0.5, 0.25, 2.0), (10.0, 20.0, 30.0), "micrometer")
    write(tmp_path / "a.ome.zarr", volume, geometry, block=120)
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    said = group.attrs["ome"]
    assert said["version"] == "0.5"
    (image,) = said["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["z", "y", "x"]
    assert {(axis["type"], axis["unit"]) for axis in image["axes"]} == {("space", "micrometer")}
    assert [level["path"] for level in image["datasets"]] == ["0", "1", "2"]
    stack = volume.transpose(2, 0, 1)
    np.testing.assert_array_equal(group["0"][:], stack)
    half = stack[:, :520].reshape(5, 260, 2, 150, 2).astype(float).mean((2, 4))
    assert group["1"].shape == (5, 260, 150)
    assert np.abs(group["1"][:] - half).max() <= 0.5 + 1e-3
    quarter = group["1"][:].reshape(5, 130, 2, 150).astype(float).mean(2)
    assert np.abs(group["2"][:] - quarter).max() <= 0.5 + 1e-3
    scales = [level["coordinateTransformations"] for level in image["datasets"]]
    assert [step[0]["scale"] for step in scales] == [[2, 0.5, 0.25], [2, 1, 0.5], [2, 2, 0.5]]
    # the first pixel of a level begins at the edge where that of the full resolution does
    for level in scales:
        edges = np.array(level[1]["translation"]) - np.array(level[0]["scale"]) / 2
        np.testing.assert_allclose(edges, [29, 9.75, 19.875])
    with open_source(tmp_path / "a.ome.zarr") as source:
        assert source.spec.geometry == geometry
        assert source.spec.dtype == np.uint16
        region = (slice(100, 300), slice(3, 5), slice(2, 4))
        np.testing.assert_array_equal(source.read(region), volume[region])


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "int16", "float32"])
def test_an_image(tmp_path: Path, dtype: str) -> None:
    image = values(50, 41, dtype=dtype)
    write(tmp_path / "a.zarr", image, Geometry.unknown(2), block=20)
    array = zarr.open_group(tmp_path / "a.zarr", mode="r")["0"]
    np.testing.assert_array_equal(array[:], image)
    assert array.dtype == image.dtype.newbyteorder("=")
    with open_source(tmp_path / "a.zarr") as source:
        np.testing.assert_array_equal(source.read((slice(3, 50), slice(0, 9))), image[3:, :9])
        assert source.spec.geometry == Geometry((1.0, 1.0), (0.0, 0.0))


@given(size=st.integers(1, 5000), block=st.integers(1, 5000), side=st.sampled_from([128, 1024]))
def test_no_two_blocks_share_a_chunk(size: int, block: int, side: int) -> None:
    chunk = _chunk(size, block, side)
    assert 1 <= chunk <= size
    if block < size:
        assert block % chunk == 0
        assert chunk <= side or block // chunk >= 1
    else:
        assert chunk <= side


def test_chunks_of_usual_blocks() -> None:
    assert [_chunk(16000, 4 * inside, 1024) for inside in (244, 312, 500)] == [976, 624, 1000]
    assert [_chunk(512, 4 * inside, 128) for inside in (24, 43, 50)] == [96, 86, 100]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_files_of_others(tmp_path: Path, zarr_format: Any) -> None:
    stack = values(2, 30, 20)
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}] + [
        {"name": name, "type": "space", "unit": unit}
        for name, unit in (("z", "millimeter"), ("y", "micrometer"), ("x", "micrometer"))
    ]
    image = {
        "axes": axes,
        "datasets": [
            {
                "path": "full",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1, 1, 0.5, 2, 2]},
                    {"type": "translation", "translation": [0, 0, 1, 8, 9]},
                ],
            }
        ],
        "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 2, 1, 1]}],
    }
    said = {"multiscales": [image], "version": "0.4"} if zarr_format == 2 else {"ome": {"multiscales": [image]}}
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=zarr_format, attributes=said)
    group.create_array("full", data=stack[None, None], chunks=(1, 1, 1, 16, 16))
    with open_source(tmp_path / "a.zarr") as source:
        assert source.spec.shape == (30, 20, 2)
        np.testing.assert_allclose(source.spec.geometry.in_unit("micrometer").spacing, (2, 2, 1000))
        np.testing.assert_allclose(source.spec.geometry.in_unit("micrometer").origin, (8, 9, 2000))
        np.testing.assert_array_equal(
            source.read((slice(0, 30), slice(5, 9), slice(1, 2))), stack[1:, :, 5:9].transpose(1, 2, 0)
        )
    with open_source(tmp_path / "a.zarr" / "full") as source:
        assert source.spec.shape == (30, 20, 2)


def test_zarr_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=values(2, 3, 30, 20))
    with pytest.raises(
        DataError, match=r"a.zarr: expected an image or a volume of one channel and time, got \[2, 3, 30"
    ):
        open_source(tmp_path / "a.zarr")
    zarr.create_group(tmp_path / "b.zarr").create_group("0")
    with pytest.raises(DataError, match=r"b.zarr: expected an OME-Zarr image or an array, got a group without multisc"):
        open_source(tmp_path / "b.zarr")
    (tmp_path / "c.zarr").mkdir()
    with pytest.raises(DataError, match=r"c.zarr: expected a Zarr group or array, found none"):
        open_source(tmp_path / "c.zarr")
    with pytest.raises(DataError, match=r"a.zarr: is there already; remove it, or choose another output"):
        open_sink(tmp_path / "a.zarr", VolumeSpec((3, 4), np.dtype("u1"), Geometry.unknown(2)), (3, 4)).create()


def test_what_a_killed_writer_left_is_not_in_the_result(tmp_path: Path) -> None:
    spec = VolumeSpec((30, 20), np.dtype("u1"), Geometry.unknown(2))
    with open_sink(tmp_path / "a.zarr", spec, (10, 10)) as sink:
        sink.create()
        sink.write((slice(0, 10), slice(0, 10)), np.ones((10, 10), np.uint8))
        left = tmp_path / "a.zarr.partial" / "0" / "c" / "0" / "0.0123.partial"
        left.write_bytes(b"half a chunk")
        sink.resume()
        sink.finish()
    assert not list((tmp_path / "a.zarr").rglob("*.partial"))
    np.testing.assert_array_equal(zarr.open_group(tmp_path / "a.zarr", mode="r")["0"][:10, :10], 1)
