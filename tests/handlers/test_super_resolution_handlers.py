"""Handlers of super-resolution inside MONAI's evaluator, on images and volumes."""

import csv
import logging

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common.figures import case_figure, detailed_part, enlarged_case, error_scale_of
from common.handlers import SuperResolutionPanels, SuperResolutionTable, TensorBoardSuperResolution
from common.metrics import PerceptualDistance, piqe
from common.operators.degradation import resize
from common.panel_files import PanelIndex

UPSCALE = 2


class Lanczos(torch.nn.Module):
    def forward(self, lr_image):
        return resize(lr_image, [UPSCALE * n for n in lr_image.shape[2:]], "lanczos")


def item(path, seed=0, size=(48, 40), label=True):
    hr_image = torch.rand(1, 1, *(n // 3 for n in size), generator=torch.Generator().manual_seed(seed))
    hr_image = resize(hr_image, size, "box")
    lr_image = resize(hr_image, [n // UPSCALE for n in size], "box")[0]
    case = {"image": lr_image, "path": path, "slice": seed}
    return {**case, "label": hr_image[0]} if label else case


VOLUME = (20, 24, 28)


def prepare_batch(batch, device, non_blocking, **_):
    return batch["image"].to(device), batch["label"].to(device) if "label" in batch else None


def evaluate(items, *handlers, **options):
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(items, batch_size=options.pop("batch_size", 2)),
        network=Lanczos(),
        prepare_batch=prepare_batch,
        val_handlers=list(handlers),
        **options,
    )
    evaluator.run()
    return evaluator


def read(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pillow(lr_image, kernel):
    size = [UPSCALE * n for n in reversed(lr_image.shape[1:])]
    return np.array(Image.fromarray(lr_image[0].numpy()).resize(size, getattr(Image.Resampling, kernel)))


def inside(image):
    """What `super_resolution_x2` measures."""
    return np.asarray(image, np.float64).clip(0, 1)[(slice(2, -2),) * image.ndim]


# -- the table -----------------------------------------------------------------------------------------------------


def test_table_measures_enlargements_beside_the_reconstruction(tmp_path, caplog):
    items = [item("b.png", 1), item("a.png", 0), item("a.png", 1, size=(32, 36))]
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluate(items[:2], SuperResolutionTable(tmp_path, UPSCALE))
    rows = read(tmp_path)
    assert [(row["protocol"], row["file"], row["slice"], row["method"]) for row in rows] == [
        ("super_resolution_x2", path, index, method)
        for path, index in (("a.png", "0"), ("b.png", "1"))
        for method in ("nearest", "bicubic", "reconstruction")
    ]
    assert list(rows[0]) == ["protocol", "file", "slice", "method", "psnr", "ssim", "nmse", "piqe"]
    target = inside(items[1]["label"][0].numpy())
    for row, kernel in zip(rows[:3], ("NEAREST", "BICUBIC", "LANCZOS"), strict=True):
        image = inside(pillow(items[1]["image"], kernel))
        similarity = structural_similarity(
            target, image, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert float(row["psnr"]) == pytest.approx(peak_signal_noise_ratio(target, image, data_range=1), rel=1e-5)
        assert float(row["ssim"]) == pytest.approx(similarity, rel=1e-5)
        assert float(row["piqe"]) == pytest.approx(piqe(torch.from_numpy(image)[None, None]).item(), rel=1e-4)
    for words in ("protocol super_resolution_x2: ", "reconstruction - bicubic", "nearest - bicubic", "n: images"):
        assert words in caplog.text
    evaluate(items, SuperResolutionTable(tmp_path, UPSCALE, no_reference=False), batch_size=1)
    assert len(read(tmp_path)) == 9


def test_table_has_the_columns_and_rows_that_are_asked_for(tmp_path):
    torch.manual_seed(0)
    distance = PerceptualDistance("random", width=2)
    one = item("a.png")
    table = SuperResolutionTable(tmp_path, UPSCALE, ["lanczos"], perceptual=distance, no_reference=False)
    evaluate([one], table)
    rows = read(tmp_path)
    assert [row["method"] for row in rows] == ["lanczos", "reconstruction"]
    assert list(rows[0])[4:] == ["psnr", "ssim", "nmse", "perceptual"]
    images = [
        torch.from_numpy(inside(image)).float()[None, None]
        for image in (pillow(one["image"], "LANCZOS"), one["label"][0].numpy())
    ]
    assert float(rows[0]["perceptual"]) == pytest.approx(distance(*images).item(), rel=1e-4)
    assert rows[0]["psnr"] == rows[1]["psnr"]


def test_table_measures_volumes_whole(tmp_path):
    items = [item(f"{seed}.nii.gz", seed, VOLUME) for seed in range(2)]
    evaluate(items, SuperResolutionTable(tmp_path, UPSCALE))
    rows = read(tmp_path)
    assert [row["method"] for row in rows] == ["nearest", "bicubic", "reconstruction"] * 2
    target = inside(items[1]["label"][0].numpy())
    lr_volume = items[1]["image"][0].numpy()
    nearest = inside(lr_volume.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    similarity = structural_similarity(
        target, nearest, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert float(rows[3]["psnr"]) == pytest.approx(peak_signal_noise_ratio(target, nearest, data_range=1), rel=1e-5)
    assert float(rows[3]["ssim"]) == pytest.approx(similarity, rel=1e-5)
    assert float(rows[3]["piqe"]) == pytest.approx(piqe(torch.from_numpy(nearest)[None, None]).item(), rel=1e-4)
    assert float(rows[5]["psnr"]) > float(rows[3]["psnr"])


def test_without_labels_no_table_is_written(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluate([item("a.png", label=False)], SuperResolutionTable(tmp_path / "eval", UPSCALE))
    assert "no case has a target image" in caplog.text
    assert not (tmp_path / "eval").exists()


# -- figures -------------------------------------------------------------------------------------------------------


def drawn(figure):
    return [axes.images[0] for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]


def one_case(size=(48, 40), zoom=4, **others):
    one = item("/data/rock.png", 3, size)
    methods = {kernel: resize(one["image"][None], size, kernel)[0] for kernel in ("nearest", "bicubic")}
    return enlarged_case("/data/rock.png", 3, {**methods, **others}, one["label"], zoom)


def test_the_part_with_the_most_detail_is_found_wherever_it_is():
    for top, left in ((0, 0), (30, 5), (17, 28), (36, 30)):
        image = np.zeros((48, 40))
        rows, columns = np.mgrid[:12, :10]
        image[top : top + 12, left : left + 10] = (rows + columns) % 2
        found_rows, found_columns = detailed_part(image, 4)
        assert abs(found_rows.start - top) <= 1
        assert abs(found_columns.start - left) <= 1
        assert (found_rows.stop - found_rows.start, found_columns.stop - found_columns.start) == (12, 10)
    assert detailed_part(image, 1) == (slice(0, 48), slice(0, 40))
    assert detailed_part(image[:3, :2], 4)[0].stop == 1


def test_figure_shows_the_same_part_of_all_images():
    case = one_case()
    figure = case_figure(case, protocol="super_resolution_x2")
    shown = drawn(figure)
    images = [*case.methods.values(), case.target]
    part = detailed_part(case.target.numpy(), 4)
    for whole, zoomed, image in zip(shown[0:6:2], shown[1:6:2], images, strict=True):
        np.testing.assert_array_equal(whole.get_array(), image)
        np.testing.assert_array_equal(zoomed.get_array(), image[part])
        assert whole.get_clim() == zoomed.get_clim() == (0, case.target.max().item())
        (frame,) = whole.axes.patches
        assert (frame.get_x(), frame.get_y()) == (part[1].start - 0.5, part[0].start - 0.5)
    assert [error.get_clim() for error in shown[6:]] == [(0, error_scale_of([case]))] * 2
    words = [text.get_text() for text in figure.texts]
    assert "rock.png, slice 3" in words
    assert "super_resolution_x2" in words
    assert not any("k-space" in word or "mask" in word for word in words)
    assert len(drawn(case_figure(one_case(zoom=1), protocol="super_resolution_x2"))) == 3 + 2
    with pytest.raises(ValueError, match=r"rock\.png, slice 3: zoom must be 1 or more, got 0"):
        case_figure(one_case(zoom=0))


@pytest.mark.parametrize(("size", "zoom"), [((48, 48), 4), ((80, 32), 1), ((32, 80), 4), ((120, 24), 4)])
def test_nothing_overlaps_nor_leaves_the_page(size, zoom):
    long_name = {"micro_ct_srgan_super_resolution:stage_1_weights": torch.rand(1, *size)}
    figure = case_figure([one_case(size, zoom, **long_name), one_case(zoom=zoom)], protocol="super_resolution_x2")
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


def test_images_are_drawn_as_they_are_measured_and_volumes_by_their_middle_plane():
    volume = 3 * torch.rand(1, 8, 6, 5) - 1
    case = enlarged_case("a.nii.gz", 0, {"bicubic": volume}, volume, 2)
    assert torch.equal(case.methods["bicubic"], volume[0, :, :, 2].clamp(0, 1))
    assert case.title == "a.nii.gz, plane 2"
    assert enlarged_case("a.png", 4, {"bicubic": volume[..., 0]}, None, 2).title == "a.png, slice 4"


def test_panels_are_spread_over_the_cases_and_of_the_best_and_the_worst(tmp_path):
    items = [item("/data/b.tif", seed) for seed in range(10)]
    evaluate(items, SuperResolutionPanels(tmp_path, UPSCALE, max_cases=1, zoom=1, n_extremes=1))
    gains = {}
    for one in items:
        target = inside(one["label"][0].numpy())
        before, after = (
            np.mean((inside(pillow(one["image"], kernel)) - target) ** 2) for kernel in ("BICUBIC", "LANCZOS")
        )
        gains["/data/b.tif", one["slice"]] = before / after
    index = PanelIndex.read(tmp_path)
    assert set(index.pictures) == {("/data/b.tif", 0), min(gains, key=gains.get), max(gains, key=gains.get)}
    assert index.protocol == "super_resolution_x2"
    with Image.open(tmp_path / index.pictures["/data/b.tif", 0]) as picture:
        assert picture.width > 4 * 120 * 2.4  # four panels at 120 dots an inch


def test_panels_of_volumes_and_of_cases_without_label(tmp_path):
    evaluate([item("a.nii.gz", 0, VOLUME)], SuperResolutionPanels(tmp_path / "volumes", UPSCALE))
    assert set(PanelIndex.read(tmp_path / "volumes").pictures) == {("a.nii.gz", 0)}
    evaluate([item("a.png", 0, label=False)], SuperResolutionPanels(tmp_path / "blind", UPSCALE))
    assert sorted(path.name for path in (tmp_path / "blind").iterdir()) == ["a_0.png", "panels.json"]


@pytest.mark.parametrize("size", [(48, 40), VOLUME])
def test_tensorboard_gets_enlargement_reconstruction_target_and_error(size, tmp_path):
    handler = TensorBoardSuperResolution(tmp_path / "log", n_cases=2)
    items = [item("a.h5", seed, size) for seed in range(4)]
    evaluate(items, handler)
    handler.close()
    accumulator = EventAccumulator(str(tmp_path / "log"), size_guidance={"images": 0})
    accumulator.Reload()
    (event,) = accumulator.Images("validation/bicubic_reconstruction_target_error-x5")
    (tmp_path / "grid.png").write_bytes(event.encoded_image_string)
    with Image.open(tmp_path / "grid.png") as picture:
        grid = np.asarray(picture.convert("L")) / 255
    height, width = (n + 2 for n in size[:2])
    assert grid.shape == (2 * height, 4 * width)
    label = items[0]["label"][0].numpy()
    target = label if label.ndim == 2 else label[:, :, VOLUME[2] // 2]
    np.testing.assert_allclose(grid[: size[0], 2 * width : 2 * width + size[1]], target, atol=1.01 / 255)
    shown = grid[: size[0], width : width + size[1]]
    error = (5 * np.abs(shown - target)).clip(0, 1)
    np.testing.assert_allclose(grid[: size[0], 3 * width : 3 * width + size[1]], error, atol=6 / 255)


def test_unusable_options_are_refused_at_once(tmp_path):
    for handler in (SuperResolutionTable, SuperResolutionPanels):
        with pytest.raises(ValueError, match="unknown protocol 'super_resolution_x5'"):
            handler(tmp_path, 5)
        for baselines in ("bicubic", [], ["cubic"]):
            with pytest.raises(ValueError, match=r"baselines must be a list of nearest, box, .*lanczos, got"):
                handler(tmp_path, UPSCALE, baselines=baselines)
    with pytest.raises(ValueError, match="zoom must be 1 or more, got 0"):
        SuperResolutionPanels(tmp_path, UPSCALE, zoom=0)
    with pytest.raises(ValueError, match="decollate=True"):
        evaluate([item("a.png")], SuperResolutionTable(tmp_path, UPSCALE), decollate=False)
