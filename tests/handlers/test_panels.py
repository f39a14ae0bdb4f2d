"""The case figure, and the handlers that draw it inside MONAI's evaluator."""

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common.figures import CaseImages, case_figure, error_scale_of, save_figure
from common.handlers.panels import CasePicker, PanelHandler, TensorBoardPanelHandler
from common.metrics import get_protocol
from common.operators.fourier import complex_to_channels, fft2c, ifft2c
from common.operators.measurement import pack_measurement, unpack_measurement
from common.panel_files import PanelIndex
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


def case(mask, zero_filled, reconstruction, target=None, path="/data/brain.png", **others):
    methods = {"zero-filled": zero_filled, "reconstruction": reconstruction, **others}
    return CaseImages(path, 3, mask, methods, target)


def texts(figure):
    return [text.get_text() for text in figure.texts]


def drawn(figure):
    """Images of a figure with their limits, without the colour bar."""
    return [axes.images[0] for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]


def test_figure_has_one_window_and_one_error_scale():
    mask, zero_filled, reconstruction, target = images()
    figure = case_figure(case(mask, zero_filled, reconstruction, target))
    shown_mask, *magnitudes, error_before, error_after = drawn(figure)
    np.testing.assert_array_equal(shown_mask.get_array(), mask)
    assert [image.get_clim() for image in magnitudes] == [(0, target.max().item())] * 3
    np.testing.assert_allclose(magnitudes[0].get_array(), zero_filled.abs())
    np.testing.assert_allclose(error_before.get_array(), 0.3 * target, atol=1e-6)
    np.testing.assert_allclose(error_after.get_array(), 0.1 * target, atol=1e-6)
    end = np.quantile(0.3 * target.numpy(), 0.99)
    for error in (error_before, error_after):
        assert error.get_clim() == pytest.approx((0, end), rel=1e-5)
    assert f"errors 0 to {end:.3g}" in texts(figure)


def test_several_cases_and_methods_share_one_error_scale_and_keep_their_windows():
    mask, zero_filled, reconstruction, target = images()
    dark = case(mask[:14, :11], *(0.1 * image[:14, :11] for image in (zero_filled, reconstruction, target)))
    bright = case(mask, zero_filled, reconstruction, target, path="/data/other.png", wavelet=0.2 * target)
    figure = case_figure([dark, bright])
    shown = drawn(figure)
    errors = [image for image in shown if image.get_cmap().name == "inferno"]
    assert len(errors) == 2 + 3
    end = np.quantile(0.8 * target.numpy(), 0.99)
    assert error_scale_of([dark, bright]) == pytest.approx(end, rel=1e-5)
    assert [error.get_clim() for error in errors] == [pytest.approx((0, end), rel=1e-5)] * 5
    windows = sorted({image.get_clim()[1] for image in shown if image.get_cmap().name == "gray"})
    assert windows == pytest.approx([0.1 * target[:14, :11].max().item(), target.max().item(), 1])
    assert [text for text in texts(figure) if ".png" in text] == ["brain.png, slice 3", "other.png, slice 3"]
    assert drawn(case_figure(dark, error_scale=0.25))[-1].get_clim() == (0, 0.25)


def test_figure_names_its_numbers_and_their_protocol():
    mask, zero_filled, reconstruction, target = images()
    words = texts(case_figure(case(mask, zero_filled, reconstruction, target), protocol="refinegan_shifted"))
    assert "refinegan_shifted" in words
    assert "brain.png, slice 3" in words
    for image in (zero_filled, reconstruction):
        values = get_protocol("refinegan_shifted").evaluate(image[None], target[None])
        assert f"PSNR {values['psnr'].item():.2f} dB   SSIM {values['ssim'].item():.4f}" in words
    assert f"{mask.mean().item():.1%} of k-space sampled" in words


