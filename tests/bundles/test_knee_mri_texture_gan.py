"""The knee bundle as its user meets it: commands on fastMRI-like files, samples, exports, bad input."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch
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
from helpers import SMALL_CASCADE
from monai.bundle import verify_metadata, verify_net_in_out
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from common.engines import load_weights
from common.handlers import save_weights
from common.networks import LightCascade, TextureUNets
from common.operators.masks import AccelerationMasks

NAME = "knee_mri_texture_gan_reconstruction"
BUNDLE = ROOT / "bundles" / NAME
CONFIGS = BUNDLE / "configs"
SMALL: dict[str, Any] = {"n_blocks": 2, "width": 4, "n_textures": 2, "texture_size": 32, "encoder_width": 0.1}
OPTIONS = network_options(SMALL)
SIZE = (48, 40)
COLUMNS = np.isin(np.arange(SIZE[1]), [2, 7, 11, 17, 18, 19, 20, 21, 22, 26, 31, 38])
HEADER = (
    '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>'
    "<encodedSpace><matrixSize><x>{rows}</x><y>{columns}</y><z>1</z></matrixSize>"
    "<fieldOfView_mm><x>{fov}</x><y>80</y><z>3</z></fieldOfView_mm></encodedSpace>"
    "<reconSpace><matrixSize><x>{height}</x><y>{columns}</y><z>1</z></matrixSize>"
    "<fieldOfView_mm><x>72</x><y>80</y><z>3</z></fieldOfView_mm></reconSpace>"
    "<trajectory>cartesian</trajectory><encodingLimits><kspace_encoding_step_1><minimum>0</minimum>"
    "<maximum>{last}</maximum><center>{centre}</center></kspace_encoding_step_1></encodingLimits>"
    "</encoding></ismrmrdHeader>"
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("knee")


def smooth_image(seed: int, *shape: int) -> NDArray[np.complex128]:
    """Something with edges, shades and a smooth phase; magnitudes from 0 to 1."""
    generator = np.random.default_rng(seed)
    noise = gaussian_filter(generator.random(shape), [0] * (len(shape) - 2) + [2, 2])
    image = (noise > 0.5) * 0.4 + (noise - noise.min()) / np.ptp(noise) * 0.6
    phase = gaussian_filter(generator.random(shape), [0] * (len(shape) - 2) + [6, 6])
    return image / image.max() * np.exp(8j * phase)


def centred_fft(image: NDArray) -> NDArray[np.complex128]:
    axes = (-2, -1)
    shifted = np.fft.ifftshift(image, axes=axes)
    return np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=axes)


def centred_ifft(kspace: NDArray) -> NDArray[np.complex128]:
    axes = (-2, -1)
    shifted = np.fft.ifftshift(kspace, axes=axes)
    return np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes=axes)


def header(rows: int = SIZE[0], columns: int = SIZE[1], height: int | None = None) -> str:
    height = rows if height is None else height
    return HEADER.format(
        rows=rows, columns=columns, height=height, fov=72 * rows / height, last=columns - 1, centre=columns // 2
    )


def write_volume(path: Path, kspace: NDArray, xml: str | None = None, **more: NDArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace.astype(np.complex64)
        file["ismrmrd_header"] = header() if xml is None else xml
        for name, values in more.items():
            file[name] = values
        images = np.abs(centred_ifft(kspace))
        file.attrs.update({"max": images.max(), "patient_id": path.stem, "acquisition": "CORPD_FBK"})


@pytest.fixture(scope="module")
def knees(scratch: Path) -> Path:
    """A data set to train on, in units of a scanner."""
    folder = scratch / "knees"
    for seed, name in enumerate(["train/1", "train/2", "valid/3", "test/4"]):
        write_volume(folder / f"{name}.h5", 3e-4 * centred_fft(smooth_image(seed, 2, *SIZE)))
    return folder


@pytest.fixture(scope="module")
def mixed(scratch: Path) -> Path:
    """To infer from: fully sampled with an oversampled readout, measured with a mask, and one of zeros."""
    folder = scratch / "mixed"
    full = 3e-4 * smooth_image(7, 2, 96, 40)
    write_volume(folder / "full.h5", centred_fft(full), header(96, 40, 48), reconstruction_esc=np.abs(full[:, 24:72]))
    measured = centred_fft(2e-3 * smooth_image(8, 2, *SIZE)) * COLUMNS
    measured[1] = 0
    write_volume(folder / "measured.h5", measured, mask=COLUMNS.astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def network(scratch: Path) -> TextureUNets:
    """A small network whose samples differ, as stored on disk."""
    torch.manual_seed(0)
    network = TextureUNets(**SMALL, threshold=0.1, injection="spatial", attention=True)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("head.weight") or "affine" in name:
                parameter.normal_(0, 0.3)
            if name.endswith("strength"):
                parameter.fill_(0.5)
    save_weights(network, scratch / "models" / "model.pt", half=True)
    load_weights(network, scratch / "models" / "model.pt")
    return network.eval()


# -- training ----------------------------------------------------------------------------------------------------

TRAIN = "'configs/train.json','configs/smoke.json'"
TINY = overrides(**OPTIONS, rows__height=32, batch_size=2)


@pytest.fixture(scope="module")
def trained(scratch: Path, knees: Path, python: WarmPython) -> Path:
    """Baseline, and the generative network from it."""
    folder = scratch / "training"
    more = {
        "baseline": "['configs/train.json','configs/smoke.json','configs/baseline.json']",
        "generative": f"[{TRAIN}]",
    }
    for name, config in more.items():
        where = overrides(dataset_dir=knees, output_dir=folder / name, ckpt_dir=folder)
        if name == "generative":
            where += overrides(initial_weights=folder / "model_baseline.pt")
        epochs = ["--epochs", f"{{'pixel': 1, 'gan': {int(name == 'generative')}}}"]
        done = python("monai.bundle", "run", "--config_file", config, *where, *TINY, *epochs, cwd=BUNDLE)
        assert done.status == 0, done.stderr
    return folder


def test_training_writes_both_networks_and_the_terms(trained: Path) -> None:
    assert {"model_baseline.pt", "model.pt", "model_pixel.pt", "model_gan.pt"} <= {p.name for p in trained.iterdir()}
    (first,) = read_csv(trained / "baseline" / "history.csv")
    assert first["phase"] == "pixel"
    rows = read_csv(trained / "generative" / "history.csv")
    assert [row["phase"] for row in rows] == ["pixel", "gan"]
    terms = {"loss_image", "loss_ssim", "loss_diversity", "loss_kl", "loss_texture", "loss_adversarial", "loss_critic"}
    assert all(math.isfinite(float(rows[1][term])) for term in terms)
    assert float(rows[1]["loss_diversity"]) < 0, "samples do not differ"


def test_the_generative_network_starts_from_the_baseline(trained: Path) -> None:
    before = torch.load(trained / "model_baseline.pt", weights_only=True)
    after = torch.load(trained / "model_pixel.pt", weights_only=True)
    name = "blocks.0.network.head.weight"
    torch.testing.assert_close(before[name].float(), after[name].float(), atol=0.02, rtol=0)
    assert "texture_block.network.head.weight" in after


def test_weights_on_disk_are_plain_and_bounded(trained: Path) -> None:
    """Spectral normalisation is in the weights, not beside them, so that MONAI's exports read the network."""
    state = torch.load(trained / "model.pt", weights_only=True)
    network = TextureUNets(**SMALL, threshold=0.1, injection="spatial", attention=True)
    assert state.keys() == network.state_dict().keys()
    for name, module in network.named_modules():
        layer = isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.Linear))
        if layer and not name.startswith("encoder.features"):
            norm = torch.linalg.matrix_norm(state[f"{name}.weight"].float().flatten(1), 2)
            assert norm < 1.15, name


