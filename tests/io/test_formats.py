"""One property for every format: what is written is read, region by region, by us and by others."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.io import FORMATS, Geometry, Intensity, Region, Spec, open_sink, open_source
from common.io.opening import module_of
from tests.io.format_case import FormatCase, all_cases

CASES = all_cases()
RESULT = "written"


def random_values(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Values from the whole range of an integer type; of floating-point types also large and small ones."""
    if dtype.kind in "ui":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    values = rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 4)
    return (values + 1j * rng.standard_normal(shape) if dtype.kind == "c" else values).astype(dtype)


def random_affine(rng: np.random.Generator, spacing: tuple[float, ...]) -> np.ndarray:
    """A rotation about any axis, with a spacing along (x, y, z) and an origin."""
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return affine


@st.composite
def geometries(draw: st.DrawFn, axes: tuple[str, ...], n_frames: int, keeps: frozenset[str]) -> Geometry:
    """A geometry of which the format keeps something, or one without any metadata."""
    times = None
    if "t" in axes and "times" in keeps and n_frames > 1 and draw(st.booleans()):
        times = [n * draw(st.sampled_from([0.025, 0.5])) for n in range(n_frames)]
        times = [n * times[1] for n in range(n_frames)]
    kinds = ["unknown", *sorted(keeps & {"spacing", "affine"})]
    kind = draw(st.sampled_from(kinds))
    steps = {axis: draw(st.sampled_from([0.1, 0.4375, 1.0, 2.5])) for axis in "xyz"}
    if kind == "affine":
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        return Geometry.of_affine(axes, random_affine(rng, tuple(steps.values())), times)
    if kind == "spacing":
        unit = draw(st.sampled_from(["millimeter", "micrometer"]))
        origin = {axis: draw(st.sampled_from([0.0, -3.25, 7.5])) for axis in "xyz"} if "origin" in keeps else None
        return Geometry.of_spacing(axes, steps, unit, origin, times)
    return Geometry.unknown(axes, times)


def random_region(draw: st.DrawFn, shape: tuple[int, ...]) -> Region:
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    return tuple(slice(a, draw(st.integers(a + 1, n))) for a, n in zip(starts, shape, strict=True))