def test_figure_without_target_claims_no_error():
    figure = case_figure(case(*images()[:3]))
    assert len(drawn(figure)) == 3
    assert not any("PSNR" in text or "target" in text or "errors" in text for text in texts(figure))


@pytest.mark.parametrize("size", [(16, 16), (40, 16), (16, 40), (64, 12)])
def test_nothing_overlaps_nor_leaves_the_page(size):
    long_name = "brain_mri_some_method_reconstruction:a_checkpoint"
    one = case(*images(size), path="/data/" + "brain_0001.slice" * 20, **{long_name: images(size)[2]})
    figure = case_figure([one, case(*images((20, 20)))])
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
        case_figure(case(mask, zero_filled, reconstruction, target[:, :6]))
    with pytest.raises(ValueError, match="reconstruction must be finite"):
        case_figure(case(mask, zero_filled, torch.full_like(target, torch.nan), target))
    with pytest.raises(ValueError, match=r"reconstruction must be an image \[height, width\]"):
        case_figure(case(mask, zero_filled, reconstruction[None], target))
    with pytest.raises(ValueError, match="measures volumes"):
        case_figure(case(mask, zero_filled, reconstruction, target), protocol="fastmri_volume")
    with pytest.raises(ValueError, match="at least one case"):
        case_figure([])


def test_figure_of_a_black_image(tmp_path):
    black = np.zeros((16, 16))
    save_figure(case_figure(case(black, black, black, black)), tmp_path / "a" / "black.png")
    assert names(tmp_path / "a") == ["black.png"]


def test_saved_figure_keeps_letters_the_font_lacks(tmp_path):
    save_figure(case_figure(case(*images(), path="患者 $x.png")), tmp_path / "患者.png")
    with Image.open(tmp_path / "患者.png") as picture:
        assert picture.width > 500


def test_failed_save_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="not supported"):
        save_figure(case_figure(case(*images())), tmp_path / "figure.unknown")
    assert names(tmp_path) == []


def test_evaluator_writes_panels_spread_over_its_slices(tmp_path):
    items = [item(path, index) for path in ("/data/scan.v1.nii.gz", "/data/b.h5") for index in range(4)]
    evaluator = evaluator_of(items, PanelHandler(tmp_path / "panels", max_cases=4, n_extremes=0))
    evaluator.run()
    spread = ["b_0.png", "b_2.png", "panels.json", "scan.v1_0.png", "scan.v1_2.png"]
    assert names(tmp_path / "panels") == spread
    evaluator.run()  # counts again
    assert names(tmp_path / "panels") == spread


def gains(items):
    """PSNR gain of half the zero-filled image over the zero-filled one, by NumPy."""
    values = {}
    for one in items:
        kspace, _ = unpack_measurement(one["image"][None])
        zero_filled, target = ifft2c(kspace)[0, 0].abs().double().numpy(), one["label"][0].double().numpy()
        before, after = (np.mean((image - target) ** 2) for image in (zero_filled, zero_filled / 2))
        values[one["path"], one["slice"]] = 10 * np.log10(before / after)
    return values


def test_best_and_worst_cases_are_drawn_too_with_the_error_scale_of_all(tmp_path):
    items = [item("/data/b.h5", index) for index in range(12)]
    evaluator_of(items, PanelHandler(tmp_path, max_cases=1, n_extremes=2)).run()
    ordered = sorted(gains(items), key=gains(items).get)
    index = PanelIndex.read(tmp_path)
    assert set(index.pictures) == {("/data/b.h5", 0), *ordered[:2], *ordered[-2:]}
    assert names(tmp_path) == sorted([*index.pictures.values(), "panels.json"])
    shown = [one for one in items if (one["path"], one["slice"]) in index.pictures]
    ends = []
    for one in shown:
        kspace, _ = unpack_measurement(one["image"][None])
        zero_filled, target = ifft2c(kspace)[0, 0].abs().numpy(), one["label"][0].numpy()
        ends += [np.quantile(abs(image - target), 0.99) for image in (zero_filled, zero_filled / 2)]
    assert index.error_scale == pytest.approx(max(ends), rel=1e-5)
    assert index.protocol == "magnitude_slice"


