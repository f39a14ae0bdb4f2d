"""ProtocolMetric inside MONAI's evaluator."""

import math

import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedEvaluator

from common.metrics import ProtocolMetric, get_protocol


class Halve(torch.nn.Module):
    def forward(self, image):
        return 0.5 * image


def evaluate(items, batch_size=2, **metrics):
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(items, batch_size=batch_size),
        network=Halve(),
        key_val_metric=metrics,
    )
    evaluator.run()
    return evaluator.state


def random_items(count, channels=2):
    generator = torch.Generator().manual_seed(0)
    shape = (channels, 16, 17)
    return [
        {"image": torch.rand(shape, generator=generator), "label": torch.rand(shape, generator=generator)}
        for _ in range(count)
    ]


@pytest.mark.parametrize("metric", ["psnr", "ssim", "nmse"])
@pytest.mark.parametrize("protocol", ["magnitude_slice", "refinegan_shifted"])
def test_evaluator_reports_the_mean_over_slices(protocol, metric):
    items = random_items(5)
    images, labels = (torch.stack([item[key] for item in items]) for key in ("image", "label"))
    expected = get_protocol(protocol).evaluate(
        0.5 * torch.complex(images[:, 0], images[:, 1]), torch.complex(labels[:, 0], labels[:, 1])
    )[metric]
    state = evaluate(items, key=ProtocolMetric(protocol, metric))
    assert state.metrics["key"] == pytest.approx(expected.mean().item())
    assert state.best_metric == state.metrics["key"]
    torch.testing.assert_close(state.metric_details["key"].flatten(), expected)


def test_one_channel_is_a_real_image():
    items = random_items(3, channels=1)
    images, labels = (torch.cat([item[key] for item in items]) for key in ("image", "label"))
    expected = get_protocol("magnitude_slice").evaluate(0.5 * images, labels)["psnr"].mean().item()
    assert evaluate(items, psnr=ProtocolMetric()).metrics["psnr"] == pytest.approx(expected)


def test_volumes_are_measured_whole():
    generator = torch.Generator().manual_seed(0)
    volumes = torch.rand(3, 2, 1, 18, 16, 20, generator=generator)
    items = [{"image": image, "label": label} for image, label in volumes]
    protocol = get_protocol("super_resolution_x2")
    expected = protocol.evaluate(0.5 * volumes[:, 0, 0], volumes[:, 1, 0])["ssim"].mean().item()
    assert evaluate(items, ssim=ProtocolMetric("super_resolution_x2", "ssim")).metrics["ssim"] == pytest.approx(
        expected
    )
    with pytest.raises(ValueError, match=r"one shape \(batch, height, width\), got \[1, 16, 16, 16\]"):
        evaluate([{"image": image, "label": image} for image in torch.rand(1, 2, 16, 16, 16)], psnr=ProtocolMetric())


def test_undefined_slices_are_left_out_and_infinite_ones_are_not():
    items = random_items(2)
    blank = {"image": torch.zeros(2, 16, 17), "label": torch.zeros(2, 16, 17)}
    expected = evaluate(items, nmse=ProtocolMetric(metric="nmse")).metrics["nmse"]
    assert evaluate([*items, blank], nmse=ProtocolMetric(metric="nmse")).metrics["nmse"] == pytest.approx(expected)
    assert evaluate([*items, blank], psnr=ProtocolMetric()).metrics["psnr"] == math.inf


def test_lists_of_several_sizes_and_meta_tensors_and_half_precision():
    metric = ProtocolMetric(output_transform=lambda output: output, save_details=False)
    predictions = [torch.full((2, 16, 16), 0.25), torch.full((2, 20, 12), 0.25)]
    labels = [MetaTensor(torch.full_like(image, 0.75)) for image in predictions]
    metric.update((predictions, labels))
    metric.update((torch.stack(predictions[:1]).to(torch.float16), torch.stack(labels[:1])))
    expected = -20 * math.log10(0.5 * math.sqrt(2))
    assert metric.compute() == pytest.approx(expected, abs=1e-5)
    metric.reset()
    with pytest.raises(ValueError, match="no slice to average"):
        metric.compute()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"value per volume, .*CaseCollector"):
        ProtocolMetric("fastmri_volume")
    with pytest.raises(ValueError, match="has the metrics"):
        ProtocolMetric(metric="mae")
    metric = ProtocolMetric(output_transform=lambda output: output)
    with pytest.raises(ValueError, match="got 0 labels for 1 predictions"):
        metric.update(([torch.ones(2, 16, 16)], [None]))
    with pytest.raises(ValueError, match="got no label"):
        metric.update((torch.ones(1, 2, 16, 16), None))
    with pytest.raises(ValueError, match=r"2 channels .* got shape \[1, 3, 16, 16\]"):
        metric.update((torch.ones(1, 3, 16, 16), torch.ones(1, 3, 16, 16)))


def test_a_constant_metric_is_computed_once():
    calls = []

    def baseline(output):
        calls.append(len(output))
        return [item["image"] for item in output], [item["label"] for item in output]

    items = random_items(3)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(items, batch_size=2),
        network=Halve(),
        key_val_metric={"psnr": ProtocolMetric()},
        additional_metrics={"baseline": ProtocolMetric(output_transform=baseline, constant=True)},
    )
    evaluator.run()
    first, details = dict(evaluator.state.metrics), evaluator.state.metric_details["baseline"].clone()
    evaluator.run()
    assert evaluator.state.metrics == first
    assert torch.equal(evaluator.state.metric_details["baseline"], details)
    assert calls == [2, 1]
