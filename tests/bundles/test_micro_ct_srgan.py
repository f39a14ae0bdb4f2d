"""The bundle for micro-CT of rock as its user meets it: training, evaluation and inference of images."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import nibabel
import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F
from bundle_checks import (
    SCHEMA,
    TORCHRUN,
    assert_all_properties,
    assert_one_line,
    load_config,
    read_csv,
    run_readme,
    save_random_weights,
)
from bundle_commands import ROOT, Result, WarmPython, network_options, overrides
from helpers import n_parameters
from monai.bundle import ConfigParser, verify_metadata, verify_net_in_out
from numpy.typing import NDArray
from PIL import Image
from scripts import pore_space
from skimage.filters import threshold_otsu

from common.engines import load_weights
from common.handlers import save_weights
from common.networks import EdsrGenerator, EquivariantGenerator, FlatteningDiscriminator, Vgg19Classifier
from common.phantoms.rock_phantom import rock_phantom
from common.phantoms.sets import make_tiny_set
from tools.zoo.export import export_bundle

NAME = "micro_ct_srgan_super_resolution"
BUNDLE = ROOT / "bundles" / NAME
CONFIGS = BUNDLE / "configs"
SMOKE = "['configs/train.json','configs/smoke.json']"
EVALUATE = "['configs/inference.json','configs/evaluate.json']"
SMALL: dict[str, Any] = {"n_blocks": 1, "width": 8}
OPTIONS = network_options(SMALL)
RANDOM_FEATURES: dict[str, Any] = {"features#weights": "random", "features#width": 4}


def load(name: str) -> dict[str, Any]:
    return load_config(BUNDLE, name)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("micro_ct")


@pytest.fixture(scope="module")
def rock(scratch: Path) -> Path:
    folder = scratch / "rock"
    make_tiny_set("rock", folder)
    return folder


def generator(upscale: int = 4) -> EquivariantGenerator:
    return EquivariantGenerator(EdsrGenerator(upscale, direct=True, **SMALL))


@pytest.fixture(scope="module")
def network(scratch: Path) -> EquivariantGenerator:
    """A small generator as stored on disk, in ``scratch/models``."""
    torch.manual_seed(0)
    save_weights(generator(), scratch / "models" / "model.pt", half=True)
    return load_weights(generator(), scratch / "models" / "model.pt").eval()


@pytest.fixture(scope="module")
def features(scratch: Path) -> dict[str, Any]:
    """A small perceptual network, on disk."""
    torch.manual_seed(1)
    save_weights(Vgg19Classifier(2, width=4), scratch / "vgg19.pt", half=True)
    return {"features#weights": scratch / "vgg19.pt", "features#width": 4}


def enlarged(network: EquivariantGenerator, image: NDArray) -> NDArray[np.float64]:
    with torch.no_grad():
        return network(torch.from_numpy(image.astype(np.float32))[None, None])[0, 0].double().numpy()


# -- training ----------------------------------------------------------------------------------------------------


def train(python: WarmPython, data: Path, folder: Path, *more: str, config: str = SMOKE, **values: Any) -> Result:
    where = overrides(dataset_dir=data, output_dir=folder, ckpt_dir=folder, **values)
    return python("monai.bundle", "run", "--config_file", config, *where, *more, cwd=BUNDLE)


@pytest.fixture(scope="module")
def trained(scratch: Path, rock: Path, python: WarmPython) -> Path:
    """The output of a training."""
    folder = scratch / "training"
    where = overrides(dataset_dir=rock, output_dir=folder, ckpt_dir=folder)
    done = python("monai.bundle", "run", "--config_file", SMOKE, *where, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    assert "epoch 2/2 [gan]" in done.stdout
    return folder


def test_training_runs_both_phases_and_keeps_the_weights_of_each(trained: Path) -> None:
    states = {name: torch.load(trained / f"{name}.pt") for name in ("model", "model_pixel", "model_gan")}
    for state in states.values():
        assert {value.dtype for value in state.values()} == {torch.float16}
        generator().load_state_dict(state)
    assert all(torch.equal(states["model"][key], states["model_gan"][key]) for key in states["model"])
    convolutions = [key for key, value in states["model"].items() if value.ndim == 4]
    assert not any(torch.equal(states["model"][key], states["model_pixel"][key]) for key in convolutions)
    pixel, gan = read_csv(trained / "history.csv")
    assert (pixel["phase"], gan["phase"]) == ("pixel", "gan")
    only_gan = {"loss_critic", "loss_adversarial", "loss_perceptual"}
    assert not any(pixel[name] for name in only_gan)
    assert all(float(gan[name]) > 0 for name in only_gan)
    for row in (pixel, gan):
        assert 0 < float(row["loss_pixel"]) < 1
        assert math.isfinite(float(row["psnr"]))
        assert float(row["psnr_bicubic"]) == pytest.approx(float(pixel["psnr_bicubic"]))


def test_training_goes_on_where_it_stopped(trained: Path, rock: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / "resumed"
    shutil.copytree(trained, folder)
    done = train(python, rock, folder)
    assert done.status == 0, done.stderr
    assert "already has its 2 epochs" in done.stdout
    done = train(python, rock, folder, *overrides(epochs__gan=2))
    assert done.status == 0, done.stderr
    assert "resuming after iteration 4" in done.stdout
    assert [row["phase"] for row in read_csv(folder / "history.csv")] == ["pixel", "gan", "gan"]


def test_a_training_stopped_between_its_phases_ends_like_one_that_ran_through(
    trained: Path, rock: Path, scratch: Path, python: WarmPython
) -> None:
    folder = scratch / "between"
    for epochs in (0, 1):
        done = train(python, rock, folder, *overrides(epochs__gan=epochs))
        assert done.status == 0, done.stderr
    whole, parts = (torch.load(path / "model.pt") for path in (trained, folder))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_phase_alone_from_given_weights(trained: Path, rock: Path, scratch: Path, python: WarmPython) -> None:
    initial = trained / "model_pixel.pt"
    still = overrides(epochs__pixel=0, initial_weights=initial, gan__learning_rate=0.0)
    done = train(python, rock, scratch / "alone", *still)
    assert done.status == 0, done.stderr
    assert [row["phase"] for row in read_csv(scratch / "alone" / "history.csv")] == ["gan"]
    before, after = torch.load(initial), torch.load(scratch / "alone" / "model_gan.pt")
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_what_holds_the_discriminator_back_can_be_asked_for(rock: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / "held_back"
    options = overrides(
        objective__real_label=0.9,
        discriminator_options__r1_weight=5.0,
        discriminator_options__spectral_norm=True,
        discriminator_optimizer__lr=0.0004,
    )
    done = train(python, rock, folder, *options, *overrides(epochs__pixel=0))
    assert done.status == 0, done.stderr
    (row,) = read_csv(folder / "history.csv")
    assert float(row["loss_r1"]) > 0
    checkpoint = torch.load(next((folder / "checkpoints").iterdir()))
    assert any("parametrizations.weight.original" in key for key in checkpoint["discriminator"])
    assert checkpoint["discriminator_optimizer"]["param_groups"][0]["lr"] < 0.0004
    assert float(row["learning_rate"]) < 0.0001


@pytest.mark.parametrize(
    "options",
    [
        {"upscale": 2, "degradation_name": "blind"},
        pytest.param({"upscale": 8, "train#prepare_batch#patch_size": 4}, marks=pytest.mark.slow),
    ],
)
def test_other_factors_and_degradations(options: dict[str, Any], rock: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / f"x{options['upscale']}"
    done = train(python, rock, folder, **options)
    assert done.status == 0, done.stderr
    load_weights(generator(options["upscale"]), folder / "model.pt")


@pytest.mark.slow
def test_two_processes_train_together(rock: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / "two_processes"
    config = SMOKE[:-1] + ",'configs/multi_gpu.json']"
    where = overrides(dataset_dir=rock, output_dir=folder, ckpt_dir=folder)
    done = python(*TORCHRUN, "--config_file", config, *where, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    load_weights(generator(), folder / "model.pt")
    assert [row["epoch"] for row in read_csv(folder / "history.csv")] == ["1", "2"]


def write_pairs(folder: Path) -> Path:
    """Pairs as this project names them."""
    for split, count in (("train", 3), ("valid", 1)):
        for index in range(count):
            image = Image.fromarray(np.rint(255 * rock_phantom(index, 64)).astype(np.uint8))
            for kind, size in (("HR", 64), ("LR", 16)):
                path = folder / split / kind / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.resize((size, size), Image.Resampling.BICUBIC).save(path)
    return folder


def deep_rock_sr(folder: Path) -> Path:
    """The same as DeepRockSR names them."""
    pairs = write_pairs(folder / "plain")
    for path in pairs.rglob("*.png"):
        split, kind = path.parts[-3:-1]
        low = kind == "LR"
        name = f"shuffled2D_{split}_{'LR_unknown_X4' if low else 'HR'}/{path.stem}{'x4' if low else ''}.png"
        target = folder / "shuffled2D" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    shutil.rmtree(pairs)
    return folder


@pytest.mark.parametrize("layout", [deep_rock_sr, pytest.param(write_pairs, marks=pytest.mark.slow)])
def test_pairs_train_and_are_evaluated(
    layout: Callable[[Path], Path], tmp_path: Path, network: EquivariantGenerator, python: WarmPython
) -> None:
    data = layout(tmp_path / "pairs")
    config = "['configs/train.json','configs/pairs.json','configs/smoke.json']"
    done = train(python, data, tmp_path, config=config)
    assert done.status == 0, done.stderr
    config = EVALUATE[:-1] + ",'configs/evaluate_pairs.json']"
    done = train(python, data, tmp_path, config=config, **OPTIONS, **RANDOM_FEATURES)
    assert done.status == 0, done.stderr
    rows = {row["method"]: row for row in read_csv(tmp_path / "metrics.csv")}
    (hr_path,) = data.rglob("valid*/HR/*.png") if layout is write_pairs else data.rglob("*valid_HR/*.png")
    (lr_path,) = data.rglob("valid*/LR/*.png") if layout is write_pairs else data.rglob("*valid_LR*/*.png")
    truth, lr_image = (np.asarray(Image.open(path)) / 255 for path in (hr_path, lr_path))
    assert float(rows["bicubic"]["psnr"]) == pytest.approx(psnr(bicubic(lr_image, 64), truth), abs=0.01)


def test_bad_pairs_end_with_one_line(tmp_path: Path, python: WarmPython) -> None:
    config = "['configs/train.json','configs/pairs.json','configs/smoke.json']"
    data = write_pairs(tmp_path / "pairs")
    wrong_factor = train(python, data, tmp_path, config=config, upscale=2)
    assert_one_line(wrong_factor, r"HR.\d\.png: expected 32 x 32 at upscale 2, for .* of 16 x 16, got 64 x 64")
    (data / "train" / "LR" / "1.png").unlink()
    assert_one_line(train(python, data, tmp_path, config=config), r"HR.1\.png: has no low-resolution partner")


def parsed(*names: str, **values: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / name) for name in names])
    parser.update({"bundle_root": str(BUNDLE), "device": "cpu", **values})
    return parser


def test_the_papers_networks_and_phases() -> None:
    paper = parsed("train.json", "paper.json")
    assert n_parameters(paper.get_parsed_content("network_def")) == 1_514_771
    assert (
        n_parameters(
            parsed("train.json", "paper.json", **network_options({"n_blocks": 1})).get_parsed_content("network_def")
        )
        == 406_916
    )
    assert n_parameters(paper.get_parsed_content("discriminator_def")) == 47_157_313
    pixel, gan = paper.get_parsed_content("phases").phases
    assert (pixel.epochs, gan.epochs) == (166, 250)
    assert [pixel.rate_factor(epoch) for epoch in (49.5, 50, 165)] == pytest.approx([1, 0.1, 1e-3])
    assert gan.reset_optimizers
    assert paper["train#trainer#weights"] == {"pixel": 1.0, "perceptual": 1e-5, "adversarial": 5e-3, "critic": 1.0}


@pytest.mark.slow
def test_the_papers_discriminator_trains(rock: Path, scratch: Path, python: WarmPython) -> None:
    config = "['configs/train.json','configs/paper.json','configs/smoke.json']"
    done = train(python, rock, scratch / "paper", config=config, train__prepare_batch__patch_size=16)
    assert done.status == 0, done.stderr
    rows = read_csv(scratch / "paper" / "history.csv")
    assert float(rows[1]["loss_critic"]) > 0
    checkpoint = torch.load(sorted((scratch / "paper" / "checkpoints").iterdir())[-1])
    FlatteningDiscriminator(64, width=4).load_state_dict(checkpoint["discriminator"])


# -- inference ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(scratch: Path) -> Path:
    """Images of odd sizes and other types, and a volume."""
    folder = scratch / "mixed"
    folder.mkdir()
    image = rock_phantom(3, 64)
    Image.fromarray(np.rint(255 * image[:37, :45]).astype(np.uint8)).save(folder / "slice.png")
    tifffile.imwrite(folder / "deep.tif", np.rint(60000 * image[5:38, 7:]).astype(np.uint16))
    stored = np.rint(255 * rock_phantom(4, 32, dims=3)[:21, :18, :3]).astype(np.uint8)
    affine = np.diag([0.002, 0.002, 0.002, 1.0])
    nibabel.save(nibabel.nifti1.Nifti1Image(stored, affine), folder / "volume.nii.gz")
    return folder


def test_inference_enlarges_each_file_in_its_own_format(
    mixed: Path, scratch: Path, network: EquivariantGenerator, python: WarmPython
) -> None:
    folder, bundle = scratch / "inference", BUNDLE.relative_to(ROOT)
    where = overrides(bundle_root=bundle, dataset_dir=mixed, ckpt_dir=scratch / "models", output_dir=folder, **OPTIONS)
    done = python("monai.bundle", "run", "--config_file", f"{bundle}/configs/inference.json", *where)
    assert done.status == 0, done.stderr
    written = {path.name: path for path in (folder / "enlarged").iterdir() if path.suffix != ".json"}
    assert sorted(written) == ["deep_x4.tif", "slice_x4.png", "volume_x4.nii.gz"]

    before, after = np.asarray(Image.open(mixed / "slice.png")), np.asarray(Image.open(written["slice_x4.png"]))
    assert after.dtype == np.uint8
    np.testing.assert_allclose(after, np.clip(255 * enlarged(network, before / 255), 0, 255), atol=0.51)

    before, after = tifffile.imread(mixed / "deep.tif"), tifffile.imread(written["deep_x4.tif"])
    assert after.dtype == np.uint16
    np.testing.assert_allclose(
        after, np.clip(before.max() * enlarged(network, before / before.max()), 0, 65535), atol=1
    )

    result: Any = nibabel.load(written["volume_x4.nii.gz"])
    source: Any = nibabel.load(mixed / "volume.nii.gz")
    stored = source.get_fdata()
    assert result.shape == (84, 72, 3)
    np.testing.assert_allclose(np.diag(result.affine), [0.0005, 0.0005, 0.002, 1], rtol=1e-5)
    for index in range(3):
        # the first axis of NIfTI is x, along a row
        expected = np.clip(255 * enlarged(network, stored[..., index].T / 255), 0, 255)
        np.testing.assert_allclose(result.get_fdata()[..., index].T, expected, atol=0.51)


# -- evaluation --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluated(
    scratch: Path, rock: Path, network: EquivariantGenerator, features: dict[str, Any], python: WarmPython
) -> tuple[Path, Result]:
    folder = scratch / "evaluation"
    where = overrides(dataset_dir=rock, ckpt_dir=scratch / "models", output_dir=folder, **OPTIONS, **features)
    done = python("monai.bundle", "run", "--config_file", EVALUATE, *where, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    assert not (folder / "enlarged").exists()
    return folder, done


def bicubic(image: NDArray, size: int) -> NDArray[np.float64]:
    """By torch, which is equal to Pillow to rounding."""
    tensor = torch.from_numpy(image.astype(np.float32))[None, None]
    return F.interpolate(tensor, (size, size), mode="bicubic", antialias=True)[0, 0].double().numpy()


def psnr(image: NDArray, truth: NDArray) -> float:
    inside = np.s_[4:-4, 4:-4]
    return -10 * math.log10(np.mean((np.clip(image, 0, 1)[inside] - truth[inside]) ** 2))


def test_evaluation_measures_what_an_independent_computation_finds(
    evaluated: tuple[Path, Result], rock: Path, network: EquivariantGenerator
) -> None:
    folder, done = evaluated
    metrics = {(Path(row["file"]).name, row["method"]): row for row in read_csv(folder / "metrics.csv")}
    pores = {(Path(row["file"]).name, row["method"]): row for row in read_csv(folder / "pore_space.csv")}
    files = sorted((rock / "valid").glob("*.png"))
    assert set(metrics) == {(file.name, row) for file in files for row in ("nearest", "bicubic", "reconstruction")}
    assert set(pores) == {(file.name, row) for file in files for row in ("bicubic", "reconstruction")}
    for file in files:
        truth = np.asarray(Image.open(file)) / 255
        lr_image = bicubic(truth, 16)
        rows = {"bicubic": bicubic(lr_image, 64), "reconstruction": enlarged(network, lr_image)}
        threshold = threshold_otsu(truth.astype(np.float32))
        for method, image in rows.items():
            assert float(metrics[file.name, method]["psnr"]) == pytest.approx(psnr(image, truth), abs=0.01)
            assert float(pores[file.name, method]["porosity_sr"]) == pytest.approx(
                np.mean(image <= threshold), abs=2e-3
            )
            assert float(pores[file.name, method]["porosity_hr"]) == pytest.approx(
                np.mean(truth <= threshold), abs=2e-3
            )
            assert float(metrics[file.name, method]["perceptual"]) > 0
    assert "protocol super_resolution_x4" in done.stdout
    assert "protocol pore_space" in done.stdout
    assert len(list((folder / "panels").glob("*.png"))) == 2


@pytest.mark.slow
def test_two_processes_evaluate_as_one_does(
    evaluated: tuple[Path, Result], scratch: Path, rock: Path, features: dict[str, Any], python: WarmPython
) -> None:
    folder = scratch / "evaluation_2"
    config = EVALUATE[:-1] + ",'configs/multi_gpu.json']"
    where = overrides(dataset_dir=rock, ckpt_dir=scratch / "models", output_dir=folder, **OPTIONS, **features)
    done = python(*TORCHRUN, "--config_file", config, *where, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    for name in ("metrics.csv", "pore_space.csv"):
        assert (folder / name).read_bytes() == (evaluated[0] / name).read_bytes()


def test_pore_space_of_known_images() -> None:
    truth = torch.ones(32, 32)
    truth[:, :8] = 0
    wide = torch.ones(32, 32)
    wide[:, :12] = 0
    found = pore_space.pore_space_protocol().evaluate(torch.stack([truth, wide]), torch.stack([truth, truth]))
    assert found["porosity_hr"].tolist() == [0.25, 0.25]
    assert found["porosity_sr"].tolist() == [0.25, 0.375]
    assert found["porosity_error"].tolist() == [0, 0.125]
    assert found["correlation_error"][0] == found["pore_size_error"][0] == 0
    assert found["correlation_error"][1] > 0.05
    assert found["pore_size_error"][1] > 1


def test_pore_space_is_undefined_for_one_grey_value_and_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    protocol, flat = pore_space.pore_space_protocol(), torch.full((1, 16, 16), 0.5)
    assert all(torch.isnan(value).all() for value in protocol.evaluate(flat, flat).values())
    compare = Mock(wraps=pore_space.compare_pore_space)
    monkeypatch.setattr(pore_space, "compare_pore_space", compare)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    first, second = protocol.evaluate(*images), protocol.evaluate(*images.flip(0))
    assert compare.call_count == 6
    assert not torch.equal(first["porosity_sr"], second["porosity_sr"])


# -- bad input ---------------------------------------------------------------------------------------------------


def good_image(folder: Path) -> list[str]:
    Image.fromarray(np.rint(255 * rock_phantom(0, 32)).astype(np.uint8)).save(folder / "rock.png")
    return []


def missing_folder(folder: Path) -> list[str]:
    folder.rmdir()
    return []


def empty_folder(folder: Path) -> list[str]:
    return []


def text_called_png(folder: Path) -> list[str]:
    (folder / "note.png").write_text("not a picture")
    return []


def colour_image(folder: Path) -> list[str]:
    values = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(values).save(folder / "photo.png")
    return []


def missing_weights(folder: Path) -> list[str]:
    return good_image(folder) + overrides(checkpoint=folder / "none.pt")


def weights_of_other_width(folder: Path) -> list[str]:
    return good_image(folder) + overrides(network_options__width=16)


def factor_of_3(folder: Path) -> list[str]:
    return good_image(folder) + overrides(upscale=3)


def image_for_3d(folder: Path) -> list[str]:
    return [*good_image(folder), "--network_options#spatial_dims", "3", "--load_pretrain", "False"]


def nan_values(folder: Path) -> list[str]:
    image = rock_phantom(0, 32)
    image[3, 5] = np.nan
    tifffile.imwrite(folder / "hole.tif", image)
    return overrides(intensity_range=[0, 1])


BAD_INPUT: list[tuple[Callable[[Path], list[str]], str]] = [
    (missing_folder, r"dataset_dir: no folder .*missing_folder; .*tools data make rock"),
    (empty_folder, r"dataset_dir: no image or volume .*empty_folder; .*tools data make rock"),
    (text_called_png, r"note\.png: cannot be read as a PNG"),
    (colour_image, r"photo\.png: .*grey"),
    (missing_weights, r"none\.pt: no such weights"),
    (weights_of_other_width, r"model\.pt: does not fit this configuration; use the width it was trained with"),
    (factor_of_3, r"upscale must be one of 2, 4, 8, got 3"),
    (image_for_3d, r"rock\.png: expected a volume"),
    (nan_values, r"hole\.tif: .*NaN or infinite"),
]


@pytest.mark.parametrize(("make", "message"), BAD_INPUT, ids=[make.__name__ for make, _ in BAD_INPUT])
def test_bad_input_ends_inference_with_one_line(
    make: Callable[[Path], list[str]],
    message: str,
    scratch: Path,
    tmp_path: Path,
    network: EquivariantGenerator,
    python: WarmPython,
) -> None:
    folder = tmp_path / make.__name__
    folder.mkdir()
    more = make(folder)
    where = overrides(dataset_dir=folder, ckpt_dir=scratch / "models", output_dir=tmp_path / "out", **OPTIONS)
    done = python("monai.bundle", "run", "--config_file", "configs/inference.json", *where, *more, cwd=BUNDLE)
    assert_one_line(done, message)
    assert not list((tmp_path / "out").rglob("*_x4*")) or make is nan_values


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"train#prepare_batch#patch_size": 17},
            r"high-resolution image of at least 68 pixels .* for patch_size 17 at upscale 4, got 64",
        ),
        (
            {"train#prepare_batch#patch_size": {"pixel": 8}},
            r"patch_size: expected a value for each phase of pixel, gan, got those of pixel",
        ),
        ({"batch_size": 5}, r"at least batch_size=5 training images .*got 4 .*lower batch_size"),
        ({"features#weights": "none.pth"}, r"no VGG19 weights at 'none\.pth'; .*configs/train_vgg\.json"),
        ({"initial_weights": "none.pt"}, r"none\.pt: no such weights"),
        (
            {"train#trainer#weights": {"pixel": 1, "critic": 1}},
            r"expected a weight for every loss term, got none for adversarial",
        ),
        ({"degradation_name": "fog"}, r"unknown degradation 'fog'; choose one of bicubic"),
        ({"objective#real_label": 0.2}, r"expected real_label in \(0\.5, 1\]"),
    ],
)
def test_bad_input_ends_training_with_one_line(
    options: dict[str, Any], message: str, rock: Path, tmp_path: Path, python: WarmPython
) -> None:
    assert_one_line(train(python, rock, tmp_path, **options), message)


# -- metadata, properties, exports -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:No hash value provided")
def test_metadata_is_valid() -> None:
    verify_metadata(meta_file=str(CONFIGS / "metadata.json"), filepath=SCHEMA)
    assert load("metadata.json")["version"] in load("metadata.json")["changelog"]


@pytest.mark.parametrize("size", [1, 24])
def test_network_takes_and_gives_what_the_metadata_says(size: int) -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=str(CONFIGS / "inference.json"),
        device="cpu",
        any=size,
        **OPTIONS,
    )


@pytest.mark.parametrize(("kind", "config"), [("train", "train.json"), ("infer", "inference.json")])
def test_workflow_has_all_properties(kind: str, config: str, rock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, values = (rock, {**RANDOM_FEATURES, "batch_size": 2}) if kind == "train" else (rock / "test", {})
    workflow = assert_all_properties(BUNDLE, kind, config, monkeypatch, dataset_dir=str(folder), **values)
    assert isinstance(workflow.network_def, EquivariantGenerator)


def test_configs_agree() -> None:
    train, inference, evaluate = load("train.json"), load("inference.json"), load("evaluate.json")
    for key in ("network_def", "network_options", "upscale", "model_name", "intensity_range"):
        assert train[key] == inference[key], key
    assert train["degradation_name"] == evaluate["degradation_name"]
    for key in ("weights", "width"):
        assert train["features"][key] == evaluate["features"][key], key
    for key in ("name", "upscale", "options"):
        assert train["degradation"][key] == evaluate["degradation"][key]
    assert {**train["validate"]["prepare_batch"], "_desc_": ""} == {**evaluate["prepare_batch"], "_desc_": ""}
    train_3d, inference_3d = load("train_3d.json"), load("inference_3d.json")
    assert inference_3d == {key: train_3d[key] for key in inference_3d}
    paper, inference_paper = load("paper.json"), load("inference_paper.json")
    assert all(paper[key] == value for key, value in inference_paper.items() if key != "_comment")
    for variant in (train_3d, paper, load("pairs.json"), load("smoke.json")):
        new = {key.partition("#")[0] for key in variant} - train.keys() - {"synthetic_data", "pair_kind"}
        assert not new


def test_torchscript_by_monai_gives_the_same_numbers(
    scratch: Path, network: EquivariantGenerator, python: WarmPython
) -> None:
    where = overrides(
        net_id="network_def",
        filepath=scratch / "model.ts",
        ckpt_file=scratch / "models" / "model.pt",
        meta_file="configs/metadata.json",
        config_file="configs/inference.json",
        **OPTIONS,
    )
    done = python("monai.bundle", "ckpt_export", *where, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    exported = torch.jit.load(scratch / "model.ts").eval()
    assert (exported.upscale, exported.halo()) == (4, network.halo())
    image = torch.rand(1, 1, 19, 26)
    with torch.no_grad():
        torch.testing.assert_close(exported(image), network(image), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["ts", "pt2", "onnx"])
def test_tools_export_it_for_any_size(file_format: str, tmp_path: Path) -> None:
    if file_format == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    network = parsed("inference.json").get_parsed_content("network_def")
    save_weights(network, tmp_path / "model.pt")
    report = export_bundle(
        BUNDLE, tmp_path / f"model.{file_format}", tmp_path / "model.pt", file_format, dynamic=True, size=[24, 20]
    )
    assert len(report.parity) == 3
    assert max(parity.difference for parity in report.parity) < 1e-4


# -- the README --------------------------------------------------------------------------------------------------


def tiny_copy(repository: Path) -> None:
    """The bundle with small networks, and one epoch of each phase, where a repository would have it."""
    bundle = repository / "bundles" / NAME
    shutil.copytree(BUNDLE, bundle, ignore=shutil.ignore_patterns("models", "eval", "__pycache__"))
    (repository / "tools").mkdir()
    shutil.copy(SCHEMA, repository / "tools")
    smoke = load("smoke.json")
    for path in (bundle / "configs").glob("*.json"):
        config = load(path.name)
        changed = {key: value for key, value in smoke.items() if key in config or key.partition("#")[0] in config}
        path.write_text(json.dumps({**config, **changed}), encoding="utf-8")
    paper = {
        **load("paper.json"),
        **{key: smoke[key] for key in load("paper.json") if key in smoke},
        "train#prepare_batch#patch_size": 16,
    }
    (bundle / "configs" / "paper.json").write_text(json.dumps(paper), encoding="utf-8")
    save_random_weights(bundle, "inference.json")
    save_random_weights(bundle, "inference.json", "inference_3d.json")
    shutil.copy(bundle / "models" / "model.pt", bundle / "models" / "model_pixel.pt")


def tiny_command(command: str, folder: Path) -> str:
    for name in ("DATA3D", "DATA"):
        command = command.replace(f"${name}", str(folder / name.lower()))
    command = command.replace("/workspace/data/DeepRockSR", str(folder / "pairs"))
    command = re.sub(r"--epochs#(\w+) ([1-9]\d*)", r"--epochs#\1 2", command)
    if "tools data make" in command:
        command += " --n_train 4 --n_valid 2 --n_test 1 --size " + ("48" if "rock_3d" in command else "64")
    return command


@pytest.mark.slow
@pytest.mark.parametrize("from_root", [False, True], ids=["bundle folder", "repository root"])
def test_every_command_of_the_readme_runs(from_root: bool, tmp_path: Path, python: WarmPython) -> None:
    repository = tmp_path / "repository"
    tiny_copy(repository)
    write_pairs(tmp_path / "pairs")
    run_readme(python, BUNDLE, repository, from_root, lambda command: tiny_command(command, tmp_path))
    bundle = repository / "bundles" / NAME
    written = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*")}
    models = ("own/model.pt", "own/model_3d.pt", "model.ts", "model.onnx")
    assert {f"models/{name}" for name in models} <= written
    tables = ("test/metrics.csv", "test/pore_space.csv", "test_3d/metrics.csv", "pairs/metrics.csv")
    assert {f"eval/{name}" for name in tables} <= written
