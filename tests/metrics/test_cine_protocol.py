"""The protocols of cine series against scikit-image and NumPy, and their metrics inside MONAI's evaluator."""

import math

import numpy as np
import pytest
import torch
from helpers import numpy_fft2c, numpy_ifft2c
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from skimage.metrics import mean_squared_error, normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from common.metrics import Case, CaseCollector, ProtocolMetric, aliased_and_label, aliased_series, get_protocol
from common.operators.series import pack_series

OPTIONS = {"data_range": 1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
SHAPE = (20, 17, 5)
"""Height, width, frames."""


def random_series(seed=0, batch=2, shape=SHAPE):
    rng = np.random.default_rng(seed)
    truth = rng.random((batch, *shape))
    return np.abs(truth + 0.2 * rng.standard_normal(truth.shape)), truth  # above 1 in places: nothing is clipped


def expected_values(result, truth):
    """Of one series, by scikit-image."""
    pairs = [(truth[..., t], result[..., t]) for t in range(truth.shape[-1])]
    return {
        "psnr": np.mean([peak_signal_noise_ratio(*pair, data_range=1) for pair in pairs]),
        "ssim": np.mean([structural_similarity(*pair, **OPTIONS) for pair in pairs]),
        "mse": mean_squared_error(truth, result),
        "nrmse": normalized_root_mse(truth, result, normalization="euclidean"),
    }


def test_a_series_has_the_values_of_scikit_image():
    result, truth = random_series()
    found = get_protocol("cine_series").evaluate(torch.from_numpy(result), torch.from_numpy(truth))
    assert list(found) == ["psnr", "ssim", "mse", "nrmse"]
    for i in range(2):
        for metric, value in expected_values(result[i], truth[i]).items():
            assert found[metric].shape == (2,)
            assert found[metric][i].item() == pytest.approx(value, rel=1e-9)


def test_a_frame_has_the_values_of_scikit_image():
    result, truth = (series[0].transpose(2, 0, 1) for series in random_series(1))
    found = get_protocol("cine_frame").evaluate(torch.from_numpy(result), torch.from_numpy(truth))
    for i in range(len(truth)):
        for metric, value in expected_values(result[i][..., None], truth[i][..., None]).items():
            assert found[metric][i].item() == pytest.approx(value, rel=1e-9)


def test_a_constant_error_has_known_values():
    truth = torch.full((1, 12, 16, 3), 0.5)
    found = get_protocol("cine_series").evaluate(truth + 0.1, truth)
    assert found["psnr"].item() == pytest.approx(20, abs=1e-5)
    assert found["ssim"].item() == pytest.approx((2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4), rel=1e-6)
    assert found["mse"].item() == pytest.approx(0.01, rel=1e-6)
    assert found["nrmse"].item() == pytest.approx(0.2, rel=1e-6)


def test_psnr_is_the_mean_over_frames_while_errors_are_of_the_whole():
    truth = torch.ones(1, 12, 12, 2)
    result = truth - torch.tensor([0.1, 0.01])
    found = get_protocol("cine_series").evaluate(result, truth)
    assert found["psnr"].item() == pytest.approx(30, abs=1e-4)
    assert found["mse"].item() == pytest.approx((0.01 + 0.0001) / 2, rel=1e-5)
    assert found["nrmse"].item() == pytest.approx(math.sqrt((0.01 + 0.0001) / 2), rel=1e-5)


def test_complex_series_are_measured_by_magnitude_and_empty_ones_have_no_nrmse():
    result, truth = (torch.from_numpy(series) for series in random_series(2))
    protocol = get_protocol("cine_series")
    turned = protocol.evaluate(result * torch.exp(1j * torch.rand(SHAPE)), truth * 1j)
    for metric, value in protocol.evaluate(result, truth).items():
        torch.testing.assert_close(turned[metric], value, rtol=1e-6, atol=0)
    empty = protocol.evaluate(0.1 + torch.zeros(1, *SHAPE), torch.zeros(1, *SHAPE))
    assert empty["nrmse"].isnan().all()
    assert empty["psnr"].item() == pytest.approx(20, abs=1e-5)


def test_one_identical_frame_makes_the_psnr_infinite():
    result, truth = (torch.from_numpy(series) for series in random_series(3))
    result[0, ..., 2] = truth[0, ..., 2]
    found = get_protocol("cine_series").evaluate(result, truth)["psnr"]
    assert found.isinf().tolist() == [True, False]


def test_what_is_no_series_is_refused():
    protocol = get_protocol("cine_series")
    image = torch.rand(2, 16, 16)
    with pytest.raises(ValueError, match=r"one shape \(batch, height, width, frames\), got \[2, 16, 16\]"):
        protocol.evaluate(image, image)
    series = torch.rand(1, 16, 16, 3)
    with pytest.raises(ValueError, match=r"got \[1, 16, 16, 3\] and \[1, 16, 16, 2\]"):
        protocol.evaluate(series, series[..., :2])
    assert protocol.evaluate(series[:, :10], series[:, :10])["ssim"].isnan().all()  # smaller than its window
    assert protocol.evaluate(series[:, :10], series[:, :10], ["mse"])["mse"].item() == 0
    with pytest.raises(ValueError, match=r"one shape \(batch, height, width\)"):
        get_protocol("magnitude_slice").evaluate(series, series)


# -- inside MONAI's evaluator ----------------------------------------------------------------------------------------


def measured_item(seed, n_coils=1, channels=2):
    """A complex series, half of its k-space measured; the image by NumPy too."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(SHAPE) + 1j * rng.standard_normal(SHAPE)
    maps = rng.standard_normal((n_coils, *SHAPE[:2])) + 1j * rng.standard_normal((n_coils, *SHAPE[:2]))
    maps /= np.sqrt((np.abs(maps) ** 2).sum(0)) if n_coils > 1 else maps
    mask = rng.random(SHAPE) < 0.5
    coil_images = (maps[..., None] * truth).transpose(0, 3, 1, 2)
    masks = mask.transpose(2, 0, 1)
    kspace = masks * numpy_fft2c(coil_images)
    zero_filled = (maps.conj()[:, None] * numpy_ifft2c(kspace)).sum(0).transpose(1, 2, 0)
    measurement = pack_series(
        torch.from_numpy(kspace.transpose(0, 2, 3, 1))[None].to(torch.complex64),
        torch.from_numpy(mask)[None, None].float(),
        torch.from_numpy(maps)[None].to(torch.complex64) if n_coils > 1 else None,
    )[0]
    label = np.stack([truth.real, truth.imag]) if channels == 2 else np.abs(truth)[None]
    return {"image": measurement, "label": torch.from_numpy(label).float()}, np.abs(zero_filled), np.abs(truth)


@pytest.mark.parametrize(("n_coils", "channels"), [(1, 2), (1, 1), (3, 2)])
def test_the_baseline_of_a_measurement_is_its_zero_filled_magnitude(n_coils, channels):
    item, zero_filled, truth = measured_item(0, n_coils, channels)
    (aliased,), (label,) = aliased_and_label([item])
    assert aliased.shape == (1, *SHAPE)
    np.testing.assert_allclose(aliased[0].numpy(), zero_filled, atol=1e-5)
    assert label is item["label"]
    metric = ProtocolMetric("cine_series", "nrmse", save_details=False)
    metric.update(aliased_and_label([item]))
    assert metric.compute() == pytest.approx(normalized_root_mse(truth, zero_filled), rel=1e-5)


def test_aliased_magnitudes_are_their_own_baseline():
    image = torch.rand(2, 1, *SHAPE)
    assert aliased_series(image) is image


class Halve(torch.nn.Module):
    def forward(self, image):
        return 0.5 * image


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("metric", ["psnr", "ssim", "mse", "nrmse"])
def test_evaluator_reports_the_mean_over_series(channels, metric):
    images, labels = torch.rand(2, 3, channels, *SHAPE, generator=torch.Generator().manual_seed(0))
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(
            [{"image": i, "label": t} for i, t in zip(images, labels, strict=True)], batch_size=2
        ),
        network=Halve(),
        key_val_metric={metric: ProtocolMetric("cine_series", metric)},
    )
    evaluator.run()
    pairs = zip(0.5 * images.norm(dim=1).double(), labels.norm(dim=1).double(), strict=True)
    expected = [expected_values(result.numpy(), truth.numpy())[metric] for result, truth in pairs]
    assert evaluator.state.metrics[metric] == pytest.approx(np.mean(expected), rel=1e-5)
    np.testing.assert_allclose(evaluator.state.metric_details[metric].flatten(), expected, rtol=1e-5)


def test_series_of_several_sizes_are_measured_one_by_one():
    series = [torch.rand(1, 16, 16, 3), torch.rand(1, 12, 18, 1)]
    metric = ProtocolMetric("cine_series", "mse", save_details=False)
    metric.update(([one + 0.1 for one in series], series))
    assert metric.compute() == pytest.approx(0.01, rel=1e-4)


def test_a_table_speaks_of_series():
    result, truth = (torch.from_numpy(series) for series in random_series(4))
    collector = CaseCollector(["cine_series"])
    for index, (image, target) in enumerate(zip(result, truth, strict=True)):
        methods = {"aliased": image, "reconstruction": (image + target) / 2}
        collector.add(Case("a.h5", index, methods, target, series=True))
    collector.gather()
    (text,) = collector.format()
    assert text.startswith("protocol cine_series: magnitudes")
    assert "n: series; mean" in text
    means = collector.table.groupby("method")["mse"].mean()
    assert means["reconstruction"] == pytest.approx(means["aliased"] / 4)
