"""The case figure, and the handlers that draw it inside MONAI's evaluator."""

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common.figures import case_figure, save_figure
from common.handlers.panels import CasePicker, PanelHandler, TensorBoardPanelHandler
from common.metrics import get_protocol
from common.operators.fourier import complex_to_channels, fft2c, ifft2c
from common.operators.measurement import pack_measurement, unpack_measurement
from tests.helpers import random_mask


class HalfZeroFilled(torch.nn.Module):
    def forward(self, measurement):
        kspace, _ = unpack_measurement(measurement)
        return 0.5 * complex_to_channels(ifft2c(kspace))


def item(path, index, size=16, label=True):
    target = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(index)).to(torch.complex64)
    mask = random_mask(size, size, seed=index)
    case = {"image": pack_measurement(mask * fft2c(target), mask)[0], "path": path, "slice": index}
    return {**case, "label": complex_to_channels(target)[0]} if label else case


def prepare_batch(batch, device, non_blocking, **_):
    return batch["image"].to(device), batch["label"].to(device) if "label" in batch else None


def evaluator_of(items, *handlers, batch_size=2, **options):
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(items, batch_size=batch_size),
        network=HalfZeroFilled(),
        prepare_batch=prepare_batch,
        val_handlers=list(handlers),
        **options,
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def images(size=(16, 12)):
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(size, generator=generator)
    return (target > 0.5).float(), 0.7 * target.to(torch.complex64), 0.9 * target, target


def texts(figure):
    return [text.get_text() for text in figure.texts]


def drawn(figure):
    """Images of a figure with their limits, without the colour bar."""
    return [axes.images[0] for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]


def test_figure_has_one_window_and_one_error_scale():
    mask, zero_filled, reconstruction, target = images()
    figure = case_figure(mask, zero_filled, reconstruction, target, title="case $1$")
    shown_mask, *magnitudes, error_before, error_after = drawn(figure)
    np.testing.assert_array_equal(shown_mask.get_array(), mask)
    assert [image.get_clim() for image in magnitudes] == [(0, target.max().item())] * 3
    np.testing.assert_allclose(magnitudes[0].get_array(), zero_filled.abs())
    np.testing.assert_allclose(error_before.get_array(), 0.3 * target, atol=1e-6)
    np.testing.assert_allclose(error_after.get_array(), 0.1 * target, atol=1e-6)
    assert error_before.get_clim() == error_after.get_clim()
    assert error_before.get_clim()[0] == 0


def test_figure_names_its_numbers_and_their_protocol():
    mask, zero_filled, reconstruction, target = images()
    words = texts(case_figure(mask, zero_filled, reconstruction, target, protocol="refinegan_shifted"))
    assert "refinegan_shifted" in words
    for image in (zero_filled, reconstruction):
        values = get_protocol("refinegan_shifted").evaluate(image[None], target[None])
        assert f"PSNR {values['psnr'].item():.2f} dB   SSIM {values['ssim'].item():.4f}" in words
    assert f"{mask.mean().item():.1%} of k-space sampled" in words


def test_figure_without_target_claims_no_error():
    figure = case_figure(*images()[:3])
    assert len(drawn(figure)) == 3
    assert not any("PSNR" in text or "target" in text for text in texts(figure))


@pytest.mark.parametrize("size", [(16, 16), (40, 16), (16, 40), (64, 12)])
def test_nothing_overlaps_nor_leaves_the_page(size):
    figure = case_figure(*images(size), title="brain_0001.nii.gz, slice 12 " * 10)
    figure.canvas.draw()
    page = figure.bbox
    boxes = [text.get_window_extent() for text in figure.texts] + [axes.bbox for axes in figure.axes]
    for box in boxes:
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1
    for i, box in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert not (box.x0 < other.x1 and other.x0 < box.x1 and box.y0 < other.y1 and other.y0 < box.y1)


def test_figure_refuses_what_it_cannot_compare():
    mask, zero_filled, reconstruction, target = images()
    with pytest.raises(ValueError, match=r"one size, got .*'target': \[16, 6\]"):
        case_figure(mask, zero_filled, reconstruction, target[:, :6])
    with pytest.raises(ValueError, match="reconstruction must be finite"):
        case_figure(mask, zero_filled, torch.full_like(target, torch.nan), target)
    with pytest.raises(ValueError, match=r"reconstruction must be an image \[height, width\]"):
        case_figure(mask, zero_filled, reconstruction[None], target)
    with pytest.raises(ValueError, match="measures volumes"):
        case_figure(mask, zero_filled, reconstruction, target, protocol="fastmri_volume")


def test_figure_of_a_black_image(tmp_path):
    black = np.zeros((16, 16))
    save_figure(case_figure(black, black, black, black), tmp_path / "a" / "black.png")
    assert names(tmp_path / "a") == ["black.png"]


