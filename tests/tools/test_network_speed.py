"""`python -m tools benchmark networks`."""

import json

import pytest
import torch

from tools import network_speed
from tools.__main__ import commands
from tools.command import run_commands
from tools.network_speed import ShippedNetwork, measure_networks, median_seconds, read_networks
from tools.zoo.layout import BUNDLES, bundle_names

SMALL = {"bundle": "micro_ct_srgan_super_resolution", "config": ["inference.json"], "size": [16, 16], "of": "image"}


def run(*arguments):
    words = ["benchmark", "networks", *map(str, arguments)]
    return run_commands(commands(words), "tools", words)


def spec(tmp_path, monkeypatch, **networks):
    path = tmp_path / "networks.json"
    path.write_text(json.dumps(networks))
    monkeypatch.setattr(network_speed, "SPEC", path)
    return path


def test_every_trained_bundle_is_listed_with_configurations_that_are_there():
    found = read_networks(network_speed.SPEC)
    trained = {name for name in bundle_names() if (BUNDLES / name / "models" / "model.pt").is_file()}
    assert {network.bundle for network in found.values()} == trained
    for network in found.values():
        assert all((BUNDLES / network.bundle / "configs" / name).is_file() for name in network.config)


def test_parameters_and_time_are_those_of_the_shipped_network():
    found = measure_networks({"small": ShippedNetwork(**SMALL)}, "cpu", seconds=0)
    weights = torch.load(BUNDLES / SMALL["bundle"] / "models" / "model.pt", weights_only=True)
    assert found["networks"]["small"]["parameters"] == sum(weight.numel() for weight in weights.values())
    assert 0.1 < found["networks"]["small"]["milliseconds"] < 1e5
    assert found["device"] == "cpu"
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__
    assert found["processor"]


def test_a_generative_network_draws_its_samples(monkeypatch):
    """The inferer runs it, with as many samples as the network is listed with."""
    seen = []
    monkeypatch.setattr(network_speed, "median_seconds", lambda step, device, seconds: seen.append(step()) or 0.1)
    knee = {"bundle": "knee_mri_texture_gan_reconstruction", "config": ["inference.json"], "size": [32, 32], "of": ""}
    for n_samples in (1, 3):
        network = ShippedNetwork(**knee, overrides={"n_samples": n_samples}, inferer=True)
        measure_networks({"knee": network}, "cpu", seconds=0)
    assert [list(output.shape) for output in seen] == [[1, 5, 32, 32]] * 2
    assert seen[0][:, 2].abs().max() == 0  # one sample does not differ from itself
    assert seen[1][:, 2].abs().max() > 0


def test_a_network_of_measured_series_gets_kspace_and_mask():
    network = ShippedNetwork(
        "cardiac_cine_unet_reconstruction", ["inference.json", "consistent.json"], [32, 32, 4], "", measurement=True
    )
    image = network_speed._example(network)
    assert list(image.shape) == [1, 3, 32, 32, 4]
    assert set(image[:, 2].unique().tolist()) == {0.0, 1.0}
    assert torch.all(image[:, :2] * (1 - image[:, 2:]) == 0)


def test_the_median_leaves_out_the_first_run_and_takes_five():
    calls = []
    spent = median_seconds(lambda: calls.append(None), torch.device("cpu"), seconds=0)
    assert len(calls) == 6
    assert 0 <= spent < 0.1


def test_the_table_is_printed_and_written(tmp_path, monkeypatch, capsys):
    spec(tmp_path, monkeypatch, small=SMALL)
    before = torch.get_num_threads()
    assert run("--write", tmp_path / "speed.json", "--seconds", "0", "--threads", "1") == 0
    written = json.loads((tmp_path / "speed.json").read_text())
    assert list(written["networks"]) == ["small"]
    assert written["threads"] == 1
    assert torch.get_num_threads() == before
    out = capsys.readouterr().out
    assert f"{written['networks']['small']['parameters']:,}" in out
    assert f"{written['processor']}, 1 threads, PyTorch {torch.__version__}, float32" in out


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        (SMALL, ["--only", "large"], "only: expected one of small, got 'large'"),
        (SMALL, ["--only", "small", "--write", "speed.json"], "write is for all networks; leave out only"),
        ({**SMALL, "sizes": 3}, [], "small: expected an object with the keys bundle, config, size, of"),
        ({"bundle": "a", "config": []}, [], "missing 2 required positional arguments: 'size' and 'of'; add it"),
        ({**SMALL, "config": ["none.json"]}, [], "no file none.json, micro_ct_srgan_super_resolution has"),
    ],
)
def test_what_cannot_be_timed_is_refused(tmp_path, monkeypatch, capsys, network, arguments, message):
    spec(tmp_path, monkeypatch, small=network)
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "speed.json").exists()
