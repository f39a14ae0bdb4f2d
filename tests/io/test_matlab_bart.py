"""MATLAB and BART files; written by SciPy, h5py and numpy."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from common.errors import DataError
from common.io import open_source
from tests.io.phantom import body, centred, coil_maps

VOLUME = np.random.default_rng(0).random((20, 24, 5))  # rows, columns, slices, as MATLAB has them


def save_73(path: Path, **values: np.ndarray) -> Path:
    """As MATLAB's ``save -v7.3``: 512 bytes before HDF5, axes reversed, complex as a compound."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, stored in values.items():
            if stored.dtype.kind == "c":
                pairs = np.empty(stored.T.shape, [("real", "<f4"), ("imag", "<f4")])
                pairs["real"], pairs["imag"] = stored.T.real, stored.T.imag
                stored = pairs.T
            file[name] = stored.T
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
        file.create_group("#refs#")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return path


@pytest.mark.parametrize("version", ["5", "7", "7.3"])
def test_volumes_in_every_version(tmp_path: Path, version: str) -> None:
    path = tmp_path / "a.mat"
    if version == "7.3":
        save_73(path, volume=VOLUME)
    else:
        savemat(path, {"volume": VOLUME, "note": "text", "n": 3.0}, do_compression=version == "7")
    with open_source(path) as source:
        assert source.spec.axes == ("z", "y", "x")
        assert source.spec.dtype == np.float64
        np.testing.assert_array_equal(source.read(), VOLUME.transpose(2, 0, 1))
        np.testing.assert_array_equal(source.read(source.spec.region(z=2, y=slice(3, 7)))[0], VOLUME[3:7, :, 2])


def test_small_numbers_keep_their_type(tmp_path: Path) -> None:
    """MATLAB stores doubles of small whole numbers as bytes."""
    values = np.arange(480.0).reshape(20, 24) % 200
    savemat(tmp_path / "a.mat", {"image": values})
    data = bytearray((tmp_path / "a.mat").read_bytes())
    place = data.index((9).to_bytes(4, "little") + (480 * 8).to_bytes(4, "little"))  # tag of the values: doubles
    data[place : place + 8] = (2).to_bytes(4, "little") + (480).to_bytes(4, "little")  # bytes instead
    data[place + 8 :] = values.astype(np.uint8).tobytes("F")
    data[132:136] = (len(data) - 136).to_bytes(4, "little")
    (tmp_path / "b.mat").write_bytes(data)
    with open_source(tmp_path / "b.mat") as source:
        assert source.spec.dtype == np.float64
        np.testing.assert_array_equal(source.read(), values)


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_complex_kspace(tmp_path: Path, version: str) -> None:
    kspace = np.moveaxis(centred(body(20, 24) * coil_maps(6, 20, 24)), 0, -1).astype(np.complex64)
    mask = np.zeros((20, 24), np.uint8)
    mask[:, ::2] = 1
    path = tmp_path / "a.mat"
    if version == "7.3":
        save_73(path, kspace_full=kspace, mask=mask)
    else:
        savemat(path, {"kspace_full": kspace})
    with pytest.raises(DataError, match="'axes': 'y,x,coil'"):
        open_source(path)
    with open_source(path, axes="y,x,coil") as source:
        assert (source.spec.kind, source.spec.axes, source.spec.dtype) == ("kspace", ("coil", "y", "x"), np.complex64)
        np.testing.assert_array_equal(source.read(), np.moveaxis(kspace, -1, 0))
        if version == "7.3":
            np.testing.assert_array_equal(source.companions["mask"].read(), mask > 0)
    other = save_73(tmp_path / "b.mat", values=kspace[..., 0])
    with pytest.raises(DataError, match="'kind': 'kspace'"):
        open_source(other)


def test_several_arrays(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"first": VOLUME, "second": VOLUME[..., 0]})
    with pytest.raises(DataError, match=r"first \[20, 24, 5\], second \[20, 24\]; choose one"):
        open_source(tmp_path / "a.mat")
    with open_source(tmp_path / "a.mat", dataset="second") as source:
        np.testing.assert_array_equal(source.read(), VOLUME[..., 0])
    with pytest.raises(DataError, match="no array of rows and columns 'third'"):
        open_source(tmp_path / "a.mat", dataset="third")


def test_other_matlab_files(tmp_path: Path) -> None:
    savemat(tmp_path / "four.mat", {"a": VOLUME[..., 0]}, format="4")
    savemat(tmp_path / "struct.mat", {"a": {"b": VOLUME}})
    (tmp_path / "text.mat").write_text("x = 1")
    for name in ("four", "struct", "text"):
        with pytest.raises(DataError) as caught:
            open_source(tmp_path / f"{name}.mat")
        assert "\n" not in str(caught.value)


def save_cfl(path: Path, values: np.ndarray) -> Path:
    """As BART's own ``writecfl``: the first axis fastest, sizes of 16 axes."""
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{' '.join(map(str, values.shape))}\n# Command\nphantom -k\n")
    path.write_bytes(values.ravel("F").astype("<c8").tobytes())
    return path


def test_bart_arrays(tmp_path: Path) -> None:
    kspace = centred(body(20, 24) * coil_maps(6, 20, 24)).astype(np.complex64)
    stored = np.moveaxis(kspace, 0, -1)[:, :, None, :]  # readout, phase 1, phase 2, coils
    path = save_cfl(tmp_path / "ksp.cfl", stored.reshape(20, 24, 1, 6, *[1] * 12))
    with open_source(path) as source:
        assert (source.spec.kind, source.spec.axes) == ("kspace", ("coil", "y", "x"))
        np.testing.assert_array_equal(source.read(), kspace)
        np.testing.assert_array_equal(source.read(source.spec.region(coil=2, y=slice(5, 9)))[0], kspace[2, 5:9])
    path = save_cfl(tmp_path / "a.cfl", stored)
    with pytest.raises(DataError, match="'kind': 'kspace'"):
        open_source(path)
    frames = np.arange(20 * 24 * 3, dtype=np.complex64).reshape(20, 24, *[1] * 8, 3)
    with open_source(save_cfl(tmp_path / "t.cfl", frames), kind="image") as source:
        assert source.spec.axes == ("t", "y", "x")
        np.testing.assert_array_equal(source.read(), frames.squeeze().transpose(2, 0, 1))


def test_bart_axes_that_must_be_chosen(tmp_path: Path) -> None:
    maps = np.arange(20 * 24 * 2 * 2, dtype=np.complex64).reshape(20, 24, 1, 2, 2)
    path = save_cfl(tmp_path / "maps.cfl", maps)
    with pytest.raises(DataError, match=r"axis maps \(number 4\), got 2; choose one: .*'take': {'maps': 0}"):
        open_source(path, kind="image")
    with open_source(path, kind="image", take={"maps": 1}) as source:
        np.testing.assert_array_equal(source.read(), maps[:, :, 0, :, 1].transpose(2, 0, 1))
    with pytest.raises(DataError, match="3-D encoding of 4 partitions"):
        open_source(save_cfl(tmp_path / "ksp.cfl", np.ones((20, 24, 4), np.complex64)))
    path.with_suffix(".hdr").unlink()
    with pytest.raises(DataError, match=r"maps.hdr beside it"):
        open_source(path)
