"""The three U-Nets of series: sizes, what they compute, regularisation and exports."""

import time

import pytest
import torch
import torch.nn.functional as F
from exports import assert_same, onnx, program, scripted
from helpers import n_parameters
from torch import nn

from common.networks import CineUNet
from common.networks.regularization import DropBlock
from common.networks.series_convolutions import KERNELS, SeriesBlock, SeriesConvolution

NETWORKS = tuple(KERNELS)
REGULARIZED = {
    "none": (),
    "l1": (0.1,),
    "l2": (0.1,),
    "l1_l2": (0.1, 0.2),
    "batch_norm": (),
    "instance_norm": (),
    "dropout": (0.2,),
    "dropblock": (0.8, 3),
}


def series(*shape, seed=0):
    """Values in [0, 1]."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


GIVEN = [series(2, 1, 40, 24, 5), series(3, 1, 21, 33, 3)]


def small(network="UNet2D2D", seed=0, **options):
    """A network of two levels whose head is not zero."""
    torch.manual_seed(seed)
    built = CineUNet(network, **{"width": 4, "depth": 3, **options})
    nn.init.normal_(built.head.weight, std=0.1)
    return built


def correction_of(network, given):
    """Output of the last convolution."""
    kept = []
    handle = network.head.register_forward_hook(lambda module, arguments, output: kept.append(output))
    network(given)
    handle.remove()
    return kept[0]


def size_of(network):
    """Parameters at full width, which are not made."""
    with torch.device("meta"):
        return n_parameters(CineUNet(network))


def by_hand(first, second, up, head=27):
    """Weights and biases of depth 5 and width 32, of convolutions with so many weights for each pair of channels."""
    encoders = [(1, 32), (32, 64), (64, 128), (128, 256), (256, 512)]
    decoders = [(512, 256), (256, 128), (128, 64), (64, 32)]
    total = sum(first * a * b + b + second * b * b + b for a, b in encoders)
    total += sum(up * a * b + b for a, b in decoders)  # transposed convolutions halve the features
    total += sum(first * a * b + b + second * b * b + b for a, b in decoders)  # a = b skipped + b from below
    return total + head * 32 + 1


@pytest.mark.parametrize(
    ("network", "weights", "expected"),
    [("UNet3D", (27, 27), 21_879_841), ("UNet2D1D", (9, 3), 5_143_009), ("UNet2D2D", (9, 9), 7_760_353)],
)
def test_parameters_are_those_of_the_description(network, weights, expected):
    assert size_of(network) == by_hand(*weights, up=4) == expected


def test_planes_take_at_most_two_fifths_of_the_parameters_of_volumes():
    assert size_of("UNet2D2D") <= 0.4 * size_of("UNet3D")


def literal_block(block, network, features):
    """The two convolutions of a level plane by plane and pixel by pixel."""
    first, second = block.first.convolution, block.second.convolution
    batch, _, height, width, n_frames = features.shape
    if network == "UNet2D1D":
        frames = [
            F.conv2d(features[..., t], first.weight[..., 0], first.bias, padding=1).relu() for t in range(n_frames)
        ]
        features = torch.stack(frames, dim=-1)
        pixels = features.permute(0, 2, 3, 1, 4).reshape(batch * height * width, -1, n_frames)
        lines = F.conv1d(pixels, second.weight[:, :, 0, 0], second.bias, padding=1).relu()
        return lines.reshape(batch, height, width, -1, n_frames).permute(0, 3, 1, 2, 4)
    planes = [
        F.conv2d(features[:, :, y], first.weight[:, :, 0], first.bias, padding=1).relu() for y in range(height)
    ]  # (W, T) at each row
    features = torch.stack(planes, dim=2)
    planes = [
        F.conv2d(features[:, :, :, x], second.weight[:, :, :, 0], second.bias, padding=1).relu() for x in range(width)
    ]  # (H, T) at each column
    return torch.stack(planes, dim=3)


@pytest.mark.parametrize("network", ["UNet2D1D", "UNet2D2D"])
@pytest.mark.parametrize("shape", [(1, 3, 8, 6, 5), (2, 3, 5, 7, 1), (1, 3, 1, 1, 4)])
def test_factored_convolutions_are_the_literal_ones(network, shape):
    torch.manual_seed(0)
    block, features = SeriesBlock(network, 3, 4, "none", ()), torch.randn(shape)
    nn.init.normal_(block.first.convolution.bias)
    nn.init.normal_(block.second.convolution.bias)
    torch.testing.assert_close(block(features), literal_block(block, network, features), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["UNet2D1D", "UNet2D2D"])
def test_factored_convolutions_are_not_slower_than_the_literal_ones(network):
    block, features = SeriesBlock(network, 16, 16, "none", ()), torch.randn(1, 16, 96, 96, 16)
    fast = features.contiguous(memory_format=torch.channels_last_3d)
    times = {"ours": [], "literal": []}
    for _ in range(4):
        for name, values in times.items():
            start = time.process_time()
            result = block(fast) if name == "ours" else literal_block(block, network, features)
            result.sum().backward()
            values.append(time.process_time() - start)
    assert min(times["ours"]) <= 1.1 * min(times["literal"])


def test_transposed_convolution_doubles_rows_and_columns_of_each_frame_alone():
    torch.manual_seed(0)
    up, features = SeriesConvolution(3, 2, (2, 2, 1), transposed=True), torch.randn(2, 3, 4, 5, 3)
    result = up(features)
    assert result.shape == (2, 2, 8, 10, 3)
    for t in range(3):
        frame = F.conv_transpose2d(features[..., t], up.convolution.weight[..., 0], stride=2).relu()
        torch.testing.assert_close(result[..., t], frame)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (2, 1, 19, 33, 3), (1, 1, 32, 16, 1)])
@torch.no_grad()
def test_any_size_comes_back_and_untrained_the_series_itself(network, shape):
    given = series(*shape)
    assert torch.equal(CineUNet(network, width=2)(given), given)


@torch.no_grad()
def test_padding_repeats_the_border_and_is_cut_off():
    network, given = small(), series(1, 1, 10, 7, 3)
    padded = torch.cat((given, given[:, :, -1:].expand(-1, -1, 2, -1, -1)), dim=2)
    padded = torch.cat((padded, padded[:, :, :, -1:]), dim=3)
    torch.testing.assert_close(network(given), network(padded)[:, :, :10, :7])


@torch.no_grad()
def test_time_is_never_pooled_and_seen_as_far_as_the_convolutions_reach():
    network, given = small("UNet2D1D", depth=2), series(1, 1, 4, 4, 15)
    changed = given.clone()
    changed[..., 7] += 1
    difference = (correction_of(network, changed) - correction_of(network, given)).abs().amax(dim=(0, 1, 2, 3))
    reach = torch.arange(15).sub(7).abs() <= 4  # three convolutions over time and the head
    assert torch.equal(difference > 0, reach)


@torch.no_grad()
def test_residuals():
    given = 0.2 * series(1, 1, 8, 8, 3)
    networks = {name: small(residual=name) for name in ("signed", "nonnegative")}
    nn.init.normal_(networks["signed"].head.weight)
    networks["nonnegative"].load_state_dict(networks["signed"].state_dict())
    correction = correction_of(networks["signed"], given)
    assert correction.min() < -0.2
    assert correction.max() > 0
    torch.testing.assert_close(networks["signed"](given), (given + correction).clamp(min=0))
    torch.testing.assert_close(networks["nonnegative"](given), given + correction.clamp(min=0))
    assert (networks["nonnegative"](given) >= given).all()  # it can only brighten


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("residual", ["signed", "nonnegative"])
def test_gradients_reach_every_parameter(network, residual):
    built = small(network, residual=residual, depth=5, width=8)
    (built(series(2, 1, 16, 16, 4)) - 0.5).square().mean().backward()
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_learns_to_undo_a_scaling(network):
    torch.manual_seed(0)
    built, given = CineUNet(network, width=4, depth=2), series(1, 1, 8, 8, 4)
    optimizer = torch.optim.Adam(built.parameters(), 0.01)
    for _ in range(60):
        loss = (built(given) - 0.6 * given).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2 * (0.4 * given).square().mean()


def test_layout_in_memory_is_not_seen_in_the_result():
    network, given = small(), series(2, 1, 8, 12, 3)
    torch.testing.assert_close(
        network(given.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0)), network(given)
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"network": "UNet4D"}, "network must be one of UNet3D, UNet2D1D, UNet2D2D, got 'UNet4D'"),
        ({"residual": "positive"}, "residual must be one of signed, nonnegative, got 'positive'"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"regularization": "l3"}, "regularization must be one of none, l1, .*dropblock, got 'l3'"),
        (
            {"regularization": "l1_l2", "regularization_parameters": (1.0,)},
            "takes coefficient of l1, coefficient of l2",
        ),
        ({"regularization_parameters": (1.0,)}, r"none takes no parameters, got .*\[1.0\]"),
        ({"regularization": "l2", "regularization_parameters": (-1.0,)}, "at least 0"),
        ({"regularization": "dropout", "regularization_parameters": (1.0,)}, r"rate of dropout must be in \[0, 1\)"),
        ({"regularization": "dropblock", "regularization_parameters": (0.0, 3)}, "keep_prob"),
        ({"regularization": "dropblock", "regularization_parameters": (0.9, 2.5)}, "whole number"),
        ({"regularization": "dropblock", "regularization_parameters": (0.9, 0)}, "block_size"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, match):
    with pytest.raises(ValueError, match=match) as error:
        CineUNet(**options)
    assert "\n" not in str(error.value)


def test_a_tensor_of_frames_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"a series \(batch, 1, height, width, frames\), got shape \[1, 1, 8, 8\]"):
        small()(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"got shape \[1, 2, 8, 8, 3\]"):
        small()(torch.zeros(1, 2, 8, 8, 3))


@pytest.mark.parametrize(("name", "parameters"), REGULARIZED.items())
def test_weight_penalty_is_that_of_the_kernels(name, parameters):
    network = small(regularization=name, regularization_parameters=parameters)
    kernels = torch.cat([p.flatten() for n, p in network.named_parameters() if n.endswith("weight") and p.dim() == 5])
    l1, l2 = {"l1": (0.1, 0), "l2": (0, 0.1), "l1_l2": (0.1, 0.2)}.get(name, (0, 0))
    expected = l1 * kernels.abs().sum() + l2 * (kernels**2).sum()
    penalty = network.weight_penalty()
    torch.testing.assert_close(penalty, expected, check_stride=False)
    if l1 or l2:
        (gradient,) = torch.autograd.grad(penalty, [network.head.weight])
        torch.testing.assert_close(gradient, l1 * network.head.weight.sign() + 2 * l2 * network.head.weight)


@pytest.mark.parametrize("name", ["batch_norm", "instance_norm", "dropout", "dropblock"])
@pytest.mark.parametrize("network", NETWORKS)
def test_regularisation_of_features_follows_every_convolution(network, name):
    built = small(network, depth=4, regularization=name, regularization_parameters=REGULARIZED[name])
    layers = [m.regularization for m in built.modules() if isinstance(m, SeriesConvolution)]
    kind = {"batch_norm": nn.BatchNorm3d, "instance_norm": nn.InstanceNorm3d, "dropout": nn.Dropout}.get(
        name, DropBlock
    )
    lines = 4 + 3 if (network, name) == ("UNet2D1D", "dropblock") else 0  # one convolution over time in each block
    assert len(layers) == 2 * 4 + 3 * 3
    assert sum(isinstance(layer, kind) for layer in layers) == len(layers) - lines
    assert torch.isfinite(built(series(2, 1, 16, 16, 3))).all()


@pytest.mark.parametrize("name", ["dropout", "dropblock"])
def test_dropping_is_the_identity_in_evaluation(name):
    plain = small().eval()
    dropping = small(regularization=name, regularization_parameters=REGULARIZED[name])
    dropping.load_state_dict(plain.state_dict())
    given = series(1, 1, 16, 16, 4)
    assert not torch.allclose(dropping.train()(given), plain(given))
    assert torch.equal(dropping.eval()(given), plain(given))


@pytest.mark.parametrize(
    ("network", "name"), [*(("UNet2D2D", name) for name in REGULARIZED), ("UNet2D1D", "dropblock"), ("UNet3D", "none")]
)
@torch.no_grad()
def test_torchscript_gives_the_same_numbers(network, name):
    built = small(network, regularization=name, regularization_parameters=REGULARIZED[name]).eval()
    assert_same(scripted(built), built, GIVEN)


def test_scripted_in_training_drops_too():
    built = small(regularization="dropblock", regularization_parameters=(0.5, 3)).train()
    scripted, given = torch.jit.script(built), series(1, 1, 16, 16, 4)
    torch.manual_seed(3)
    expected = built(given)
    torch.manual_seed(3)
    torch.testing.assert_close(scripted(given), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_exports_give_the_same_numbers(network, tmp_path):
    built, example = small(network).eval(), series(2, 1, 48, 32, 4)
    assert_same(program(built, example), built, GIVEN)
    assert_same(onnx(built, tmp_path, example), built, GIVEN, 1e-4)
