"""What every source can do: parts, pickling, open files, values that are not finite, damage after opening."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile

from common.errors import DataError
from common.io import Geometry, Spec, open_sink, open_source, source

AXES = ("t", "z", "y", "x")
VALUES = np.arange(3 * 4 * 9 * 11, dtype=np.uint16).reshape(3, 4, 9, 11)


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    geometry = Geometry.of_spacing(AXES, {"x": 0.5, "y": 0.25, "z": 2.0}, "mm", frame_times_s=[0.0, 0.5, 1.0])
    return open_sink(tmp_path / "movie.tif", Spec(AXES, VALUES.shape, VALUES.dtype, geometry)).write_all(VALUES)


def test_a_part_is_a_source_of_its_own(movie: Path) -> None:
    with open_source(movie) as whole:
        part = whole.select(t=1, z=slice(2, 4), y=slice(3, 9))
        np.testing.assert_array_equal(part.read(), VALUES[1, 2:4, 3:9])
        np.testing.assert_array_equal(part.read(part.spec.region(z=1)), VALUES[1, 3:4, 3:9])
        assert part.spec.axes == ("z", "y", "x")
        assert part.spec.geometry.spacing_mm == pytest.approx((2.0, 0.25, 0.5))
        assert part.spec.geometry.in_unit("millimeter").origin == pytest.approx((4.0, 0.75, 0.0))
        assert part.spec.geometry.frame_times_s is None
        assert whole.select(t=slice(1, 3)).spec.geometry.frame_times_s == pytest.approx((0.5, 1.0))
        assert part.identity() != whole.identity()
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(part)).read(), part.read())


def test_a_frame_can_be_chosen(movie: Path) -> None:
    with open_source(movie, frame=2) as chosen:
        np.testing.assert_array_equal(chosen.read(), VALUES[2])
    with pytest.raises(ValueError, match=r"expected a part of 0:3 along t"):
        open_source(movie, frame=3)


def test_regions_outside_are_refused(movie: Path) -> None:
    with open_source(movie) as whole:
        for parts in ({"z": 4}, {"x": slice(3, 3)}, {"coil": 0}, {"y": slice(-2, 3)}):
            with pytest.raises(ValueError, match=r"expected (a part|parts) of"):
                whole.spec.region(**parts)  # type: ignore[arg-type]


def test_unknown_options_are_refused_by_name(movie: Path) -> None:
    with pytest.raises(ValueError, match=r"TIFF has no option dataset, chanel; it has channel, image, luma, spacing"):
        open_source(movie, dataset="a", chanel=1)


def test_spacing_can_be_given(movie: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.tif"
    tifffile.imwrite(plain, VALUES[0], photometric="minisblack", metadata=None)
    with open_source(plain) as unknown, open_source(plain, spacing=[3, 0.2, 0.1], unit="um") as told:
        assert unknown.spec.geometry.spacing_mm == (None, None, None)
        assert told.spec.geometry.spacing_mm == pytest.approx((3e-3, 2e-4, 1e-4))
    with pytest.raises(ValueError, match=r"spacing must be positive numbers for the axes \(z, y, x\)"):
        open_source(plain, spacing=[3, 0.2])


def test_values_that_are_not_finite_are_refused_or_filled(tmp_path: Path) -> None:
    values = np.ones((5, 6), np.float32)
    values[2, 3] = np.nan
    tifffile.imwrite(tmp_path / "holes.tif", values, photometric="minisblack", metadata=None)
    with open_source(tmp_path / "holes.tif") as holes:
        np.testing.assert_array_equal(holes.read(holes.spec.region(y=slice(0, 2))), 1)
        with pytest.raises(DataError, match=r"holes.tif: 1 of 30 values are NaN or infinite in \[y 0:5, x 0:6\]"):
            holes.read()
    with open_source(tmp_path / "holes.tif", fill=7) as filled:
        assert filled.read()[2, 3] == 7


def test_a_file_that_changes_is_noticed(movie: Path) -> None:
    with open_source(movie) as whole:
        before = whole.identity()
        os.utime(movie, ns=(1, 1))
        assert whole.identity() != before


def test_few_files_stay_open(tmp_path: Path) -> None:
    for n in range(70):
        tifffile.imwrite(tmp_path / f"{n}.tif", VALUES[0, 0], photometric="minisblack", metadata=None)
    gc.collect()
    open_before = len(os.listdir("/proc/self/fd"))
    sources = [open_source(tmp_path / f"{n}.tif") for n in range(70)]
    for one in sources:
        np.testing.assert_array_equal(one.read(), VALUES[0, 0])
    assert len(os.listdir("/proc/self/fd")) - open_before <= 2 * source._HELD_OPEN
    np.testing.assert_array_equal(sources[0].read(), VALUES[0, 0])
    del one, sources
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_forked_processes_read_at_once(movie: Path) -> None:
    with open_source(movie) as whole:
        whole.read()
        context = multiprocessing.get_context("fork")
        with context.Pool(2) as pool:
            found = pool.map(_read, [(whole, n % 3) for n in range(12)])
        for n, values in enumerate(found):
            np.testing.assert_array_equal(values, VALUES[n % 3])


def _read(task: tuple[source.Source, int]) -> np.ndarray:
    return task[0].select(t=task[1]).read()