def blocks_of(shape: tuple[int, ...], block: tuple[int, ...]) -> list[Region]:
    counts = [-(-n // b) for n, b in zip(shape, block, strict=True)]
    return [
        tuple(slice(i * b, min((i + 1) * b, n)) for i, b, n in zip(index, block, shape, strict=True))
        for index in np.ndindex(*counts)
    ]


@st.composite
def images(draw: st.DrawFn, case: FormatCase) -> tuple[Spec, np.ndarray, tuple[int, ...], int]:
    """A spec, its values, the blocks in which they are written, and a seed."""
    axes = draw(st.sampled_from(case.axes))
    longest = {"x": 40, "y": 30}
    shape = tuple(draw(st.integers(1, longest.get(axis, 4))) for axis in axes)
    dtype = np.dtype(draw(st.sampled_from(case.dtypes)))
    seed = draw(st.integers(0, 2**16))
    n_frames = shape[axes.index("t")] if "t" in axes else 1
    geometry = draw(geometries(axes, n_frames, case.keeps))
    intensity = Intensity()
    if "slope" in case.keeps and dtype.kind in "ui" and draw(st.booleans()):
        intensity = Intensity(
            slope=draw(st.sampled_from([0.5, -2.0, 0.33])), intercept=draw(st.sampled_from([0.0, -1024.0]))
        )
    spec = Spec(axes, shape, dtype, geometry, intensity=intensity)
    block = tuple(draw(st.integers(1, n)) for n in shape)
    return spec, random_values(np.random.default_rng(seed), shape, dtype), block, seed


def test_every_written_format_is_listed() -> None:
    written = {one.module for one in FORMATS if hasattr(module_of(one), "open_sink")}
    assert {case.module for case in CASES} == written == {one.module for one in FORMATS if one.written} | {"slices"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_what_is_written_is_read(case: FormatCase, data: st.DataObject) -> None:
    spec, values, block, seed = data.draw(images(case))
    folder = Path(tempfile.mkdtemp())
    try:
        if case.native is not None:
            spec = case_native(case, folder / "input", spec)
        path = folder / f"{RESULT}{case.suffix}"
        sink = open_sink(path, spec)
        stored = values.astype(sink.spec.dtype)
        sink.begin({"run": "one"})
        blocks = blocks_of(spec.shape, block)
        for n in np.random.default_rng(seed).permutation(len(blocks)):
            sink.write(blocks[n], stored[blocks[n]])
        assert not path.exists()
        sink.finish()
        assert {entry.name for entry in folder.iterdir()} - {"input"} == {path.name}
        check_read(case, path, sink.spec, stored, data)
        check_others(case, path, sink.spec, stored)
    finally:
        shutil.rmtree(folder)


def case_native(case: FormatCase, folder: Path, spec: Spec) -> Spec:
    """The spec of an input of the same format, for formats that are only written of themselves."""
    assert case.native is not None
    folder.mkdir()
    made = case.native(folder, spec)
    assert isinstance(made, Spec)
    return made


def check_read(case: FormatCase, path: Path, spec: Spec, stored: np.ndarray, data: st.DataObject) -> None:
    with open_source(path, **case.options(spec)) as source:
        long = [axis for axis in spec.axes if spec.size(axis) > 1]
        assert [axis for axis in source.spec.axes if source.spec.size(axis) > 1] == long
        assert source.spec.dtype == spec.dtype
        everything = stored.reshape(source.spec.shape)
        np.testing.assert_array_equal(source.read(), everything)
        region = random_region(data.draw, source.spec.shape)
        np.testing.assert_array_equal(source.read(region), everything[region])
        again = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(again.read(region), everything[region])
        again.close()
        assert source.spec.intensity.slope == pytest.approx(spec.intensity.slope)
        assert source.spec.intensity.intercept == pytest.approx(spec.intensity.intercept)
        check_geometry(case, source.spec, spec)


def check_geometry(case: FormatCase, found: Spec, written: Spec) -> None:
    """What the format keeps is there, what it does not keep is unknown."""
    if "affine" in case.keeps and written.geometry.affine is not None:
        assert found.geometry.affine is not None
        np.testing.assert_allclose(found.geometry.affine, written.geometry.affine, rtol=1e-5, atol=1e-3)
    elif "affine" not in case.keeps:
        assert found.geometry.affine is None
    for axis, size in zip(found.geometry.axes, found.geometry.spacing_mm, strict=True):
        place = written.geometry.axes.index(axis) if axis in written.geometry.axes else None
        if place is None and found.geometry.affine is not None:
            continue  # an axis of one entry that was added: its distance is that of the third column
        known = None if place is None else written.geometry.spacing_mm[place]
        if not ("spacing" in case.keeps or ("spacing in plane" in case.keeps and axis in "yx")):
            known = None
        assert size == (None if known is None else pytest.approx(known, rel=1e-5))
    if "origin" in case.keeps and written.geometry.affine is None and written.geometry.unit is not None:
        assert found.geometry.agrees(written.geometry)
    if "times" in case.keeps and "t" in found.axes:
        times = written.geometry.frame_times_s
        assert found.geometry.frame_times_s == (None if times is None else pytest.approx(times))


def check_others(case: FormatCase, path: Path, spec: Spec, stored: np.ndarray) -> None:
    found = case.read(path, spec)
    np.testing.assert_array_equal(np.squeeze(found.values), np.squeeze(stored))
    if found.spacing_mm is not None:
        for other, own in zip(found.spacing_mm, spec.geometry.spacing_mm, strict=True):
            assert other is None or other == pytest.approx(own, rel=1e-5)
    if found.affine is not None and spec.geometry.affine is not None:
        np.testing.assert_allclose(found.affine, spec.geometry.affine, rtol=1e-5, atol=1e-3)
