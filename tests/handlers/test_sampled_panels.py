"""Panels of samples: the standard deviation beside the errors, in a scale of its own."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from sampled_evaluation import evaluate, write_knee

from common.figures import CaseImages, case_figure, error_scale_of, std_scale_of
from common.handlers import CaseTableHandler, PanelHandler, TensorBoardPanelHandler
from common.handlers.panels import measured_case
from common.metrics import get_protocol, zero_filled_and_label
from common.operators import complex_to_channels, fft2c, pack_measurement, sense_adjoint
from common.operators.cropping import center_crop
from common.panel_files import PanelIndex
from tests.helpers import random_complex, random_mask


def case(size=(16, 12), scale=1.0, target=True, **options):
    generator = torch.Generator().manual_seed(0)
    truth = scale * torch.rand(size, generator=generator)
    methods = {"zero-filled": 0.7 * truth.to(torch.complex64), "mean": 0.9 * truth, "sample": 0.8 * truth}
    mask = torch.ones(size[0] + 8, size[1] + 4)
    mask[:, ::2] = 0
    options = {"mask": mask, "std": 0.05 * truth, "n_samples": 8, "reconstruction": "mean", **options}
    return CaseImages("/data/knee.h5", 3, methods=methods, target=truth if target else None, **options)


def texts(figure):
    return [text.get_text() for text in figure.texts]


def drawn(figure, name):
    """Images in a colour map, with their limits."""
    images = [axes.images[0] for axes in figure.axes if axes.images]
    return [image for image in images if image.get_cmap().name == name]


def bars(figure):
    return [axes for axes in figure.axes if not axes.images]


def test_deviation_has_a_scale_and_a_bar_of_its_own():
    one = case()
    figure = case_figure(one)
    (std,) = drawn(figure, "viridis")
    np.testing.assert_allclose(std.get_array(), one.std)
    end = np.quantile(one.std.numpy(), 0.99)
    assert std.get_clim() == pytest.approx((0, end), rel=1e-5)
    assert [error.get_clim()[1] for error in drawn(figure, "inferno")] == [error_scale_of([one])] * 3
    assert len(bars(figure)) == 2
    words = texts(figure)
    assert "standard deviation of 8 samples" in words
    assert f"deviation 0 to {end:.3g}" in words
    assert [word for word in words if word in ("mask", "zero-filled", "mean", "sample", "target")] == [
        "mask",
        "zero-filled",
        "mean",
        "sample",
        "target",
    ]
    below = [image.axes.get_position().y0 for image in (std, *drawn(figure, "inferno"))]
    assert below == pytest.approx([below[0]] * 4)  # beside the errors


def test_cases_share_the_scale_of_the_deviation():
    figure = case_figure([case(scale=0.2), case()])
    scale = std_scale_of([case(scale=0.2), case()])
    assert scale == std_scale_of([case()])
    assert [std.get_clim() for std in drawn(figure, "viridis")] == [(0, scale)] * 2
    assert drawn(case_figure(case(), std_scale=0.5), "viridis")[0].get_clim() == (0, 0.5)
    assert std_scale_of([case(std=None)]) == 0


def test_deviation_is_shown_without_a_target():
    figure = case_figure(case(target=False))
    assert len(drawn(figure, "viridis")) == len(bars(figure)) == 1
    assert not drawn(figure, "inferno")
    assert "standard deviation of samples" in texts(case_figure(case(target=False, n_samples=None)))


@pytest.mark.parametrize("size", [(16, 16), (40, 16), (16, 40), (64, 12)])
@pytest.mark.parametrize("target", [True, False])
def test_nothing_overlaps_nor_leaves_the_page(size, target):
    figure = case_figure([case(size, target=target, n_samples=64), case((20, 20))])
    figure.draw_without_rendering()  # images take their shape
    page = figure.bbox
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [axes.get_tightbbox() if axes in bars(figure) else axes.bbox for axes in figure.axes]
    for box in boxes:
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1
    for i, box in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert not (box.x0 < other.x1 and other.x0 < box.x1 and box.y0 < other.y1 and other.y0 < box.y1)


def test_unusable_deviations_are_refused():
    with pytest.raises(ValueError, match=r"one size, got .*'std': \[16, 6\]"):
        case_figure(case(std=torch.zeros(16, 6)))
    with pytest.raises(ValueError, match="std must be finite"):
        case_figure(case(std=torch.full((16, 12), torch.nan)))
    with pytest.raises(ValueError, match=r"knee\.h5, slice 3: .* beside a mask, got none"):
        case_figure(case(mask=None))


def test_a_black_slice_is_drawn():
    black = np.zeros((16, 12))
    methods = {"zero-filled": black, "mean": black, "sample": black}
    case_figure(CaseImages("a.h5", 0, black, methods, black, std=black, reconstruction="mean"))


def test_evaluator_draws_samples_of_cropped_images(tmp_path):
    for seed in range(2):
        write_knee(tmp_path / "in" / f"knee_{seed}.h5", seed)
    handlers = [PanelHandler(tmp_path / "out", max_cases=2, n_extremes=1, n_samples=4)]
    evaluate(tmp_path / "in", [*handlers, TensorBoardPanelHandler(tmp_path / "log", n_cases=1)])
    index = PanelIndex.read(tmp_path / "out")
    assert 2 <= len(index.pictures) <= 4
    assert 0 < index.std_scale < index.error_scale
    for name in index.pictures.values():
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.width > 5 * 2.4 * 120


def test_evaluator_draws_reconstructions_without_samples(tmp_path):
    write_knee(tmp_path / "in" / "knee.h5")
    evaluate(tmp_path / "in", [PanelHandler(tmp_path / "out", max_cases=1, n_samples=4)], n_samples=None)
    assert PanelIndex.read(tmp_path / "out").std_scale == 0
    assert "std_scale" not in (tmp_path / "out" / "panels.json").read_text()


@pytest.fixture
def coils():
    """A measurement by three coils, its coil-combined zero-filled image, and a label of the image's middle."""
    image, mask = random_complex(1, 1, 24, 20, dtype=torch.complex64), random_mask(24, 20)
    maps = random_complex(1, 3, 24, 20, seed=1, dtype=torch.complex64)
    kspace = mask * fft2c(maps * image)
    label = complex_to_channels(center_crop(image, (16, 12)).abs().to(torch.complex64))[0]
    zero_filled = center_crop(sense_adjoint(kspace, maps, mask), (16, 12))
    return {"image": pack_measurement(kspace, mask, maps)[0], "pred": 0.9 * label, "label": label}, zero_filled[0, 0]


