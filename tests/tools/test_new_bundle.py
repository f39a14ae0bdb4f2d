"""`tools new`: the skeletons are whole, refuse bad names, and train, evaluate and infer as they are."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from numpy.typing import NDArray
from PIL import Image

from common.operators import channels_to_complex, fft2c, ifft2c, pack_measurement
from common.operators.masks import sampling_mask
from common.phantoms.sets import make_tiny_set
from tools.command import run_commands
from tools.new import KINDS, PLACEHOLDER, SHARED, TEMPLATES, new, write_skeleton
from tools.run.reader import read_task_list
from tools.zoo.verify import verify_bundle

ROOT = Path(__file__).resolve().parents[2]
NAMES = {kind: f"knee_mri_example_{kind}" for kind in KINDS}
NAME = NAMES["reconstruction"]
CONFIGS = ("evaluate", "inference", "metadata", "multi_gpu", "smoke", "train")


@pytest.fixture(scope="module")
def skeletons(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return {kind: write_skeleton(name, kind, folder) for kind, name in NAMES.items()}


@pytest.fixture(params=KINDS)
def skeleton(request, skeletons) -> tuple[str, Path]:
    return request.param, skeletons[request.param]


def load(bundle: Path, config: str) -> dict:
    return json.loads((bundle / "configs" / f"{config}.json").read_text(encoding="utf-8"))


# -- what is written ---------------------------------------------------------------------------------------------


def test_skeleton_has_the_files_of_the_house(skeleton):
    kind, bundle = skeleton
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    expected = {f"configs/{name}.json" for name in CONFIGS} | {"configs/logging.conf", "LICENSE", "recipe.yaml"}
    expected |= {"docs/README.md", "docs/data_license.txt"}
    expected |= {f"scripts/{NAMES[kind]}_network.py", f"scripts/{NAMES[kind]}_objective.py"}
    assert expected <= files
    assert not list(bundle.glob("models/*"))
    assert all(name in expected or name.startswith(f"scripts/{NAMES[kind]}_") for name in files)
    assert (bundle / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert {path.name for path in bundle.parent.iterdir()} == set(NAMES.values())
    texts = {name: (bundle / name).read_text(encoding="utf-8") for name in files}
    assert not [name for name, text in texts.items() if PLACEHOLDER in text or str(ROOT) in text]
    (task,) = read_task_list(bundle / "recipe.yaml").selected
    assert task.bundle == bundle


def test_metadata_are_valid_and_say_what_is_to_be_filled_in(skeleton):
    kind, bundle = skeleton
    metadata = load(bundle, "metadata")
    schema = json.loads((ROOT / "tools" / "meta_schema.json").read_text(encoding="utf-8"))
    assert not list(Draft202012Validator(schema).iter_errors(metadata))
    assert metadata["monai_version"] == version("monai")
    assert metadata["required_packages_version"]["pytorch-ignite"] == version("pytorch-ignite")
    assert "untrained" in metadata["name"]
    assert "untrained" in metadata["changelog"][metadata["version"]]
    assert metadata["eval_metrics"] == {}
    for key in ("task", "description", "authors", "copyright", "data_source"):
        assert "fill in" in metadata[key]
    image = metadata["network_data_format"]["inputs"]["image"]
    assert (image["format"], image["num_channels"]) == (("kspace", 3) if kind == "reconstruction" else ("magnitude", 1))


def test_scripts_keep_the_style_of_the_house(skeleton):
    pytest.importorskip("ruff")
    _, bundle = skeleton
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "--config", str(ROOT / "bundles" / "ruff.toml")]
        done = subprocess.run([*ruff, str(bundle)], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


# -- what is refused ---------------------------------------------------------------------------------------------


FORM = "name must be of small letters"


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        *((name, "reconstruction", FORM) for name in ("", "Knee", "knee-mri", "_knee", "knee__mri", "../knee", "knée")),
        ("lambda", "reconstruction", FORM),
        ("knee_v2_net", "reconstruction", "must not hold _v and a digit"),
        ("brain_mri_refinegan_reconstruction", "reconstruction", "this repository has a bundle of that name"),
        ("knee_mri", "segmentation", "kind must be one of reconstruction, super_resolution"),
    ],
)
def test_bad_input_is_refused(name, kind, message, tmp_path, capsys):
    assert run_commands({"new": new}, "tools", ["new", name, "--kind", kind, "--out", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert re.search(f"^error: .*{message}.*\n$", captured.err)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_kept(tmp_path):
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=f"{NAME} exists; choose another name"):
        write_skeleton(NAME, "reconstruction", tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == [NAME, "thesis.txt"]


def test_nothing_half_written_stays(tmp_path, monkeypatch):
    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("tools.new.shutil.copy", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_skeleton(NAME, "super_resolution", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_command_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_commands({"new": new}, "tools", ["new", NAME, "--kind=reconstruction", "--out=mine"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"wrote mine/{NAME}\n")
    assert f"['mine/{NAME}/configs/train.json','mine/{NAME}/configs/smoke.json']\" --dataset_dir out/brains" in out
    assert f"python -m tools zoo verify mine/{NAME}\n" in out


# -- the methods that they begin with ----------------------------------------------------------------------------


def script(path: Path) -> ModuleType:
    """A module of a template, without the package `scripts`, of which a process has one."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_objective_has_the_terms_it_says():
    objective = script(SHARED / "scripts" / f"{PLACEHOLDER}_objective.py").PixelAdversarialObjective("hinge")
    batch = {"label": torch.ones(2, 1, 4, 4)}
    prediction = torch.full((2, 1, 4, 4), 0.25)
    assert objective.generator_terms(batch, prediction, None) == {"pixel": torch.tensor(0.75)}

    def scores(image: torch.Tensor) -> list[torch.Tensor]:
        return [torch.tensor(99.0), image.mean() - 0.5]  # features, then scores: 0.5 real, -0.25 fake

    terms = objective.generator_terms(batch, prediction, scores)
    assert terms["adversarial"] == 0.25
    assert objective.discriminator_terms(batch, prediction, scores)["discriminator"] == (1 - 0.5) + (1 - 0.25)


