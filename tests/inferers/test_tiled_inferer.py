"""Tiles give what the whole image gives."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from nearest_network import Nearest
from torch import Tensor, nn

from common.inferers import TiledInferer, TileNetwork
from common.networks import EdsrGenerator, EquivariantGenerator, RrdbGenerator, SrResNetGenerator


def random_network(kind: type[nn.Module], **options: object) -> nn.Module:
    """Weights that make every pixel within the halo count, batch norm with statistics of its own."""
    torch.manual_seed(3)
    network = kind(**options)
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(torch.randn(value.shape) * (0.3 if "weight" in name else 0.1))
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return network.eval()


def spread(image: Tensor) -> float:
    return float(image.max() - image.min())


GENERATORS = {
    "edsr": (EdsrGenerator, {"n_blocks": 2, "width": 4}),
    "direct": (EdsrGenerator, {"n_blocks": 2, "width": 4, "direct": True}),
    "rrdb": (RrdbGenerator, {"n_blocks": 1, "width": 4, "growth": 2}),
    "srresnet": (SrResNetGenerator, {"n_blocks": 1, "width": 4}),
}


@pytest.mark.parametrize("upscale", [2, 4, 8])
@pytest.mark.parametrize("name", GENERATORS)
def test_tiles_equal_the_whole_image_in_2d(name: str, upscale: int) -> None:
    kind, options = GENERATORS[name]
    network = random_network(kind, upscale=upscale, **options)
    halo = network.halo()
    image = torch.rand(2, 1, 3 * halo + 11, 4 * halo + 5)
    with torch.inference_mode():
        whole = network(image)
        tiled = TiledInferer(tile_size=2 * halo + 5)(image, network)
    assert (tiled - whole).abs().max() <= 1e-5 * spread(whole)


@pytest.mark.parametrize(("name", "upscale"), [("edsr", 2), ("edsr", 4), ("edsr", 8)])
def test_tiles_equal_the_whole_image_in_3d(name: str, upscale: int) -> None:
    kind, options = GENERATORS[name]
    network = random_network(kind, upscale=upscale, spatial_dims=3, **{**options, "n_blocks": 1, "width": 2})
    halo = network.halo()
    image = torch.rand(1, 1, 2 * halo + 3, 2 * halo + 1, 2 * halo + 4)
    with torch.inference_mode():
        whole = network(image)
        tiled = TiledInferer(tile_size=2 * halo + 2)(image, network)
    assert (tiled - whole).abs().max() <= 1e-5 * spread(whole)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_pieces_of_the_late_layers_equal_the_whole(monkeypatch: pytest.MonkeyPatch, spatial_dims: int) -> None:
    monkeypatch.setattr("common.inferers.tile_network._PIECE", {2: 5, 3: 5})
    network = random_network(RrdbGenerator, upscale=4, spatial_dims=spatial_dims, n_blocks=1, width=2, growth=2)
    on_tile = TileNetwork(network)
    window = torch.rand((1, 1, 14, 13, 12)[: spatial_dims + 2])
    kept = (slice(0, 44), slice(8, 52), slice(12, 24))[:spatial_dims]
    with torch.inference_mode():
        expected = network(window)[(slice(None), slice(None), *kept)]
        got = on_tile(window, kept)
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-5 * spread(expected)


@pytest.mark.parametrize("scripted", [False, True])
def test_a_smaller_halo_has_seams_and_the_networks_own_none(scripted: bool) -> None:
    network = random_network(EdsrGenerator, upscale=2, n_blocks=1, width=4)
    image = torch.rand(1, 1, 40, 40)
    runner = torch.jit.script(network) if scripted else network
    with torch.inference_mode():
        whole = network(image)
        tiled = TiledInferer(tile_size=20)(image, runner)
        network._halo -= 2
        seams = TiledInferer(tile_size=20)(image, network)
    assert (tiled - whole).abs().max() <= 1e-5 * spread(whole)
    assert (seams - whole).abs().max() > 1e-3 * spread(whole)


def test_why_not_monais_sliding_window() -> None:
    """The claims of the docstring, so that a better MONAI is noticed."""
    network = random_network(EdsrGenerator, upscale=2, n_blocks=1, width=4)
    image = torch.rand(1, 1, 48, 48)
    with torch.inference_mode():
        whole = network(image)
        for overlap in (0.0, 0.5):
            blended = SlidingWindowInferer(roi_size=(24, 24), overlap=overlap)(image, network)
            assert (blended - whole).abs().max() > 1e-2 * spread(whole)
        with pytest.raises(RuntimeError, match="size"):
            SlidingWindowInferer(roi_size=(24, 24), buffer_steps=1)(image, network)
        kept = SlidingWindowInferer(roi_size=(24, 24))(MetaTensor(image, affine=torch.eye(4)), network)
    assert torch.equal(kept.affine, torch.eye(4, dtype=kept.affine.dtype))


@pytest.mark.parametrize("batched", [False, True])
def test_the_affine_matrix_of_a_metatensor_is_scaled(batched: bool) -> None:
    affine = torch.tensor([[0.0, -2, 0, 5], [1, 0, 0, -7], [0, 0, 3, 1], [0, 0, 0, 1]], dtype=torch.float64)
    image = MetaTensor(torch.rand(1, 1, 6, 5), affine=affine, meta={"filename_or_obj": "a.nii"})
    if batched:
        image.affine = affine[None]
    result = TiledInferer(tile_size=3)(image, Nearest(4))
    got = result.affine[0] if batched else result.affine
    assert result.meta["filename_or_obj"] == "a.nii"
    for corner in ((-0.5, -0.5), (5.5, 4.5)):  # outer edges, in pixels of the input
        place = affine @ torch.tensor([*corner, 0, 1], dtype=torch.float64)
        enlarged = [4 * (n + 0.5) - 0.5 for n in corner]
        torch.testing.assert_close(got @ torch.tensor([*enlarged, 0, 1], dtype=torch.float64), place)
    torch.testing.assert_close(image.affine, affine[None] if batched else affine)


def test_what_does_not_fit_is_refused() -> None:
    class Wrong(Nearest):
        def forward(self, image: Tensor) -> Tensor:
            return nn.functional.interpolate(image, scale_factor=2)

    with pytest.raises(ValueError, match="expected a network with an attribute upscale, got Upsample"):
        TileNetwork(nn.Upsample(scale_factor=2))
    with pytest.raises(ValueError, match=r"enlarges \[4, 4\] to \[12, 12\], got \[8, 8\]; correct its upscale"):
        TiledInferer(tile_size=4)(torch.rand(1, 1, 8, 8), Wrong(3))
    with pytest.raises(ValueError, match=r"expected a batch of images \(batch, 1, height, width\)"):
        TiledInferer(tile_size=20)(torch.rand(1, 3, 30, 30), EdsrGenerator(upscale=2, n_blocks=1, width=2))


def test_the_default_tile_has_room_inside_the_halo() -> None:
    deep = EdsrGenerator(upscale=2, n_blocks=16, width=2, spatial_dims=3)
    shallow = EdsrGenerator(upscale=2, n_blocks=1, width=2)
    assert TileNetwork(deep).default_tile_size(3) == 24 + 2 * deep.halo()
    image = torch.rand(1, 1, 9, 9)
    with torch.inference_mode():
        assert torch.equal(TiledInferer()(image, shallow), shallow(image))
    assert TileNetwork(shallow).default_tile_size(2) == 384
    assert TileNetwork(torch.jit.script(shallow)).default_tile_size(2) == 256
    direct = EquivariantGenerator(EdsrGenerator(n_blocks=12, width=2, spatial_dims=3, direct=True))
    for network in (direct, torch.jit.script(direct)):
        assert TileNetwork(network).default_tile_size(3) == 48 + 2 * direct.halo()


def test_the_network_is_not_changed() -> None:
    network = random_network(EdsrGenerator, upscale=2, n_blocks=1, width=2)
    before, layers = copy.deepcopy(network.state_dict()), repr(network)
    TiledInferer(tile_size=14)(torch.rand(1, 1, 20, 20), network)
    assert repr(network) == layers
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
