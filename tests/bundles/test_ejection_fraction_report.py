"""The handler that measures hearts: which images it takes, what it writes, and what it passes over."""

import csv
import logging

import h5py
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from scripts.ejection_fraction_report import EjectionFractionReport, read_contour

from common.operators import fft2c
from common.operators.series import batch_to_frames, frames_to_batch, pack_series

CENTER = (24.3, 23.6)
TRUE_RADII = np.array([12.0, 10.5, 9.0, 7.5, 9.0, 10.5])
WRONG_RADII = np.array([12.0, 11.2, 10.5, 9.7, 10.5, 11.2])


def discs(radii, size=48):
    """A bright disc in a dark ring, its edge one pixel wide, `(1, size, size, frames)`."""
    distance = np.hypot(*(np.indices((size, size)) - np.array(CENTER)[:, None, None]))
    frames = [0.2 + 0.7 * np.clip(radius + 0.5 - distance, 0, 1) for radius in radii]
    return torch.from_numpy(np.stack(frames, axis=-1)[None]).float()


def write_heart(path, n_slices=2, **data):
    """A file of the simulator; all slices have the same areas."""
    with h5py.File(path, "w") as file:
        file["imagesTrue"] = np.zeros((n_slices, 4, 4, 6), np.float32)
        known = {
            "lv_area_mm2": np.tile(4 * np.pi * TRUE_RADII**2, (n_slices, 1)),
            "lv_center_px": np.tile(CENTER, (n_slices, 6, 1)),
        }
        for name, values in (known | data).items():
            if values is not None:
                file[name] = values
        file.attrs["pixel_size_mm"] = 2.0
    return str(path)


def item(path, index, label=TRUE_RADII, pred=TRUE_RADII, image=TRUE_RADII):
    where = {"path": path, "slice": index}
    return where, {"image": discs(image), "pred": discs(pred), "label": None if label is None else discs(label)}


def evaluate(report, *batches):
    """Run batches of (item of the batch, item of the output) past the handler."""

    def step(engine, batch):
        engine.state.batch = [where for where, _ in batch]
        return [images for _, images in batch]

    engine = Engine(step)
    report.attach(engine)
    engine.run(list(batches), epoch_length=len(batches))


def rows(path):
    with path.open(newline="") as file:
        return {(row["file"], row["method"]): row for row in csv.DictReader(file)}


def number(row, column="ejection_fraction"):
    return float(row[column])


def test_each_image_is_measured_against_the_simulator(tmp_path, caplog):
    first, second = (write_heart(tmp_path / f"{name}.h5") for name in "ab")
    flat = np.full(6, 0.0)  # no disc
    batches = [
        [item(second, 1, pred=WRONG_RADII), item(first, 0)],  # files mixed, slices in any order
        [item(first, 1, image=flat), item(second, 0, pred=WRONG_RADII)],
    ]
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluate(EjectionFractionReport(tmp_path / "out"), *batches)
    found = rows(tmp_path / "out" / "ejection_fraction.csv")
    assert list(found) == [
        (path, method) for path in (first, second) for method in ("simulator", "truth", "aliased", "reconstruction")
    ]
    known, wrong = 1 - (7.5 / 12) ** 2, 1 - (9.7 / 12) ** 2
    for path in (first, second):
        assert number(found[path, "simulator"]) == pytest.approx(known, abs=1e-5)
        assert number(found[path, "simulator"], "error") == 0
        assert number(found[path, "truth"]) == pytest.approx(known, abs=0.02)
    assert number(found[first, "reconstruction"]) == number(found[first, "truth"])
    assert number(found[second, "reconstruction"]) == pytest.approx(wrong, abs=0.02)
    assert number(found[second, "reconstruction"], "error") == pytest.approx(wrong - known, abs=0.02)
    assert found[first, "aliased"]["ejection_fraction"] == ""
    assert number(found[first, "aliased"], "frames_missed") == 0.5
    assert number(found[second, "aliased"], "frames_missed") == 0
    mean = 100 * np.mean([abs(number(found[path, "reconstruction"], "error")) for path in (first, second)])
    (line,) = caplog.messages
    assert line.startswith(
        f"ejection fraction: mean absolute error over 2 hearts in points: reconstruction {mean:.1f};"
    )
    assert "(1 not measured)" in line


