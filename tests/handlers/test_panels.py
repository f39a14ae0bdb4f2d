"""The case figure, the folder of pictures, and the handlers that draw inside MONAI's evaluator."""

import matplotlib
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common.data.loading import evaluation_loader
from common.errors import DataError
from common.figures import PanelIndex, case_figure, save_figure
from common.figures.parts import Block, Panel, draw_blocks
from common.figures.scales import detailed_part, error_scale_of, grey_window, std_scale_of
from common.handlers import CaseTableHandler, cases
from common.handlers.panels import PanelHandler, TensorBoardPanelHandler
from common.metrics import Case, get_protocol, protocols
from common.operators.fourier import complex_to_channels, fft2c, ifft2c
from common.operators.measurement import pack_measurement, unpack_measurement
from tests.helpers import folder_contents, random_mask


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
        val_data_loader=DataLoader(items, batch_size=batch_size) if isinstance(items, list) else items,
        network=HalfZeroFilled(),
        prepare_batch=prepare_batch,
        val_handlers=list(handlers),
        **options,
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".npz")


def case(size=(16, 12), scale=1.0, target=True, mask=True, **options):
    truth = scale * torch.rand(size, generator=torch.Generator().manual_seed(0))
    methods = {"zero_filled": 0.7 * truth.to(torch.complex64), "reconstruction": 0.9 * truth}
    methods |= options.pop("methods", {})
    return Case(
        options.pop("path", "/data/brain.png"),
        3,
        methods,
        truth if target else None,
        (truth > 0.5 * scale).float() if mask else None,
        **options,
    )


def panels(blocks, colours=""):
    """Panels of a figure, row by row."""
    shown = [panel for block in blocks for row in block.rows for panel in row if panel]
    return [panel for panel in shown if panel.colours.startswith(colours)]


def texts(blocks):
    heads = [text for block in blocks for text in (block.title, block.notes)]
    return [*heads, *(panel.title for panel in panels(blocks)), *(panel.below for panel in panels(blocks))]


def test_figure_has_one_window_and_one_error_scale():
    one = case()
    figure = case_figure(one)
    mask, *magnitudes = panels(figure, "gray")
    np.testing.assert_array_equal(mask.image, one.mask)
    window = np.quantile(one.target.numpy(), 0.998)
    assert [panel.end for panel in magnitudes] == [pytest.approx(window, rel=1e-6)] * 3
    np.testing.assert_allclose(magnitudes[0].image, one.methods["zero_filled"].abs())
    end = np.quantile(0.3 * one.target.numpy(), 0.99)
    for error, factor in zip(panels(figure, "inferno"), (0.3, 0.1), strict=True):
        np.testing.assert_allclose(error.image, factor * one.target, atol=1e-6)
        assert error.end == pytest.approx(end, rel=1e-5)
    assert f"errors 0 to {end:.3g}" in figure[0].notes


def test_grey_window_shows_tissue_beside_a_few_bright_pixels():
    knee = np.full((100, 100), 0.2)
    knee[:5, :3] = 1.0
    assert grey_window(knee) == pytest.approx(0.2)
    assert grey_window(np.zeros((4, 4))) == 1.0


def test_cases_share_one_error_scale_and_keep_their_windows():
    cases_shown = [case((14, 11), scale=0.1), case(methods={"wavelet": 0.2 * case().target}, path="/data/other.png")]
    figure = case_figure(cases_shown)
    end = error_scale_of(cases_shown)
    assert end == pytest.approx(np.quantile(0.8 * case().target.numpy(), 0.99), rel=1e-5)
    assert [error.end for error in panels(figure, "inferno")] == [pytest.approx(end)] * 5
    assert len({round(panel.end, 3) for panel in panels(figure, "gray")}) == 3  # of each case, and of masks
    assert [block.title.split(",")[0] for block in figure] == ["brain.png", "other.png"]
    assert panels(case_figure(cases_shown[0], error_scale=0.25), "inferno")[0].end == 0.25


def test_figure_names_its_images_and_its_numbers_and_their_protocol():
    one = case()
    words = texts(case_figure(one, protocol="refinegan_shifted"))
    assert words[2:6] == ["mask", "zero-filled", "reconstruction", "target"]
    assert words[0] == "brain.png, slice 3"
    assert "protocol refinegan_shifted" in words[1]
    assert f"{one.mask.mean().item():.1%} of k-space sampled" in words[1]
    for image in one.methods.values():
        values = get_protocol("refinegan_shifted").evaluate(image[None], one.target[None])
        assert f"PSNR {values['psnr'].item():.2f} dB   SSIM {values['ssim'].item():.4f}" in words