def test_textures_are_trained_alone(trained: Path, knees: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / "textures"
    weights = trained / "model_baseline.pt"
    where = overrides(dataset_dir=knees, output_dir=folder, ckpt_dir=folder, initial_weights=weights)
    config = f"[{TRAIN},'configs/textures.json']"
    done = python(
        "monai.bundle", "run", "--config_file", config, *where, *TINY, *overrides(epochs__pixel=1), cwd=BUNDLE
    )
    assert done.status == 0, done.stderr
    before, after = (torch.load(path, weights_only=True) for path in (weights, folder / "model.pt"))
    for name, value in before.items():
        torch.testing.assert_close(after[name.replace("blocks.1.", "texture_block.")], value, rtol=0, atol=2e-3)
    assert after["texture_block.network.bottom_injection.affine.weight"].abs().max() > 0


def test_the_light_cascade_trains_and_reconstructs(knees: Path, tmp_path: Path, python: WarmPython) -> None:
    where = overrides(dataset_dir=knees, output_dir=tmp_path, ckpt_dir=tmp_path, **network_options(SMALL_CASCADE))
    short = overrides(rows__height=32, batch_size=2, val_interval=5, epochs__pixel=1)
    config = "['configs/train.json','configs/cascade.json']"
    done = python("monai.bundle", "run", "--config_file", config, *where, *short, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    load_weights(LightCascade(**SMALL_CASCADE), tmp_path / "model_cascade.pt")
    config = "['configs/inference.json','configs/evaluate.json','configs/inference_cascade.json']"
    done = python("monai.bundle", "run", "--config_file", config, *where, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    assert (tmp_path / "metrics.csv").is_file()


def test_training_goes_on_where_it_stopped(trained: Path, knees: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / "resumed"
    shutil.copytree(trained / "generative", folder)
    where = overrides(
        dataset_dir=knees, output_dir=folder, ckpt_dir=folder, initial_weights=trained / "model_baseline.pt"
    )
    command = ["monai.bundle", "run", "--config_file", f"[{TRAIN}]", *where, *TINY]
    done = python(*command, "--epochs", "{'pixel': 1, 'gan': 2}", cwd=BUNDLE)
    assert done.status == 0, done.stderr
    assert "resuming after iteration 4" in done.stdout
    assert read_csv(folder / "history.csv")[:2] == read_csv(trained / "generative" / "history.csv")


@pytest.mark.slow
def test_two_processes_train_together(knees: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / "two_processes"
    where = overrides(dataset_dir=knees, output_dir=folder, ckpt_dir=folder)
    config = f"[{TRAIN},'configs/multi_gpu.json']"
    done = python(*TORCHRUN, "--config_file", config, *where, *TINY, *overrides(batch_size=1), cwd=BUNDLE)
    assert done.status == 0, done.stderr
    assert [row["epoch"] for row in read_csv(folder / "history.csv")] == ["1", "2"]


# -- inference ---------------------------------------------------------------------------------------------------

INFER = overrides(**OPTIONS)


def infer(python: WarmPython, scratch: Path, data: Path, out: Path, *more: str, config: str = "") -> Result:
    where = overrides(dataset_dir=data, ckpt_dir=scratch / "models", output_dir=out)
    configs = f"['configs/inference.json'{config}]"
    return python("monai.bundle", "run", "--config_file", configs, *where, *INFER, *more, cwd=BUNDLE)


@pytest.fixture(scope="module")
def inferred(scratch: Path, mixed: Path, network: TextureUNets, python: WarmPython) -> tuple[Path, Result]:
    done = infer(python, scratch, mixed, scratch / "inference", *overrides(n_samples=3))
    assert done.status == 0, done.stderr
    return scratch / "inference", done


def sampled(network: TextureUNets, kspace: NDArray, mask: NDArray, n_samples: int) -> NDArray[np.complex128]:
    """Samples of one slice without the bundle's readers, operators, inferer and engine."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.stack([torch.randn((2, *kspace.shape), generator=generator) for _ in range(n_samples)])
    measurement = np.stack([kspace.real, kspace.imag, np.broadcast_to(mask, kspace.shape)]).astype(np.float32)
    with torch.no_grad():
        images = [network(torch.from_numpy(measurement)[None], one[None])[0].double().numpy() for one in noise]
    return np.stack([real + 1j * imaginary for real, imaginary in images])


def test_inference_writes_mean_deviation_and_sample_in_fastmri_layout(
    inferred: tuple[Path, Result], mixed: Path, network: TextureUNets
) -> None:
    folder = inferred[0] / "reconstructions"
    with h5py.File(mixed / "full.h5") as source, h5py.File(folder / "full.h5") as result:
        scale = source.attrs["max"]
        assert result["reconstruction"].shape == (2, 48, 40), "cropped to reconSpace"
        assert result["reconstruction"].dtype == np.float32
        mask = AccelerationMasks([8])((96, 40), seed=["full.h5"])[0, 0].numpy()
        for index in range(2):
            images = sampled(network, source["kspace"][index] / scale * mask, mask, 3)[:, 24:72]
            deviation = np.sqrt((np.abs(images - images.mean(0)) ** 2).mean(0))
            assert deviation.max() > 1e-3, "these samples are too much alike to tell anything"
            close = {"atol": 2e-4 * scale, "rtol": 0}
            np.testing.assert_allclose(result["reconstruction"][index], scale * np.abs(images.mean(0)), **close)
            np.testing.assert_allclose(result["reconstruction_std"][index], scale * deviation, **close)
            np.testing.assert_allclose(result["reconstruction_sample"][index], scale * np.abs(images[0]), **close)
        assert result.attrs["patient_id"] == "full"
        assert result["ismrmrd_header"][()] == source["ismrmrd_header"][()]

    picture = nibabel.load(folder / "full.nii.gz")
    np.testing.assert_allclose(picture.header.get_zooms(), (2, 1.5, 3))  # type: ignore[attr-defined]
    assert (folder / "full_std.nii.gz").is_file()


def test_every_image_keeps_the_measured_samples(inferred: tuple[Path, Result]) -> None:
    rows = read_csv(inferred[0] / "kspace_residual.csv")
    assert {Path(row["file"]).name for row in rows} == {"full.h5", "measured.h5"}
    assert {row["method"] for row in rows} == {"reconstruction", "sample"}
    values = [float(value) for row in rows for name, value in row.items() if name in ("max", "mean")]
    assert values
    assert max(values) <= 1e-5


def test_a_slice_of_zeros_stays_one(inferred: tuple[Path, Result]) -> None:
    with h5py.File(inferred[0] / "reconstructions" / "measured.h5") as result:
        for name in ("reconstruction", "reconstruction_std", "reconstruction_sample"):
            np.testing.assert_array_equal(result[name][1], 0)
            assert result[name][0].max() > 0


def test_volumes_with_a_truth_are_measured_as_fastmri_does(inferred: tuple[Path, Result], mixed: Path) -> None:
    rows = {(r["file"].rpartition("/")[2], r["method"]): r for r in read_csv(inferred[0] / "metrics.csv")}
    row = rows["full.h5", "reconstruction"]
    with h5py.File(mixed / "full.h5") as source, h5py.File(inferred[0] / "reconstructions" / "full.h5") as result:
        truth, image = source["reconstruction_esc"][()], result["reconstruction"][()].astype(float)
    peak = truth.max()
    assert float(row["psnr"]) == pytest.approx(10 * np.log10(peak**2 / np.mean((truth - image) ** 2)), abs=2e-3)
    assert float(row["nmse"]) == pytest.approx(np.sum((truth - image) ** 2) / np.sum(truth**2), rel=1e-3)
    ssim = np.mean([structural_similarity(t, i, data_range=peak) for t, i in zip(truth, image, strict=True)])
    assert float(row["ssim"]) == pytest.approx(ssim, abs=1e-4)
    assert ("full.h5", "zero_filled") in rows
    (report,) = [r for r in read_csv(inferred[0] / "hallucination.csv") if r["file"].endswith("full.h5")]
    assert -1 <= float(report["spearman"]) <= 1


def test_panels_are_drawn(inferred: tuple[Path, Result]) -> None:
    assert {"full_0.png", "full_1.png"} <= {path.name for path in (inferred[0] / "panels").glob("*.png")}


def test_two_runs_give_the_same_bytes(
    inferred: tuple[Path, Result], mixed: Path, scratch: Path, python: WarmPython
) -> None:
    again = scratch / "again"
    done = infer(python, scratch, mixed, again, *overrides(n_samples=3))
    assert done.status == 0, done.stderr
    for path in (inferred[0] / "reconstructions").iterdir():
        assert path.read_bytes() == (again / "reconstructions" / path.name).read_bytes(), path.name


def test_evaluation_with_one_acceleration(
    knees: Path, scratch: Path, network: TextureUNets, python: WarmPython
) -> None:
    more = ["--accelerations", "[4]", "--mask#center_fractions", "[0.1]"]
    done = infer(python, scratch, knees, scratch / "evaluation", *more, config=",'configs/evaluate.json'")
    assert done.status == 0, done.stderr
    assert not (scratch / "evaluation" / "reconstructions").exists()
    rows = read_csv(scratch / "evaluation" / "metrics.csv")
    assert {row["protocol"] for row in rows} == {"fastmri_volume"}
    with h5py.File(knees / "valid" / "3.h5") as file:
        truth = centred_ifft(file["kspace"][()])
        mask = AccelerationMasks([4], [0.1])(SIZE, seed=["3.h5"])[0, 0].numpy()
        assert mask[0].sum() == 10
        error = np.abs(centred_ifft(file["kspace"] * mask)) - np.abs(truth)
    (row,) = [row for row in rows if row["method"] == "zero_filled"]
    assert float(row["nmse"]) == pytest.approx(np.sum(error**2) / np.sum(np.abs(truth) ** 2), rel=1e-4)


def test_several_coils(scratch: Path, network: TextureUNets, python: WarmPython, tmp_path: Path) -> None:
    angles = np.linspace(0, 2 * np.pi, 4, endpoint=False)
    rows, columns = np.mgrid[-1:1:48j, -1:1:40j]
    maps = np.exp(-((rows - np.sin(angles)[:, None, None]) ** 2 + (columns - np.cos(angles)[:, None, None]) ** 2))
    maps = maps * np.exp(1j * angles)[:, None, None] / np.sqrt((maps**2).sum(0))
    image = smooth_image(3, 2, 1, *SIZE)
    coils = centred_fft(image * maps)
    write_volume(tmp_path / "data" / "coils.h5", coils, reconstruction_rss=np.abs(image[:, 0]))
    more = ["--accelerations", "[2]", "--mask#center_fractions", "[0.3]", *overrides(n_samples=2)]
    done = infer(python, scratch, tmp_path / "data", tmp_path / "out", *more, config=",'configs/multicoil.json'")
    assert done.status == 0, done.stderr
    with h5py.File(tmp_path / "out" / "reconstructions" / "coils.h5") as result:
        assert result["reconstruction"].shape == (2, *SIZE)
        assert np.isfinite(result["reconstruction"]).all()
    emulated = infer(python, scratch, tmp_path / "data", tmp_path / "emulated", *overrides(coils="emulated"))
    assert emulated.status == 0, emulated.stderr
    assert (tmp_path / "emulated" / "reconstructions" / "coils.h5").is_file()


# -- bad input ---------------------------------------------------------------------------------------------------


def coils_where_one_was_asked(folder: Path) -> list[str]:
    write_volume(folder / "coils.h5", centred_fft(smooth_image(0, 2, 3, *SIZE)))
    return []


def header_of_another_matrix(folder: Path) -> list[str]:
    write_volume(folder / "scan.h5", centred_fft(smooth_image(0, 2, *SIZE)), header(64, 32))
    return []


def acceleration_without_centre(folder: Path) -> list[str]:
    write_volume(folder / "scan.h5", centred_fft(smooth_image(0, 2, *SIZE)))
    return ["--accelerations", "[4,8]", "--mask#center_fractions", "[0.08]"]


def centre_larger_than_the_acceleration_allows(folder: Path) -> list[str]:
    write_volume(folder / "scan.h5", centred_fft(smooth_image(0, 2, *SIZE)))
    return ["--accelerations", "[8]", "--mask#center_fractions", "[0.2]"]


def image_too_small_for_the_textures(folder: Path) -> list[str]:
    write_volume(folder / "scan.h5", centred_fft(smooth_image(0, 2, 6, 8)), header(6, 8))
    return ["--accelerations", "[2]", "--mask#center_fractions", "[0.3]"]


def no_samples(folder: Path) -> list[str]:
    write_volume(folder / "scan.h5", centred_fft(smooth_image(0, 2, *SIZE)))
    return overrides(n_samples=0)


BAD_INPUT: list[tuple[Callable[[Path], list[str]], str]] = [
    (coils_where_one_was_asked, r"coils\.h5.*of one coil, got 3 x 2 x 48 x 40 .*--coils emulated.*multicoil\.json"),
    (header_of_another_matrix, r"scan\.h5:kspace: expected k-space of 64 x 32 .*header says, got 48 x 40"),
    (acceleration_without_centre, r"expected a center_fraction for each acceleration, got accelerations=\[4, 8\]"),
    (
        centre_larger_than_the_acceleration_allows,
        r"center_fraction must be in \(0, 0\.125\] for acceleration 8, got 0\.2",
    ),
    (image_too_small_for_the_textures, r"expected noise of two channels and at least 64 pixels"),
    (no_samples, r"n_samples must be at least 1, got 0"),
]


@pytest.mark.parametrize(("make", "message"), BAD_INPUT, ids=[make.__name__ for make, _ in BAD_INPUT])
def test_bad_input_ends_inference_with_one_line_and_no_output(
    make: Callable[[Path], list[str]],
    message: str,
    scratch: Path,
    tmp_path: Path,
    network: TextureUNets,
    python: WarmPython,
) -> None:
    done = infer(python, scratch, tmp_path / "in", tmp_path / "out", *make(tmp_path / "in"))
    assert_one_line(done, message)
    assert not (tmp_path / "out").exists()


def test_a_baseline_of_another_width_is_refused(trained: Path, knees: Path, tmp_path: Path, python: WarmPython) -> None:
    where = overrides(dataset_dir=knees, output_dir=tmp_path / "out", ckpt_dir=tmp_path / "out")
    more = overrides(**network_options({**SMALL, "width": 8}), initial_weights=trained / "model_baseline.pt")
    done = python("monai.bundle", "run", "--config_file", f"[{TRAIN}]", *where, *more, cwd=BUNDLE)
    assert_one_line(done, r"model_baseline\.pt: expected the weights of a baseline of the same width, with 2 blocks")


# -- metadata, properties, exports -------------------------------------------------------------------------------


def load(name: str) -> dict[str, Any]:
    return load_config(BUNDLE, name)


@pytest.mark.filterwarnings("ignore:No hash value provided")
def test_metadata_is_valid() -> None:
    verify_metadata(meta_file=str(CONFIGS / "metadata.json"), filepath=SCHEMA)
    metadata = load("metadata.json")
    assert metadata["version"] in metadata["changelog"]


def test_network_takes_and_gives_what_the_metadata_says() -> None:
    files = {"meta_file": str(CONFIGS / "metadata.json"), "config_file": str(CONFIGS / "inference.json")}
    verify_net_in_out(net_id="network_def", device="cpu", any=48, **files, **OPTIONS)


@pytest.mark.parametrize(("kind", "config"), [("train", "train.json"), ("infer", "inference.json")])
def test_workflow_has_all_properties(kind: str, config: str, knees: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = knees if kind == "train" else knees / "test"
    workflow = assert_all_properties(BUNDLE, kind, config, monkeypatch, dataset_dir=str(data), **OPTIONS)
    assert isinstance(workflow.network_def, TextureUNets)


def test_train_and_inference_agree() -> None:
    train, inference = load("train.json"), load("inference.json")
    assert train["network_def"] == inference["network_def"]
    for key in ("mask", "coils"):
        assert train[key] == inference[key], key
    unbounded = {"unbounded": train["network_options"]["unbounded"]}
    assert train["network_options"] == {**inference["network_options"], **unbounded}
    noise = {"noise_std": train["train"]["prepare_batch"]["noise_std"]}
    assert {**train["validate"]["prepare_batch"], **noise} == inference["prepare_batch"]
    for name in ("baseline", "unet"):
        assert load(f"{name}.json")["network_def"] == load(f"inference_{name}.json")["network_def"]
        assert load(f"{name}.json")["model_name"] == load(f"inference_{name}.json")["model_name"]


def export_arguments(scratch: Path, filepath: Path) -> list[str]:
    files = {"meta_file": "configs/metadata.json", "config_file": "configs/inference.json"}
    weights = scratch / "models" / "model.pt"
    return overrides(net_id="network_def", filepath=filepath, ckpt_file=weights, **files, **OPTIONS)


def measurement(height: int, width: int) -> torch.Tensor:
    mask = AccelerationMasks([4], [0.1])((height, width), seed=0)[0, 0].numpy()
    kspace = centred_fft(smooth_image(8, height, width)) * mask
    parts = [kspace.real, kspace.imag, mask]
    return torch.from_numpy(np.stack(parts)[None].astype(np.float32))


def test_torchscript_gives_the_same_numbers_with_and_without_noise(
    scratch: Path, network: TextureUNets, python: WarmPython
) -> None:
    done = python("monai.bundle", "ckpt_export", *export_arguments(scratch, scratch / "model.ts"), cwd=BUNDLE)
    assert done.status == 0, done.stderr
    exported = torch.jit.load(scratch / "model.ts").eval()
    for shape in ((48, 40), (37, 30)):
        given, noise = measurement(*shape), torch.randn(1, 2, *shape)
        with torch.no_grad():
            torch.testing.assert_close(exported(given), network(given), rtol=0, atol=1e-5)
            torch.testing.assert_close(exported(given, noise), network(given, noise), rtol=0, atol=1e-5)
            many = noise[:, None].expand(1, 2, 2, *shape)
            torch.testing.assert_close(exported.samples(given, many), network.samples(given, many), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_onnx_gives_the_same_numbers(scratch: Path, network: TextureUNets, python: WarmPython) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    path = scratch / "model.onnx"
    shape = overrides(input_shape=[1, 3, 48, 40])
    done = python("monai.bundle", "onnx_export", *export_arguments(scratch, path), *shape, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (name,) = [tensor.name for tensor in session.get_inputs()]
    (image,) = session.run(None, {name: measurement(48, 40).numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(image, network(measurement(48, 40)).numpy(), atol=1e-3)


# -- the README --------------------------------------------------------------------------------------------------


def tiny_copy(repository: Path) -> None:
    """The bundle with small networks, and one epoch of each phase, where a repository would have it."""
    bundle = repository / "bundles" / NAME
    shutil.copytree(BUNDLE, bundle, ignore=shutil.ignore_patterns("models", "eval", "__pycache__"))
    (repository / "tools").mkdir()
    shutil.copy(SCHEMA, repository / "tools")
    tiny = {**OPTIONS, "rows#height": 32, "val_interval": 1, "epochs": {"pixel": 1, "gan": 1}}
    for name, changes in {"train.json": tiny, "smoke.json": tiny, "inference.json": OPTIONS}.items():
        (bundle / "configs" / name).write_text(json.dumps({**load(name), **changes}), encoding="utf-8")
    one = {
        "baseline.json": {"pixel": 1, "gan": 0},
        "cascade.json": {"pixel": 1, "gan": 0},
        "unet.json": {"pixel": 1, "gan": 0},
        "textures.json": {"pixel": 1, "gan": 0},
    }
    for name, epochs in one.items():
        small = {**load(name), "epochs": epochs}
        (bundle / "configs" / name).write_text(json.dumps(small), encoding="utf-8")
    for variant in ([], ["inference_baseline.json"], ["inference_cascade.json"]):
        save_random_weights(bundle, "inference.json", *variant)


def tiny_command(command: str, data: Path) -> str:
    command = command.replace("$DATA", str(data))
    if "tools data make" in command:
        command += " --n_train 4 --n_valid 2 --n_test 1 --n_slices 1 --size 48"
    return re.sub(r"--n_coils 8", "--n_coils 3", command)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["bundle folder", "repository root"])
def test_every_command_of_the_readme_runs(start: str, tmp_path: Path, python: WarmPython) -> None:
    repository, data = tmp_path / "repository", tmp_path / "data"
    tiny_copy(repository)
    run_readme(python, BUNDLE, repository, start == "repository root", lambda line: tiny_command(line, data))
    bundle = repository / "bundles" / NAME
    written = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {"models/own/model.pt", "models/model.ts", "models/model.onnx", "eval/valid/metrics.csv"} <= written
