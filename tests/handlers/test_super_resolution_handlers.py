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

from common.figures import PanelIndex
from common.handlers import SuperResolutionPanels, SuperResolutionTable, TensorBoardSuperResolution
from common.metrics import PerceptualDistance, piqe
from common.operators.degradation import resize

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


def test_panels_are_spread_over_the_cases_and_of_the_best_and_the_worst(tmp_path):
    items = [item("/data/b.tif", seed) for seed in range(10)]
    evaluate(items, SuperResolutionPanels(tmp_path, UPSCALE, max_cases=3, zoom=1, n_extremes=1))
    gains = {}
    for one in items:
        target = inside(one["label"][0].numpy())
        before, after = (
            np.mean((inside(pillow(one["image"], kernel)) - target) ** 2) for kernel in ("BICUBIC", "LANCZOS")
        )
        gains["/data/b.tif", one["slice"]] = before / after
    index = PanelIndex.read(tmp_path)
    assert len(index.pictures) == 3
    assert {min(gains, key=gains.get), max(gains, key=gains.get)} <= set(index.pictures)
    assert index.protocol == "super_resolution_x2"


def test_panels_of_volumes_and_of_cases_without_label(tmp_path):
    evaluate([item("a.nii.gz", 0, VOLUME)], SuperResolutionPanels(tmp_path / "volumes", UPSCALE))
    case = PanelIndex.read(tmp_path / "volumes").case(tmp_path / "volumes", ("a.nii.gz", 0))
    middle = item("a.nii.gz", 0, VOLUME)["label"][0, ..., VOLUME[2] // 2]
    torch.testing.assert_close(case.target, middle, rtol=1e-3, atol=1e-3)
    evaluate([item("a.png", 0, label=False)], SuperResolutionPanels(tmp_path / "blind", UPSCALE, max_cases=1))
    assert sorted(path.name for path in (tmp_path / "blind").iterdir()) == ["a_0.npz", "a_0.png", "panels.json"]


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
    with pytest.raises(ValueError, match="zoom must be"):
        SuperResolutionPanels(tmp_path, UPSCALE, zoom=0)
    with pytest.raises(ValueError, match="decollate=True"):
        evaluate([item("a.png")], SuperResolutionTable(tmp_path, UPSCALE), decollate=False)