def test_figure_without_target_claims_no_error():
    figure = case_figure(case(target=False))
    assert len(panels(figure)) == 3
    assert not any("PSNR" in text or "target" in text or "error" in text for text in texts(figure))


def test_deviation_has_a_scale_of_its_own():
    one = case(std=0.05 * case().target, n_samples=8)
    figure = case_figure([one, case(scale=0.2, std=0.01 * case().target)])
    scale = std_scale_of([one])
    assert [std.end for std in panels(figure, "viridis")] == [pytest.approx(scale)] * 2
    np.testing.assert_allclose(panels(figure, "viridis")[0].image, one.std)
    assert f"deviation 0 to {scale:.3g}" in figure[0].notes
    assert "deviation of 8 samples" in texts(figure)
    alone = case_figure(case(target=False, std=one.std))
    assert len(panels(alone, "viridis")) == 1
    assert not panels(alone, "inferno")


def test_the_part_with_the_most_detail_is_shown_of_all_images():
    for top, left in ((0, 0), (30, 5), (17, 28), (36, 30)):
        image = np.zeros((48, 40))
        rows, columns = np.mgrid[:12, :10]
        image[top : top + 12, left : left + 10] = (rows + columns) % 2
        part = detailed_part(image, 4)
        assert abs(part[0].start - top) <= 1
        assert abs(part[1].start - left) <= 1
        assert image[part].shape == (12, 10)
    one = case((48, 40), mask=False)
    figure = case_figure(one, protocol="super_resolution_x2", zoom=4)
    part = detailed_part(one.target.numpy(), 4)
    shown = panels(figure, "gray")
    for whole, zoomed, image in zip(shown[:3], shown[3:], [*one.methods.values(), one.target], strict=True):
        np.testing.assert_array_equal(zoomed.image, image.abs()[part])
        assert whole.end == zoomed.end
        assert whole.frame == part
    with pytest.raises(ValueError, match="zoom must be 1 or more"):
        case_figure(one, zoom=0)


@pytest.mark.parametrize(("size", "zoom"), [((16, 16), 1), ((40, 16), 4), ((16, 400), 4), ((700, 80), 1)])
def test_no_text_covers_an_image_nor_leaves_the_page(size, zoom):
    long_name = {"brain_mri_some_method_reconstruction:a_checkpoint": torch.rand(size)}
    one = case(size, path="/data/" + "brain_0001.slice" * 20, methods=long_name, std=torch.rand(size))
    figure = case_figure([one, case((20, 20), target=False)], zoom=zoom)
    page = np.asarray(draw_blocks(figure))
    assert (page[:, [0, 1, -2, -1]] == 143).all()  # white
    assert (page[[0, 1, -2, -1]] == 143).all()
    for panel in panels(figure):
        drawn = panel.pixels()
        windows = np.lib.stride_tricks.sliding_window_view(page, drawn.shape)
        rows, columns = np.nonzero((windows[..., 0, ::7] == drawn[0, ::7]).all(-1))
        assert any((windows[place] == drawn).all() for place in zip(rows, columns, strict=True))


def test_a_panel_has_the_values_of_its_image_in_the_colours_of_its_map():
    image = torch.linspace(0, 1.2, 300 * 280).reshape(300, 280).numpy()
    for name in ("gray", "inferno", "viridis"):
        expected = matplotlib.colormaps[name](image, bytes=True)[..., :3]
        picture = draw_blocks([Block("", "", [[Panel(image, colours=name)]])])
        shown = np.asarray(picture.convert("RGB"))[50:350, 8:288].astype(int)
        assert np.abs(shown - expected).max() < 26
    small = Panel(np.eye(16), frame=(slice(2, 6), slice(4, 8)), line=12).pixels()
    assert small.shape == (256, 256)
    assert small[8, 8] == 143
    assert (small[32, 64:128] == 254).all()
    assert {*small[200].tolist()} == {0, 143, 254}


def test_figure_refuses_what_it_cannot_compare():
    with pytest.raises(ValueError, match=r"brain\.png: .*one size, got .*'target': \[16, 12\]"):
        case_figure(case(methods={"reconstruction": torch.ones(16, 6)}))
    with pytest.raises(ValueError, match="reconstruction must be finite"):
        case_figure(case(methods={"reconstruction": torch.full((16, 12), torch.nan)}))
    with pytest.raises(ValueError, match="measures volumes"):
        case_figure(case(), protocol="fastmri_volume")
    with pytest.raises(ValueError, match="at least one case"):
        case_figure([])


