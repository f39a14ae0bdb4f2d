"""Handlers of cine series inside MONAI's evaluator: table, figures, images in TensorBoard."""

import csv
import logging

import numpy as np
import pytest
import torch
from helpers import numpy_fft2c, numpy_ifft2c
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from PIL import Image
from scripts.cine_table import CineTable
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common.figures import PanelIndex, series_figure
from common.figures.parts import draw_blocks
from common.figures.scales import distant_frames, error_scale_of, moving_part, moving_row
from common.handlers import PanelHandler, TensorBoardPanelHandler
from common.metrics import Case
from common.operators.series import aliased_magnitude, pack_series, view_shared

HEIGHT, WIDTH, FRAMES = 24, 20, 6


class Sharpen(torch.nn.Module):
    """Magnitudes to magnitudes, a measurement to two channels."""

    def forward(self, image):
        return 0.9 * image if image.shape[1] == 1 else 0.9 * image[:, :2]


def beating(seed, n_frames=FRAMES, size=(HEIGHT, WIDTH)):
    """A disc that shrinks until the middle of the beat, ``(height, width, frames)``."""
    rows, columns, times = np.meshgrid(*(np.arange(n) for n in (*size, n_frames)), indexing="ij")
    radius = size[0] / 3 - 1.3 * np.minimum(times, n_frames - times)
    distance = np.hypot(rows - size[0] / 2, columns - size[1] / 2)
    texture = np.random.default_rng(seed).random((*size, 1))
    return (0.7 * (distance < radius) + 0.3 * texture).astype(np.float32)


def item(path, seed=0, label=True, noise=0.1, **shape):
    truth = beating(seed, **shape)
    aliased = np.abs(truth + noise * np.random.default_rng(seed).standard_normal(truth.shape))
    case = {"image": torch.from_numpy(aliased).float()[None], "path": path, "slice": seed}
    return {**case, "label": torch.from_numpy(truth)[None]} if label else case


def measured_item(path, seed=0):
    """The network's input is a measurement; the truth is complex. With its zero-filled magnitudes, by NumPy."""
    truth = beating(seed) * np.exp(1j * np.linspace(0, 2, WIDTH)[:, None])
    mask = np.random.default_rng(seed).random((HEIGHT, WIDTH, FRAMES)) < 0.6
    kspace = mask * numpy_fft2c(truth.transpose(2, 0, 1)).transpose(1, 2, 0)
    measurement = pack_series(
        torch.from_numpy(kspace)[None, None].to(torch.complex64), torch.from_numpy(mask)[None, None].float()
    )[0]
    label = torch.from_numpy(np.stack([truth.real, truth.imag])).float()
    zero_filled = np.abs(numpy_ifft2c(kspace.transpose(2, 0, 1))).transpose(1, 2, 0)
    return {"image": measurement, "label": label, "path": path, "slice": seed}, zero_filled


def prepare_batch(batch, device, non_blocking, **_):
    return batch["image"].to(device), batch["label"].to(device) if "label" in batch else None


