"""fastMRI's layout and cine series; right values by numpy and h5py."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from common.errors import DataError
from common.io import Geometry, open_sink, open_source
from common.io.formats.cine_hdf5 import ResultSeries, write_results
from tests.io.mrd import header
from tests.io.phantom import body, centred, coil_maps, image_of

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def save(path: Path, **values: Any) -> Path:
    attributes = values.pop("attributes", {})
    with h5py.File(path, "w") as file:
        for name, stored in values.items():
            file[name] = stored
        file.attrs.update(attributes)
    return path


def test_single_coil_with_mask_and_cropped_target(tmp_path: Path) -> None:
    images = np.stack([body(64, 36, n, 2.0) for n in range(2)])
    mask = (np.arange(36) % 4 == 0).astype(np.float32)
    kspace = (centred(images) * mask).astype(np.complex64)
    target = images[:, 16:48, 2:34].astype(np.float32)
    xml = header((64, 36, 1), (320, 180, 5), (32, 32, 1), (160, 160, 5), (0, 35, 18))
    path = save(
        tmp_path / "a.h5",
        kspace=kspace,
        mask=mask,
        reconstruction_esc=target,
        ismrmrd_header=xml,
        attributes={"max": 0.6, "acquisition": "CORPD_FBK"},
    )
    with open_source(path) as source:
        spec = source.spec
        assert (spec.kind, spec.axes, spec.recon_shape) == ("kspace", ("z", "y", "x"), (32, 32))
        assert spec.geometry.spacing_mm == pytest.approx((5, 5, 5))
        assert spec.intensity.declared_max == pytest.approx(0.6)
        np.testing.assert_array_equal(source.read(), kspace)
        np.testing.assert_array_equal(source.companions["mask"].read(), mask[None] > 0)
        np.testing.assert_array_equal(source.companions["target"].read(), target)
        part = source.select(z=1)
        np.testing.assert_array_equal(part.read(), kspace[1])
        np.testing.assert_array_equal(part.companions["target"].read(), target[1])
        assert part.companions["mask"].spec.axes == ("y", "x")
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).companions["target"].read(), target)


def test_several_coils(tmp_path: Path) -> None:
    images = np.stack([body(32, 16, n, 2.0) for n in range(3)])
    kspace = centred(images[:, None] * coil_maps(4, 32, 16)).astype(np.complex64)
    rss = np.sqrt((np.abs(image_of(kspace)) ** 2).sum(1))[:, 8:24].astype(np.float32)
    xml = header((32, 16, 1), (440, 220, 7.5), (16, 16, 1), (220, 220, 5))
    path = save(tmp_path / "a.h5", kspace=kspace, reconstruction_rss=rss, ismrmrd_header=[xml])
    with open_source(path) as source:
        assert source.spec.axes == ("coil", "z", "y", "x")
        assert source.spec.geometry.spacing_mm == pytest.approx((5, 13.75, 13.75))
        np.testing.assert_array_equal(source.read(source.spec.region(z=2)), kspace[2][:, None])
        np.testing.assert_array_equal(source.companions["target"].read(), rss)
    with open_source(path, dataset="reconstruction_rss") as source:
        assert source.spec.kind == "image"


def test_order_that_nothing_confirms(tmp_path: Path) -> None:
    path = save(tmp_path / "a.h5", kspace=np.zeros((3, 16, 16), np.complex64))
    with pytest.raises(DataError, match="'axes': 'coil,y,x'"):
        open_source(path)
    assert open_source(path, axes="z,y,x").spec.axes == ("z", "y", "x")
    receivers = header((16, 16, 1), (160, 160, 3), channels=3)
    path = save(tmp_path / "b.h5", kspace=np.zeros((3, 16, 16), np.complex64), ismrmrd_header=receivers)
    with pytest.raises(DataError, match="'axes': "):
        open_source(path)
    xml = header((48, 40, 1), (160, 160, 3))
    path = save(tmp_path / "c.h5", kspace=np.zeros((3, 48, 40, 6), np.complex64), ismrmrd_header=xml)
    with pytest.raises(DataError, match=r"48 x 40 .* got 40 x 6"):
        open_source(path)


def test_recon_space_larger_than_encoded(tmp_path: Path) -> None:
    xml = header((64, 64, 1), (160, 160, 3), (96, 96, 1), (160, 160, 3))
    path = save(tmp_path / "a.h5", kspace=centred(body(64, 64))[None], ismrmrd_header=xml)
    spec = open_source(path).spec
    assert spec.recon_shape == (64, 64)
    assert spec.geometry.spacing_mm == pytest.approx((3, 2.5, 2.5))


@pytest.mark.parametrize(
    ("columns", "fov", "width", "step"),
    [(40, 200.0, 32, 5.0), (16, 160.0, 16, 10.0)],
    ids=["oversampled", "resolution"],
)
def test_phase_field_of_view(tmp_path: Path, columns: int, fov: float, width: int, step: float) -> None:
    """Phase oversampling is cropped; fewer lines over the same field of view are larger pixels."""
    xml = header((64, columns, 1), (320, fov, 3), (32, 32, 1), (160, 160, 3))
    path = save(tmp_path / "a.h5", kspace=np.ones((1, 64, columns), np.complex64), ismrmrd_header=xml)
    spec = open_source(path).spec
    assert spec.recon_shape == (32, width)
    assert spec.geometry.spacing_mm == pytest.approx((3, 5, step))


def test_averages(tmp_path: Path) -> None:
    full = centred(np.stack([body(32, 32, n) for n in range(2)])[:, None] * coil_maps(3, 32, 32))
    even = np.arange(32) % 2 == 0
    kspace = np.stack([full * even, full * ~even]).astype(np.complex64)
    path = save(tmp_path / "a.h5", kspace=kspace, reconstruction_rss=np.ones((2, 32, 32), np.float32))
    with pytest.raises(DataError, match=r"kspace \[2, 2, 3, 32, 32\]: expected one average, got 2: 0, 1; choose one"):
        open_source(path)
    with open_source(path, average=1) as source:
        np.testing.assert_array_equal(source.read(), kspace[1].swapaxes(0, 1))
        np.testing.assert_array_equal(source.companions["mask"].read(), np.broadcast_to(~even, (2, 1, 32)))


def test_references_must_fit(tmp_path: Path) -> None:
    kspace = np.ones((3, 16, 16), np.complex64)
    path = save(tmp_path / "a.h5", kspace=kspace, reconstruction_esc=np.ones((2, 16, 16), np.float32))
    with pytest.raises(DataError, match="as many references as slices, 3"):
        open_source(path)
    path = save(tmp_path / "b.h5", kspace=kspace, reconstruction_esc=np.ones((3, 17, 16), np.float32))
    with pytest.raises(DataError, match="within 3 x 16 x 16"):
        open_source(path)
    path = save(tmp_path / "c.h5", kspace=np.ones((3, 16, 16), np.float32), attributes={"acquisition": "x"})
    with pytest.raises(DataError, match="complex k-space"):
        open_source(path)


def test_corner_and_masks_move_together(tmp_path: Path) -> None:
    image, mask = body(32, 32), np.zeros(32, np.uint8)
    mask[[0, 1, 31, 8]] = 1
    stored = (np.fft.fft2(image) * mask).astype(np.complex128)
    path = save(tmp_path / "a.h5", kspace=stored[None], mask=mask, attributes={"acquisition": "x"})
    with open_source(path) as source, pytest.raises(DataError, match="'dc': 'corner'"):
        source.read()
    with open_source(path, dc="corner") as source:
        moved = np.fft.fftshift(mask) > 0
        np.testing.assert_array_equal(source.companions["mask"].read(), moved[None])
        np.testing.assert_allclose(source.read()[0], centred(image) * 32 * moved, atol=1e-9)


def test_results_as_fastmri_evaluates_them(tmp_path: Path) -> None:
    xml = header((32, 16, 1), (440, 220, 7.5), (16, 16, 1), (220, 220, 5))
    path = save(
        tmp_path / "a.h5",
        kspace=np.ones((2, 32, 16), np.complex64),
        ismrmrd_header=xml,
        attributes={"acquisition": "AXT2", "max": 2.0},
    )
    given = open_source(path).spec
    image = np.random.default_rng(0).random((2, 16, 16)).astype(np.float32)
    spec = replace(given, kind="image", dtype=image.dtype, shape=image.shape, recon_shape=None)
    open_sink(tmp_path / "out.h5", spec).write_all(image)
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["reconstruction"], image)
        assert (file.attrs["acquisition"], file.attrs["max"]) == ("AXT2", 2.0)
        assert file["ismrmrd_header"][()] == xml.encode()
    one = replace(spec, axes=("y", "x"), shape=(16, 16), geometry=Geometry.unknown("yx"))
    open_sink(tmp_path / "one.h5", one).write_all(image[0])
    with h5py.File(tmp_path / "one.h5") as file:
        np.testing.assert_array_equal(file["reconstruction"], image[:1])


def test_cine_kspace_and_images(tmp_path: Path) -> None:
    images = np.stack([[body(24, 20, n + t) for t in range(4)] for n in range(2)])  # [series, frames, rows, columns]
    coils = centred(images[:, None] * coil_maps(3, 24, 20)[None, :, None])
    mask = np.random.default_rng(0).random((24, 20, 4)) < 0.5
    stored = {
        "kspace": np.moveaxis(coils, 2, -1).astype(np.complex64),
        "mask": mask.astype(np.uint8),
        "imagesTrue": np.moveaxis(images, 1, -1).astype(np.float32).clip(0, 1),
        "imagesRecon": np.moveaxis(images, 1, -1).astype(np.float32).clip(0, 1) / 2,
        "phaseTrue": np.full((2, 24, 20, 4), 0.5, np.float32),
    }
    attributes = {"pixel_size_mm": (2.0, 1.5), "slice_distance_mm": 8.0, "frame_interval_s": 0.04}
    path = save(tmp_path / "a.h5", **stored, attributes=attributes)
    with open_source(path) as source:
        assert source.spec.axes == ("coil", "t", "z", "y", "x")
        assert source.spec.geometry.spacing_mm == pytest.approx((8, 2, 1.5))
        assert source.spec.geometry.frame_times_s == pytest.approx((0, 0.04, 0.08, 0.12))
        np.testing.assert_array_equal(source.read(), coils.transpose(1, 2, 0, 3, 4).astype(np.complex64))
        second = source.select(z=1)
        np.testing.assert_array_equal(second.companions["mask"].read(), np.moveaxis(mask, -1, 0))
        np.testing.assert_array_equal(second.companions["target"].read(), images[1].astype(np.float32).clip(0, 1))
        assert set(source.companions) == {"mask", "target", "aliased", "phase"}
    del stored["kspace"], stored["mask"]
    with open_source(save(tmp_path / "b.h5", **stored)) as source:
        assert (source.spec.dataset, source.spec.axes) == ("imagesTrue", ("t", "z", "y", "x"))
        assert source.spec.intensity.declared_max == 1
        np.testing.assert_array_equal(source.companions["aliased"].read(), stored["imagesRecon"].transpose(3, 0, 1, 2))
    with open_source(save(tmp_path / "c.h5", imagesRecon=stored["imagesRecon"])) as source:
        assert (source.spec.dataset, source.companions) == ("imagesRecon", {})
    with pytest.raises(DataError, match="belong together"):
        open_source(save(tmp_path / "d.h5", imagesTrue=np.zeros((2, 9, 9, 4)), imagesRecon=np.zeros((2, 9, 9, 5))))


def test_one_series_needs_its_axes(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (5, 12, 16)).astype(np.uint8)
    path = save(tmp_path / "a.h5", image=frames)
    with open_source(path, axes="t,y,x") as source:
        assert source.spec.axes == ("t", "y", "x")
        np.testing.assert_array_equal(source.read(), frames)
    timed = save(tmp_path / "b.h5", image=frames, attributes={"frame_interval_s": 0.05})
    assert open_source(timed).spec.geometry.frame_times_s == pytest.approx((0, 0.05, 0.1, 0.15, 0.2))


def test_cine_results(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [
        {name: rng.random((6, 5, 4)).astype(np.float32) for name in names}
        for names in (("input", "result", "truth"), ("input", "result"))
    ]
    series = [
        ResultSeries(lambda n=n: images[n], f"scan.h5:{n}", (0.0, 2.0), (6, 5, 4), {"pixel_size_mm": 2.0, "gap": n})
        for n in range(2)
    ]
    write_results(tmp_path / "result.h5", series)
    with h5py.File(tmp_path / "result.h5") as file:
        np.testing.assert_array_equal(file["result"], [one["result"] for one in images])
        assert np.isnan(file["truth"][1]).all()
        assert file["sources"].asstr()[()].tolist() == ["scan.h5:0", "scan.h5:1"]
        assert file.attrs["pixel_size_mm"] == 2
        np.testing.assert_array_equal(file["gap"], [0, 1])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder of real files is not there")
def test_real_files() -> None:
    with open_source(next((SHARED / "knee_mridata").rglob("*.h5"))) as source:
        assert str(source.spec) == "5 x 256 x 256 (z, y, x) complex64"
        assert source.spec.geometry.spacing_mm == pytest.approx((3, 0.625, 0.625))
        found = np.abs(image_of(source.read()))
        np.testing.assert_allclose(found, source.companions["target"].read(), atol=1e-6 * found.max())
    with open_source(SHARED / "kspace_multicoil" / "brain_8coil_undersampled.npy", axes="coil,y,x") as source:
        assert source.spec.shape == (8, 230, 180)
        mask = source.companions["mask"].read()
        assert mask.mean() == pytest.approx(0.124, abs=0.001)
        assert not (source.read() * ~mask).any()
    with open_source(SHARED / "cine_acdc" / "cine_short_axis.h5", axes="t,y,x") as source:
        assert source.spec.shape == (30, 184, 256)
