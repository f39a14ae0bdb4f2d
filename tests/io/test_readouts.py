"""Non-Cartesian ISMRMRD scans written by the package ismrmrd; right values by direct sums."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import DataError
from common.io import Source, open_source
from common.operators.coil_mixing import compress_coils
from tests.io.mrd import header, write_mrd

pytest.importorskip("ismrmrd")

SIZE = (20, 24)
N_SAMPLES = 48
GOLDEN = math.pi * (math.sqrt(5) - 1) / 2
PLACE = (13, 5)  # of the only bright pixel


def xml(trajectory: str = "goldenangle", **others: Any) -> str:
    """Header of twofold oversampling; pixels of 2.5 mm."""
    return header((N_SAMPLES, 40, 1), (120, 100, 8), (SIZE[0], SIZE[1], 1), (50, 60, 8), None, trajectory, **others)


def spoke(angle: float, weight: complex = 1.0) -> dict[str, Any]:
    """Two coils' samples of a bright pixel along one spoke, and its trajectory: readout (y), then phase encoding."""
    radius = (np.arange(N_SAMPLES) - N_SAMPLES // 2) / N_SAMPLES
    places = np.stack((np.cos(angle) * radius, np.sin(angle) * radius), axis=-1)
    y, x = (place - n // 2 for place, n in zip(PLACE, SIZE, strict=True))
    samples = np.exp(-2j * np.pi * (places[:, 0] * y + places[:, 1] * x))
    return {"data": np.stack((samples, 0.5j * samples)) * weight, "trajectory": places}


def scan(n_frames: int = 3, n_spokes: int = 5, step: float = GOLDEN, **changes: Any) -> list[dict[str, Any]]:
    """Spokes of frames whose brightness rises by one."""
    lines = []
    for t in range(n_frames):
        for n in range(n_spokes):
            lines.append({**spoke(step * len(lines), t + 1), "phase": t, "step": n, **changes})
    return lines


def without_trajectory(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "trajectory"} for line in lines]


def trajectory_of(source: Source) -> np.ndarray:
    return source.companions["trajectory"].read()[:, 0]


def gridded(source: Source) -> np.ndarray:
    """Image ``[frames, height, width]`` of the first coil by direct sums."""
    samples, places = source.read()[0, :, 0], trajectory_of(source)
    height, width = source.spec.recon_shape or (0, 0)
    y, x = np.arange(height) - height // 2, np.arange(width) - width // 2
    phase = places.imag[..., None, None] * y[:, None] + places.real[..., None, None] * x
    weights = samples * np.abs(places)
    return np.einsum("trs,trsyx->tyx", weights, np.exp(2j * np.pi * phase))


def test_bright_pixel_stands_where_it_was_measured(tmp_path: Path) -> None:
    with open_source(write_mrd(tmp_path / "scan.h5", xml(repetition_time_ms=4.0), scan())) as source:
        assert source.spec.kind == "noncartesian"
        assert source.spec.axes == ("coil", "t", "z", "y", "x")
        assert source.spec.shape == (2, 3, 1, 5, N_SAMPLES)
        assert source.spec.as_image(np.float32).shape == (3, 1, *SIZE)
        assert source.spec.geometry.spacing_mm == pytest.approx((8, 2.5, 2.5))
        assert source.spec.geometry.frame_times_s == pytest.approx((0, 0.02, 0.04))
        images = np.abs(gridded(source))
        for n, image in enumerate(images):
            assert np.unravel_index(image.argmax(), SIZE) == PLACE
            assert image.max() == pytest.approx((n + 1) * images[0].max(), rel=0.2)
        again = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(trajectory_of(again), trajectory_of(source))
        np.testing.assert_array_equal(again.read(), source.read())


def test_slices_and_frames_come_in_any_order(tmp_path: Path) -> None:
    lines = [{**line, "slice": z, "position": -8.0 * z} for line in scan() for z in range(2)]
    order = np.random.default_rng(0).permutation(len(lines))
    path = write_mrd(tmp_path / "scan.h5", xml(), [lines[n] for n in order])
    with open_source(path) as source:
        samples, places = source.read(), source.companions["trajectory"].read()
    assert samples.shape == (2, 3, 2, 5, N_SAMPLES)
    for t in range(3):
        for z in range(2):
            stored = [lines[n] for n in order if (lines[n]["phase"], lines[n]["slice"]) == (t, 1 - z)]
            expected = np.stack([line["data"] for line in stored], axis=1)
            np.testing.assert_allclose(samples[:, t, z], expected, atol=1e-6)
            expected = np.stack([line["trajectory"] for line in stored])
            np.testing.assert_allclose(places[t, z], expected[..., 1] + 1j * expected[..., 0], atol=1e-7)


@pytest.mark.parametrize(
    ("trajectory", "step", "more", "options"),
    [
        ("goldenangle", GOLDEN, "", {}),
        ("radial", math.pi / 5, "", {}),
        ("radial", GOLDEN, "", {"angle": "golden"}),
        ("other", math.radians(20), "", {"angle": 20}),
        (
            "goldenangle",
            math.pi / (1 / 2 + math.sqrt(5) / 2 + 6),
            "<trajectoryDescription><identifier>tiny golden angle</identifier><userParameterLong><name>tiny_golden_n"
            "</name><value>7</value></userParameterLong></trajectoryDescription>",
            {},
        ),
    ],
)
def test_angles_without_a_stored_trajectory(
    tmp_path: Path, trajectory: str, step: float, more: str, options: dict[str, Any]
) -> None:
    lines = scan(step=step)
    if step == math.pi / 5:  # each frame begins anew
        lines = [{**line, **spoke(step * line["step"])} for line in lines]
    stored = write_mrd(tmp_path / "stored.h5", xml(), lines)
    path = write_mrd(tmp_path / "scan.h5", xml(trajectory, more=more), without_trajectory(lines))
    with open_source(path, **options) as source, open_source(stored) as expected:
        np.testing.assert_allclose(trajectory_of(source), trajectory_of(expected), atol=1e-6)


def test_frames_of_consecutive_spokes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [{**line, "phase": 0} for line in scan(n_frames=5)][:-2]
    path = write_mrd(tmp_path / "scan.h5", xml(repetition_time_ms=3.0), lines)
    with open_source(path, spokes=6) as source:
        assert source.spec.shape == (2, 3, 1, 6, N_SAMPLES)
        assert source.spec.geometry.frame_interval_s == pytest.approx(0.018)
        np.testing.assert_allclose(source.read()[:, 1, 0, 0], lines[6]["data"], atol=1e-6)
    assert "5 readouts" in caplog.text


@pytest.mark.parametrize(
    ("vendor", "stamps", "repetition_ms", "times", "logged"),
    [
        ("SIEMENS", [400, 408, 416], 4.0, (0, 0.02, 0.04), "frames of 20.0 ms by the time stamps"),
        ("SIEMENS", [400, 408, 416], 20.0, (0, 0.02, 0.04), "not used"),  # TR of a frame
        ("SIEMENS", [400, 408, 500], None, (0, 0.02, 0.25), "frames of 125.0 ms"),  # a pause
        ("", [0, 20, 41], 4.0, (0, 0.0205, 0.041), "ticks of 1 ms"),
        ("GE", [7, 7, 8], 4.0, (0, 0.02, 0.04), "5 readouts of the header's TR"),  # whole seconds
        ("", [0, 0, 0], None, None, ""),
    ],
)
def test_frame_times_are_those_of_the_clock_before_those_of_the_header(
    vendor: str,
    stamps: list[int],
    repetition_ms: float | None,
    times: tuple[float, ...] | None,
    logged: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = [{**line, "time_stamp": stamps[line["phase"]]} for line in scan()]
    caplog.set_level("INFO")
    path = write_mrd(tmp_path / "scan.h5", xml(repetition_time_ms=repetition_ms, vendor=vendor), lines)
    with open_source(path) as source:
        assert source.spec.geometry.frame_times_s == (times if times is None else pytest.approx(times))
    assert logged in caplog.text
    assert [record.levelname for record in caplog.records] == (
        ["WARNING" if "not" in logged else "INFO"] * bool(logged)
    )


def test_noise_scan_makes_the_noise_white(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 0.0], [0.8j, 0.3]])

    def noise(n: int) -> np.ndarray:
        return mixing @ (rng.standard_normal((2, n)) + 1j * rng.standard_normal((2, n)))

    lines = [{"data": noise(4096), "flags": ("NOISE_MEASUREMENT",)}]
    lines += [{**line, "data": noise(N_SAMPLES)} for line in scan(n_frames=20)]
    with open_source(write_mrd(tmp_path / "scan.h5", xml(), lines)) as source:
        samples = source.read().reshape(2, -1)
    covariance = samples @ samples.conj().T / samples.shape[1]
    np.testing.assert_allclose(covariance / covariance[0, 0].real, np.eye(2), atol=0.06)
    given = np.trace(mixing @ mixing.conj().T).real  # the unit is kept
    assert np.trace(covariance).real == pytest.approx(2 * given, rel=0.06)


