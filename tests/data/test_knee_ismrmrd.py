"""ISMRMRD raw files, written through the package ismrmrd as a scanner's converter does."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import ismrmrd.xsd
import numpy as np
import pytest
import torch
from helpers import numpy_fft2c, numpy_ifft2c

from common.data import DataError, SliceDataset, find_slices, ismrmrd_stack, open_slices, write_volume
from common.operators.coils import simulated_sensitivity_maps

HEIGHT, WIDTH, N_COILS = 24, 20, 3
N_SAMPLES = 2 * HEIGHT  # readout oversampling
INSIDE = slice(HEIGHT - HEIGHT // 2, HEIGHT + HEIGHT // 2)  # of the rows of the oversampled image


def coil_images(n_slices: int = 2, n_coils: int = N_COILS) -> np.ndarray:
    """Complex ``[slices, coils, N_SAMPLES, WIDTH]``: an ellipse with random texture and phase, seen by coils.

    It reaches beyond the field of view along the readout, to be cut off.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : N_SAMPLES * 1j, -1 : 1 : WIDTH * 1j]
    body = ((x / 0.8) ** 2 + (y / 0.7) ** 2 < 1) * (0.5 + rng.random((n_slices, N_SAMPLES, WIDTH)))
    image = body * np.exp(1j * (x + 2 * y))
    return image[:, None] * simulated_sensitivity_maps(n_coils, N_SAMPLES, WIDTH).numpy().reshape(1, n_coils, *x.shape)