def test_saved_figure_keeps_letters_the_font_lacks(tmp_path):
    save_figure(case_figure(*images(), title="患者 $x"), tmp_path / "患者.png")
    with Image.open(tmp_path / "患者.png") as picture:
        assert picture.width > 500


def test_failed_save_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="not supported"):
        save_figure(case_figure(*images()), tmp_path / "figure.unknown")
    assert names(tmp_path) == []


def test_evaluator_writes_panels_spread_over_its_slices(tmp_path):
    items = [item(path, index) for path in ("/data/scan.v1.nii.gz", "/data/b.h5") for index in range(4)]
    evaluator = evaluator_of(items, PanelHandler(tmp_path / "panels", max_cases=4))
    evaluator.run()
    assert names(tmp_path / "panels") == ["b_0.png", "b_2.png", "scan.v1_0.png", "scan.v1_2.png"]
    evaluator.run()  # counts again
    assert len(names(tmp_path / "panels")) == 4


def test_few_cases_are_all_shown_and_equal_stems_kept_apart(tmp_path):
    items = [item("/site_a/001.png", 0), item("/site_b/001.png", 0), item("/site_b/002.png", 0)]
    evaluator_of(items, PanelHandler(tmp_path)).run()
    assert names(tmp_path) == ["001_0.png", "001_2_0.png", "002_0.png"]


def test_cases_without_label_are_drawn(tmp_path):
    evaluator_of([item("a.h5", 0, label=False)], PanelHandler(tmp_path)).run()
    assert names(tmp_path) == ["a_0.png"]


@pytest.mark.parametrize("n_items", [1, 5, 7, 16])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_picker_never_shows_more_than_asked(n_items, batch_size):
    picker, seen = CasePicker(5), []
    evaluator = evaluator_of([item("a.h5", index) for index in range(n_items)], batch_size=batch_size)
    evaluator.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: seen.extend(case.slice_index for case in picker.pick(engine))
    )
    evaluator.run()
    assert len(seen) == min(n_items, 5) or (len(seen) == 4 and batch_size == 3)
    assert seen[0] == 0
    assert seen == sorted(set(seen))


def test_handlers_need_a_decollating_evaluator(tmp_path):
    with pytest.raises(ValueError, match="decollate=True"):
        evaluator_of([item("a.h5", 0)], PanelHandler(tmp_path), decollate=False).run()


def test_unusable_options_are_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="1 or more, got 0"):
        PanelHandler(tmp_path, max_cases=0)
    with pytest.raises(ValueError, match="measures volumes"):
        PanelHandler(tmp_path, protocol="fastmri_volume")


def read_images(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0})
    accumulator.Reload()
    (tag,) = accumulator.Tags()["images"]
    return accumulator.Images(tag)


def decode(event, path):
    path.write_bytes(event.encoded_image_string)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L")) / 255


def test_tensorboard_gets_one_grid_per_validation_at_the_trainers_epoch(tmp_path):
    handler = TensorBoardPanelHandler(tmp_path / "log", n_cases=2)
    items = [item("a.h5", index) for index in range(4)]
    evaluator = evaluator_of(items, handler)
    evaluator.run(5)
    evaluator.run(10)
    trainer = Engine(lambda engine, batch: None)
    handler.close_with(trainer)
    trainer.run([0])

    events = read_images(tmp_path / "log")
    assert [event.step for event in events] == [5, 10]
    grid = decode(events[0], tmp_path / "grid.png")
    assert grid.shape == (2 * 18, 5 * 18)
    kspace, mask = unpack_measurement(items[0]["image"][None])
    zero_filled, target = ifft2c(kspace)[0, 0].abs(), items[0]["label"][0]
    error = (5 * (0.5 * zero_filled - target).abs()).clamp(0, 1)
    for column, panel in enumerate((mask[0, 0], zero_filled, 0.5 * zero_filled, target, error)):
        shown = grid[:16, 18 * column : 18 * column + 16]
        np.testing.assert_allclose(shown, panel.clamp(0, 1), atol=1.01 / 255)


def test_tensorboard_grid_pads_sizes_and_survives_missing_labels(tmp_path):
    items = [item("a.h5", 0, size=16, label=False), item("b.h5", 1, size=20, label=False)]
    handler = TensorBoardPanelHandler(tmp_path)
    evaluator_of(items, handler, batch_size=1).run()
    handler.close()
    (event,) = read_images(tmp_path)
    assert event.step == 1
    assert (event.height, event.width) == (2 * 22, 5 * 22)


def test_nothing_is_opened_before_the_first_image(tmp_path):
    handler = TensorBoardPanelHandler(tmp_path / "log")
    handler.close()
    assert not (tmp_path / "log").exists()
