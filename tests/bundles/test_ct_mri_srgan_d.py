"""The SRGAN-D bundle as its user meets it: commands on files, from the repository and from the bundle's folder."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from bundle_checks import SCHEMA, TORCHRUN, assert_all_properties, assert_one_line, load_config, read_csv, run_readme
from bundle_commands import ROOT, WarmPython, network_options, overrides
from monai.bundle import verify_metadata, verify_net_in_out
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from common.engines import load_weights
from common.handlers import save_weights
from common.networks import EquivariantGenerator, RrdbGenerator, Vgg19Features
from common.operators.degradation import degradation, resize
from common.phantoms.brain_phantom import brain_phantom

NAME = "ct_mri_srgan_d_super_resolution"
BUNDLE = ROOT / "bundles" / NAME
CONFIGS = BUNDLE / "configs"
SMALL = {"n_blocks": 1, "width": 4, "growth": 4}
OPTIONS = network_options(SMALL)
VGG_WIDTH = 4
EVALUATE = "['configs/inference.json','configs/evaluate.json']"
SMOKE = "['configs/train.json','configs/smoke.json']"


def generator(options: dict[str, int]) -> EquivariantGenerator:
    """The network of the configurations."""
    return EquivariantGenerator(RrdbGenerator(**options, bounded=False))


def texture_image(seed: int, height: int, width: int) -> NDArray[np.float64]:
    """Edges and shades, from 0 to 1."""
    image = gaussian_filter(np.random.default_rng(seed).random((height, width)), 2)
    image = (image > 0.5) * 0.4 + (image - image.min()) / np.ptp(image) * 0.6
    return image / image.max()


def write_png(path: Path, image: NDArray[np.float64]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `models/vgg19_textures.pt`: untrained, tiny."""
    folder = tmp_path_factory.mktemp("srgan_d")
    torch.manual_seed(0)
    save_weights(Vgg19Features("random", width=VGG_WIDTH), folder / "models" / "vgg19_textures.pt")
    return folder


@pytest.fixture(scope="module")
def images(scratch: Path) -> Path:
    """A data set to train on."""
    folder = scratch / "images"
    for seed, name in enumerate(["train/1", "train/2", "train/3", "train/4", "valid/5", "valid/6", "test/7"]):
        write_png(folder / f"{name}.png", texture_image(seed, 64, 72))
    return folder


@pytest.fixture(scope="module")
def network(scratch: Path) -> EquivariantGenerator:
    """A small generator, as stored on disk."""
    torch.manual_seed(0)
    network = generator(SMALL)
    save_weights(network, scratch / "models" / "model.pt", half=True)
    return load_weights(network, scratch / "models" / "model.pt").eval()


def enlarge(network: EquivariantGenerator, image: NDArray) -> NDArray[np.float64]:
    with torch.no_grad():
        return network(torch.from_numpy(image.astype(np.float32))[None, None])[0, 0].double().numpy()


# -- training ----------------------------------------------------------------------------------------------------


def training(scratch: Path, images: Path, folder: Path, **more: object) -> list[str]:
    return overrides(
        dataset_dir=images,
        output_dir=folder,
        ckpt_dir=folder,
        features__weights=scratch / "models" / "vgg19_textures.pt",
        features__width=VGG_WIDTH,
        **more,
    )


@pytest.fixture(scope="module")
def trained(scratch: Path, images: Path, python: WarmPython) -> Path:
    """The output of a training that was started in the bundle's folder."""
    folder = scratch / "training"
    done = python("monai.bundle", "run", "--config_file", SMOKE, *training(scratch, images, folder), cwd=BUNDLE)
    assert done.status == 0, done.stderr
    assert "epoch 4/4 [gan_large]" in done.stdout
    return folder


def smoke_network() -> EquivariantGenerator:
    smoke = load_config(BUNDLE, "smoke.json")
    return generator({name: smoke[f"network_options#{name}"] for name in SMALL})