def header(
    encoded: tuple[int, int, int] = (N_SAMPLES, WIDTH, 1),
    limits: tuple[int, int, int] | None = (0, WIDTH - 1, WIDTH // 2),
    trajectory: str = "cartesian",
) -> bytes:
    xsd = ismrmrd.xsd

    def space(size: tuple[int, int, int], readout_mm: float) -> Any:
        matrix = xsd.matrixSizeType(x=size[0], y=size[1], z=size[2])
        return xsd.encodingSpaceType(
            matrixSize=matrix, fieldOfView_mm=xsd.fieldOfViewMm(x=readout_mm, y=160.0, z=3.0 * size[2])
        )

    low, high, centre = limits or (0, 0, 0)
    step = xsd.limitType(minimum=low, maximum=high, center=centre) if limits else None
    encoding = xsd.encodingType(
        encodedSpace=space(encoded, 320.0),
        reconSpace=space((HEIGHT, WIDTH - 4, 1), 160.0),
        encodingLimits=xsd.encodingLimitsType(kspace_encoding_step_1=step),
        trajectory=xsd.trajectoryType(trajectory),
    )
    conditions = xsd.experimentalConditionsType(H1resonanceFrequency_Hz=127_728_000)
    return xsd.ToXML(xsd.ismrmrdHeader(experimentalConditions=conditions, encoding=[encoding])).encode()


def line(samples: np.ndarray, step: int = 0, slice_counter: int = 0, flags: Iterable[int] = (), **counters: int) -> Any:
    """One readout, ``[coils, samples]``, whose echo is at its centre unless ``center_sample`` says else."""
    acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(samples, np.complex64))
    acquisition.center_sample = counters.pop("center_sample", samples.shape[1] // 2)
    acquisition.encoding_space_ref = counters.pop("encoding_space_ref", 0)
    acquisition.idx.kspace_encode_step_1 = step
    acquisition.idx.slice = slice_counter
    for name, value in counters.items():
        setattr(acquisition.idx, name, value)
    acquisition.slice_dir[:] = (0, 0, 1)
    acquisition.position[:] = (10, 20, -5.0 * slice_counter)  # slices are counted downwards
    for flag in flags:
        acquisition.set_flag(flag)
    return acquisition


def lines_of(images: np.ndarray, steps: Iterable[int] = range(WIDTH)) -> list[Any]:
    """Lines of all slices, in the order of the images' positions, which is the reverse of the counters'."""
    kspace = numpy_fft2c(images)
    last = len(images) - 1
    return [line(kspace[i, :, :, step], step, last - i) for step in steps for i in range(len(images))]


def write_scan(path: Path, lines: Iterable[Any], xml: bytes | None = None) -> Path:
    with ismrmrd.Dataset(path, "dataset", mode="w") as dataset:
        dataset.write_xml_header(header() if xml is None else xml)
        for acquisition in lines:
            dataset.append_acquisition(acquisition)
    return path


def test_a_scan_reads_to_its_image(tmp_path: Path) -> None:
    """Noise, navigator, calibration, two averages and lines in disorder; oversampling and slice order undone."""
    rng, images = np.random.default_rng(1), coil_images()
    noise = rng.standard_normal((N_COILS, 77)) + 1j * rng.standard_normal((N_COILS, 77))
    other = 1000 * np.ones((N_COILS, N_SAMPLES))
    aside = [
        line(noise, flags=[ismrmrd.ACQ_IS_NOISE_MEASUREMENT]),
        line(other, 3, 0, [ismrmrd.ACQ_IS_NAVIGATION_DATA]),
        line(other, 3, 1, [ismrmrd.ACQ_IS_PHASECORR_DATA]),
        line(other[:, :9], 4, 0, [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION], repetition=3),
    ]
    kspace, drift = numpy_fft2c(images), rng.standard_normal((2, N_COILS, N_SAMPLES, WIDTH))
    averages = [
        line(kspace[i, ..., step] + sign * drift[i, ..., step], step, 1 - i, flags, average=average)
        for average, sign in enumerate((1, -1))
        for i in range(2)
        for step in range(WIDTH)
        for flags in [[ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING] if step == 10 else []]
    ]
    order = rng.permutation(len(averages))
    path = write_scan(tmp_path / "scan.h5", [*aside, *(averages[i] for i in order)])

    options: dict[str, Any] = {"coils": "multi", "intensity_range": 1}
    entries = find_slices(str(tmp_path), **options)
    place = {"path": str(path), "n_slices": 2, "height": HEIGHT, "width": WIDTH}
    place |= {"recon_height": HEIGHT, "recon_width": WIDTH - 4}
    assert entries == [{**place, "slice": index} for index in range(2)]
    for index in range(2):
        item = SliceDataset(entries, fully_sampled=True, **options)[index]
        assert set(item) == {*place, "slice", "kspace"}
        read, truth = numpy_ifft2c(item["kspace"].numpy()), images[index, :, INSIDE]
        assert np.abs(read - truth).max() < 1e-5 * np.abs(truth).max()
    peak = np.linalg.norm(images[:, :, INSIDE], axis=1).max()
    assert open_slices(path, coils="multi").scale == pytest.approx(peak, rel=1e-5)


def test_one_coil_of_a_scan_is_an_image(tmp_path: Path) -> None:
    images = coil_images(n_coils=1)
    write_scan(tmp_path / "scan.h5", lines_of(images))
    dataset = SliceDataset(find_slices(str(tmp_path)), fully_sampled=True)
    truth = images[:, :, INSIDE] / np.abs(images[:, :, INSIDE]).max()
    for item, wanted in zip((dataset[0], dataset[1]), truth, strict=True):
        assert item["image"].dtype == torch.complex64
        np.testing.assert_allclose(item["image"].numpy(), wanted, atol=1e-5)


def test_several_coils_are_an_option(tmp_path: Path) -> None:
    images = coil_images()
    path = write_scan(tmp_path / "scan.h5", lines_of(images))
    with pytest.raises(DataError, match=r"scan\.h5:dataset: expected single-coil .*got \[2, 3, 24, 20\].*coils='emu"):
        open_slices(path)
    emulated = SliceDataset(find_slices(str(tmp_path), coils="emulated"), coils="emulated")[0]["image"]
    assert emulated.shape == (1, HEIGHT, WIDTH)
    rss = np.linalg.norm(images[0, :, INSIDE], axis=0)
    assert np.corrcoef(emulated.abs().numpy().ravel(), rss.ravel())[0, 1] > 0.95


def test_missing_lines_make_a_mask(tmp_path: Path) -> None:
    steps, images = [0, 3, 8, 9, 10, 11, 12, 16, 19], coil_images()
    write_scan(tmp_path / "scan.h5", lines_of(images, steps)[1:])  # and one slice lacks its first line
    options: dict[str, Any] = {"coils": "multi", "intensity_range": 1}
    dataset = SliceDataset(find_slices(str(tmp_path), **options), **options)
    for index, measured in enumerate((steps[1:], steps)):
        item = dataset[index]
        mask = np.isin(np.arange(WIDTH), measured)
        np.testing.assert_array_equal(item["mask"].numpy(), np.tile(mask, (1, HEIGHT, 1)))
        wanted = numpy_fft2c(images[index])
        wanted = numpy_fft2c(numpy_ifft2c(wanted * mask)[:, INSIDE])
        np.testing.assert_allclose(item["kspace"].numpy(), wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("limits", "missing", "is_full"),
    [
        ((0, 15, 8), 0, True),  # padding on both sides: lines 0 to 15 go to columns 2 to 17
        ((0, 14, 7), 0, True),
        ((0, 15, 8), 1, False),
        ((0, 15, 6), 0, False),  # partial Fourier: the low side lacks 4 lines
        (None, 0, False),  # 20 lines are expected
    ],
)
def test_padding_goes_by_the_centre(
    tmp_path: Path, limits: tuple[int, int, int] | None, missing: int, is_full: bool
) -> None:
    images = coil_images(1, 1)
    kspace = numpy_fft2c(images)
    low, high, centre = limits or (0, 15, WIDTH // 2)
    steps = range(low + missing, high + 1)
    columns = [step - centre + WIDTH // 2 for step in steps]
    lines = [line(kspace[0, ..., column], step) for step, column in zip(steps, columns, strict=True)]
    path = write_scan(tmp_path / "scan.h5", lines, header(limits=limits))
    reader = open_slices(path, intensity_range=1)
    sampled = np.isin(np.arange(WIDTH), columns)
    wanted = numpy_ifft2c(kspace[0, 0] * sampled)[INSIDE]
    np.testing.assert_allclose(numpy_ifft2c(reader.read(0)), wanted, atol=1e-5)
    mask = reader.mask(0)
    assert (mask is None) == is_full
    if mask is not None:
        np.testing.assert_array_equal(mask, np.tile(sampled, (HEIGHT, 1)))


def test_an_asymmetric_echo_is_placed_by_its_centre(tmp_path: Path) -> None:
    lost, discarded = 12, 2
    kspace = numpy_fft2c(coil_images(1, 1))[0]
    lines = [line(kspace[:, lost:, step], step, center_sample=N_SAMPLES // 2 - lost) for step in range(WIDTH)]
    for acquisition in lines:
        acquisition.discard_post = discarded
    reader = open_slices(write_scan(tmp_path / "scan.h5", lines), intensity_range=1)
    kept = np.zeros((N_SAMPLES, 1))
    kept[lost : N_SAMPLES - discarded] = 1
    wanted = numpy_ifft2c(kspace[0] * kept)[INSIDE]
    np.testing.assert_allclose(numpy_ifft2c(reader.read(0)), wanted, atol=1e-5)
    mask = reader.mask(0)
    assert mask is not None
    # every second sample is a row; the last sample, 47, was no row's
    assert np.flatnonzero(mask.all(1)).tolist() == list(range(lost // 2, HEIGHT - discarded // 2))
    assert not mask[: lost // 2].any()


def test_without_fields_of_view_the_matrices_give_the_rows(tmp_path: Path) -> None:
    images, xml = coil_images(1, 1), header()
    for space in (b"320.0", b"160.0"):
        xml = xml.replace(b"<x>" + space + b"</x>", b"<x>0</x>")
    reader = open_slices(write_scan(tmp_path / "scan.h5", lines_of(images), xml), intensity_range=1)
    np.testing.assert_allclose(numpy_ifft2c(reader.read(0)), images[0, 0, INSIDE], atol=1e-5)


def test_headers_are_read_once_and_data_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_scan(tmp_path / "scan.h5", lines_of(coil_images()))
    checks: list[Path] = []
    checked = ismrmrd_stack._checked

    def counted(encoding: Any, path: Path) -> Any:
        checks.append(path)
        return checked(encoding, path)

    monkeypatch.setattr(ismrmrd_stack, "_checked", counted)
    readers = [open_slices(path, coils="multi", intensity_range=1) for _ in range(3)]
    values = [reader.read(1) for reader in readers]
    assert checks == [path]
    fresh = pickle.loads(pickle.dumps(readers[0]))
    np.testing.assert_array_equal(fresh.read(1), values[0])
    write_scan(path, lines_of(coil_images() * 2)[:-2])
    assert open_slices(path, coils="multi").mask(0) is not None
    assert checks == [path, path]


def test_reconstructions_are_written_as_fastmri_reads_them(tmp_path: Path) -> None:
    reader = open_slices(write_scan(tmp_path / "scan.h5", lines_of(coil_images(n_coils=1))))
    volume = np.random.default_rng(0).random((2, HEIGHT, WIDTH - 4)).astype(np.float32)
    write_volume(volume, reader, tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_allclose(file["reconstruction"][()], volume * reader.scale, rtol=1e-6)
        assert file["ismrmrd_header"][()] == header()


GOOD = np.ones((1, N_SAMPLES))


@pytest.mark.parametrize(
    ("lines", "xml", "reason"),
    [
        ([line(GOOD)], header(trajectory="radial"), "expected a Cartesian trajectory, got 'radial'; grid"),
        ([line(GOOD)], header(trajectory="spiral"), "expected a Cartesian trajectory, got 'spiral'"),
        ([line(GOOD)], header((N_SAMPLES, WIDTH, 8)), "expected 2-D slices, got a 3-D encoding with 8 partitions"),
        ([line(GOOD)], b"<ismrmrdHeader/>", "expected an ISMRMRD header with an encoding, got none"),
        ([line(GOOD)], b"hello", "cannot be read as an ISMRMRD header, XML"),
        ([line(GOOD, flags=[ismrmrd.ACQ_IS_NOISE_MEASUREMENT])], None, "expected imaging lines, got none"),
        ([line(GOOD), line(GOOD[:, 1:], 1)], None, "expected lines of one number_of_samples, got 47, 48; write"),
        ([line(GOOD), line(GOOD.repeat(2, 0), 1)], None, "expected lines of one active_channels, got 1, 2"),
        ([line(GOOD), line(GOOD, center_sample=3)], None, "expected lines of one center_sample, got 3, 24"),
        ([line(GOOD), line(GOOD, kspace_encode_step_2=2)], None, "expected one kspace_encode_step_2 .*, got 0, 2"),
        ([line(GOOD), line(GOOD, contrast=1)], None, "expected one contrast in a file, got 0, 1; write a file"),
        ([line(GOOD, repetition=i) for i in range(6)], None, "one repetition .* got 0, 1, 2, 3 and 2 more"),
        ([line(GOOD), line(GOOD, set=1)], None, "expected one set in a file, got 0, 1"),
        ([line(GOOD), line(GOOD, phase=1)], None, "expected one phase in a file, got 0, 1"),
        ([line(GOOD), line(GOOD, encoding_space_ref=1)], None, "lines of the first encoding, got 0, 1"),
        ([line(GOOD, flags=[ismrmrd.ACQ_IS_REVERSE])], None, "got reversed ones"),
        ([line(GOOD, WIDTH)], None, "expected phase-encoding lines 0 to 19 .*of 20 .*centre at 10, got 20 to 20"),
        ([line(GOOD[:, :40], center_sample=2)], None, "of 48 along the readout, got 40 samples .*centre at 2"),
        ([line(np.ones((1, 60)))], None, "of 48 along the readout, got 60 samples"),
    ],
)
def test_unfit_scans_are_refused_in_one_line(tmp_path: Path, lines: list[Any], xml: bytes | None, reason: str) -> None:
    write_scan(tmp_path / "scan.h5", lines, xml)
    with pytest.raises(DataError, match=rf"scan\.h5: .*{reason}") as caught:
        find_slices(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_data_that_are_no_acquisitions_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["dataset/data"], file["dataset/xml"] = np.ones(3), [header()]
    with pytest.raises(DataError, match=r"a\.h5: cannot be read as ISMRMRD raw data"):
        open_slices(tmp_path / "a.h5")


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_scan(tmp_path / "scan.h5", [line(GOOD)])
    monkeypatch.setattr(ismrmrd_stack, "optional_import", lambda *arguments: (None, False))
    with pytest.raises(DataError, match=r"scan\.h5: ISMRMRD raw data need the package ismrmrd; pip install"):
        open_slices(path)