def test_coils_are_combined_and_cropped_for_panels_and_metrics(coils):
    item, zero_filled = coils
    shown = measured_case({"path": "a.h5", "slice": 1}, item)
    torch.testing.assert_close(shown.methods["zero-filled"], zero_filled, rtol=1e-4, atol=1e-4)
    assert shown.mask.shape == (24, 20)
    assert shown.methods.keys() == {"zero-filled", "reconstruction"}
    case_figure(shown)
    (measured,), (label,) = zero_filled_and_label([item])
    torch.testing.assert_close(torch.complex(*measured), zero_filled, rtol=1e-4, atol=1e-4)
    assert label is item["label"]


def test_table_has_rows_of_further_images_where_there_are_some(tmp_path, coils):
    write_knee(tmp_path / "in" / "knee.h5")
    seen = []

    class Look:
        def attach(self, engine):
            engine.add_event_handler("ITERATION_COMPLETED", lambda e: seen.extend(e.state.output))

    tables = [
        CaseTableHandler(tmp_path / f"{n}", ["magnitude_slice", "fastmri_volume"], further=["sample"]) for n in (4, 0)
    ]
    evaluate(tmp_path / "in", [tables[0], Look()])
    evaluate(tmp_path / "in", [tables[1]], n_samples=None)
    rows = {}
    for n in (4, 0):
        with (tmp_path / f"{n}" / "metrics.csv").open(newline="") as file:
            rows[n] = list(csv.DictReader(file))
    assert [row["method"] for row in rows[4]] == ["zero_filled", "reconstruction", "sample"] * 4
    assert [row["method"] for row in rows[0]] == ["zero_filled", "reconstruction"] * 4
    images = [torch.stack([torch.complex(*item[key]) for item in seen]) for key in ("sample", "label")]
    values = get_protocol("fastmri_volume").evaluate(*images)
    for metric, value in values.items():
        assert float(rows[4][-1][metric]) == pytest.approx(value.item(), rel=1e-5)
