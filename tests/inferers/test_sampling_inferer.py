"""Samples of one measurement: their statistics, and that they repeat."""

import numpy as np
import pytest
import torch
from helpers import numpy_deviation
from torch import nn

from common.inferers import SamplingInferer
from common.operators.samples import pack_samples, split_samples


class AddNoise(nn.Module):
    """Adds noise to the first two channels."""

    def forward(self, measurement):
        return measurement[:, :2]

    def samples(self, measurement, noise):
        assert noise.shape == (len(measurement), noise.shape[1], 2, *measurement.shape[2:])
        return measurement[:, None, :2] + noise


def measurements(batch=3, height=7, width=9):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_image_deviation_and_first_sample_are_numpys():
    inferer, inputs = SamplingInferer(5, seed=2), measurements()
    image, deviation, sample = split_samples(inferer(inputs, AddNoise()))
    noise = inferer.noise(7, 9).numpy()
    for i in range(3):
        assert torch.equal(image[i], inputs[i, :2])
        expected = numpy_deviation(np.zeros(1), noise[:, 0] + 1j * noise[:, 1])
        torch.testing.assert_close(deviation[i, 0], torch.from_numpy(expected).float())
        torch.testing.assert_close(sample[i], inputs[i, :2] + torch.from_numpy(noise[0]))


def test_known_deviation_of_two_samples():
    samples = torch.tensor([[1.0, 0.0], [1.0, 2.0]]).reshape(1, 2, 2, 1, 1)
    image = torch.tensor([1.0, 1.0]).reshape(1, 2, 1, 1)
    assert pack_samples(image, samples).flatten().tolist() == [1, 1, 1, 1, 0]


def test_results_depend_neither_on_the_batch_nor_on_calls_before():
    inferer, inputs, network = SamplingInferer(4), measurements(), AddNoise()
    together = inferer(inputs, network)
    torch.rand(5)  # torch's own random state does not count
    alone = torch.cat([inferer(one[None], network) for one in inputs])
    assert torch.equal(together, alone)
    assert torch.equal(together, SamplingInferer(4)(inputs, network))
    assert not torch.equal(together, SamplingInferer(4, seed=1)(inputs, network))


@pytest.mark.parametrize("size", [(7, 9), (16, 8)])  # torch fills sizes of 16 and others in different ways
def test_a_sample_does_not_depend_on_how_many_there_are(size):
    few, many = (SamplingInferer(n).noise(*size) for n in (1, 6))
    assert torch.equal(few, many[:1])
    assert many.std().item() == pytest.approx(1, abs=0.1)
    assert len(torch.unique(many)) == many.numel()


def test_no_samples_leave_the_image():
    assert torch.equal(SamplingInferer(0)(measurements(), AddNoise()), measurements()[:, :2])


def test_half_precision_becomes_float32():
    class Half(AddNoise):
        def samples(self, measurement, noise):
            return super().samples(measurement, noise).half()

    assert SamplingInferer(2)(measurements(), Half()).dtype == torch.float32


def test_a_network_wrapped_for_several_processes_is_found():
    wrapped = nn.Module()
    wrapped.module = AddNoise()
    wrapped.forward = wrapped.module.forward
    assert torch.equal(SamplingInferer(2)(measurements(), wrapped), SamplingInferer(2)(measurements(), AddNoise()))


def test_unusable_arguments_are_refused():
    with pytest.raises(ValueError, match="n_samples must be at least 0, got -1"):
        SamplingInferer(-1)
    with pytest.raises(TypeError, match="a method samples, got Identity"):
        SamplingInferer()(measurements(), nn.Identity())
