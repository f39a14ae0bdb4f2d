"""Reports on volumes: the residual in k-space, and whether deviations of samples show errors."""

import csv
import logging
import math

import h5py
import numpy as np
import pytest
import torch
from sampled_evaluation import ConsistentNoise, evaluate, write_knee
from scipy.stats import spearmanr
from scripts.hallucination import HallucinationReport

from common.handlers.kspace_residual import KspaceResidualReport
from common.operators import channels_to_complex, pack_measurement


class ShrunkImage(ConsistentNoise):
    """The samples fit the measurement, the image is a tenth too small."""

    def forward(self, measurement, noise=None):
        return 0.9 * super().forward(measurement, noise)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def knees(tmp_path):
    for seed, stem in enumerate(("b", "a")):
        write_knee(tmp_path / "in" / f"{stem}.h5", seed, n_slices=3 - seed)
    return tmp_path / "in"


def test_residuals_of_each_volume_are_written_and_logged_in_a_line(knees, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluate(knees, [KspaceResidualReport(tmp_path / "out")], n_samples=5, network=ShrunkImage())
    rows = read(tmp_path / "out" / "kspace_residual.csv")
    assert [(row["file"], row["method"]) for row in rows] == [
        (str(knees / f"{stem}.h5"), method) for stem in ("a", "b") for method in ("reconstruction", "sample")
    ]
    assert [row["n_slices"] for row in rows] == ["2", "2", "3", "3"]
    for row in rows:
        for column in ("max", "mean"):
            if row["method"] == "reconstruction":
                assert float(row[column]) == pytest.approx(0.1, rel=1e-4)
            else:
                assert 0 < float(row[column]) < 1e-6
    (line,) = [one for one in caplog.messages if "k-space residual" in one]
    assert "over 2 files: reconstruction at most 0.1, mean 0.1; sample at most" in line


def test_residuals_are_measured_before_cropping_and_handed_on(knees, tmp_path):
    seen = []

    class Look:
        def attach(self, engine):
            engine.add_event_handler("ITERATION_COMPLETED", lambda e: seen.extend(e.state.output))

    evaluate(knees, [KspaceResidualReport(tmp_path), Look()], n_samples=None)
    assert {tuple(item["pred"].shape) for item in seen} == {(2, 16, 12)}
    assert {tuple(item["image"].shape) for item in seen} == {(3, 24, 20)}
    assert {tuple(item["kspace_residual"].shape) for item in seen} == {(1,)}
    assert [row["method"] for row in read(tmp_path / "kspace_residual.csv")] == ["reconstruction"] * 2


def test_a_slice_of_zeros_counts_zero(tmp_path):
    path = tmp_path / "in" / "knee.h5"
    write_knee(path)
    with h5py.File(path, "a") as file:
        file["kspace"][1] = 0
    evaluate(tmp_path / "in", [KspaceResidualReport(tmp_path), HallucinationReport(tmp_path)])
    (row, _) = read(tmp_path / "kspace_residual.csv")
    assert 0 < float(row["max"]) < 1e-6
    assert 0 < float(row["mean"]) < float(row["max"])
    (row,) = read(tmp_path / "hallucination.csv")
    assert not math.isnan(float(row["spearman"]))


def collected(knees, **options):
    """Cropped image, deviation and target of each volume, as the evaluator leaves them."""
    volumes = {}

    class Look:
        def attach(self, engine):
            engine.add_event_handler("ITERATION_COMPLETED", self.look)

        def look(self, engine):
            for where, images in zip(engine.state.batch, engine.state.output, strict=True):
                parts = [channels_to_complex(images[key][None])[0, 0].numpy() for key in ("pred", "label")]
                volumes.setdefault(where["path"], []).append((*parts, images["std"][0].numpy()))

    evaluate(knees, [Look()], **options)
    return {path: [np.stack(part) for part in zip(*slices, strict=True)] for path, slices in volumes.items()}


def test_rank_correlation_of_each_volume_over_its_tissue(knees, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluate(knees, [HallucinationReport(tmp_path)])
    rows, expected = read(tmp_path / "hallucination.csv"), []
    for path, (image, target, std) in sorted(collected(knees).items()):
        tissue = np.abs(target) > 0.1 * np.quantile(np.abs(target), 0.99)
        error = np.abs(image - target)
        of_magnitudes = spearmanr(std[tissue], np.abs(np.abs(image) - np.abs(target))[tissue]).statistic
        expected.append(spearmanr(std[tissue], error[tissue]).statistic)
        row = rows[len(expected) - 1]
        assert row["file"] == path
        assert float(row["spearman"]) == pytest.approx(expected[-1], abs=1e-5)
        assert float(row["spearman_magnitude"]) == pytest.approx(of_magnitudes, abs=1e-5)
        assert float(row["mean_std"]) == pytest.approx(std[tissue].mean(), rel=1e-4)
        assert float(row["mean_error"]) == pytest.approx(error[tissue].mean(), rel=1e-4)
        assert float(row["tissue_fraction"]) == pytest.approx(tissue.mean(), rel=1e-5)
        assert 0.3 < tissue.mean() < 0.95
    line = f"{np.mean(expected):.3f} on average, {min(expected):.3f} to {max(expected):.3f} over 2 volumes"
    assert line in caplog.text


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_batch_size_does_not_matter(knees, tmp_path, batch_size):
    reports = [HallucinationReport(tmp_path), HallucinationReport(tmp_path, "again.csv")]
    evaluate(knees, reports[:1])
    evaluate(knees, reports[1:], batch_size=batch_size)
    assert (tmp_path / "hallucination.csv").read_text() == (tmp_path / "again.csv").read_text()


def test_without_samples_or_target_nothing_is_claimed(knees, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluate(knees, [HallucinationReport(tmp_path)], n_samples=None)
        evaluate(
            knees,
            [HallucinationReport(tmp_path)],
            prepare_batch=lambda batch, device, non_blocking, **_: (
                pack_measurement(batch["image"].to(torch.complex64), torch.ones(1, 1, 24, 20)),
                None,
            ),
        )
    assert [one for one in caplog.messages if "hallucination" in one] == [
        "hallucination map: not judged, since no volume has a target, tissue and samples that differ, so "
        "hallucination.csv is not written"
    ] * 2
    assert not (tmp_path / "hallucination.csv").exists()


def test_processes_report_together(processes, knees, tmp_path):
    members = [processes.Process(target=report, args=(rank, knees, tmp_path)) for rank in range(2)]
    for process in members:
        process.start()
    for process in members:
        process.join()
    assert [process.exitcode for process in members] == [0, 0]
    evaluate(knees, [HallucinationReport(tmp_path / "alone"), KspaceResidualReport(tmp_path / "alone")])
    for name in ("hallucination.csv", "kspace_residual.csv"):
        assert (tmp_path / "group" / name).read_text() == (tmp_path / "alone" / name).read_text()


def report(rank, knees, folder):
    """A member of a group of two; each file goes to one of them."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    evaluate(knees, [HallucinationReport(folder / "group"), KspaceResidualReport(folder / "group")])
    torch.distributed.destroy_process_group()
