"""Panels and tables of samples, and of images that several coils measured."""

import csv

import pytest
import torch
from sampled_evaluation import evaluate, write_knee

from common.figures import PanelIndex
from common.handlers import CaseTableHandler, PanelHandler, TensorBoardPanelHandler
from common.handlers.cases import measured_case
from common.metrics import get_protocol, zero_filled_and_label
from common.operators import complex_to_channels, fft2c, pack_measurement, sense_adjoint
from common.operators.cropping import center_crop
from tests.helpers import random_complex, random_mask


def test_evaluator_draws_and_measures_samples_of_cropped_images(tmp_path):
    for seed in range(2):
        write_knee(tmp_path / "in" / f"knee_{seed}.h5", seed)
    seen = []

    class Look:
        def attach(self, engine):
            engine.add_event_handler("ITERATION_COMPLETED", lambda e: seen.extend(e.state.output))

    handlers = [
        PanelHandler(tmp_path / "out", max_cases=2, n_extremes=1, n_samples=4),
        TensorBoardPanelHandler(tmp_path / "log", n_cases=1),
        CaseTableHandler(tmp_path, ["magnitude_slice", "fastmri_volume"]),
    ]
    evaluate(tmp_path / "in", [*handlers, Look()])
    index = PanelIndex.read(tmp_path / "out")
    assert len(index.pictures) == 2
    assert 0 < index.std_scale < index.error_scale
    case = index.case(tmp_path / "out", next(iter(index.pictures)))
    assert list(case.methods) == ["zero_filled", "reconstruction", "sample"]
    assert case.std.shape == case.target.shape
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["zero_filled", "reconstruction", "sample"] * (len(rows) // 3)
    n_slices = len(seen) // 2
    images = [torch.stack([torch.complex(*item[key]) for item in seen[n_slices:]]) for key in ("sample", "label")]
    for metric, value in get_protocol("fastmri_volume").evaluate(*images).items():
        assert float(rows[-1][metric]) == pytest.approx(value.item(), rel=1e-5)


def test_reconstructions_without_samples_have_no_row_nor_scale_of_them(tmp_path):
    write_knee(tmp_path / "in" / "knee.h5")
    handlers = [PanelHandler(tmp_path / "out", max_cases=1, n_samples=4), CaseTableHandler(tmp_path)]
    evaluate(tmp_path / "in", handlers, n_samples=None)
    assert PanelIndex.read(tmp_path / "out").std_scale == 0
    assert "sample" not in (tmp_path / "metrics.csv").read_text()


def test_coils_are_combined_and_cropped_for_panels_and_metrics():
    image, mask = random_complex(1, 1, 24, 20, dtype=torch.complex64), random_mask(24, 20)
    maps = random_complex(1, 3, 24, 20, seed=1, dtype=torch.complex64)
    kspace = mask * fft2c(maps * image)
    label = complex_to_channels(center_crop(image, (16, 12)).abs().to(torch.complex64))[0]
    zero_filled = center_crop(sense_adjoint(kspace, maps, mask), (16, 12))[0, 0]
    item = {"image": pack_measurement(kspace, mask, maps)[0], "pred": 0.9 * label, "label": label}
    case = measured_case({"path": "a.h5", "slice": 1}, item)
    torch.testing.assert_close(case.methods["zero_filled"], zero_filled, rtol=1e-4, atol=1e-4)
    assert case.mask.shape == (24, 20)
    (measured,), _ = zero_filled_and_label([item])
    torch.testing.assert_close(torch.complex(*measured), zero_filled, rtol=1e-4, atol=1e-4)