def test_compressed_coils_keep_what_two_coils_have() -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(1, 2, 30, 4, dtype=torch.complex64, generator=generator)
    mixing = torch.randn(6, 2, dtype=torch.complex64, generator=generator)
    virtual = compress_coils(torch.einsum("ab,nbrs->nars", mixing, samples), 2)
    assert virtual.shape == (1, 2, 30, 4)
    energy = torch.linalg.vector_norm(torch.einsum("ab,nbrs->nars", mixing, samples), dim=1)
    torch.testing.assert_close(torch.linalg.vector_norm(virtual, dim=1), energy)


def scaled(factor: float) -> list[dict[str, Any]]:
    return [{**line, "trajectory": line["trajectory"] * factor} for line in scan()]


def deep(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "trajectory": np.insert(line["trajectory"], 2, line["trajectory"][:, 0], axis=1)}


@pytest.mark.parametrize(
    ("text", "lines", "options", "match"),
    [
        (xml("spiral"), without_trajectory(scan()), {}, "none.*traj"),
        (xml(), [{**line, "trajectory": line["trajectory"] * N_SAMPLES} for line in scan()], {}, "radians|size"),
        (
            xml(),
            [{**line, "trajectory": line["trajectory"] * SIZE[1]} for line in scan()],
            {},
            "trajectory_unit.*1/fov",
        ),
        (xml(), [{**line, "trajectory": line["trajectory"] / SIZE[1]} for line in scan()], {}, "got 0.02"),
        (xml(), scan(), {"trajectory_unit": "radians"}, "cycles/pixel"),
        (xml(), scan(), {"spokes": 13}, "26 readouts.*got 15"),
        (xml(), scan()[:-1], {}, "5 readouts.*got 4.*phase 2"),
        (xml(), [{**line, "phase": 0} for line in scan()], {}, "15 readouts.*spokes"),
        (xml(), [deep(line) for line in scan()], {}, "three dimensions"),
        (xml("epi"), scan(), {}, "epi"),
        (header((48, 5, 1), (120, 120, 8), trajectory="radial"), scan(), {}, "square pixels.*size"),
    ],
)
def test_refused_in_one_line(tmp_path: Path, text: str, lines: list[Any], options: dict[str, Any], match: str) -> None:
    path = write_mrd(tmp_path / "scan.h5", text, lines)
    with pytest.raises(DataError, match=rf"scan\.h5.*(?:{match})") as caught:
        trajectory_of(open_source(path, **options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("trajectory", "options", "match"),
    [
        ("cartesian", {"spokes": 5}, "spokes"),
        ("radial", {"dc": "centre"}, "dc"),
        ("radial", {"angle": "silver"}, "angle"),
        ("radial", {"size": [3]}, "size"),
        ("radial", {"trajectory_unit": "mm"}, "trajectory_unit"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, trajectory: str, options: dict[str, Any], match: str) -> None:
    path = write_mrd(tmp_path / "scan.h5", xml(trajectory), scan())
    with pytest.raises(ValueError, match=match):
        open_source(path, **options)
