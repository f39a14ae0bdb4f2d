"""Non-Cartesian samples in arrays with a trajectory beside them: NumPy, HDF5 and BART."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from common.data.finding import find_files
from common.errors import DataError
from common.io import Source, open_source

N_COILS, N_FRAMES, N_SPOKES, N_SAMPLES = 3, 4, 5, 16
SIZE = (8, 12)
RNG = np.random.default_rng(0)
SAMPLES = RNG.standard_normal((2, N_COILS, N_FRAMES, N_SPOKES, N_SAMPLES)).astype(np.float32)
KSPACE = SAMPLES[0] + 1j * SAMPLES[1]
ANGLES = RNG.uniform(0, 3, (N_FRAMES, N_SPOKES, 1))
RADIUS = (np.arange(N_SAMPLES) - N_SAMPLES // 2) / N_SAMPLES
PLACES = np.stack((np.sin(ANGLES) * RADIUS, np.cos(ANGLES) * RADIUS), axis=-1).astype(np.float32)  # row, column


def save_npy(folder: Path, kspace: np.ndarray, places: np.ndarray) -> Path:
    np.save(folder / "scan.npy", kspace.astype(np.complex64))
    np.save(folder / "scan_traj.npy", places)
    return folder / "scan.npy"


def save_hdf5(folder: Path, kspace: np.ndarray, places: np.ndarray) -> Path:
    with h5py.File(folder / "scan.h5", "w") as file:
        file["kspace"], file["trajectory"] = kspace.astype(np.complex64), places
    return folder / "scan.h5"


def save_cfl(path: Path, values: np.ndarray) -> None:
    """Write an array whose axes are BART's."""
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, values.shape)) + "\n")
    values.astype("<c8").ravel(order="F").tofile(path)


def save_bart(folder: Path, kspace: np.ndarray, places: np.ndarray) -> Path:
    coils_first = kspace if kspace.ndim == 4 else kspace[:, None]
    save_cfl(
        folder / "ksp.cfl",
        coils_first.transpose(3, 2, 0, 1).reshape(1, *coils_first.shape[:1:-1], N_COILS, *[1] * 6, -1),
    )
    scaled = places * np.array(SIZE)
    scaled = np.insert(scaled, 2, 0, axis=-1)
    frames = scaled if scaled.ndim == 4 else scaled[None]
    save_cfl(folder / "traj.cfl", frames.transpose(3, 2, 1, 0).reshape(3, *frames.shape[2:0:-1], *[1] * 7, -1))
    return folder / "ksp.cfl"


SAVERS = {"npy": save_npy, "hdf5": save_hdf5, "bart": save_bart}


def options_of(kind: str, axes: str = "coil,t,y,x", **others: Any) -> dict[str, Any]:
    return {"size": list(SIZE), **({} if kind == "bart" else {"axes": axes}), **others}


def check(source: Source, kspace: np.ndarray, places: np.ndarray) -> None:
    assert source.spec.kind == "noncartesian"
    assert source.spec.axes == ("coil", "t", "y", "x")
    assert source.spec.recon_shape == SIZE
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.read(), kspace.astype(np.complex64))
    region = source.spec.region(t=slice(1, 3), y=slice(2, 4))
    np.testing.assert_array_equal(source.read(region), kspace[:, 1:3, 2:4].astype(np.complex64))
    expected = np.broadcast_to(places[..., 1] + 1j * places[..., 0], kspace.shape[1:])
    np.testing.assert_allclose(source.companions["trajectory"].read(), expected, atol=1e-6)


@pytest.mark.parametrize("kind", SAVERS)
def test_samples_of_frames_and_their_places(tmp_path: Path, kind: str) -> None:
    path = SAVERS[kind](tmp_path, KSPACE, PLACES)
    with open_source(path, **options_of(kind)) as source:
        check(source, KSPACE, PLACES)
    assert find_files(tmp_path) == [path]


@pytest.mark.parametrize("kind", SAVERS)
def test_readouts_are_cut_into_frames(tmp_path: Path, kind: str) -> None:
    path = SAVERS[kind](tmp_path, KSPACE.reshape(N_COILS, -1, N_SAMPLES), PLACES.reshape(-1, N_SAMPLES, 2))
    with open_source(path, **options_of(kind, "coil,y,x", spokes=N_SPOKES)) as source:
        check(source, KSPACE, PLACES)


def test_one_trajectory_is_that_of_all_frames_and_hdf5_says_the_size(tmp_path: Path) -> None:
    path = save_hdf5(tmp_path, KSPACE, 2 * np.pi * PLACES[0])
    with h5py.File(path, "a") as file:
        file["kspace"].attrs["axes"] = np.bytes_("coil,t,y,x")
        file.attrs["image_size"] = SIZE
    with open_source(path, trajectory_unit="radians") as source:
        check(source, KSPACE, PLACES[0])


@pytest.mark.parametrize("kind", SAVERS)
@pytest.mark.parametrize(
    ("places", "options", "match"),
    [
        (PLACES, {"size": None}, "size"),
        (PLACES[:3], {}, "4 frames.*got 3"),
        (PLACES[:, :, :9], {}, "16 samples.*9"),
        (PLACES, {"spokes": 13}, "26 readouts"),
        (PLACES * 40, {}, "trajectory_unit|size"),
    ],
)
def test_refused_in_one_line(
    tmp_path: Path, kind: str, places: np.ndarray, options: dict[str, Any], match: str
) -> None:
    path = SAVERS[kind](tmp_path, KSPACE, places)
    with pytest.raises(DataError, match=rf"(scan|ksp|traj)\..*({match})") as caught:
        open_source(path, **{**options_of(kind), **options}).companions["trajectory"].read()
    assert "\n" not in str(caught.value)


def test_options_of_a_trajectory_need_one(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.ones((8, 8), np.complex64))
    with pytest.raises(ValueError, match=r"scan_traj\.npy"):
        open_source(tmp_path / "scan.npy", size=[8, 8])


@pytest.mark.parametrize("axes", ["coil,t,y,x", "coil,t,x,y"])
def test_spokes_without_a_trajectory_are_refused(tmp_path: Path, axes: str) -> None:
    spokes = np.exp(-((RADIUS * 20) ** 2)) * np.random.default_rng(0).uniform(0.8, 1.2, (N_COILS, N_FRAMES, 9, 1))
    np.save(tmp_path / "scan.npy", spokes.astype(np.complex64))
    with pytest.raises(DataError, match=r"scan\.npy.*spokes.*trajectory.*'dc': 'centre'"):
        open_source(tmp_path / "scan.npy", axes=axes).read()
    open_source(tmp_path / "scan.npy", axes=axes, dc="centre").read()