def test_extremes_are_those_of_all_processes(processes, tmp_path):
    members = [processes.Process(target=draw_panels, args=(rank, tmp_path)) for rank in range(2)]
    for process in members:
        process.start()
    for process in members:
        process.join()
    assert [process.exitcode for process in members] == [0, 0]
    items = [item(f"/site_{rank}/b.h5", index) for rank in range(2) for index in range(rank, 12, 2)]
    ordered = sorted(gains(items), key=gains(items).get)
    index = PanelIndex.read(tmp_path / "panels")
    assert set(index.pictures) == {("/site_0/b.h5", 0), ("/site_1/b.h5", 1), *ordered[:2], *ordered[-2:]}
    assert index.pictures["/site_0/b.h5", 0] == "b_0.png"
    assert index.pictures["/site_1/b.h5", 1] == "b_2_1.png"
    assert names(tmp_path / "panels") == sorted([*index.pictures.values(), "panels.json"])


def draw_panels(rank, folder):
    """A member of a group of two evaluates every second slice."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    items = [item(f"/site_{rank}/b.h5", index) for index in range(rank, 12, 2)]
    evaluator_of(items, PanelHandler(folder / "panels", max_cases=1, n_extremes=2)).run()
    torch.distributed.destroy_process_group()


def test_few_cases_are_all_shown_and_equal_stems_kept_apart(tmp_path):
    items = [item("/site_a/001.png", 0), item("/site_b/001.png", 0), item("/site_b/002.png", 0)]
    evaluator_of(items, PanelHandler(tmp_path)).run()
    assert PanelIndex.read(tmp_path).pictures == {
        ("/site_a/001.png", 0): "001_0.png",
        ("/site_b/001.png", 0): "001_2_0.png",
        ("/site_b/002.png", 0): "002_0.png",
    }
    assert names(tmp_path) == ["001_0.png", "001_2_0.png", "002_0.png", "panels.json"]


def test_cases_without_label_are_drawn(tmp_path):
    evaluator_of([item("a.h5", 0, label=False)], PanelHandler(tmp_path)).run()
    assert names(tmp_path) == ["a_0.png", "panels.json"]


def test_case_whose_gain_is_not_finite_is_no_extreme(tmp_path):
    perfect = item("b.h5", 1)  # the whole of k-space: the zero-filled image is the target
    target = torch.rand(1, 1, 16, 16).to(torch.complex64)
    perfect["image"] = pack_measurement(fft2c(target), torch.ones(1, 1, 16, 16))[0]
    perfect["label"] = complex_to_channels(ifft2c(fft2c(target)))[0]
    items = [item("a.h5", 0), perfect, item("c.h5", 2)]
    evaluator_of(items, PanelHandler(tmp_path, max_cases=1)).run()
    assert names(tmp_path) == ["a_0.png", "c_2.png", "panels.json"]


def test_spoiled_index_is_told(tmp_path):
    (tmp_path / "panels.json").write_text('{"panels": [{"picture": "a.png"}]}')
    with pytest.raises(ValueError, match=r"panels\.json: expected an index of panels, got KeyError 'file'"):
        PanelIndex.read(tmp_path)


@pytest.mark.parametrize("n_items", [1, 5, 7, 16])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_picker_never_shows_more_than_asked(n_items, batch_size):
    picker, seen = CasePicker(5), []

    evaluator = evaluator_of([item("a.h5", index) for index in range(n_items)], batch_size=batch_size)
    evaluator.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: seen.extend(one["slice"] for one in picker.pick(engine, engine.state.batch)),
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
    with pytest.raises(ValueError, match="0 or more, got -1"):
        PanelHandler(tmp_path, n_extremes=-1)
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