def test_saved_figures_keep_letters_the_font_lacks_and_failed_ones_leave_no_file(tmp_path):
    save_figure(case_figure(case(path="患者\udcff $x.png")), tmp_path / "a" / "患者.png")
    with Image.open(tmp_path / "a" / "患者.png") as picture:
        assert picture.width > 500
    black = torch.zeros(16, 16)
    with pytest.raises(DataError, match=r"b\.png: cannot be written"):
        save_figure(case_figure(Case("b", 0, {"reconstruction": black}, black)), "/proc/b.png")


def test_panels_are_spread_over_the_slices_and_at_most_as_many_as_asked(tmp_path):
    items = [item(path, index) for path in ("/data/scan.v1.nii.gz", "/data/b.h5") for index in range(4)]
    evaluator = evaluator_of(items, PanelHandler(tmp_path, max_cases=4, n_extremes=0))
    evaluator.run()
    spread = ["b_0.png", "b_2.png", "panels.json", "scan.v1_0.png", "scan.v1_2.png"]
    assert names(tmp_path) == spread
    evaluator.run()  # counts again
    assert names(tmp_path) == spread


def gains(items):
    """PSNR gain of half the zero-filled image over the zero-filled one, by NumPy."""
    values = {}
    for one in items:
        kspace, _ = unpack_measurement(one["image"][None])
        zero_filled, target = ifft2c(kspace)[0, 0].abs().double().numpy(), one["label"][0].double().numpy()
        before, after = (np.mean((image - target) ** 2) for image in (zero_filled, zero_filled / 2))
        values[one["path"], one["slice"]] = 10 * np.log10(before / after)
    return values


