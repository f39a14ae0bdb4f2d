"""VGG19: torchvision's layers and keys, weight files, its numbers against plain layers, the classifier on top."""

import pytest
import torch
import torch.nn.functional as F
from helpers import n_parameters
from torch import nn

from common.networks import Vgg19Classifier, Vgg19Features
from common.networks.vgg import LAYERS, Vgg19, width_of

# torchvision's vgg19: place of each convolution in `features`, in and out in multiples of 64 (3 colours at first)
TORCHVISION = {
    0: (3, 1), 2: (1, 1),
    5: (1, 2), 7: (2, 2),
    10: (2, 4), 12: (4, 4), 14: (4, 4), 16: (4, 4),
    19: (4, 8), 21: (8, 8), 23: (8, 8), 25: (8, 8),
    28: (8, 8), 30: (8, 8), 32: (8, 8), 34: (8, 8),
}  # fmt: skip
POOLED = (4, 9, 18, 27)


def state_dict(width=64, last=34):
    """A state dict of torchvision's shape, up to one convolution."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for place, (ins, outs) in TORCHVISION.items():
        if place <= last:
            c_in, c_out = 3 if place == 0 else ins * width, outs * width
            weight = torch.randn(c_out, c_in, 3, 3, generator=generator) * (2 / (9 * c_in)) ** 0.5
            state[f"features.{place}.weight"] = weight
            state[f"features.{place}.bias"] = 0.1 * torch.randn(c_out, generator=generator)
    return state


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory):
    """A file like torchvision's, narrow, with the keys of its classifier."""
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    classifier = {"classifier.0.weight": torch.zeros(6, 5), "classifier.0.bias": torch.zeros(6)}
    torch.save({**state_dict(width=2), **classifier}, path)
    return path


def plain_features(rgb, state, last, activation):
    x = (rgb - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    for place in range(last + 1):
        if place in TORCHVISION:
            x = F.conv2d(x, state[f"features.{place}.weight"], state[f"features.{place}.bias"], padding=1)
        elif place in POOLED:
            x = F.max_pool2d(x, 2)
        else:
            x = x.clamp(min=0)
    return x.clamp(min=0) if activation else x


# ------------------------------------------------------------------------------------------- layers and files


def test_up_to_its_last_convolution_it_has_the_published_number_of_parameters():
    with torch.device("meta"):
        network = Vgg19("random")
    by_hand = sum(9 * (3 if n == 0 else 64 * i) * 64 * o + 64 * o for n, (i, o) in TORCHVISION.items())
    assert n_parameters(network) == by_hand == 20_024_384


def test_state_dicts_have_torchvisions_keys_and_shapes():
    for layer, last in zip(LAYERS, TORCHVISION, strict=True):
        for activation in (False, True):
            state = Vgg19Features("random", layer=layer, activation=activation, width=1).state_dict()
            expected = state_dict(width=1, last=last)
            assert {n: v.shape for n, v in state.items()} == {n: v.shape for n, v in expected.items()}


@pytest.mark.parametrize(("layer", "last"), [("conv1_1", 0), ("conv2_2", 7), ("conv3_4", 16), ("conv5_4", 34)])
@pytest.mark.parametrize("activation", [False, True])
@torch.no_grad()
def test_features_from_a_file_are_those_of_plain_layers(weight_file, layer, last, activation):
    network = Vgg19Features(weight_file, layer=layer, activation=activation, width=2)
    image = torch.rand(2, 1, 37, 50)
    expected = plain_features(image.expand(-1, 3, -1, -1), state_dict(width=2), last, activation)
    torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-5)
    assert bool((expected < 0).any()) is not activation


def test_half_precision_files_load_as_float32(weight_file, tmp_path):
    path = tmp_path / "half.pt"
    torch.save({name: value.half() for name, value in state_dict(width=2).items()}, path)
    half, full = (Vgg19Features(file, width=2) for file in (str(path), weight_file))
    for name, value in half.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, full.state_dict()[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("weights", [None, "", "nowhere.pth", "."])
def test_without_a_file_one_line_says_how_to_get_or_make_one(weights):
    with pytest.raises(FileNotFoundError) as caught:
        Vgg19Features(weights)
    message = str(caught.value)
    for part in (f"no VGG19 weights at {weights or ''!r}", "vgg19-dcbb9e9d.pth", "train_vgg.json"):
        assert part in message
    assert "\n" not in message


def batch_norm(state):
    """torchvision's vgg19_bn has batch norms in between."""
    return {"features.0.weight": state["features.0.weight"], "features.1.weight": torch.ones(2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: {"module." + name: value for name, value in state.items()},
            "'features.0.weight' .* got nothing of that name",
        ),
        (lambda state: {"classifier.weight": torch.ones(1)}, "'features.0.weight' .* got nothing of that name"),
        (lambda state: state_dict(width=3), r"'features.0.weight' of shape \[2, 3, 3, 3\], got \[3, 3, 3, 3\]"),
        (lambda state: state_dict(width=2, last=32), "'features.34.weight' .* got nothing of that name"),
        (batch_norm, "'features.0.bias' .* got nothing of that name; .* VGG19 without batch norm"),
    ],
)
def test_files_of_something_else_are_refused(change, message, tmp_path):
    torch.save(change(state_dict(width=2)), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=message):
        Vgg19Features(tmp_path / "weights.pth", width=2)