def test_one_command_runs_all_phases(trained: Path) -> None:
    rows = read_csv(trained / "history.csv")
    assert [row["phase"] for row in rows] == ["pixel", "pixel_large", "gan", "gan_large"]
    for row, has_critic in zip(rows, (False, False, True, True), strict=True):
        for term in ("loss_perceptual", "loss_adversarial", "loss_critic"):
            assert bool(row[term]) is has_critic, (row["phase"], term)
            assert not has_critic or math.isfinite(float(row[term]))
    assert float(rows[3]["psnr_bicubic"]) > 10
    assert list(trained.glob("events.out.tfevents.*"))


def test_weights_of_each_phase_are_kept(trained: Path) -> None:
    states = {
        phase: torch.load(trained / f"model_{phase}.pt", weights_only=True)
        for phase in ("pixel", "pixel_large", "gan", "gan_large")
    }
    last = torch.load(trained / "model.pt", weights_only=True)
    assert {value.dtype for value in last.values()} == {torch.float16}
    load_weights(smoke_network(), trained / "model.pt")
    name = "head.conv.weight" if "head.conv.weight" in last else next(iter(last))
    assert torch.equal(last[name], states["gan_large"][name])
    values = [state[name].float() for state in states.values()]
    for i, one in enumerate(values):
        for other in values[i + 1 :]:
            assert not torch.equal(one, other)