def test_measurements_and_complex_results_are_taken_as_magnitudes(tmp_path):
    path = write_heart(tmp_path / "a.h5", n_slices=1)
    image = discs(TRUE_RADII)[None].to(torch.complex64) * np.exp(0.7j)
    kspace = batch_to_frames(fft2c(frames_to_batch(image)), 1)
    measurement = pack_series(kspace, torch.ones(1, 1, 48, 48, 6))[0]
    channels = torch.cat([image[0].real, image[0].imag])
    where, _ = item(path, 0)
    evaluate(EjectionFractionReport(tmp_path), [(where, {"image": measurement, "pred": channels, "label": channels})])
    found = rows(tmp_path / "ejection_fraction.csv")
    for method in ("truth", "aliased", "view_shared", "reconstruction"):
        assert number(found[path, method]) == pytest.approx(1 - (7.5 / 12) ** 2, abs=0.02)


def test_without_a_label_its_row_is_left_out(tmp_path):
    path = write_heart(tmp_path / "a.h5", n_slices=1)
    evaluate(EjectionFractionReport(tmp_path, "ef.csv"), [item(path, 0, label=None)])
    assert {method for _, method in rows(tmp_path / "ef.csv")} == {"simulator", "aliased", "reconstruction"}


def test_only_the_slices_that_were_evaluated_count(tmp_path):
    areas = 4 * np.pi * np.stack([TRUE_RADII**2, np.full(6, 90.0)])
    path = write_heart(tmp_path / "a.h5", lv_area_mm2=areas)
    evaluate(EjectionFractionReport(tmp_path), [item(path, 0)])
    assert number(rows(tmp_path / "ejection_fraction.csv")[path, "simulator"]) == pytest.approx(1 - 25 / 64, abs=1e-5)


def test_files_that_are_not_simulated_are_passed_over(tmp_path, caplog):
    measured = write_heart(tmp_path / "a.h5", lv_center_px=None)
    (tmp_path / "series.nii.gz").write_bytes(b"no heart")
    where = [measured, str(tmp_path / "series.nii.gz"), str(tmp_path), str(tmp_path / "gone.h5")]
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluate(EjectionFractionReport(tmp_path / "out"), [item(path, 0) for path in where])
    assert not (tmp_path / "out").exists()
    assert caplog.messages == [
        "ejection fraction: no simulated heart among the files, so ejection_fraction.csv is not written"
    ]


def test_a_second_run_begins_anew(tmp_path):
    paths = [write_heart(tmp_path / f"{name}.h5", n_slices=1) for name in "ab"]
    report = EjectionFractionReport(tmp_path)
    evaluate(report, [item(paths[0], 0)])
    evaluate(report, [item(paths[1], 0)])
    assert {path for path, _ in rows(tmp_path / "ejection_fraction.csv")} == {paths[1]}


def test_data_that_do_not_fit_are_told(tmp_path):
    path = write_heart(tmp_path / "a.h5", lv_center_px=np.zeros((2, 5, 2)))
    with pytest.raises(ValueError, match=r"a\.h5: expected lv_area_mm2 .* got \[2, 6\] and \[2, 5, 2\]"):
        read_contour(path, 0)
    path = write_heart(tmp_path / "b.h5")
    with pytest.raises(ValueError, match=r"b\.h5: expected .* with slice 2"):
        read_contour(path, 2)
    with pytest.raises(ValueError, match=r"b\.h5: expected 6 frames, as lv_area_mm2 has, got 4 in the series"):
        evaluate(EjectionFractionReport(tmp_path), [item(path, 0, label=TRUE_RADII[:4])])
    contour = read_contour(path, 1)
    assert contour.pixel_size_mm == 2.0
    np.testing.assert_array_equal(contour.center_px, np.tile(CENTER, (6, 1)))