def test_reconstruction_changes_the_image_and_keeps_what_was_measured():
    torch.manual_seed(0)
    path = TEMPLATES / "reconstruction" / "scripts" / f"{PLACEHOLDER}_network.py"
    network = script(path).ReconstructionNetwork(width=4)  # in training: untrained statistics of batch norm
    torch.nn.init.normal_(network.unet.head.weight)
    image = torch.rand(2, 1, 21, 26).to(torch.complex64) * 1j
    mask = sampling_mask("cartesian", (21, 26), 0.4, seed=0)
    with torch.no_grad():
        result = channels_to_complex(network(pack_measurement(mask * fft2c(image), mask)))
    assert result.shape == image.shape
    torch.testing.assert_close(mask * fft2c(result), mask * fft2c(image), rtol=0, atol=1e-5)
    assert (result - ifft2c(mask * fft2c(image))).abs().mean() > 0.01


def pillow(image: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_super_resolution_adds_a_correction_to_pillows_bicubic(upscale):
    torch.manual_seed(0)
    path = TEMPLATES / "super_resolution" / "scripts" / f"{PLACEHOLDER}_network.py"
    network = script(path).SuperResolutionNetwork(upscale, width=4, n_blocks=1).eval()
    image = np.random.default_rng(0).random((13, 10), dtype=np.float32)
    with torch.no_grad():
        corrected = network(torch.from_numpy(image)[None, None])[0, 0].numpy()
        network.correction[-1].conv.weight.zero_()
        network.correction[-1].conv.bias.zero_()
        bicubic_alone = network(torch.from_numpy(image)[None, None])[0, 0].numpy()
    expected = pillow(image, 13 * upscale, 10 * upscale)
    np.testing.assert_allclose(bicubic_alone, expected, atol=1e-5)
    assert np.abs(corrected - expected).mean() > 0.01


# -- real runs ---------------------------------------------------------------------------------------------------

RUNS = """
import json, sys
from monai.bundle import run
for configs, arguments in json.loads(sys.argv[1]):
    run(config_file=configs, **arguments)
"""


@pytest.fixture(scope="module")
def all_runs(skeletons, tmp_path_factory) -> Path:
    """Training, evaluation and inference of both kinds in one process: the folder of data and results."""
    folder = tmp_path_factory.mktemp("runs")
    data = folder / "data"
    make_tiny_set("brain_mri", data)
    volume = np.random.default_rng(0).integers(0, 900, (18, 15, 2)).astype(np.int16)
    nibabel.save(nibabel.nifti1.Nifti1Image(volume, np.diag([2.0, 3.0, 5.0, 1.0])), data / "test" / "volume.nii.gz")
    request = []
    for kind, bundle in skeletons.items():
        out = folder / kind
        places = {"dataset_dir": str(data), "output_dir": str(out), "ckpt_dir": str(out), "network_options#width": 4}
        small = {"batch_size": 2, "train#preprocessing#spatial_size": [32, 32]}
        inference = {"dataset_dir": str(data / "test"), "output_dir": str(out / "inference")}
        for names, given in ((["train", "smoke"], small), (["inference", "evaluate"], {}), (["inference"], inference)):
            request.append(([str(bundle / "configs" / f"{name}.json") for name in names], {**places, **given}))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MONAI_DEBUG": "false"}
    command = [sys.executable, "-c", RUNS, json.dumps(request)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(params=KINDS)
def runs(request, all_runs) -> tuple[str, Path, Path]:
    """Kind, results, data."""
    return request.param, all_runs / request.param, all_runs / "data"


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_training_logs_every_term_and_keeps_weights(runs):
    _, out, _ = runs
    rows = read_csv(out / "history.csv")
    assert [row["phase"] for row in rows] == ["pixel", "gan"]
    for term in ("loss_pixel", "loss_adversarial", "loss_discriminator", "psnr"):
        assert math.isfinite(float(rows[1][term]))
    weights = torch.load(out / "model.pt", weights_only=True)
    assert weights
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float16}


def test_evaluation_measures_the_baseline_beside_the_network(runs):
    kind, out, _ = runs
    rows = read_csv(out / "metrics.csv")
    baselines = ["zero_filled"] if kind == "reconstruction" else ["nearest", "bicubic"]
    assert [row["method"] for row in rows] == [*baselines, "reconstruction"] * 2
    assert all(10 < float(row["psnr"]) < 60 for row in rows)
    for row in rows[len(baselines) - 1 :: len(baselines) + 1]:
        with Image.open(row["file"]) as picture:
            truth = np.asarray(picture, np.float32) / 255
        if kind == "reconstruction":
            difference = np.abs(zero_filled(truth, Path(row["file"]).name)) - truth
        else:  # inside the border, as super_resolution_x2 has it
            difference = (bicubic(truth).clip(0, 1) - truth)[2:-2, 2:-2]
        error = np.square(difference).mean(dtype=float)
        assert float(row["psnr"]) == pytest.approx(-10 * math.log10(error), abs=1e-3)


def zero_filled(truth: NDArray, name: str) -> NDArray:
    mask = sampling_mask("cartesian", truth.shape, 0.25, seed=name)[0, 0].numpy()
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(truth)))
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(mask * kspace)))


