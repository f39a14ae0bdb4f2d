"""Networks in lower precision."""

import pytest
import torch
from torch import nn

from common.networks.precision import Autocast, resolve_precision


def test_auto_is_one_of_two_and_others_are_themselves():
    assert resolve_precision("auto", "cpu") in ("bfloat16", "float32")
    assert resolve_precision("float16", "cuda:0") == "float16"
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16, float16, got 'half'"):
        resolve_precision("half", "cpu")
    with pytest.raises(ValueError, match="float16 needs a CUDA device, got cpu"):
        resolve_precision("float16", "cpu")


def test_outputs_are_float32_and_rounded_as_the_precision_is():
    torch.manual_seed(0)
    network, image = nn.Conv2d(1, 4, 3), torch.rand(1, 1, 9, 9)
    exact, low = Autocast(network, "float32")(image), Autocast(network, "bfloat16")(image)
    assert torch.equal(exact, network(image))
    assert low.dtype == torch.float32
    assert 0 < (low - exact).abs().max() < 0.02 * exact.abs().max()
    assert torch.equal(low, low.bfloat16().float())


def test_a_gradient_reaches_the_image_through_it():
    image = torch.rand(1, 1, 9, 9, requires_grad=True)
    Autocast(nn.Conv2d(1, 4, 3), "bfloat16")(image).sum().backward()
    assert image.grad is not None
    assert image.grad.dtype == torch.float32
    assert image.grad.abs().sum() > 0
