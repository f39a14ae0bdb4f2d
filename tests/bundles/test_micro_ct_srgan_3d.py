"""The bundle for micro-CT of rock on volumes: training, evaluation, inference and exports in 3-D."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F
from bundle_checks import load_config, read_csv
from bundle_commands import ROOT, Result, WarmPython, network_options, overrides
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from PIL import Image
from skimage.filters import threshold_otsu

from common.engines import load_weights
from common.handlers import save_weights
from common.io import open_source
from common.networks import EdsrGenerator, EquivariantGenerator, FullyConvolutionalDiscriminator
from common.networks.sr_blocks import check_image
from common.phantoms.sets import make_tiny_set
from tools.zoo.export_formats import FORMATS, Source

BUNDLE = ROOT / "bundles" / "micro_ct_srgan_super_resolution"
TRAIN = "['configs/train.json','configs/train_3d.json','configs/smoke.json']"
INFER = "['configs/inference.json','configs/inference_3d.json']"
EVALUATE = INFER[:-1] + ",'configs/evaluate.json','configs/evaluate_3d.json']"
SMALL: dict[str, Any] = {"n_blocks": 1, "width": 8}
OPTIONS = network_options(SMALL)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("micro_ct_3d")


@pytest.fixture(scope="module")
def rock(scratch: Path) -> Path:
    folder = scratch / "rock"
    make_tiny_set("rock_3d", folder)
    return folder


def generator() -> EquivariantGenerator:
    return EquivariantGenerator(EdsrGenerator(spatial_dims=3, direct=True, **SMALL))


@pytest.fixture(scope="module")
def network(scratch: Path) -> EquivariantGenerator:
    """A small generator as stored on disk, in ``scratch/models``."""
    torch.manual_seed(0)
    path = scratch / "models" / "model_3d.pt"
    save_weights(generator(), path, half=True)
    return load_weights(generator(), path).eval()


def run(python: WarmPython, config: str, data: Path, folder: Path, models: Path, *more: str) -> Result:
    where = overrides(dataset_dir=data, output_dir=folder, ckpt_dir=models)
    return python("monai.bundle", "run", "--config_file", config, *where, *more, cwd=BUNDLE)


def read_volume(path: Path) -> NDArray:
    """Values ``[height, width, depth]``, as networks see them."""
    with open_source(path) as source:
        return source.read().transpose(1, 2, 0)


def enlarged(network: EquivariantGenerator, volume: NDArray) -> NDArray[np.float64]:
    with torch.no_grad():
        return network(torch.from_numpy(volume.astype(np.float32))[None, None])[0, 0].double().numpy()


# -- training ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(scratch: Path, rock: Path, python: WarmPython) -> Path:
    folder = scratch / "training"
    done = run(python, TRAIN, rock, folder, folder)
    assert done.status == 0, done.stderr
    return folder


def test_training_runs_both_phases(trained: Path) -> None:
    for name in ("model_3d", "model_3d_pixel", "model_3d_gan"):
        load_weights(generator(), trained / f"{name}.pt")
    pixel, gan = read_csv(trained / "history.csv")
    assert (pixel["phase"], gan["phase"]) == ("pixel", "gan")
    for name in ("loss_critic", "loss_adversarial", "loss_perceptual"):
        assert not pixel[name]
        assert float(gan[name]) > 0
    assert all(math.isfinite(float(row[name])) for row in (pixel, gan) for name in ("loss", "psnr", "psnr_bicubic"))
    checkpoint = torch.load(sorted((trained / "checkpoints").iterdir())[-1])
    FullyConvolutionalDiscriminator(spatial_dims=3, width=4).load_state_dict(checkpoint["discriminator"])


def test_training_goes_on_where_it_stopped(trained: Path, rock: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / "between"
    for epochs in (0, 1):
        done = run(python, TRAIN, rock, folder, folder, *overrides(epochs__gan=epochs))
        assert done.status == 0, done.stderr
    whole, parts = (torch.load(path / "model_3d.pt") for path in (trained, folder))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


# -- inference and evaluation ------------------------------------------------------------------------------------


def test_inference_enlarges_volumes_of_any_format_along_all_axes(
    scratch: Path, rock: Path, network: EquivariantGenerator, python: WarmPython
) -> None:
    data, folder = scratch / "mixed", scratch / "inference"
    volume = read_volume(next((rock / "test").glob("*.tif")))[:15, :17, :19]
    (data / "slices").mkdir(parents=True)
    tifffile.imwrite(data / "stack.tif", np.moveaxis(volume, 2, 0), photometric="minisblack")
    for index in range(13):
        Image.fromarray(volume[:, :, index]).save(data / "slices" / f"{index:03d}.png")
    done = run(python, INFER, data, folder, scratch / "models", *overrides(**OPTIONS))
    assert done.status == 0, done.stderr
    for name, source in (("stack_x4.tif", volume), ("slices_x4", volume[:, :, :13])):
        found = read_volume(folder / "enlarged" / name)
        assert found.dtype == np.uint8
        np.testing.assert_allclose(found, np.clip(255 * enlarged(network, source / 255), 0, 255), atol=0.51)

    done = run(python, INFER, data, folder / "zarr", scratch / "models", *overrides(output_suffix=".zarr", **OPTIONS))
    assert done.status == 0, done.stderr
    stack, zarr = (read_volume(folder / part) for part in ("enlarged/stack_x4.tif", "zarr/enlarged/stack_x4.zarr"))
    np.testing.assert_array_equal(zarr, stack)


def test_evaluation_measures_what_an_independent_computation_finds(
    scratch: Path, rock: Path, network: EquivariantGenerator, python: WarmPython
) -> None:
    folder = scratch / "evaluation"
    more = overrides(features__weights="random", features__width=4, **OPTIONS)
    done = run(python, EVALUATE, rock, folder, scratch / "models", *more)
    assert done.status == 0, done.stderr
    metrics = {(Path(row["file"]).name, row["method"]): row for row in read_csv(folder / "metrics.csv")}
    pores = {(Path(row["file"]).name, row["method"]): row for row in read_csv(folder / "pore_space.csv")}
    assert {method for _, method in metrics} == {"nearest", "bilinear", "bicubic", "reconstruction"}
    assert {method for _, method in pores} == {"bicubic", "reconstruction"}
    inside = np.s_[4:-4, 4:-4, 4:-4]
    for path in (rock / "valid").glob("*.tif"):
        truth = read_volume(path) / 255
        lr_image = truth
        for axis in range(3):
            lr_image = reduce_axis(lr_image, axis)
        image = enlarged(network, lr_image)
        small = torch.from_numpy(lr_image.astype(np.float32))[None, None]
        trilinear = F.interpolate(small, scale_factor=4.0, mode="trilinear")[0, 0].numpy()
        for method, values in (("reconstruction", image), ("bilinear", trilinear)):
            psnr = -10 * math.log10(np.mean((np.clip(values, 0, 1)[inside] - truth[inside]) ** 2))
            assert float(metrics[path.name, method]["psnr"]) == pytest.approx(psnr, abs=0.01)
        pore_share = np.mean(image <= threshold_otsu(truth.astype(np.float32)))
        assert float(pores[path.name, "reconstruction"]["porosity_sr"]) == pytest.approx(pore_share, abs=2e-3)
        assert float(metrics[path.name, "bicubic"]["ssim"]) > 0.3


def reduce_axis(volume: NDArray, axis: int) -> NDArray:
    """Bicubic reduction of one axis by 4, by Pillow: of pictures whose other axis stays."""
    lines = np.moveaxis(volume, axis, -1)
    flat = Image.fromarray(lines.reshape(-1, lines.shape[-1]).astype(np.float32))
    less = flat.resize((lines.shape[-1] // 4, flat.height), Image.Resampling.BICUBIC)
    return np.moveaxis(np.asarray(less).reshape(*lines.shape[:-1], -1), -1, axis)


def test_images_are_no_volumes(
    tmp_path: Path, scratch: Path, network: EquivariantGenerator, python: WarmPython
) -> None:
    for split in ("train", "valid"):
        (tmp_path / "data" / split).mkdir(parents=True)
        Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(tmp_path / "data" / split / "a.png")
    done = run(python, TRAIN, tmp_path / "data", tmp_path, tmp_path)
    assert done.status == 1
    (line,) = done.errors
    assert "a.png: expected a volume, got one image of 64 x 64" in line


# -- exports -----------------------------------------------------------------------------------------------------


def test_the_shipped_network_is_the_trained_one() -> None:
    parsers = []
    for names in (("train.json", "train_3d.json"), ("inference.json", "inference_3d.json")):
        parser = ConfigParser()
        parser.read_config([str(BUNDLE / "configs" / name) for name in names])
        parsers.append(parser)
    one, other = (parser.get_parsed_content("network_def") for parser in parsers)
    assert [value.shape for value in one.state_dict().values()] == [v.shape for v in other.state_dict().values()]
    check_image(torch.zeros(1, 1, 4, 4, 4), one.channels, one.spatial_dims)
    assert parsers[0]["model_name"] == parsers[1]["model_name"] == "model_3d"


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own, in its ONNX exporter
@pytest.mark.parametrize(
    "file_format", ["ts", pytest.param("pt2", marks=pytest.mark.slow), pytest.param("onnx", marks=pytest.mark.slow)]
)
def test_exports_give_the_same_numbers(file_format: str, tmp_path: Path, network: EquivariantGenerator) -> None:
    for package in FORMATS[file_format].packages:
        pytest.importorskip(package)
    metadata = (BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8")
    free = {0: "batch", 2: "height", 3: "width", 4: "depth"}
    source = Source(network, torch.rand(2, 1, 8, 9, 10), free, ("image", "pred"), {"metadata.json": metadata})
    FORMATS[file_format].write(source, tmp_path / "model")
    exported = FORMATS[file_format].load(tmp_path / "model")
    for shape in ((1, 1, 11, 6, 7), (2, 1, 8, 9, 10)):
        image = torch.rand(shape)
        with torch.no_grad():
            torch.testing.assert_close(exported(image), network(image), rtol=0, atol=1e-4)


def test_torchscript_by_monai(scratch: Path, network: EquivariantGenerator, python: WarmPython) -> None:
    where = overrides(
        net_id="network_def",
        filepath=scratch / "model_3d.ts",
        ckpt_file=scratch / "models" / "model_3d.pt",
        meta_file="configs/metadata.json",
        config_file=INFER,
        **OPTIONS,
    )
    done = python("monai.bundle", "ckpt_export", *where, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    exported, image = torch.jit.load(scratch / "model_3d.ts").eval(), torch.rand(1, 1, 7, 8, 9)
    with torch.no_grad():
        torch.testing.assert_close(exported(image), network(image), rtol=0, atol=1e-5)


def test_the_data_sets_of_volumes_are_given_the_same() -> None:
    train, train_3d = load_config(BUNDLE, "train.json"), load_config(BUNDLE, "train_3d.json")
    for split in ("train", "validate"):
        one, other = train[split]["dataset"], train_3d[f"{split}#dataset"]
        assert {**one["data"], "_target_": ""} == {**other["data"], "_target_": ""}
        assert {**one, **other}.keys() == one.keys()