def test_best_and_worst_are_among_the_panels_and_keep_their_images(tmp_path):
    items = [item("/data/b.h5", index) for index in range(12)]
    evaluator_of(items, PanelHandler(tmp_path, max_cases=6)).run()
    ordered = sorted(gains(items), key=gains(items).get)
    index = PanelIndex.read(tmp_path)
    assert len(index.pictures) == 6
    assert {*ordered[:2], *ordered[-2:]} <= set(index.pictures)
    assert names(tmp_path) == sorted([*index.pictures.values(), "panels.json"])
    ends = []
    for one in (one for one in items if (one["path"], one["slice"]) in index.pictures):
        kspace, mask = unpack_measurement(one["image"][None])
        zero_filled, target = ifft2c(kspace)[0, 0].abs(), one["label"][0]
        ends += [np.quantile(abs(image - target), 0.99) for image in (zero_filled, zero_filled / 2)]
        kept = index.case(tmp_path, (one["path"], one["slice"]))
        torch.testing.assert_close(kept.methods["zero_filled"], zero_filled, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(kept.target, target, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(kept.mask, mask[0, 0])
        assert (kept.baseline, kept.reconstruction) == ("zero_filled", "reconstruction")
    assert index.error_scale == pytest.approx(max(ends), rel=1e-5)
    assert index.protocol == "magnitude_slice"
    place, picture = next(iter(index.pictures.items()))
    (tmp_path / picture).with_suffix(".npz").write_bytes(b"spoiled")
    with pytest.raises(ValueError, match=r"\.npz: expected the images of a case"):
        index.case(tmp_path, place)


def test_two_processes_evaluate_to_the_bytes_of_one(processes, tmp_path):
    draw_panels(0, tmp_path, "alone", 1)
    members = [processes.Process(target=draw_panels, args=(rank, tmp_path, "together", 2)) for rank in range(2)]
    for process in members:
        process.start()
    for process in members:
        process.join()
    assert [process.exitcode for process in members] == [0, 0]
    alone, together = (folder_contents(tmp_path / name) for name in ("alone", "together"))
    assert len(PanelIndex.read(tmp_path / "together" / "panels").pictures) == 5
    assert len(alone) == 5 * 2 + 2  # a picture and its images each, their index, the table
    assert together == alone
    logged = [read_images(tmp_path / f"{name}_log")[0].encoded_image_string for name in ("alone", "together")]
    assert logged[0] == logged[1]


def draw_panels(rank, folder, name, world_size):
    """A member of a group evaluates its files."""
    torch.set_num_threads(1)
    if world_size > 1:
        torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=world_size)
    paths = ("/site_0/b.h5", "/site_1/b.h5", "/site_1/a_longer_name.h5")
    dataset = Dataset([item(path, 4 * n + index) for n, path in enumerate(paths) for index in range(4)])
    log = TensorBoardPanelHandler(folder / f"{name}_log")
    handlers = [PanelHandler(folder / name / "panels", max_cases=5, n_extremes=1), CaseTableHandler(folder / name), log]
    evaluator_of(evaluation_loader(dataset, 2), *handlers).run()
    log.close()
    if world_size > 1:
        torch.distributed.destroy_process_group()


def test_few_cases_are_all_shown_and_equal_stems_kept_apart(tmp_path):
    items = [item("/site_a/001.png", 0), item("/site_b/001.png", 0), item("/site_b/002.png", 0)]
    evaluator_of(items, PanelHandler(tmp_path)).run()
    assert PanelIndex.read(tmp_path).pictures == {
        ("/site_a/001.png", 0): "001_0.png",
        ("/site_b/001.png", 0): "001_2_0.png",
        ("/site_b/002.png", 0): "002_0.png",
    }


def test_cases_without_target_are_drawn_only_where_a_number_is_asked_for(tmp_path):
    items = [item("a.h5", 0, label=False)]
    evaluator_of(items, PanelHandler(tmp_path / "none")).run()
    assert not (tmp_path / "none").exists()
    evaluator_of(items, PanelHandler(tmp_path / "asked", max_cases=1)).run()
    assert names(tmp_path / "asked") == ["a_0.png", "panels.json"]


def test_a_case_is_made_once_for_table_and_panels(tmp_path, monkeypatch):
    calls = {"zero_filled": 0, "psnr": 0, "ssim": 0}

    def counted(name, function):
        def call(*arguments):
            calls[name] += 1
            return function(*arguments)

        return call

    protocol = get_protocol("magnitude_slice")
    measures = {name: counted(name, one) if name in calls else one for name, one in protocol.measures.items()}
    monkeypatch.setitem(protocols.PROTOCOLS, protocol.name, protocol.with_measures(**measures))
    monkeypatch.setattr(cases, "zero_filled_image", counted("zero_filled", cases.zero_filled_image))
    items = [item("a.h5", index) for index in range(5)]
    evaluator_of(items, PanelHandler(tmp_path / "panels"), CaseTableHandler(tmp_path)).run()
    assert calls == {"zero_filled": 5, "psnr": 10, "ssim": 10}
    assert len(names(tmp_path / "panels")) == 6


def test_case_whose_gain_is_not_finite_is_no_extreme(tmp_path):
    perfect = item("b.h5", 1)  # the whole of k-space: the zero-filled image is the target
    target = torch.rand(1, 1, 16, 16).to(torch.complex64)
    perfect["image"] = pack_measurement(fft2c(target), torch.ones(1, 1, 16, 16))[0]
    perfect["label"] = complex_to_channels(ifft2c(fft2c(target)))[0]
    evaluator_of([perfect, item("a.h5", 0), item("c.h5", 2)], PanelHandler(tmp_path, max_cases=2)).run()
    assert names(tmp_path) == ["a_0.png", "c_2.png", "panels.json"]


def test_spoiled_index_is_refused(tmp_path):
    (tmp_path / "panels.json").write_text('{"panels": [{"picture": "a.png"}]}')
    with pytest.raises(ValueError, match=r"panels\.json: expected an index of panels, got KeyError 'file'"):
        PanelIndex.read(tmp_path)


@pytest.mark.parametrize("n_items", [1, 5, 7, 16])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_never_more_cases_than_asked_are_drawn_and_they_lie_evenly(tmp_path, n_items, batch_size):
    items = [item("a.h5", index) for index in range(n_items)]
    evaluator_of(items, PanelHandler(tmp_path, max_cases=5, n_extremes=0), batch_size=batch_size).run()
    drawn = [index for _, index in PanelIndex.read(tmp_path).pictures]
    assert drawn == [number * n_items // 5 for number in range(5)] if n_items > 5 else list(range(n_items))


def test_unusable_options_are_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="max_cases"):
        PanelHandler(tmp_path, max_cases=0)
    with pytest.raises(ValueError, match="n_extremes"):
        PanelHandler(tmp_path, n_extremes=-1)
    with pytest.raises(ValueError, match="measures volumes"):
        PanelHandler(tmp_path, protocol="fastmri_volume")
    with pytest.raises(ValueError, match="decollate=True"):
        evaluator_of([item("a.h5", 0)], PanelHandler(tmp_path), decollate=False).run()


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
    handler.close()
    assert not (tmp_path / "log").exists()  # nothing is opened before the first image
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
    assert (event.step, event.height, event.width) == (1, 2 * 22, 5 * 22)
