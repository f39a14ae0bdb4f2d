"""ISMRMRD raw data written by the package ismrmrd; right values by numpy."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from common.errors import DataError
from common.io import Source, open_source
from tests.io.mrd import header, lines_of, write_mrd
from tests.io.phantom import body, centred, coil_maps, image_of

ismrmrd = pytest.importorskip("ismrmrd")

SQUARE = header((64, 64, 1), (160, 160, 3), (64, 64, 1), (160, 160, 3), (0, 63, 32))
FULL = centred(body(64, 64)[None])
SMALL = header((16, 16, 1), (160, 160, 3), (16, 16, 1), (160, 160, 3), (0, 15, 8))


def magnitude(source: Source) -> np.ndarray:
    """Magnitudes ``[z, y, x]`` of the root sum of squares of the coils."""
    images = np.abs(image_of(source.read()))
    return np.sqrt((images**2).sum(0)) if "coil" in source.spec.axes else images


def test_suffix_mrd_and_independent_reader(tmp_path: Path) -> None:
    path = write_mrd(tmp_path / "scan.mrd", SQUARE, lines_of(FULL))
    with open_source(path) as source, ismrmrd.File(path, "r") as file:
        assert source.spec.axes == ("z", "y", "x")
        assert source.companions == {}
        for line in file["dataset"].acquisitions:
            step = line.idx.kspace_encode_step_1
            np.testing.assert_array_equal(source.read(source.spec.region(x=step))[0, :, 0], line.data[0])
        again = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(again.read(), source.read())


def test_oversampling_noise_navigators_and_averages(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    xml = header((128, 64, 1), (320, 160, 5), (64, 64, 1), (160, 160, 5), (0, 63, 32))
    lines = [{"data": rng.standard_normal((4, 256)), "flags": ("NOISE_MEASUREMENT",)}]
    wide = [body(128, 64, n, 2.0) for n in range(2)]
    for average in range(2):
        for n in range(2):
            lines += [{"data": rng.standard_normal((4, 128)), "flags": ("NAVIGATION_DATA",), "slice": n}]
            kspace = centred(wide[n] * coil_maps(4, 128, 64)) * (0.9, 1.1)[average]
            lines += lines_of(kspace, slice=n, average=average)
    path = write_mrd(tmp_path / "scan.h5", xml, lines)
    with open_source(path) as source:
        assert source.spec.shape == (4, 2, 64, 64)
        assert source.spec.recon_shape == (64, 64)
        assert source.spec.geometry.spacing_mm == pytest.approx((5, 2.5, 2.5))
        np.testing.assert_allclose(magnitude(source), np.stack(wide)[:, 32:96], atol=2e-6)
    with open_source(path, average=1) as source:
        np.testing.assert_allclose(magnitude(source), 1.1 * np.stack(wide)[:, 32:96], atol=2e-6)


def test_undersampling_partial_echo_and_mask(tmp_path: Path) -> None:
    steps = [*range(0, 64, 2), 31, 33]
    lines = [{"data": FULL[:, 16:, n], "step": n, "center": 16} for n in steps]
    with open_source(write_mrd(tmp_path / "a.h5", SQUARE, lines)) as source:
        mask = source.companions["mask"].read()
        expected = np.zeros((64, 64), bool)
        expected[16:, steps] = True
        np.testing.assert_array_equal(mask, expected[None])
        part = source.companions["mask"].spec.region(y=slice(10, 20), x=slice(30, 35))
        np.testing.assert_array_equal(source.companions["mask"].read(part), expected[None, 10:20, 30:35])
        np.testing.assert_array_equal(source.read(), (FULL * expected).astype(np.complex64))


def test_header_at_base_resolution(tmp_path: Path) -> None:
    wide = body(128, 64, oversampling=2.0)
    xml = header((64, 64, 1), (192, 192, 3), (64, 64, 1), (192, 192, 3), (0, 63, 32))
    with open_source(write_mrd(tmp_path / "a.h5", xml, lines_of(centred(wide[None])))) as source:
        assert source.spec.shape == (1, 64, 64)
        assert source.spec.geometry.spacing_mm == pytest.approx((3, 3, 3))
        np.testing.assert_allclose(magnitude(source)[0], wide[32:96], atol=2e-6)
    # the opposite: lines as short as the image for an oversampled matrix can be read in two ways
    xml = header((128, 64, 1), (320, 160, 3), (64, 64, 1), (160, 160, 3), (0, 63, 32))
    with pytest.raises(DataError, match="128 samples as the encoded matrix has, got 64"):
        open_source(write_mrd(tmp_path / "b.h5", xml, lines_of(FULL)))


def test_recon_space_larger_or_missing(tmp_path: Path) -> None:
    xml = header((64, 64, 1), (160, 160, 3), (96, 96, 1), (160, 160, 3), (0, 63, 32))
    spec = open_source(write_mrd(tmp_path / "a.h5", xml, lines_of(FULL))).spec
    assert (spec.shape, spec.recon_shape) == ((1, 64, 64), (64, 64))
    assert spec.geometry.spacing_mm == pytest.approx((3, 2.5, 2.5))
    # MRIReco.jl's brain example: no reconSpace, fields of view 0
    bare = header((64, 64, 1), (0, 0, 0))
    with open_source(write_mrd(tmp_path / "b.h5", bare, lines_of(FULL))) as source:
        assert (source.spec.shape, source.spec.recon_shape) == ((1, 64, 64), (64, 64))
        assert source.spec.geometry.spacing_mm == (None, None, None)
        np.testing.assert_array_equal(source.read(), FULL.astype(np.complex64))


def test_lines_beyond_the_matrix(tmp_path: Path) -> None:
    xml = header((64, 60, 1), (160, 160, 3), (64, 60, 1), (160, 160, 3), (0, 63, 32))
    with pytest.raises(DataError, match=r"lines 2 to 61 for an encoded matrix of 60 .* got 0 to 63"):
        open_source(write_mrd(tmp_path / "a.h5", xml, lines_of(FULL)))


@pytest.mark.parametrize("counter", ["contrast", "repetition", "set"])
def test_several_images_are_chosen(tmp_path: Path, counter: str) -> None:
    lines = [line for n in range(64) for e in (0, 1) for line in lines_of(FULL * (1, 0.5)[e], [n], **{counter: e})]
    path = write_mrd(tmp_path / "a.h5", SQUARE, lines)
    with pytest.raises(DataError, match=rf"one {counter}, got 2: 0, 1; choose one: .*'{counter}': 0"):
        open_source(path)
    with open_source(path, **{counter: 1}) as source:
        np.testing.assert_allclose(magnitude(source)[0], 0.5 * body(64, 64), atol=1e-6)
    with pytest.raises(DataError, match=f"no {counter} 2"):
        open_source(path, **{counter: 2})


def test_phases_are_frames(tmp_path: Path) -> None:
    frames = [body(16, 16, t) for t in range(3)]
    lines = [line for t in (2, 0, 1) for line in lines_of(centred(frames[t][None]), phase=t)]
    with open_source(write_mrd(tmp_path / "a.h5", SMALL, lines)) as source:
        assert source.spec.axes == ("t", "z", "y", "x")
        np.testing.assert_allclose(np.abs(image_of(source.read()))[:, 0], frames, atol=1e-6)
    lines += [line for t in (0, 1) for line in lines_of(centred(frames[t][None]), phase=t, slice=1)]
    with pytest.raises(DataError, match="slice 1 has no lines of phase 2"):
        open_source(write_mrd(tmp_path / "b.h5", SMALL, lines))


def test_integrated_reference_lines(tmp_path: Path) -> None:
    kspace = centred(body(64, 64) * coil_maps(4, 64, 64))
    both = ("PARALLEL_CALIBRATION", "PARALLEL_CALIBRATION_AND_IMAGING")
    lines = []
    for n in range(64):
        flags = both if 20 <= n < 44 and n % 2 == 0 else both[:1] if 20 <= n < 44 else ()
        lines += lines_of(kspace, [n], flags=flags) if n % 2 == 0 or flags else []
    with open_source(write_mrd(tmp_path / "a.h5", SQUARE, lines)) as source:
        columns = source.companions["mask"].read()[0].all(0)
        assert (int(columns.sum()), set(source.companions)) == (44, {"mask"})
        zero_filled = np.sqrt((np.abs(image_of(kspace * columns)) ** 2).sum(0))
        np.testing.assert_allclose(magnitude(source)[0], zero_filled, atol=1e-6)
        error = np.linalg.norm(magnitude(source) - body(64, 64)) / np.linalg.norm(body(64, 64))
        assert error == pytest.approx(0.076, abs=0.002)


@pytest.mark.parametrize("how", ["overlap", "header", "contrast"])
def test_separate_reference_lines(tmp_path: Path, how: str) -> None:
    kspace = centred(body(64, 64) * coil_maps(4, 64, 64))
    more = "<parallelImaging><calibrationMode>separate</calibrationMode></parallelImaging>" if how == "header" else ""
    xml = header((64, 64, 1), (160, 160, 3), (64, 64, 1), (160, 160, 3), (0, 63, 32), more=more)
    reference = range(20, 44) if how == "overlap" else range(21, 44, 2)
    counters = {"contrast": 1} if how == "contrast" else {}
    lines = lines_of(0.5 * kspace, reference, flags=("PARALLEL_CALIBRATION",), **counters)
    lines += lines_of(kspace, range(0, 64, 2))
    with open_source(write_mrd(tmp_path / "a.h5", xml, lines)) as source:
        assert int(source.companions["mask"].read()[0].all(0).sum()) == 32
        calibration = source.companions["calibration"]
        assert calibration.spec.shape == source.spec.shape
        expected = np.zeros_like(kspace)
        expected[..., list(reference)] = 0.5 * kspace[..., list(reference)]
        np.testing.assert_array_equal(calibration.read()[:, 0], expected.astype(np.complex64))


def test_slices_by_position(tmp_path: Path) -> None:
    kspace = [centred(body(16, 16, n)[None]) for n in range(3)]
    lines = [line for n in (0, 2, 1) for line in lines_of(kspace[n], slice=n, position=7.5 * n)]
    with open_source(write_mrd(tmp_path / "a.h5", SMALL, lines)) as source:
        assert source.spec.geometry.spacing_mm == pytest.approx((7.5, 10, 10))
        np.testing.assert_array_equal(source.read(), np.concatenate(kspace).astype(np.complex64))
    falling = [line for n in range(3) for line in lines_of(kspace[n], slice=n, position=-6.0 * n)]
    with open_source(write_mrd(tmp_path / "b.h5", SMALL, falling)) as source:
        np.testing.assert_array_equal(source.read(), np.concatenate(kspace[::-1]).astype(np.complex64))
    uneven = [line for n in range(3) for line in lines_of(kspace[n], slice=n, position=float(n**2))]
    spec = open_source(write_mrd(tmp_path / "c.h5", SMALL, uneven)).spec
    assert spec.geometry.spacing_mm == (None, pytest.approx(10), pytest.approx(10))


def test_several_measurements(tmp_path: Path) -> None:
    path, small = tmp_path / "a.h5", centred(body(16, 16)[None])
    write_mrd(path, header((16, 16, 1), (160, 160, 3)), lines_of(small), "dataset")
    write_mrd(path, SQUARE, lines_of(FULL), "dataset_2")
    with pytest.raises(DataError, match=r"got 2: dataset_2, dataset; choose one: .*'measurement': 'dataset_2'"):
        open_source(path)
    with open_source(path, measurement="dataset_2") as source:
        np.testing.assert_array_equal(source.read(), FULL.astype(np.complex64))
    with pytest.raises(DataError, match="no measurement 'other'"):
        open_source(path, measurement="other")


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (header((64, 64, 1), (160, 160, 3), trajectory="epi"), "Cartesian trajectory, got 'epi'"),
        (header((64, 64, 8), (160, 160, 3)), "3-D encoding with 8"),
        ("<ismrmrdHeader/>", "with an encoding, got none"),
        ("no header", "cannot be read as an ISMRMRD header"),
        (header((64, 64000, 1), (160, 160, 3)), "declares slices of 64 x 64000"),
    ],
)
def test_headers_that_are_refused(tmp_path: Path, xml: str, message: str) -> None:
    lines = lines_of(FULL * np.ones((4, 1, 1)))
    with pytest.raises(DataError, match=message) as caught:
        open_source(write_mrd(tmp_path / "a.h5", xml, lines))
    assert "\n" not in str(caught.value)


def test_lines_that_are_refused(tmp_path: Path) -> None:
    cases = {
        "imaging lines, got none": lines_of(FULL, flags=("NOISE_MEASUREMENT",)),
        "one number_of_samples, got 32, 64": [*lines_of(FULL, [0]), *lines_of(FULL[:, :32], [1])],
        "read in one direction": lines_of(FULL, flags=("REVERSE",)),
    }
    for n, (message, lines) in enumerate(cases.items()):
        with pytest.raises(DataError, match=message):
            open_source(write_mrd(tmp_path / f"{n}.h5", SQUARE, lines))
    path = write_mrd(tmp_path / "short.h5", SQUARE, lines_of(FULL))
    with h5py.File(path, "r+") as file:
        lines = file["dataset/data"][()]
        lines["data"][5] = np.ones(3, np.float32)
        file["dataset/data"][...] = lines
    with open_source(path) as source, pytest.raises(DataError, match="expected 128 numbers a line"):
        source.read()