def test_training_goes_on_in_the_phase_where_it_stopped(
    trained: Path, images: Path, scratch: Path, python: WarmPython
) -> None:
    folder = scratch / "resumed"
    shutil.copytree(trained, folder)
    command = ["monai.bundle", "run", "--config_file", SMOKE, *training(scratch, images, folder)]
    done = python(*command, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    assert "already has its 4 epochs" in done.stdout
    done = python(*command, *overrides(epochs__gan_large=2), cwd=BUNDLE)
    assert done.status == 0, done.stderr
    before, after = read_csv(trained / "history.csv"), read_csv(folder / "history.csv")
    assert [row["phase"] for row in after] == ["pixel", "pixel_large", "gan", "gan_large", "gan_large"]
    assert after[:4] == before


def test_a_gan_starts_from_given_weights(trained: Path, images: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / "from_weights"
    config = "['configs/train.json','configs/smoke.json','configs/baseline.json']"
    small = {"pixel": 12, "pixel_large": 16, "gan": 12, "gan_large": 12}
    where = training(
        scratch,
        images,
        folder,
        initial_weights=trained / "model_pixel_large.pt",
        epochs={"pixel": 0, "pixel_large": 0, "gan": 1, "gan_large": 0},
        train__prepare_batch__patch_size=small,
        discriminator_options__dropout={"gan": 0.0},
        learning_rate=0.0,
    )
    done = python("monai.bundle", "run", "--config_file", config, *where, *overrides(phases__phases=[]), cwd=BUNDLE)
    assert done.status == 1  # an override that leaves no phase is told
    assert "at least one phase" in done.errors[0]
    done = python("monai.bundle", "run", "--config_file", config, *where, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    start = torch.load(trained / "model_pixel_large.pt", weights_only=True)
    end = torch.load(folder / "model.pt", weights_only=True)
    moved = max((end[name].float() - start[name].float()).abs().max().item() for name in start)
    assert 0 < moved < 0.01, "one epoch at a rate of 1e-4 stays near its start"


def test_ct_trains_with_the_window_that_is_typed(scratch: Path, tmp_path: Path, python: WarmPython) -> None:
    """Hounsfield units + 1024 in 16 bits, some beyond the window of 24 to 3024."""
    hounsfield = {name: 3400 * texture_image(seed, 64, 72) - 1100 for seed, name in enumerate("abcdv")}
    for name, values in hounsfield.items():
        path = tmp_path / "ct" / ("valid" if name == "v" else "train") / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(values + 1024).clip(0).astype(np.uint16)).save(path)
    where = training(scratch, tmp_path / "ct", tmp_path / "out")
    command = ["monai.bundle", "run", "--config_file", SMOKE, *where, "--intensity_range", "[24, 3024]"]
    done = python(*command, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    row = read_csv(tmp_path / "out" / "history.csv")[-1]
    truth = (np.rint(hounsfield["v"]) + 1000) / 3000
    assert (truth > 1).any()
    small = Image.fromarray(truth.astype(np.float32)).resize((18, 16), Image.Resampling.BICUBIC)
    bicubic = np.asarray(small.resize((72, 64), Image.Resampling.BICUBIC))
    error = np.mean((bicubic.clip(0, 1) - truth.clip(0, 1))[4:-4, 4:-4] ** 2)
    assert float(row["psnr_bicubic"]) == pytest.approx(-10 * math.log10(error), abs=0.02)


@pytest.mark.slow
def test_two_processes_train_together(images: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / "two_processes"
    config = "['configs/train.json','configs/smoke.json','configs/multi_gpu.json']"
    where = training(scratch, images, folder, batch_size=2)
    done = python(*TORCHRUN, "--config_file", config, *where, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    load_weights(smoke_network(), folder / "model.pt")
    rows = read_csv(folder / "history.csv")
    assert all(math.isfinite(float(row["loss"])) for row in rows)


# -- inference and evaluation ------------------------------------------------------------------------------------

AFFINE = np.array([[0, -1.5, 0, 4], [0.9, 0, 0, -3], [0, 0, 5, 20], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def enlarged(scratch: Path, network: EquivariantGenerator, python: WarmPython) -> Path:
    """Inference from the repository's root on files of odd sizes."""
    inputs, folder = scratch / "mixed", scratch / "inference"
    write_png(inputs / "head.png", texture_image(0, 31, 27))
    tifffile.imwrite(inputs / "slab.tif", np.rint(4000 * texture_image(1, 23, 37)).astype(np.uint16))
    stored = np.rint(900 * np.stack([texture_image(2, 26, 21), texture_image(3, 26, 21)], axis=-1)).astype(np.int16)
    nibabel.save(nibabel.nifti1.Nifti1Image(stored, AFFINE), inputs / "volume.nii.gz")
    bundle = BUNDLE.relative_to(ROOT)
    where = overrides(bundle_root=bundle, dataset_dir=inputs, ckpt_dir=scratch / "models", output_dir=folder, **OPTIONS)
    done = python("monai.bundle", "run", "--config_file", f"{bundle}/configs/inference.json", *where)
    assert done.status == 0, done.stderr
    return folder / "enlarged"


def test_inference_enlarges_each_file_in_its_own_format(
    enlarged: Path, scratch: Path, network: EquivariantGenerator
) -> None:
    names = [path.name for path in enlarged.iterdir() if path.suffix != ".json"]
    assert sorted(names) == ["head_x4.png", "slab_x4.tif", "volume_x4.nii.gz"]
    inputs = scratch / "mixed"

    with Image.open(inputs / "head.png") as before, Image.open(enlarged / "head_x4.png") as after:
        assert (after.mode, after.size) == ("L", (108, 124))
        expected = (255 * enlarge(network, np.asarray(before) / 255)).clip(0, 255)
        np.testing.assert_allclose(np.asarray(after), expected, atol=0.51)

    slab, result = tifffile.imread(inputs / "slab.tif"), tifffile.imread(enlarged / "slab_x4.tif")
    assert result.dtype == np.uint16
    peak = slab.max()
    np.testing.assert_allclose(result, (peak * enlarge(network, slab / peak)).clip(0), atol=1)
    assert result.max() > peak, "values above the largest of the input are kept"

    before, after = nibabel.load(inputs / "volume.nii.gz"), nibabel.load(enlarged / "volume_x4.nii.gz")
    volume = before.get_fdata()  # type: ignore[attr-defined]
    assert after.shape == (104, 84, 2)  # type: ignore[attr-defined]
    # the first axis of NIfTI is x, along a row
    slices = [enlarge(network, volume[..., k].T / volume.max()).T for k in range(2)]
    expected = np.stack(slices, axis=-1) * volume.max()
    np.testing.assert_allclose(after.get_fdata(), expected, atol=1)  # type: ignore[attr-defined]
    new = after.affine  # type: ignore[attr-defined]
    np.testing.assert_allclose(new[:3, :2], AFFINE[:3, :2] / 4)
    np.testing.assert_allclose(new[:3, 2], AFFINE[:3, 2])
    first_corner, new_corner = AFFINE @ [-0.5, -0.5, 0, 1], new @ [-0.5, -0.5, 0, 1]
    np.testing.assert_allclose(new_corner, first_corner, atol=1e-6)


def test_evaluation_measures_what_an_independent_computation_finds(
    scratch: Path, images: Path, network: EquivariantGenerator, python: WarmPython
) -> None:
    folder = scratch / "evaluation"
    vgg = {"features#weights": scratch / "models" / "vgg19_textures.pt", "features#width": VGG_WIDTH}
    where = overrides(dataset_dir=images, ckpt_dir=scratch / "models", output_dir=folder, **OPTIONS, **vgg)
    done = python("monai.bundle", "run", "--config_file", EVALUATE, *where, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    assert not (folder / "enlarged").exists()
    rows = {(Path(row["file"]).name, row["method"]): row for row in read_csv(folder / "metrics.csv")}
    assert {method for _, method in rows} == {"nearest", "bicubic", "reconstruction"}
    for name in ("5.png", "6.png"):
        with Image.open(images / "valid" / name) as picture:
            truth = np.asarray(picture, dtype=np.float32) / 255
        small = Image.fromarray(truth).resize((18, 16), Image.Resampling.BICUBIC)
        candidates = {
            "nearest": np.asarray(small.resize((72, 64), Image.Resampling.NEAREST)),
            "bicubic": np.asarray(small.resize((72, 64), Image.Resampling.BICUBIC)),
            "reconstruction": enlarge(network, np.asarray(small)),
        }
        for method, image in candidates.items():
            row = rows[name, method]
            cropped, target = (np.clip(one, 0, 1)[4:-4, 4:-4].astype(float) for one in (image, truth))
            psnr = -10 * math.log10(np.mean((cropped - target) ** 2))
            ssim = structural_similarity(
                target, cropped, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
            assert float(row["psnr"]) == pytest.approx(psnr, abs=1e-3)
            assert float(row["ssim"]) == pytest.approx(ssim, abs=1e-3)
            assert float(row["perceptual"]) > 0
    assert list((folder / "panels").glob("*.png"))


# -- bad input ---------------------------------------------------------------------------------------------------


def colour_picture(folder: Path) -> list[str]:
    colours = np.random.default_rng(0).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(colours).save(folder / "photo.png")
    return []


def cut_picture(folder: Path) -> list[str]:
    write_png(folder / "head.png", texture_image(0, 40, 40))
    content = (folder / "head.png").read_bytes()
    (folder / "head.png").write_bytes(content[: len(content) // 2])
    return []


def nothing_to_read(folder: Path) -> list[str]:
    (folder / "notes.txt").write_text("nothing")
    return []


def other_upscale(folder: Path) -> list[str]:
    write_png(folder / "head.png", texture_image(0, 20, 24))
    return overrides(upscale=2)


def no_weights(folder: Path) -> list[str]:
    write_png(folder / "head.png", texture_image(0, 20, 24))
    return overrides(checkpoint=folder / "none.pt")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (colour_picture, r"photo\.png.*(colour|RGB|grey)"),
        (cut_picture, r"head\.png"),
        (nothing_to_read, r"nothing_to_read.*tools data make chest_ct"),
        (other_upscale, r"model\.pt: does not fit"),
        (no_weights, r"none\.pt: no such weights"),
    ],
)
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
    where = overrides(dataset_dir=folder, ckpt_dir=scratch / "models", output_dir=tmp_path / "out", **OPTIONS)
    done = python("monai.bundle", "run", "--config_file", "configs/inference.json", *where, *make(folder), cwd=BUNDLE)
    assert_one_line(done, message)
    assert not [path for path in tmp_path.glob("out/**/*") if path.is_file()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train#prepare_batch#patch_size": {"pixel": 30, "pixel_large": 30, "gan": 12, "gan_large": 12}},
            r"\.png: expected a high-resol",
        ),
        ({"degradation_name": "fog"}, r"unknown degradation 'fog'"),
        ({"features#weights": "none.pt"}, r"no VGG19 weights at 'none\.pt'"),
        ({"discriminator_options#dropout": {"gan": 2.0}}, r"dropout of phase 'gan': expected a factor in \[0, 1\]"),
    ],
)
def test_bad_options_end_training_with_one_line(
    change: dict[str, Any], message: str, images: Path, scratch: Path, tmp_path: Path, python: WarmPython
) -> None:
    where = training(scratch, images, tmp_path / "out")
    done = python("monai.bundle", "run", "--config_file", SMOKE, *where, *overrides(**change), cwd=BUNDLE)
    assert_one_line(done, message)
    assert not (tmp_path / "out" / "model.pt").exists()


# -- metadata, properties, exports -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:No hash value provided")
def test_metadata_is_valid() -> None:
    verify_metadata(meta_file=str(CONFIGS / "metadata.json"), filepath=SCHEMA)
    metadata = load_config(BUNDLE, "metadata.json")
    assert metadata["version"] in metadata["changelog"]


def test_network_takes_and_gives_what_the_metadata_says() -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=str(CONFIGS / "inference.json"),
        device="cpu",
        any=13,
        **OPTIONS,
    )


@pytest.mark.parametrize(("kind", "config"), [("train", "train.json"), ("infer", "inference.json")])
def test_workflow_has_all_properties(
    kind: str, config: str, images: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vgg = {"features#weights": str(scratch / "models" / "vgg19_textures.pt"), "features#width": VGG_WIDTH}
    values = {"dataset_dir": str(images), **vgg} if kind == "train" else {"dataset_dir": str(images / "test")}
    workflow = assert_all_properties(BUNDLE, kind, config, monkeypatch, **values, **OPTIONS)
    assert isinstance(workflow.network_def, EquivariantGenerator)


def test_train_and_inference_agree() -> None:
    train, inference = load_config(BUNDLE, "train.json"), load_config(BUNDLE, "inference.json")
    for key in ("network_def", "upscale", "network_options"):
        assert train[key] == inference[key], key
    assert train["features"]["width"] == load_config(BUNDLE, "evaluate.json")["features"]["width"]


def test_shipped_weights_fit_the_configuration_and_beat_bicubic_on_a_phantom() -> None:
    """They were trained on brains: on a synthetic head, which they never saw, the pixel phases' are above bicubic."""
    config = load_config(BUNDLE, "inference.json")
    options = {key: config["network_options"][key] for key in SMALL}
    network = load_weights(generator(options), BUNDLE / "models" / "model_pixel_large.pt").eval()
    load_weights(generator(options), BUNDLE / "models" / "model.pt")
    truth = torch.from_numpy(brain_phantom(seed=3)).abs().float()[None, None]
    lr_image = degradation("bicubic", 4)(truth, torch.Generator())
    with torch.no_grad():
        sr_image = network(lr_image)
    errors = [(image.clamp(0, 1) - truth).square().mean() for image in (sr_image, resize(lr_image, truth.shape[2:]))]
    assert errors[0] < 0.9 * errors[1]


def export_arguments(scratch: Path, filepath: Path) -> list[str]:
    return overrides(
        net_id="network_def",
        filepath=filepath,
        ckpt_file=scratch / "models" / "model.pt",
        meta_file="configs/metadata.json",
        config_file="configs/inference.json",
        **OPTIONS,
    )


def test_torchscript_gives_the_same_numbers(scratch: Path, network: EquivariantGenerator, python: WarmPython) -> None:
    done = python("monai.bundle", "ckpt_export", *export_arguments(scratch, scratch / "model.ts"), cwd=BUNDLE)
    assert done.status == 0, done.stderr
    exported = torch.jit.load(scratch / "model.ts").eval()
    for shape in ((16, 20), (13, 7)):
        image = torch.rand(2, 1, *shape)
        with torch.no_grad():
            torch.testing.assert_close(exported(image), network(image), rtol=0, atol=1e-6)


# -- the README --------------------------------------------------------------------------------------------------


def tiny_copy(repository: Path, scratch: Path) -> None:
    """The bundle with a small network, and one epoch of each phase, where a repository would have it."""
    bundle = repository / "bundles" / NAME
    shutil.copytree(BUNDLE, bundle, ignore=shutil.ignore_patterns("models", "eval", "__pycache__"))
    (repository / "tools").mkdir()
    shutil.copy(SCHEMA, repository / "tools")
    shutil.copytree(scratch / "models", bundle / "models")
    shutil.copy(bundle / "models" / "model.pt", bundle / "models" / "model_pixel_large.pt")
    small = {key: value for key, value in load_config(BUNDLE, "smoke.json").items() if key != "synthetic_data"}
    patches = dict.fromkeys(small["train#prepare_batch#patch_size"], 8)
    small |= {**OPTIONS, "features#width": VGG_WIDTH, "train#prepare_batch#patch_size": patches}
    changes: dict[str, dict[str, Any]] = {
        "train.json": small,
        "smoke.json": small,
        "baseline.json": {"train#prepare_batch#patch_size": patches},
        "inference.json": OPTIONS,
        "evaluate.json": {"features#width": VGG_WIDTH},
    }
    for name, change in changes.items():
        config = {**load_config(BUNDLE, name), **change}
        (bundle / "configs" / name).write_text(json.dumps(config), encoding="utf-8")


def tiny_command(command: str, data: Path) -> str:
    command = command.replace("$DATA", str(data)).replace("/workspace/data/textures", str(data.with_name("textures")))
    command = re.sub(r"(--epochs#\w+) \d+", r"\1 1", command)
    command = re.sub(r"('\w+'): [1-9]\d*", r"\1: 1", command)
    if "tools data make chest_ct" in command:
        command += " --n_train 8 --n_valid 2 --n_test 1 --size 64"
    if "tools data make textures" in command:
        command += " --n_train 32 --n_valid 16 --size 32"
    if "train_vgg.json" in command:
        small = "--epochs \"{'small': 1, 'large': 1}\" --patch_size \"{'small': 16, 'large': 16}\" --image_size 32"
        command += f" --width {VGG_WIDTH} {small} --batch_size 4"
    return command


@pytest.mark.slow
@pytest.mark.parametrize("start", ["bundle folder", "repository root"])
def test_every_command_of_the_readme_runs(
    start: str, tmp_path: Path, scratch: Path, network: EquivariantGenerator, python: WarmPython
) -> None:
    repository, data = tmp_path / "repository", tmp_path / "data"
    tiny_copy(repository, scratch)
    run_readme(python, BUNDLE, repository, start == "repository root", lambda line: tiny_command(line, data))
    written = {
        path.relative_to(repository / "bundles" / NAME).as_posix()
        for path in repository.rglob("*")
        if NAME in path.parts
    }
    assert {"models/own/model.pt", "models/model.ts", "models/model.onnx", "eval/valid/metrics.csv"} <= written
    assert [name for name in written if name.startswith("eval/enlarged/") and "_x4" in name]