def evaluate(items, *handlers, batch_size=2, **options):
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(items, batch_size=batch_size),
        network=Sharpen(),
        prepare_batch=prepare_batch,
        val_handlers=list(handlers),
        **options,
    )
    evaluator.run()
    return evaluator


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def values_of(result, truth):
    """Of one frame."""
    similarity = structural_similarity(
        truth, result, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return {
        "psnr": peak_signal_noise_ratio(truth, result, data_range=1),
        "ssim": similarity,
        "mse": np.mean((result - truth) ** 2),
        "nrmse": normalized_root_mse(truth, result),
    }


def plain(channels):
    """Magnitudes of an item's tensor, in float64."""
    return np.linalg.norm(channels.double().numpy(), axis=0)


def check_tables(folder, series):
    """``metrics.csv`` and ``metrics_per_frame.csv`` against (path, slice, method) -> (result, truth)."""
    rows, frames = read(folder / "metrics.csv"), read(folder / "metrics_per_frame.csv")
    assert list(rows[0]) == ["protocol", "file", "slice", "method", "psnr", "ssim", "mse", "nrmse"]
    assert list(frames[0]) == ["protocol", "file", "slice", "frame", "method", "psnr", "ssim", "mse", "nrmse"]
    assert {row["protocol"] for row in rows} == {"cine_series"}
    assert {row["protocol"] for row in frames} == {"cine_frame"}
    assert [(row["file"], int(row["slice"]), row["method"]) for row in rows] == list(series)
    places = [(row["file"], int(row["slice"]), int(row["frame"]), row["method"]) for row in frames]
    assert places == sorted(places, key=lambda place: (*place[:3], place[3] != "aliased"))
    by_place = dict(zip(places, frames, strict=True))
    for row, ((path, index, method), (result, truth)) in zip(rows, series.items(), strict=True):
        of_frames = [values_of(result[..., t], truth[..., t]) for t in range(truth.shape[-1])]
        for t, values in enumerate(of_frames):
            found = by_place.pop((path, index, t, method))
            for metric, value in values.items():
                assert float(found[metric]) == pytest.approx(value, rel=1e-4)
        assert float(row["psnr"]) == pytest.approx(np.mean([values["psnr"] for values in of_frames]), rel=1e-5)
        assert float(row["ssim"]) == pytest.approx(np.mean([values["ssim"] for values in of_frames]), rel=1e-5)
        assert float(row["mse"]) == pytest.approx(np.mean((result - truth) ** 2), rel=1e-4)
        assert float(row["nrmse"]) == pytest.approx(normalized_root_mse(truth, result), rel=1e-4)
    assert not by_place


# -- the table -----------------------------------------------------------------------------------------------------


def test_table_has_a_row_per_series_and_one_per_frame(tmp_path, caplog):
    items = [item("b.h5", 0), item("a.h5", 1), item("a.h5", 0, n_frames=3), item("a.h5", 2, label=False)]
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluate(items, CineTable(tmp_path), batch_size=1)
    series = {}
    for one in (items[2], items[1], items[0]):
        aliased, truth = plain(one["image"]), plain(one["label"])
        series[one["path"], one["slice"], "aliased"] = aliased, truth
        series[one["path"], one["slice"], "reconstruction"] = plain(0.9 * one["image"]), truth
    check_tables(tmp_path, series)
    means = [np.mean([float(row["mse"]) for row in read(tmp_path / "metrics.csv")[i::2]]) for i in (0, 1)]
    printed = [f"{mean:.4f}" for mean in means]
    for words in ("protocol cine_series: ", "reconstruction - aliased", "n: series", *printed):
        assert words in caplog.text


def test_table_measures_what_a_measurement_gives(tmp_path):
    pairs = [measured_item("a.h5", seed) for seed in range(3)]
    evaluate([one for one, _ in pairs], CineTable(tmp_path))
    series = {}
    for one, zero_filled in pairs:
        truth = plain(one["label"])
        shared = aliased_magnitude(view_shared(one["image"][None]))[0]
        series["a.h5", one["slice"], "aliased"] = zero_filled, truth
        series["a.h5", one["slice"], "view_shared"] = plain(shared), truth
        series["a.h5", one["slice"], "reconstruction"] = plain(0.9 * one["image"][:2]), truth
    check_tables(tmp_path, series)


def test_each_run_starts_a_new_table(tmp_path):
    evaluator = evaluate([item("a.h5", 0), item("a.h5", 1)], CineTable(tmp_path))
    evaluator.run()
    assert len(read(tmp_path / "metrics.csv")) == 4
    assert len(read(tmp_path / "metrics_per_frame.csv")) == 4 * FRAMES


def test_without_truth_no_table_is_written(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluate([item("a.h5", label=False)], CineTable(tmp_path / "eval"))
    assert "no case has a target image" in caplog.text
    assert not (tmp_path / "eval").exists()


# -- figures -------------------------------------------------------------------------------------------------------


def one_case(label=True, **shape):
    one = item("/data/heart_$1.h5", 3, **shape)
    aliased = one["image"][0]
    methods = {"aliased": aliased, "view_shared": 0.95 * aliased, "reconstruction": 0.9 * aliased}
    target = one["label"][0] if label else None
    return Case("/data/heart_$1.h5", 3, methods, target, baseline="aliased", series=True)


def test_the_frames_are_those_that_differ_most_and_the_row_and_the_part_move_most():
    series = np.zeros((9, 7, 5))
    series[4, 2:5, 1] = 1
    series[4, 2:5, 3] = -1
    series[6, 0, 2] = 1.2
    assert distant_frames(series) == (1, 3)
    assert moving_row(series) == 4
    assert distant_frames(series[..., :1]) == (0,)
    assert distant_frames(beating(0)) == (0, FRAMES // 2)  # end-diastole and end-systole
    far = np.zeros((40, 50, 4))
    far[30:36, 6:10, 1] = 1
    rows, columns = moving_part(far, 0.5)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (20, 25)
    assert rows.start <= 30 < 36 <= rows.stop
    assert columns.start <= 6 < 10 <= columns.stop


def test_figure_shows_two_frames_and_a_row_over_time():
    case = one_case()
    (block,) = series_figure(case)
    target = case.target.numpy()
    images = [*(image.numpy() for image in case.methods.values()), target]
    images.append(np.abs(images[2] - target))
    first, last = distant_frames(target)
    row, part = moving_row(target), moving_part(target)
    scale = error_scale_of([case])
    assert scale == pytest.approx(np.quantile(images[4], 0.99))
    assert [len(panels) for panels in block.rows] == [5, 5, 5]
    for column, image in enumerate(images):
        expected = (image[..., first][part], image[..., last][part], image[row][part[1]])
        for panels, values in zip(block.rows, expected, strict=True):
            np.testing.assert_allclose(panels[column].image, values, atol=1e-6)
            end = scale if column == 4 else np.quantile(target, 0.998)
            assert panels[column].end == pytest.approx(end)
        assert [panels[column].line for panels in block.rows[:2]] == [row - part[0].start] * 2
    names = ["aliased", "view sharing", "reconstruction", "target", "difference to the target"]
    for panels, frame in zip(block.rows, (first, last), strict=False):
        assert [panel.title for panel in panels] == [f"{name}, frame {frame}" for name in names]
    truth, result = target.astype(np.float64), images[2].astype(np.float64)
    ratio = np.mean([peak_signal_noise_ratio(truth[..., t], result[..., t], data_range=1) for t in range(FRAMES)])
    assert block.rows[2][2].below.startswith(f"PSNR {ratio:.2f} dB")
    assert block.rows[2][0].title.startswith(f"row {row} in time")
    assert block.title == "heart_$1.h5, slice 3"
    assert series_figure(case, error_scale=0.5)[0].rows[0][4].end == 0.5


@pytest.mark.parametrize("shape", [{}, {"size": (60, 20)}, {"size": (24, 60), "n_frames": 30}])
def test_profiles_have_one_size_whatever_the_series(shape):
    (block,) = series_figure(one_case(**shape))
    assert {panel.pixels().shape for panel in block.rows[-1][:4]} == {(140, 256)}
    assert draw_blocks([block]).width >= 5 * 200


def test_figure_of_one_frame_and_of_a_case_without_target():
    assert [len(row) for row in series_figure(one_case(n_frames=1))[0].rows] == [5, 5]
    (block,) = series_figure(one_case(label=False))
    assert [len(row) for row in block.rows] == [3, 3, 3]
    assert not any(panel.below for row in block.rows for panel in row)


def test_panels_are_spread_over_the_series_and_of_the_best_and_the_worst(tmp_path):
    items = [item("/data/b.h5", seed, noise=0.02 * (seed + 1)) for seed in range(8)]
    evaluate(items, PanelHandler(tmp_path, max_cases=3, n_extremes=1, protocol="cine_series"))
    gains = {}
    for one in items:
        aliased, result, truth = plain(one["image"]), plain(0.9 * one["image"]), plain(one["label"])
        before, after = (
            np.mean([peak_signal_noise_ratio(truth[..., t], image[..., t], data_range=1) for t in range(FRAMES)])
            for image in (aliased, result)
        )
        gains["/data/b.h5", one["slice"]] = after - before
    index = PanelIndex.read(tmp_path)
    assert len(index.pictures) == 3
    assert {min(gains, key=gains.get), max(gains, key=gains.get)} <= set(index.pictures)
    assert index.protocol == "cine_series"
    drawn_items = [one for one in items if ("/data/b.h5", one["slice"]) in index.pictures]
    ends = [np.quantile(np.abs(plain(0.9 * one["image"]) - plain(one["label"])), 0.99) for one in drawn_items]
    assert index.error_scale == pytest.approx(max(ends), rel=1e-5)
    case = index.case(tmp_path, min(gains, key=gains.get))
    assert (case.series, case.baseline, case.target.shape) == (True, "aliased", (HEIGHT, WIDTH, FRAMES))


def test_panels_of_measurements_and_of_series_without_truth(tmp_path):
    evaluate([measured_item("a.h5")[0]], PanelHandler(tmp_path / "measured", protocol="cine_series"))
    assert set(PanelIndex.read(tmp_path / "measured").pictures) == {("a.h5", 0)}
    case = PanelIndex.read(tmp_path / "measured").case(tmp_path / "measured", ("a.h5", 0))
    assert list(case.methods) == ["aliased", "view_shared", "reconstruction"]
    evaluate([item("a.h5", label=False)], PanelHandler(tmp_path / "blind", max_cases=2, protocol="cine_series"))
    assert sorted(path.name for path in (tmp_path / "blind").iterdir()) == ["a_0.npz", "a_0.png", "panels.json"]


# -- TensorBoard ---------------------------------------------------------------------------------------------------


def test_tensorboard_gets_a_frame_and_a_profile_of_each_image(tmp_path):
    handler = TensorBoardPanelHandler(tmp_path / "log", n_cases=2, tag="images")
    items = [item("a.h5", seed) for seed in range(4)]
    evaluate(items, handler)
    handler.close()
    accumulator = EventAccumulator(str(tmp_path / "log"), size_guidance={"images": 0})
    accumulator.Reload()
    (event,) = accumulator.Images("images")
    (tmp_path / "grid.png").write_bytes(event.encoded_image_string)
    with Image.open(tmp_path / "grid.png") as picture:
        grid = np.asarray(picture.convert("L")) / 255
    panel = HEIGHT + 2 * FRAMES  # a frame, and below it each moment twice: half the height
    assert grid.shape == (2 * (panel + 2), 4 * (WIDTH + 2))
    aliased, truth = items[0]["image"][0].numpy(), items[0]["label"][0].numpy()
    images = [aliased, 0.9 * aliased, truth, 5 * np.abs(0.9 * aliased - truth)]
    frame, row = distant_frames(truth)[-1], moving_row(truth)
    for column, image in enumerate(images):
        panel_image = grid[:panel, column * (WIDTH + 2) :][:, :WIDTH]
        expected = np.vstack([image[..., frame], image[row].T.repeat(2, axis=0)]).clip(0, 1)
        np.testing.assert_allclose(panel_image, expected, atol=1.01 / 255)


def test_unusable_options_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown protocol 'cine'"):
        CineTable(tmp_path, "cine")
    with pytest.raises(ValueError, match="decollate=True"):
        evaluate([item("a.h5")], CineTable(tmp_path), decollate=False)
