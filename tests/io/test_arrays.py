"""Arrays: what they do not say must be said; links out of a file are not followed. Right values by their libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from common.errors import DataError
from common.io import Geometry, Spec, open_sink, open_source
from common.io.masks import open_mask
from tests.io.phantom import body, centred


def kspace(*shape: int) -> np.ndarray:
    """K-space ``[*, 32, 40]`` of a body that differs from entry to entry."""
    images = [body(32, 40, n) for n in range(int(np.prod(shape)))]
    return centred(np.stack(images).reshape(*shape, 32, 40)).astype(np.complex64)


def save(path: Path, values: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        with h5py.File(path, "w") as file:
            file["kspace" if values.dtype.kind == "c" else "image"] = values
    return path


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
@pytest.mark.parametrize("axes", ["coil,y,x", "z,y,x", "y,x,coil"])
def test_coils_or_slices_must_be_said(tmp_path: Path, suffix: str, axes: str) -> None:
    stored = kspace(8) if axes[-1] == "x" else np.moveaxis(kspace(8), 0, -1)
    path = save(tmp_path / f"ksp{suffix}", stored)
    with pytest.raises(DataError, match=r"several orders .*'axes': ") as caught:
        open_source(path)
    assert "\n" not in str(caught.value)
    with open_source(path, axes=axes) as source:
        assert source.spec.kind == "kspace"
        assert source.spec.axes == ("z" if axes == "z,y,x" else "coil", "y", "x")
        np.testing.assert_array_equal(source.read(), kspace(8))
        np.testing.assert_array_equal(source.read(source.spec.region(y=slice(3, 9))), kspace(8)[:, 3:9])


def test_coils_last_of_several_slices(tmp_path: Path) -> None:
    path = save(tmp_path / "vol.h5", np.moveaxis(kspace(3, 6), 1, -1))
    with pytest.raises(DataError, match="'axes': "):
        open_source(path)
    with open_source(path, axes="z,y,x,coil") as source:
        assert source.spec.axes == ("coil", "z", "y", "x")
        np.testing.assert_array_equal(source.read(), kspace(3, 6).swapaxes(0, 1))


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_channels_last(tmp_path: Path, suffix: str) -> None:
    grey = np.random.default_rng(0).random((40, 48)).astype(np.float32)
    with open_source(save(tmp_path / f"one{suffix}", grey[..., None])) as source:
        assert source.spec.axes == ("y", "x")
        np.testing.assert_array_equal(source.read(), grey)
    path = save(tmp_path / f"three{suffix}", np.repeat(grey[..., None], 3, -1))
    with pytest.raises(DataError, match="'axes': "):
        open_source(path)
    with open_source(path, axes="y,x,channel") as source:
        np.testing.assert_array_equal(source.read(), grey)
    coloured = save(tmp_path / f"rgb{suffix}", np.stack([grey, grey / 2, grey / 3], -1))
    with open_source(coloured, axes="y,x,channel") as source, pytest.raises(DataError, match="got colours"):
        source.read()
    with open_source(coloured, axes="y,x,channel", channel=1) as source:
        np.testing.assert_array_equal(source.read(), grey / 2)


def test_axes_must_fit(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", kspace(2))
    for wrong in ("y,x", "coil,x,x", "coil,slice,x", "a,y,x"):
        with pytest.raises(ValueError, match="axes must name"):
            open_source(path, axes=wrong)


def test_fortran_order_and_byte_order(tmp_path: Path) -> None:
    values = np.arange(30, dtype=">i2").reshape(2, 3, 5)
    np.save(tmp_path / "a.npy", np.asfortranarray(values))
    with open_source(tmp_path / "a.npy") as source:
        assert source.spec.dtype == np.dtype("=i2")
        np.testing.assert_array_equal(source.read(), values)
        np.testing.assert_array_equal(source.read(source.spec.region(z=1, x=slice(1, 3))), values[1:, :, 1:3])


def test_packed_arrays(tmp_path: Path) -> None:
    values = np.arange(12.0).reshape(3, 4)
    np.savez_compressed(tmp_path / "one.npz", pore=values)
    with open_source(tmp_path / "one.npz") as source:
        np.testing.assert_array_equal(source.read(), values)
    np.savez(tmp_path / "two.npz", first=values, second=values + 1)
    with pytest.raises(DataError, match="first, second; choose one"):
        open_source(tmp_path / "two.npz")
    with open_source(tmp_path / "two.npz", dataset="second") as source:
        np.testing.assert_array_equal(source.read(), values + 1)


@pytest.mark.parametrize("shape", [(32, 40), (33, 41), (32, 41)])
def test_centre_of_kspace(tmp_path: Path, shape: tuple[int, int]) -> None:
    image = body(*shape)
    path = save(tmp_path / "vol.npy", np.fft.fft2(image))
    with open_source(path) as source, pytest.raises(DataError, match=r"around \[0, 0\]; .*'dc': 'corner'"):
        source.read(source.spec.region(y=slice(0, 2)))
    with open_source(path, dc="corner") as source:
        # right value: the transform of the image whose centre is its middle pixel
        np.testing.assert_allclose(source.read(), centred(image) * np.sqrt(image.size), atol=1e-9 * image.size)
        part = source.read(source.spec.region(y=slice(3, 9), x=slice(1, 4)))
        np.testing.assert_array_equal(part, source.read()[3:9, 1:4])
    with open_source(path, dc="centre") as source:
        np.testing.assert_array_equal(source.read(), np.fft.fft2(image))
    half = save(tmp_path / "half.npy", np.fft.fftshift(np.fft.fft2(image), 0))
    with open_source(half) as source, pytest.raises(DataError, match="along one axis"):
        source.read()


def test_images_are_not_kspace(tmp_path: Path) -> None:
    image = body(32, 40) * np.exp(0.3j)
    path = save(tmp_path / "a.npy", image)
    with open_source(path) as source, pytest.raises(DataError, match="look like an image"):
        source.read()
    with open_source(path, kind="image") as source:
        assert source.spec.kind == "image"
        np.testing.assert_array_equal(source.read(), image)
    noise = np.random.default_rng(0).standard_normal((2, 32, 32)) @ np.ones((32, 32)) * (1 + 1j)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["values"] = noise[0]
    with pytest.raises(DataError, match="'kind': 'kspace'"):
        open_source(tmp_path / "b.h5")


def test_mask_beside(tmp_path: Path) -> None:
    path = save(tmp_path / "ksp.npy", kspace(8))
    mask = np.zeros(40, np.uint8)
    mask[::2] = 255
    np.save(tmp_path / "ksp_mask.npy", mask)
    with open_source(path, axes="coil,y,x") as source:
        found = source.companions["mask"]
        assert found.spec.axes == ("y", "x")
        np.testing.assert_array_equal(found.read(), mask[None] > 0)
    np.save(tmp_path / "ksp_mask.npy", np.arange(40))
    with open_source(path, axes="coil,y,x") as source, pytest.raises(DataError, match="0 and one other value"):
        source.companions["mask"].read()
    np.save(tmp_path / "ksp_mask.npy", mask[:-1])
    with pytest.raises(DataError, match="different size"):
        open_source(path, axes="coil,y,x")
    np.save(tmp_path / "zero.npy", mask * 0)
    spec = Spec(("y", "x"), (32, 40), np.dtype("c8"), Geometry.unknown("yx"), kind="kspace")
    with open_mask(tmp_path / "zero.npy", spec, "k") as source, pytest.raises(DataError, match="samples nothing"):
        source.read()


def test_raw_needs_shape_and_type(tmp_path: Path) -> None:
    values = np.arange(60, dtype="<u2").reshape(3, 4, 5)
    (tmp_path / "a.raw").write_bytes(b"head" + values.tobytes())
    with pytest.raises(ValueError, match=r"'shape': .*'dtype': "):
        open_source(tmp_path / "a.raw")
    with open_source(tmp_path / "a.raw", shape=[3, 4, 5], dtype="<u2", offset=4) as source:
        np.testing.assert_array_equal(source.read(), values)
    with pytest.raises(DataError, match="truncated"):
        open_source(tmp_path / "a.raw", shape=[3, 4, 6], dtype="<u2")


def test_several_data_sets(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((6, 10, 12)).astype(np.float32)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["exchange/data"], file["exchange/data_white"], file["exchange/theta"] = values, values[:2], np.arange(6.0)
    with pytest.raises(DataError, match=r"exchange/data \[6, 10, 12\], exchange/data_white .*'dataset': "):
        open_source(tmp_path / "scan.h5")
    with open_source(tmp_path / "scan.h5", dataset="exchange/data") as source:
        np.testing.assert_array_equal(source.read(), values)
    with pytest.raises(DataError, match="no data set 'other', it holds exchange/data, "):
        open_source(tmp_path / "scan.h5", dataset="other")


def test_compound_complex(tmp_path: Path) -> None:
    values = kspace(3)
    pairs = np.empty(values.shape, [("real", "<f4"), ("imag", "<f4")])
    pairs["real"], pairs["imag"] = values.real, values.imag
    with h5py.File(tmp_path / "vol.h5", "w") as file:
        file["kspace"] = pairs
    with open_source(tmp_path / "vol.h5", axes="z,y,x") as source:
        np.testing.assert_array_equal(source.read(), values)


@pytest.mark.parametrize("kind", ["external link", "soft link", "external storage", "virtual", "loop"])
def test_links_out_of_a_file(tmp_path: Path, kind: str) -> None:
    other, path = tmp_path / "target.h5", tmp_path / "a.h5"
    with h5py.File(other, "w") as file:
        file["image"] = np.ones((6, 6), np.uint8)
    (tmp_path / "secret.bin").write_bytes(b"SECRET" * 6)
    with h5py.File(path, "w") as file:
        if kind == "external link":
            file["image"] = h5py.ExternalLink(str(other), "image")
        elif kind == "soft link":
            file["out"] = h5py.ExternalLink(str(other), "/")
            file["image"] = h5py.SoftLink("/out/image")
        elif kind == "external storage":
            external = [(str(tmp_path / "secret.bin"), 0, 36)]
            file.create_dataset("image", (6, 6), np.uint8, external=external)
        elif kind == "virtual":
            layout = h5py.VirtualLayout((6, 6), np.uint8)
            layout[...] = h5py.VirtualSource(str(other), "image", (6, 6))
            file.create_virtual_dataset("image", layout)
        else:
            file["image"] = h5py.SoftLink("/image")
    for options in ({}, {"dataset": "image"}):
        with pytest.raises(DataError, match=r"not followed|not opened|back to itself"):
            open_source(path, **options)


def test_implausible_sizes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("image", (10**6, 10**6, 10**3), np.uint8, chunks=(64, 64, 64))
    with pytest.raises(DataError, match="declares"):
        open_source(tmp_path / "a.h5")
    group = zarr.create_group(tmp_path / "a.zarr")
    group.create_array("0", shape=(10**6, 10**6, 10**3), chunks=(10**4, 10**4, 100), dtype="u1")
    with pytest.raises(DataError, match="declares"):
        open_source(tmp_path / "a.zarr", image="0")


def ome(path: Path, values: np.ndarray, axes: str, scale: list[float], place: str = "") -> Any:
    units: dict[str, dict[str, str]] = {axis: {"unit": "micrometer"} for axis in "zyx"}
    units |= {"t": {"unit": "millisecond"}, "c": {}}
    kinds = {"c": "channel", "t": "time"}
    group = zarr.open_group(path, mode="w", zarr_format=2)
    if place:
        group.attrs["bioformats2raw.layout"] = 3
        group = group.create_group(place)
    group.create_array("0", shape=values.shape, chunks=values.shape, dtype=values.dtype)[...] = values
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [{"name": axis, "type": kinds.get(axis, "space"), **units[axis]} for axis in axes],
            "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}],
        }
    ]
    return group


@pytest.mark.parametrize("axes", ["zyx", "xyz", "tczyx", "zyxct", "yxz"])
def test_ome_axes_by_name(tmp_path: Path, axes: str) -> None:
    values = np.random.default_rng(0).integers(0, 999, (4, 5, 6)).astype(np.uint16)
    steps = {"z": 2.0, "y": 1.0, "x": 0.5, "c": 1.0, "t": 1.0}
    every = "tczyx" if len(axes) == 5 else "zyx"
    full = values.reshape((1,) * (len(axes) - 3) + values.shape).transpose([every.index(axis) for axis in axes])
    ome(tmp_path / "a.zarr", full, axes, [steps[axis] for axis in axes])
    with open_source(tmp_path / "a.zarr") as source:
        assert source.spec.axes == ("z", "y", "x")
        np.testing.assert_array_equal(source.read(), values)
        assert source.spec.geometry.spacing_mm == pytest.approx((2e-3, 1e-3, 0.5e-3))


def test_ome_channels_times_and_groups(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 999, (3, 2, 5, 6)).astype(np.uint16)
    ome(tmp_path / "a.zarr", values, "tcyx", [40.0, 1.0, 1.0, 1.0])
    with pytest.raises(DataError, match="expected one channel, got 2: 0, 1; choose one"):
        open_source(tmp_path / "a.zarr")
    with open_source(tmp_path / "a.zarr", channel=1) as source:
        assert source.spec.axes == ("t", "y", "x")
        np.testing.assert_array_equal(source.read(), values[:, 1])
        assert source.spec.geometry.frame_times_s == pytest.approx((0, 0.04, 0.08))
    ome(tmp_path / "b.zarr", values[0, 0], "yx", [1.0, 1.0], place="0")
    with open_source(tmp_path / "b.zarr") as source:
        np.testing.assert_array_equal(source.read(), values[0, 0])


def test_zarr_codecs_that_run_code(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=(4, 4), chunks=(4, 4), dtype="u1", zarr_format=2)[...] = 1
    metadata = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps({**metadata, "filters": [{"id": "pickle", "protocol": 5}]}))
    with pytest.raises(DataError):
        open_source(path).read()


def test_pyramid_of_levels(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (2, 300, 280)).astype(np.uint8)
    spec = Spec(
        ("z", "y", "x"), values.shape, values.dtype, Geometry.of_spacing("zyx", dict.fromkeys("zyx", 1.0), "mm")
    )
    open_sink(tmp_path / "a.zarr", spec).write_all(values)
    group: Any = zarr.open_group(tmp_path / "a.zarr", mode="r")
    means = values.reshape(2, 150, 2, 140, 2).mean((2, 4))
    np.testing.assert_array_equal(group["1"][...], np.rint(means))
    step, move = group.attrs["ome"]["multiscales"][0]["datasets"][1]["coordinateTransformations"]
    assert (step["scale"], move["translation"]) == ([1, 2, 2], [0, 0.5, 0.5])