# ---------------------------------------------------------------------------------------- features and classifier


def test_features_are_frozen_and_stay_in_evaluation_mode_and_their_gradient_reaches_the_image():
    torch.manual_seed(0)  # random features may be dead
    parent = nn.Sequential(Vgg19Features("random", layer="conv2_1", width=2)).train()
    assert not any(module.training for module in parent[0].modules())
    image = torch.rand(1, 1, 8, 8, requires_grad=True)
    parent(image).square().mean().backward()
    assert (image.grad != 0).float().mean() > 0.5
    assert not any(parameter.requires_grad for parameter in parent.parameters())


@torch.no_grad()
def test_maps_of_blocks_are_the_features_of_their_last_layers(weight_file):
    image = torch.rand(2, 1, 37, 50)
    maps = Vgg19Features(weight_file, activation=True, width=2).block_maps(image)
    assert len(maps) == 5
    for layer, found in zip(("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4"), maps, strict=True):
        alone = Vgg19Features(weight_file, layer=layer, activation=True, width=2)
        assert torch.equal(found, alone(image))
        assert torch.equal(found, torch.jit.script(alone)(image))
    first = Vgg19Features(weight_file, layer="conv2_1", width=2)
    assert torch.equal(first.block_maps(image)[1], first(image))
    with pytest.raises(ValueError, match="at least 2 x 2 pixels for the features of conv2_1"):
        first.block_maps(image[..., :1])


def test_width_is_read_from_the_file(weight_file):
    assert width_of(weight_file) == 2
    assert width_of("random") == 64
    with pytest.raises(FileNotFoundError, match="no VGG19 weights at ''"):
        width_of(None)


@torch.no_grad()
def test_the_image_is_left_as_it_is():
    image = torch.rand(1, 1, 16, 16)
    before = image.clone()
    Vgg19Features("random", width=1)(image)
    assert torch.equal(image, before)


def test_random_weights_keep_the_size_of_activations():
    torch.manual_seed(0)
    features = Vgg19Features("random", layer="conv4_4", width=8)(torch.rand(4, 1, 32, 32))
    assert 0.1 < float(features.std()) < 10


@pytest.mark.parametrize(("layer", "smallest"), [("conv1_2", 1), ("conv3_1", 4), ("conv5_4", 16)])
def test_images_smaller_than_a_feature_are_refused(layer, smallest):
    network = Vgg19Features("random", layer=layer, width=1)
    assert network(torch.rand(1, 1, smallest, smallest)).shape[2:] == (1, 1)
    with pytest.raises(ValueError, match=rf"at least {smallest} x {smallest} pixels for the features of {layer}, got"):
        network(torch.rand(1, 1, 30, smallest - 1))


def test_bad_options_and_images_are_refused():
    with pytest.raises(ValueError, match=r"layer must be one of conv1_1, .*, conv5_4, got 'relu5_4'"):
        Vgg19Features("random", layer="relu5_4")
    with pytest.raises(ValueError, match=r"expected images \(batch, 1, height, width\) .*, got shape \[1, 3, 32, 32\]"):
        Vgg19Features("random", width=1)(torch.zeros(1, 3, 32, 32))


@torch.no_grad()
def test_the_classifier_is_the_mean_of_activated_features_and_a_linear_layer(weight_file):
    network = Vgg19Classifier(5, weight_file, width=2).eval()
    image = torch.rand(3, 1, 40, 33)
    features = plain_features(image.expand(-1, 3, -1, -1), state_dict(width=2), 34, activation=True)
    expected = features.mean((2, 3)) @ network.classifier.weight.T + network.classifier.bias
    torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("layer", "maps"), [("conv1_2", 2), ("conv3_4", 8), ("conv5_4", 16)])
def test_a_trained_classifier_gives_features(layer, maps, tmp_path):
    torch.manual_seed(0)
    classifier = Vgg19Classifier(3, layer=layer, width=2)
    assert classifier.classifier.weight.shape == (3, maps)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.1)
    before = [parameter.detach().clone() for parameter in classifier.parameters()]
    F.cross_entropy(classifier.train()(torch.rand(6, 1, 32, 32)), torch.arange(6) % 3).backward()
    optimizer.step()
    assert all(not torch.equal(old, new) for old, new in zip(before, classifier.parameters(), strict=True))
    torch.save(classifier.state_dict(), tmp_path / "textures.pt")
    features = Vgg19Features(tmp_path / "textures.pt", layer="conv1_2", activation=True, width=2)
    image = torch.rand(1, 1, 16, 16)
    depth = 4  # convolution, ReLU, convolution, ReLU
    own = classifier.features[:depth]((image - classifier.mean) / classifier.std)
    torch.testing.assert_close(features(image), own, rtol=0, atol=0)