def bicubic(truth: NDArray) -> NDArray:
    height, width = truth.shape
    return pillow(pillow(truth, height // 2, width // 2), height, width)


def test_inference_writes_each_file_in_its_format_and_geometry(runs):
    kind, out, data = runs
    folder, ending, factor = ("reconstructions", "recon", 1) if kind == "reconstruction" else ("enlarged", "x2", 2)
    written = {path.name for path in (out / "inference" / folder).iterdir()}
    assert written == {f"00001_{ending}.png", f"00002_{ending}.png", f"volume_{ending}.nii.gz"}
    with Image.open(out / "inference" / folder / f"00001_{ending}.png") as picture:
        values = np.asarray(picture)
    assert (values.shape, values.dtype) == ((64 * factor, 64 * factor), np.uint8)
    with Image.open(data / "test" / "00001.png") as picture:
        shown = np.asarray(picture.resize((64 * factor, 64 * factor), Image.Resampling.BICUBIC), float)
    assert np.corrcoef(values.ravel(), shown.ravel())[0, 1] > 0.8  # upright, and not mirrored
    volume = nibabel.load(out / "inference" / folder / f"volume_{ending}.nii.gz")
    assert volume.shape == (18 * factor, 15 * factor, 2)
    assert volume.header.get_zooms() == (2 / factor, 3 / factor, 5)
    corners = np.array([[-0.5, -0.5, 0, 1], [18 * factor - 0.5, 15 * factor - 0.5, 1, 1]])
    np.testing.assert_allclose((corners @ volume.affine.T)[:, :3], [[-1, -1.5, 0], [35, 43.5, 5]])


@pytest.mark.slow  # exports and runs in new interpreters: more than a minute for each kind
def test_skeleton_passes_verify_at_once(skeleton, tmp_path):
    kind, bundle = skeleton
    checks = verify_bundle(str(shutil.copytree(bundle, tmp_path / NAMES[kind])))
    assert [(check.name, check.detail) for check in checks if check.status == "fail"] == []
    warned = {check.name: check.detail for check in checks if check.status == "warn"}
    assert warned == {"file layout": "no models/model.pt"}
    assert {"training", "inference results", "ONNX", "network output"} <= {
        check.name for check in checks if check.status == "pass"
    }
