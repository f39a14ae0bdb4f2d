"""MobileNetV2: its size, its numbers against plain layers, and torchvision's files of weights."""

import pytest
import torch
import torch.nn.functional as F
from helpers import n_parameters
from torch import nn

from common.networks import MobileNetV2Features

# table 2 of the paper: expansion t, channels c, repeats n, stride s
TABLE = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
BLOCKS = [(t, c, s if i == 0 else 1) for t, c, n, s in TABLE for i in range(n)]
# TABLE's channels and the stem's 32 by 0.35 and 0.5, to multiples of 8, less by a tenth at most
WIDTHS = {1.0: (32, [16, 24, 32, 64, 96, 160, 320]), 0.5: (16, [8, 16, 16, 32, 48, 80, 160])}
WIDTHS[0.35] = (16, [8, 8, 16, 24, 32, 56, 112])


def unit(n_weights, channels):
    """Convolution without bias, and batch norm."""
    return n_weights + 2 * channels


def parameters_by_hand(width):
    channels, of_stages = WIDTHS[width]
    total = unit(3 * channels * 9, channels)
    for (expansion, _, n_blocks, _), out_channels in zip(TABLE, of_stages, strict=True):
        for _ in range(n_blocks):
            hidden = expansion * channels
            total += unit(channels * hidden, hidden) if expansion > 1 else 0
            total += unit(9 * hidden, hidden) + unit(hidden * out_channels, out_channels)
            channels = out_channels
    return total + unit(channels * 1280, 1280)


@pytest.mark.parametrize(("width", "published"), [(1.0, 2_223_872), (0.5, None), (0.35, None)])
def test_number_of_parameters(width, published):
    """torchvision's ``mobilenet_v2`` has 3,504,872, of which 1,281,000 are its classifier's."""
    with torch.device("meta"):
        network = MobileNetV2Features(width=width)
    assert n_parameters(network) == parameters_by_hand(width)
    assert published in (None, n_parameters(network), 3_504_872 - 1_281_000)


def test_names_and_shapes_are_torchvisions():
    with torch.device("meta"):
        state = MobileNetV2Features().state_dict()
    assert len(state) == 312  # 52 convolutions with 1 and 52 batch norms with 5 each
    for name, shape in {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.0.1.running_var": (32,),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.1.conv.2.num_batches_tracked": (),
        "features.2.conv.0.0.weight": (96, 16, 1, 1),
        "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.2.conv.2.weight": (24, 96, 1, 1),
        "features.2.conv.3.bias": (24,),
        "features.17.conv.2.weight": (320, 960, 1, 1),
        "features.18.0.weight": (1280, 320, 1, 1),
        "features.18.1.weight": (1280,),
    }.items():
        assert tuple(state[name].shape) == shape


def plain(image, state):
    """The paper's layers as functions that take their weights one after another."""
    values = iter(state.values())

    def layer(x, stride=1, groups=1, act=True):
        weight = next(values)
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        scale, shift, mean, variance, _ = (next(values) for _ in range(5))
        scale = scale / torch.sqrt(variance + 1e-5)
        x = x * scale[:, None, None] + (shift - mean * scale)[:, None, None]
        return x.clamp(0, 6) if act else x

    x = torch.stack([(image[:, 0] - m) / s for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))], dim=1)
    x = layer(x, stride=2)
    for expansion, _, stride in BLOCKS:
        y = layer(x) if expansion > 1 else x
        y = layer(layer(y, stride, groups=y.shape[1]), act=False)
        x = x + y if stride == 1 and x.shape == y.shape else y
    return layer(x)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 70), (1, 5)])
@torch.no_grad()
def test_features_are_the_numbers_of_plain_layers(height, width):
    torch.manual_seed(0)
    network = MobileNetV2Features(width=0.35)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.2, 0.2)
    image = torch.rand(2, 1, height, width)
    features = network.eval()(image)
    assert features.shape == (2, 1280, -(-height // 32), -(-width // 32))
    assert features.std() > 0.01
    torch.testing.assert_close(features, plain(image, network.state_dict()), rtol=1e-4, atol=1e-5)


def test_a_file_of_torchvision_is_taken_without_its_classifier(tmp_path):
    torch.manual_seed(0)
    state = MobileNetV2Features(width=0.35).state_dict()
    path = tmp_path / "mobilenet_v2.pth"
    torch.save({**state, "classifier.1.weight": torch.zeros(1000, 1280), "classifier.1.bias": torch.zeros(1000)}, path)
    loaded = MobileNetV2Features(path, width=0.35).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_other_files_are_refused_by_name(tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(FileNotFoundError, match=r"weights\.pth: no such weights"):
        MobileNetV2Features(path)
    state = MobileNetV2Features(width=0.35).state_dict()
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"'features.0.0.weight' of shape \[32, 3, 3, 3\], got \[16, 3, 3, 3\]"):
        MobileNetV2Features(path)
    torch.save({name: value for name, value in state.items() if name != "features.18.0.weight"}, path)
    with pytest.raises(ValueError, match=r"'features.18.0.weight' .*, got nothing of that name"):
        MobileNetV2Features(path, width=0.35)
