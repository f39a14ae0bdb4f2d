"""Exported files: they give the network's numbers, hold its metadata, and are not kept if they do not."""

import importlib.util
import json
import math
import re
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import numpy_ifft2c
from monai.data import load_net_with_metadata
from torch import nn

from tools.command import run_commands
from tools.zoo import export
from tools.zoo.example_input import TensorFormat, example_input
from tools.zoo.export_formats import FORMATS
from tools.zoo.export_worker import Parity, Report, export_network
from tools.zoo.half_weights import store_in_half
from tools.zoo.triton import Port

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = "brain_mri_refinegan_reconstruction"
KSPACE = {"0": "real k-space", "1": "imaginary k-space", "2": "sampling mask"}
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch's exporter uses what it deprecates


# -- bundles -------------------------------------------------------------------------------------------------------


def entry(words, spatial_shape=("*", "*"), **values):
    fixed = {"dtype": "float32", "format": "magnitude", "num_channels": len(words), "channel_def": words}
    return {**fixed, "spatial_shape": list(spatial_shape), **values}


def write_bundle(folder, network_def, image, pred, **config):
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    metadata = {"version": "0.2.0", "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps({**config, "network_def": network_def}))
    return folder


class Upscale(nn.Module):
    """Twice the size, by convolutions and a shuffle."""

    def __init__(self, width: int = 2):
        super().__init__()
        self.features = nn.Conv2d(1, width, 9, padding=4)
        self.convolution = nn.Conv2d(width, 4, 9, padding=4)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.shuffle(self.convolution(torch.relu(self.features(image))))


OTHER_WHEN_SCRIPTED = """
import torch

class Network(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_scripting():
            return image * 1.01
        return image
"""
TRIPLE = """
import torch

class Network(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 3 * image
"""


class Times(nn.Module):
    """A factor."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * self.factor


class Halve(nn.Module):
    """Needs a width that is even."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.reshape(image.shape[0], 1, -1, image.shape[3] // 2, 2).mean(dim=4)


class EvenOnly(nn.Module):
    """Looks at the width as a Python number, which an exported program does not do."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image if image.shape[-1] % 2 == 0 else image + 1


def super_resolution(folder, spatial_shape=("*", "*"), width=2):
    bundle = write_bundle(
        folder / "tiny_super_resolution",
        {"_target_": "test_zoo_export.Upscale", "width": width},
        entry({"0": "image"}, spatial_shape, value_range=[-1, 1]),
        entry({"0": "image"}),
    )
    torch.manual_seed(0)
    network = Upscale(width)
    torch.save(network.state_dict(), bundle / "models" / "model.pt")
    return bundle, network


def same_size(folder, target, common="", **arguments):
    """A bundle without weights, with a module `networks` in a `common` of its own."""
    network_def = {"_target_": target, **arguments}
    bundle = write_bundle(folder / "same_size", network_def, entry({"0": "image"}), entry({"0": "image"}))
    torch.save({}, bundle / "models" / "model.pt")
    if common:
        (bundle / "common").mkdir()
        (bundle / "common" / "__init__.py").touch()
        (bundle / "common" / "networks.py").write_text(common)
    return bundle


def write(bundle, path, file_format, **options):
    return export_network(bundle, path, bundle / "models" / "model.pt", file_format, **options)


def skip_without_onnx():
    for name in FORMATS["onnx"].packages:
        pytest.importorskip(name)


def run(*arguments):
    return run_commands({"export": export.export}, "zoo", ["export", *map(str, arguments)])


# -- files ---------------------------------------------------------------------------------------------------------


def holds_no_path_of_this_machine(file):
    contents = [file.read_bytes()]
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            contents += [archive.read(name) for name in archive.namelist()]
    places = [str(ROOT).encode(), sys.prefix.encode(), str(file.parent).encode()]
    return not any(place in content for place in places for content in contents)


@torch.no_grad()
def test_torchscript_gives_the_numbers_of_the_network_and_holds_its_configs(tmp_path):
    bundle, network = super_resolution(tmp_path)
    report = write(bundle, tmp_path / "model.ts", "ts", size=[48, 40], dynamic=True)
    assert [parity.input_shape for parity in report.parity] == [(1, 1, 48, 40), (3, 1, 37, 21), (2, 1, 48, 50)]
    assert max(parity.difference for parity in report.parity) < 1e-6
    loaded, metadata, others = load_net_with_metadata(str(tmp_path / "model.ts"), more_extra_files=["inference.json"])
    image = torch.rand(2, 1, 33, 27)
    torch.testing.assert_close(loaded(image), network(image), rtol=0, atol=1e-6)
    assert metadata == json.loads((bundle / "configs" / "metadata.json").read_text())
    assert json.loads(others["inference.json"]) == json.loads((bundle / "configs" / "inference.json").read_text())
    assert holds_no_path_of_this_machine(tmp_path / "model.ts")


@pytest.mark.parametrize(
    "file_format", ["ts", *(pytest.param(name, marks=pytest.mark.slow) for name in ("pt2", "onnx"))]
)
@torch.no_grad()
def test_half_precision_halves_the_file_and_rounds_the_weights(file_format, tmp_path):
    if file_format == "onnx":
        skip_without_onnx()
    bundle, network = super_resolution(tmp_path, width=128)
    reports = [write(bundle, tmp_path / str(half), file_format, size=[12, 10], half=half) for half in (False, True)]
    assert (tmp_path / "True").stat().st_size < 0.65 * (tmp_path / "False").stat().st_size
    assert reports[1].half > 0.99
    assert reports[0].parity[0].difference < 1e-6 < reports[1].parity[0].difference < 1e-3
    for layer in (network.features, network.convolution):
        layer.weight.data = layer.weight.data.half().float()
    image = torch.rand(1, 1, 12, 10)
    result = FORMATS[file_format].load(tmp_path / "True")(image)
    torch.testing.assert_close(result, network(image), rtol=0, atol=1e-6)


@torch.no_grad()
def test_exported_program_is_free_in_size_and_holds_its_configs(tmp_path):
    bundle, network = super_resolution(tmp_path, ["2*n", "*"])
    report = write(bundle, tmp_path / "model.pt2", "pt2", size=[32], dynamic=True)
    assert [parity.input_shape for parity in report.parity] == [(1, 1, 32, 32), (3, 1, 26, 17), (2, 1, 32, 40)]
    assert [parity.output_shape for parity in report.parity] == [(1, 1, 64, 64), (3, 1, 52, 34), (2, 1, 64, 80)]
    assert (list(report.image.dims), list(report.pred.dims)) == ([-1, 1, -1, -1], [-1, 1, -1, -1])
    texts = {"metadata.json": "", "inference.json": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=texts)
    for name, text in texts.items():
        assert json.loads(text) == json.loads((bundle / "configs" / name).read_text())
    image = torch.rand(4, 1, 10, 7)
    torch.testing.assert_close(program.module()(image), network(image), rtol=0, atol=1e-6)
    assert holds_no_path_of_this_machine(tmp_path / "model.pt2")


def test_onnx_has_the_names_of_the_metadata_and_holds_its_configs(tmp_path):
    skip_without_onnx()
    import onnx
    import onnxruntime

    (bundle, network), path = super_resolution(tmp_path), tmp_path / "model.onnx"
    write(bundle, path, "onnx", size=[32], dynamic=True, half=True)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 1, "height", "width"]
    texts = session.get_modelmeta().custom_metadata_map
    assert json.loads(texts["metadata.json"]) == json.loads((bundle / "configs" / "metadata.json").read_text())
    assert json.loads(texts["inference.json"]) == json.loads((bundle / "configs" / "inference.json").read_text())
    image = torch.rand(5, 1, 9, 14)
    (result,) = session.run(["pred"], {"image": image.numpy()})
    np.testing.assert_allclose(result, network(image).detach().numpy(), rtol=0, atol=1e-3)
    assert holds_no_path_of_this_machine(path)


@pytest.mark.slow  # minutes: the shipped network is exported by torch's tracing exporters
@pytest.mark.parametrize("file_format", ["ts", "pt2", "onnx"])
@pytest.mark.parametrize("half", [False, True])
def test_shipped_weights_export_to_every_format(file_format, half, tmp_path):
    if file_format == "onnx":
        skip_without_onnx()
    bundle, file = ROOT / "bundles" / BUNDLE, tmp_path / "model"
    report = write(bundle, file, file_format, dynamic=True, half=half)
    assert len(report.parity) == 3
    # the shipped weights are half-precision numbers, so that nothing is lost; ONNX Runtime's FFT is another one
    assert max(parity.difference for parity in report.parity) < (5e-4 if file_format == "onnx" else 1e-6)
    assert holds_no_path_of_this_machine(file)


# -- the command ---------------------------------------------------------------------------------------------------


def test_packaged_bundle_is_exported_with_its_own_common(tmp_path, monkeypatch, capsys):
    """The zip's `common` has other networks than the repository's."""
    bundle = same_size(tmp_path, "common.networks.Network", TRIPLE)
    shutil.make_archive(str(tmp_path / "packaged"), "zip", tmp_path, bundle.name)
    shutil.rmtree(bundle)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run("../packaged.zip", "--size=16") == 0
    told = capsys.readouterr().out
    assert "same_size 0.2.0, TorchScript" in told
    assert "0.0e+00 at 1 x 1 x 16 x 16" in told
    assert "wrote model.ts" in told
    assert re.search(
        r"PyTorch +\d+\.\d ms, differs by 0\.0e\+00\n +TorchScript +\d+\.\d ms, differs by 0\.0e\+00", told
    )
    assert [path.name for path in Path().iterdir()] == ["model.ts"]
    assert torch.jit.load("model.ts")(torch.ones(1, 1, 2, 2)).eq(3).all()


SERVED = {"server/tiny_super_resolution/1/model.pt", "server/tiny_super_resolution/config.pbtxt"}


@pytest.mark.parametrize(
    ("options", "written"),
    [
        (["--fp16", "--format=pt2"], {"tiny_super_resolution/models/model_fp16.pt2"}),
        (["--out=v1.2/"], {"v1.2/model.ts"}),
        (["--out=new/net.ts"], {"new/net.ts"}),
        (["--triton=server", "--out=new"], {"new/model.ts", *SERVED}),
    ],
)
def test_files_lie_where_they_were_asked_for(options, written, tmp_path, monkeypatch):
    def exported(bundle, file, *arguments, **options):
        file.write_bytes(b"a network")
        return Report(Port("image", [1, 1, 8, 8]), Port("pred", [1, 1, 16, 16]), 0.0, [])

    monkeypatch.setattr(export, "export_bundle", exported)
    monkeypatch.chdir(tmp_path)
    super_resolution(tmp_path)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert run("tiny_super_resolution", *options) == 0
    after = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert {str(path.relative_to(tmp_path)) for path in after} == written
    assert {path.read_bytes() for path in after if path.suffix != ".pbtxt"} == {b"a network"}


@pytest.mark.slow  # a new interpreter
def test_file_that_differs_from_its_network_is_not_kept(tmp_path, capsys):
    bundle = same_size(tmp_path, "common.networks.Network", OTHER_WHEN_SCRIPTED)
    (tmp_path / "model.ts").write_text("an older file")
    assert run(bundle, "--size=16", "--out", tmp_path / "model.ts", "--triton", tmp_path / "server") == 1
    captured = capsys.readouterr()
    assert "differs from the network by 1.0e-02 of its largest output at 1 x 1 x 16 x 16" in captured.err
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert (tmp_path / "model.ts").read_text() == "an older file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.ts", "same_size"]


@pytest.mark.parametrize(
    ("difference", "half", "kept"),
    [
        *((9e-4, False, True), (1.1e-3, False, False), (9e-3, True, True), (1.1e-2, True, False)),
        (math.nan, False, False),
    ],
)
def test_limit_is_that_of_the_precision(difference, half, kept, tmp_path, monkeypatch):
    bundle, _ = super_resolution(tmp_path)
    port, shape = Port("image", [1, 1, 8, 8]), [1, 1, 8, 8]
    report = Report(port, port, 0.0, [Parity(shape, shape, 0.0), Parity(shape, shape, difference)])
    monkeypatch.setattr(export, "export_network", lambda *_, **__: report)
    monkeypatch.setattr(export, "prepare_process", lambda _: None)
    monkeypatch.setattr(export, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
    with nullcontext() if kept else pytest.raises(ValueError, match="it was not kept"):
        export.export_bundle(bundle, tmp_path / "model.ts", bundle / "models" / "model.pt", "ts", half=half)


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        ("Times", {"factor": math.nan}, r"output at .* is not finite or zero"),
        ("Halve", {}, r"does not take \[3, 1, 13, 9\], which its metadata allow"),
    ],
)
def test_network_that_does_not_do_what_metadata_promise_is_refused(target, arguments, message, tmp_path):
    bundle = same_size(tmp_path, f"test_zoo_export.{target}", **arguments)
    with pytest.raises(ValueError, match=message):
        write(bundle, tmp_path / "model.ts", "ts", size=[16], dynamic=True)


@pytest.mark.slow
def test_size_that_an_exporter_has_fixed_is_found(tmp_path):
    bundle = same_size(tmp_path, "test_zoo_export.EvenOnly")
    with pytest.raises(ValueError, match=r"does not run at \[3, 1, 13, 9\]"):
        write(bundle, tmp_path / "model.pt2", "pt2", size=[16], dynamic=True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--format=tf"], "--format must be one of ts, pt2, onnx, got 'tf'"),
        (["--fp16", "onnx"], "--fp16 is a switch"),
        (["--size=64,a"], "--size must be positive integers"),
        (["--checkpoint=none.pt"], "none.pt: no such weights"),
        (["--out=model.onnx"], "expected a folder or a file that ends in .ts"),
        (["--format=pt2", "--triton=server"], "Triton runs ts and onnx, got pt2"),
    ],
)
def test_wrong_options_are_refused_at_once(options, expected, capsys):
    assert run(BUNDLE, *options) == 1
    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.err.count("\n") == 1


def test_missing_packages_are_named(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else True)
    assert run(BUNDLE, "--format=onnx") == 1
    assert capsys.readouterr().err == "error: --format onnx needs onnxscript: pip install 'recon-bundles[export]'\n"


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_weights_that_are_not_the_networks_are_refused(tmp_path):
    bundle, _ = super_resolution(tmp_path)
    weights = bundle / "models" / "model.pt"
    torch.save({"convolution.weight": torch.zeros(4, 1, 5, 5)}, weights)
    with pytest.raises(ValueError, match=r"model\.pt: expected the weights of network_def.*size mismatch"):
        write(bundle, tmp_path / "model.ts", "ts")
    torch.save(Bomb(tmp_path / "exploded"), weights)
    with pytest.raises(ValueError, match=r"model\.pt: expected a file of tensors alone.*not executed"):
        export.export_bundle(bundle, tmp_path / "model.ts", weights, "ts")
    assert not (tmp_path / "exploded").exists()
    changes = {
        "network_def cannot be built": {"_target_": "common.networks.NoSuch"},
        "expected a network under network_def, got int": 3,
    }
    for message, network_def in changes.items():
        (bundle / "configs" / "inference.json").write_text(json.dumps({"network_def": network_def}))
        with pytest.raises(ValueError, match=message):
            write(bundle, tmp_path / "model.ts", "ts")


def test_metadata_that_are_not_the_networks_are_refused(tmp_path):
    bundle, _ = super_resolution(tmp_path, ["2*n", 32])
    with pytest.raises(ValueError, match=r"--size that fits spatial_shape .* got 31,32; 32,32 does"):
        write(bundle, tmp_path / "model.ts", "ts", size=[31, 32])
    file = bundle / "configs" / "metadata.json"
    metadata = json.loads(file.read_text())
    metadata["network_data_format"]["outputs"]["pred"] |= {"num_channels": 2, "channel_def": {"0": "a", "1": "b"}}
    file.write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match=r"output of 2 channels, .* got torch.float32 \[1, 1, 64, 64\]"):
        write(bundle, tmp_path / "model.ts", "ts", size=[32, 32])
    metadata["network_data_format"]["inputs"]["mask"] = metadata["network_data_format"]["inputs"]["image"]
    file.write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="inputs: expected one tensor, got image, mask"):
        write(bundle, tmp_path / "model.ts", "ts")
    assert not (tmp_path / "model.ts").exists()


# -- parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (1, 2, 6, 5)),
        (nn.Conv3d(2, 4, 3, stride=2, groups=2), (1, 2, 6, 5, 4)),
        (nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1, bias=False), (2, 2, 4, 5)),
        (nn.ConvTranspose3d(2, 3, 2, stride=2), (1, 2, 3, 2, 4)),
        (nn.Linear(5, 3), (2, 5)),
    ],
)
@torch.no_grad()
def test_layer_in_half_is_the_layer_with_rounded_weights(layer, shape):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    exact = layer(values)
    weight = layer.weight.clone()
    layer.weight.data = weight.half().float()
    expected = layer(values)
    layer.weight.data = weight
    network = nn.Sequential(layer)
    fraction = store_in_half(network)
    assert layer.weight.dtype == torch.float16
    assert fraction == pytest.approx(weight.numel() / sum(parameter.numel() for parameter in network.parameters()))
    for run_layer in (network, torch.jit.script(network)):
        torch.testing.assert_close(run_layer(values), expected, rtol=0, atol=1e-6)
    assert not torch.equal(exact, expected)


def test_network_without_large_weights_cannot_be_halved():
    with pytest.raises(ValueError, match="export without --fp16"):
        store_in_half(nn.Sequential(nn.BatchNorm2d(2)))


def kspace_format(spatial_shape=("*", "*")):
    metadata = {"network_data_format": {"inputs": {"image": entry(KSPACE, spatial_shape, format="kspace")}}}
    return TensorFormat.from_metadata(metadata, "inputs")


@pytest.mark.parametrize("size", [(32, 48), (33, 27)])
def test_example_of_kspace_is_a_masked_measurement_of_an_image(size):
    measurement = example_input(kspace_format(), 2, size, seed=3)
    assert measurement.shape == (2, 3, *size)
    assert torch.equal(measurement, example_input(kspace_format(), 2, size, seed=3))
    kspace, mask = torch.complex(measurement[:, 0], measurement[:, 1]).numpy(), measurement[:, 2].numpy()
    assert set(np.unique(mask)) == {0, 1}
    assert 0.2 < mask.mean() < 0.5
    assert (mask[:, size[0] // 2, size[1] // 2] == 1).all()
    assert (kspace[mask == 0] == 0).all()
    zero_filled = numpy_ifft2c(kspace).real  # of an image in [0, 1]: its mean is kept, most of it too
    assert abs(zero_filled.mean() - 0.5) < 0.15
    assert zero_filled.min() > -0.3
    assert zero_filled.max() < 1.3


def test_example_of_an_image_is_in_its_range():
    ct = entry({"0": "x", "1": "y"}, ["*"] * 3, value_range=[-1000, 0])
    metadata = {"network_data_format": {"inputs": {"ct": ct}}}
    image = example_input(TensorFormat.from_metadata(metadata, "inputs"), 1, (17, 16, 9))
    assert image.shape == (1, 2, 17, 16, 9)
    assert -1000 <= image.min() < -900
    assert -100 < image.max() <= 0


@pytest.mark.parametrize("rule", ["8 n", "8*m", "n-5", "os.remove(n)"])
def test_size_without_a_rule_is_refused(rule):
    with pytest.raises(ValueError, match="expected a spatial_shape such as"):
        kspace_format([rule, "*"]).fit_size([32, 32])


@pytest.mark.parametrize(("rule", "wanted", "size"), [("*", 33, 33), (64, 33, 64), ("8*n", 33, 40), ("2**p", 33, 64)])
def test_size_fits_the_metadata(rule, wanted, size):
    assert kspace_format([rule, "*"]).fit_size([wanted, 5]) == (size, 5)
