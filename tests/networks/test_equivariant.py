"""Super-resolution that is equivariant to gain and offset."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from common.inferers import TiledInferer
from common.networks import EdsrGenerator, EquivariantGenerator, RrdbGenerator, SrResNetGenerator


def random_network(spatial_dims=2, **options):
    generator = RrdbGenerator(2, spatial_dims=spatial_dims, n_blocks=1, width=4, growth=2, bounded=False, **options)
    network = EquivariantGenerator(generator).eval()
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


@pytest.mark.parametrize("spatial_dims", [2, 3])
@torch.no_grad()
def test_gain_and_offset_pass_through(spatial_dims):
    network, image = (
        random_network(spatial_dims).double(),
        torch.rand(2, 1, 9, 8, 7)[..., : 7 if spatial_dims == 3 else 1],
    )
    image = (image if spatial_dims == 3 else image[..., 0]).double()
    enlarged = network(image)
    assert enlarged.shape[2:] == tuple(2 * n for n in image.shape[2:])
    mode = "bicubic" if spatial_dims == 2 else "trilinear"
    plain = F.interpolate(image.float(), scale_factor=2.0, mode=mode).double()
    assert (enlarged - plain).abs().max() > 0.1
    torch.testing.assert_close(network(3 * image - 7), 3 * enlarged - 7, rtol=0, atol=1e-5)  # float32 interpolation


@torch.no_grad()
def test_an_untrained_network_interpolates_and_a_constant_stays_one():
    image = torch.rand(1, 1, 12, 10)
    untrained = EquivariantGenerator(RrdbGenerator(4, width=4, growth=2, bounded=False))
    plain = F.interpolate(image, scale_factor=4, mode="bicubic")
    assert (untrained(image) - plain).abs().max() < 0.02
    constant = random_network()(torch.full((1, 1, 6, 6), 0.7))
    torch.testing.assert_close(constant, torch.full((1, 1, 12, 12), 0.7))


@torch.no_grad()
def test_tiles_give_the_numbers_of_the_whole_image_and_so_does_the_script():
    network, image = random_network(), torch.rand(1, 1, 90, 70)
    whole = network(image)
    assert network.halo() == network.generator.halo() + 2
    torch.testing.assert_close(TiledInferer(tile_size=52)(image, network), whole, rtol=0, atol=1e-5)
    scripted = torch.jit.script(network)
    assert scripted.halo() == network.halo()
    torch.testing.assert_close(scripted(image), whole, rtol=0, atol=1e-6)


def test_a_loss_reaches_every_weight_and_there_is_no_bias():
    network = EquivariantGenerator(EdsrGenerator(2, n_blocks=1, width=4))
    assert not [name for name, _ in network.named_parameters() if "bias" in name]
    network(torch.rand(1, 1, 8, 8)).square().mean().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_batch_norm_and_bounded_heads_are_refused():
    for generator in (SrResNetGenerator(2, n_blocks=1, width=4), RrdbGenerator(2, width=4, growth=2)):
        with pytest.raises(ValueError, match="linear head"):
            EquivariantGenerator(generator)
    with pytest.raises(ValueError, match="expected a batch of images"):
        random_network()(torch.rand(1, 2, 8, 8))
