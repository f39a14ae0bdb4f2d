"""The configurations for TensorRT, as far as they run without a GPU: MONAI's compiler takes what they give it."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from bundle_commands import ROOT
from monai.bundle import ConfigParser
from monai.networks.trt_compiler import TrtCompiler

from common.inferers.tile_network import TileNetwork

CONFIGS = sorted(path.parent for path in (ROOT / "bundles").glob("*/configs/inference_trt.json"))
CASES = [(folder, ("inference.json",)) for folder in CONFIGS]
CASES += [
    (folder, ("inference.json", name))
    for folder in CONFIGS
    for name in ["inference_3d.json"]
    if (folder / name).is_file()
]


def parsed(files: list[str]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(files)
    parser["device"] = torch.device("cpu")
    return parser


@pytest.mark.parametrize(
    ("folder", "names"), CASES, ids=lambda value: value.parent.name if hasattr(value, "parent") else value[-1]
)
def test_monai_compiles_the_network_for_the_tiles_of_inference(folder: Any, names: tuple[str, ...]) -> None:
    parser = parsed([str(folder / name) for name in (*names, "inference_trt.json")])
    network = parser.get_parsed_content("network").eval()
    options = parser.get_parsed_content("tensorrt")
    assert set(options) <= set(inspect.signature(TrtCompiler).parameters)

    (profile,) = options["input_profiles"]
    assert list(profile) == list(inspect.signature(network.forward).parameters)
    smallest, _, largest = profile["lr_image"]
    assert len(smallest) == 2 + network.spatial_dims
    assert largest[2] >= TileNetwork(network).default_tile_size(network.spatial_dims) > smallest[2]

    image = torch.rand(smallest)  # without TensorRT the network is the plain one
    plain = parsed([str(folder / name) for name in names]).get_parsed_content("network").eval()
    plain.load_state_dict(network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(network(image), plain(image), rtol=0, atol=0)
