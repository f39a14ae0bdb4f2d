"""The cine bundle as its user meets it: commands on series, results, exports, bad input."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch
from bundle_checks import SCHEMA, TORCHRUN, assert_all_properties, assert_one_line, load_config, read_csv, run_readme
from bundle_commands import ROOT, Result, WarmPython, cold_python, network_options, overrides
from monai.bundle import ConfigParser, verify_metadata, verify_net_in_out
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from common.engines import load_weights
from common.handlers import save_weights
from common.io import open_source
from common.networks import CineUNet, LightCineCascade, RadialCineCascade
from common.operators import NonuniformFourier, radial_trajectory, series_angles, simulated_sensitivity_maps
from common.operators.masks.kt import KtMasks
from common.operators.radial_scan import RadialScan
from common.operators.series import pack_series
from tests.helpers import n_parameters
from tests.io.mrd import header, write_mrd
from tests.networks.exports import assert_same, onnx

NAME = "cardiac_cine_unet_reconstruction"
BUNDLE = ROOT / "bundles" / NAME
CONFIGS = BUNDLE / "configs"
SMALL: dict[str, Any] = {"n_stages": 2, "widths": [4, 6]}
OPTIONS = network_options(SMALL)
SMALL_MAGNITUDES: dict[str, Any] = {"width": 4, "depth": 3}
MAGNITUDES = overrides(**network_options(SMALL_MAGNITUDES))
SIZE = (40, 36)
N_FRAMES = 5


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cine")


def beating(seed: int, n_series: int = 2, n_frames: int = N_FRAMES) -> NDArray[np.float32]:
    """Bright discs that grow and shrink over a gradient, ``[N, H, W, T]`` in [0, 1]."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : SIZE[0] * 1j, -1 : 1 : SIZE[1] * 1j][..., None]
    phase = 2 * np.pi * np.arange(n_frames) / max(n_frames, 1)
    series = []
    for _ in range(n_series):
        y, x = generator.uniform(-0.3, 0.3, 2)
        radius = 0.4 + 0.12 * np.sin(phase + generator.uniform(0, 6))
        disc = np.hypot(rows - y, columns - x) < radius
        series.append(0.15 + 0.1 * rows + 0.6 * disc)
    return np.clip(series, 0, 1).astype(np.float32)


def write_series(path: Path, **data_sets: NDArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in data_sets.items():
            file[name] = values


@pytest.fixture(scope="module")
def hearts(scratch: Path) -> Path:
    """A data set to train on."""
    folder = scratch / "hearts"
    for seed, name in enumerate(["train/1", "train/2", "valid/3", "test/4"]):
        truth = beating(seed)
        write_series(folder / f"{name}.h5", imagesTrue=truth, phaseTrue=0 * truth)
    return folder


@pytest.fixture(scope="module")
def networks(scratch: Path) -> dict[str, torch.nn.Module]:
    """Small networks that change their input, as stored on disk."""
    torch.manual_seed(0)
    networks = {
        "model": LightCineCascade(**SMALL),
        "model_radial": RadialCineCascade(**SMALL),
        "model_magnitudes": CineUNet(**SMALL_MAGNITUDES),
    }
    for name, network in networks.items():
        with torch.no_grad():
            for key, parameter in network.named_parameters():
                if key == "head.weight" or "tail.weight" in key:
                    parameter.normal_(0, 0.1 if key == "head.weight" else 0.01)
        save_weights(network, scratch / "models" / f"{name}.pt", half=True)
        load_weights(network, scratch / "models" / f"{name}.pt")
        network.eval()
    return networks


# -- training ----------------------------------------------------------------------------------------------------

TINY = overrides(**OPTIONS)


def configs(*names: str) -> str:
    return str([f"configs/{name}.json" for name in names]).replace(" ", "")


def tiny(config: Sequence[str]) -> list[str]:
    return MAGNITUDES if "magnitudes" in config else TINY


def train(python: Callable[..., Result], hearts: Path, folder: Path, *more: str, config: Sequence[str] = ()) -> Result:
    where = overrides(dataset_dir=hearts, output_dir=folder, ckpt_dir=folder)
    files = configs("train", *config, "smoke")
    return python("monai.bundle", "run", "--config_file", files, *where, *tiny(config), *more, cwd=BUNDLE)


@pytest.fixture(scope="module")
def trained(scratch: Path, hearts: Path) -> Path:
    """By a Python of its own."""
    folder = scratch / "training"
    done = train(cold_python, hearts, folder)
    assert done.status == 0, done.stderr
    return folder


def test_training_writes_weights_epochs_and_history(trained: Path) -> None:
    rows = read_csv(trained / "history.csv")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for name in ("loss_image", "ssim", "psnr", "ssim_aliased"):
        assert all(math.isfinite(float(row[name])) for row in rows), name
    kept = {path.name for path in (trained / "epochs").iterdir()}
    assert kept == {f"epoch_{int(row['epoch']):03d}_ssim_{float(row['ssim']):.4f}.pt" for row in rows}
    best = max(rows, key=lambda row: float(row["ssim"]))
    name = f"epoch_{int(best['epoch']):03d}_ssim_{float(best['ssim']):.4f}.pt"
    chosen, saved = (torch.load(p, weights_only=True) for p in (trained / "model.pt", trained / "epochs" / name))
    assert chosen.keys() == LightCineCascade(**SMALL).state_dict().keys()
    assert all(torch.equal(chosen[key], saved[key]) for key in chosen)


def test_training_goes_on_where_it_stopped(trained: Path, hearts: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / "resumed"
    shutil.copytree(trained, folder)
    done = train(python, hearts, folder, *overrides(epochs=3))
    assert done.status == 0, done.stderr
    assert "resuming after iteration 8" in done.stdout
    assert read_csv(folder / "history.csv")[:2] == read_csv(trained / "history.csv")


@pytest.mark.parametrize(
    ("network", "loss", "regularization", "parameters"),
    [("UNet3D", "BCE", "dropout", [0.2]), ("UNet2D1D", "PSNR", "l2", [1e-4])],
)
def test_networks_of_magnitudes_losses_and_regularisations_train(
    network: str,
    loss: str,
    regularization: str,
    parameters: list[float],
    hearts: Path,
    tmp_path: Path,
    python: WarmPython,
) -> None:
    options = {"network": network, "regularization": regularization, "regularization_parameters": parameters}
    more = overrides(**network_options(options), objective__loss=loss, epochs=1)
    done = train(python, hearts, tmp_path, *more, config=["magnitudes"])
    assert done.status == 0, done.stderr
    (row,) = read_csv(tmp_path / "history.csv")
    assert math.isfinite(float(row["loss"]))
    assert (float(row["loss_weights"]) > 0) == (regularization == "l2")
    assert (tmp_path / "model_magnitudes.pt").is_file()


def test_the_papers_variant_has_the_published_settings(hearts: Path, tmp_path: Path) -> None:
    """Hauptmann et al. 2019 and the public source: five levels from 32 features, Adam at 1e-4, 20 epochs, SSIM."""
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / f"{name}.json") for name in ("train", "magnitudes", "paper")])
    parser.update({"dataset_dir": str(hearts), "bundle_root": str(tmp_path)})
    assert n_parameters(parser.get_parsed_content("network_def")) == 7_760_353
    optimizer = parser.get_parsed_content("optimizer")
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.param_groups[0]["lr"] == 1e-4
    assert parser.get_parsed_content("phases").epochs == 20
    assert parser["objective"]["loss"] == "SSIM"
    assert parser["early_stopping"]["patience"] == 2
    parser.read_config([str(CONFIGS / f"{name}.json") for name in ("train", "paper")])
    with pytest.raises(RuntimeError, match="residual"):  # the cascade by itself is not the paper's
        parser.get_parsed_content("network_def")


def test_coils_are_simulated_in_training(hearts: Path, tmp_path: Path, python: WarmPython) -> None:
    done = train(python, hearts, tmp_path, *overrides(epochs=1, train__prepare_batch__n_coils=3))
    assert done.status == 0, done.stderr
    assert math.isfinite(float(read_csv(tmp_path / "history.csv")[0]["loss"]))


def test_the_radial_cascade_trains_and_reconstructs_a_raw_file(
    hearts: Path, tmp_path: Path, python: WarmPython
) -> None:
    """From weights of the Cartesian cascade; the raw file is measured, not simulated."""
    radial_scan(tmp_path / "in" / "scan.h5")
    start = tmp_path / "grid.pt"
    save_weights(LightCineCascade(**SMALL), start, half=True)
    more = overrides(epochs=1, train__prepare_batch__n_frames=3, grid_weights=start, n_spokes=9)
    done = train(python, hearts, tmp_path, *more, config=["radial", "radial_train"])
    assert done.status == 0, done.stderr
    load_weights(RadialCineCascade(**SMALL), tmp_path / "model_radial.pt")
    options = overrides(ckpt_dir=tmp_path, source_options="{'spokes': 9}", n_spokes=9)
    done = infer(python, tmp_path, tmp_path / "in", tmp_path / "out", *options, config=["radial"])
    assert done.status == 0, done.stderr
    with h5py.File(tmp_path / "out" / "result.h5") as file:
        assert file["result"].shape == (2, *SIZE, N_FRAMES)
        assert np.isfinite(file["result"][()]).all()


def test_training_stops_early(hearts: Path, tmp_path: Path, python: WarmPython) -> None:
    """No epoch can improve SSIM by 2."""
    done = train(python, hearts, tmp_path, *overrides(epochs=9, early_stopping={"patience": 2, "min_delta": 2}))
    assert done.status == 0, done.stderr
    assert len(read_csv(tmp_path / "history.csv")) == 3
    done = train(python, hearts, tmp_path, *overrides(epochs=9, early_stopping={"patience": 2, "min_delta": 2}))
    assert done.status == 0, done.stderr
    assert len(read_csv(tmp_path / "history.csv")) == 3


def test_stored_pairs_of_the_sources_layout_train(tmp_path: Path, python: WarmPython) -> None:
    data = tmp_path / "data"
    for seed, split in enumerate(("train", "validation")):
        truth = beating(seed)
        write_series(data / f"input_{split}.h5", imagesRecon=np.clip(0.8 * truth, 0, 1))
        write_series(data / f"truth_{split}.h5", imagesTrue=truth)
    more = overrides(
        train__prepare_batch__measurement="stored", train_split="train", valid_split="validation", epochs=1
    )
    done = train(python, data, tmp_path / "out", *more, config=["magnitudes"])
    assert done.status == 0, done.stderr
    (row,) = read_csv(tmp_path / "out" / "history.csv")
    assert float(row["ssim_aliased"]) > 0.9


@pytest.mark.slow
def test_two_processes_train_together(hearts: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / "two_processes"
    where = overrides(dataset_dir=hearts, output_dir=folder, ckpt_dir=folder)
    files = configs("train", "smoke", "multi_gpu")
    done = python(*TORCHRUN, "--config_file", files, *where, *TINY, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    assert [row["epoch"] for row in read_csv(folder / "history.csv")] == ["1", "2"]


# -- inference ---------------------------------------------------------------------------------------------------


def infer(python: WarmPython, scratch: Path, data: Path, out: Path, *more: str, config: Sequence[str] = ()) -> Result:
    where = overrides(dataset_dir=data, ckpt_dir=scratch / "models", output_dir=out)
    files = configs("inference", *config)
    return python("monai.bundle", "run", "--config_file", files, *where, *tiny(config), *more, cwd=BUNDLE)


@pytest.fixture(scope="module")
def evaluated(scratch: Path, hearts: Path, networks: dict[str, torch.nn.Module], python: WarmPython) -> Path:
    done = infer(python, scratch, hearts, scratch / "evaluation", config=["evaluate"])
    assert done.status == 0, done.stderr
    return scratch / "evaluation"


def undersampled(series: NDArray, name: str) -> tuple[NDArray[np.complex128], torch.Tensor]:
    """Masked k-space of the series of a file, by NumPy, and its masks."""
    names = [f"{name}:{index}" for index in range(len(series))]
    mask = KtMasks()((*SIZE, series.shape[-1]), names, len(series))
    axes = (-3, -2)
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(series, axes), axes=axes, norm="ortho"), axes)
    return mask[:, 0].numpy() * kspace, mask


def zero_filled(kspace: NDArray) -> NDArray[np.floating]:
    axes = (-3, -2)
    return np.abs(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes), axes=axes, norm="ortho"), axes))


def test_evaluation_writes_input_result_and_truth(evaluated: Path, networks: dict[str, torch.nn.Module]) -> None:
    truth = beating(3)
    kspace, mask = undersampled(truth, "4.h5")
    aliased = zero_filled(kspace)
    with torch.no_grad():
        expected = networks["model"](pack_series(torch.from_numpy(kspace[:, None]).to(torch.complex64), mask))
    with h5py.File(evaluated / "result.h5") as file:
        assert file["result"].shape == (2, *SIZE, N_FRAMES)
        np.testing.assert_allclose(file["truth"], truth, atol=1e-6)
        np.testing.assert_allclose(file["input"], aliased, atol=1e-5)
        np.testing.assert_allclose(file["result"], np.hypot(*expected.movedim(1, 0).numpy()), atol=1e-4)


def test_evaluation_measures_each_series(evaluated: Path) -> None:
    rows = read_csv(evaluated / "metrics.csv")
    assert {row["method"] for row in rows} == {"aliased", "view_shared", "reconstruction"}
    assert {row["protocol"] for row in rows} == {"cine_series"}
    with h5py.File(evaluated / "result.h5") as file:
        truth, result = file["truth"][1].astype(float), file["result"][1].astype(float)
    (row,) = [row for row in rows if row["method"] == "reconstruction" and row["slice"] == "1"]
    assert float(row["mse"]) == pytest.approx(np.mean((truth - result) ** 2), rel=1e-3)
    assert float(row["nrmse"]) == pytest.approx(np.linalg.norm(truth - result) / np.linalg.norm(truth), rel=1e-3)
    options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    frames = [structural_similarity(truth[..., t], result[..., t], **options) for t in range(N_FRAMES)]
    assert float(row["ssim"]) == pytest.approx(np.mean(frames), abs=2e-3)
    assert len(read_csv(evaluated / "metrics_per_frame.csv")) == 2 * 3 * N_FRAMES
    assert list((evaluated / "panels").glob("*.png"))


def test_a_fully_sampled_series_comes_back(
    scratch: Path, hearts: Path, networks: dict[str, torch.nn.Module], tmp_path: Path, python: WarmPython
) -> None:
    done = infer(python, scratch, hearts, tmp_path, *overrides(n_spokes=200), config=["evaluate"])
    assert done.status == 0, done.stderr
    with h5py.File(tmp_path / "result.h5") as file:
        np.testing.assert_allclose(file["result"], file["truth"], atol=1e-5)


def test_nifti_comes_out_as_nifti_with_its_geometry(
    scratch: Path, networks: dict[str, torch.nn.Module], tmp_path: Path, python: WarmPython
) -> None:
    affine = np.diag([1.5, 1.5, 8.0, 1.0])
    affine[:3, 3] = [10, -20, 5]
    image = nibabel.Nifti1Image((1000 * beating(5, 3)).transpose(1, 2, 0, 3).astype(np.int16), affine)
    image.header.set_zooms((1.5, 1.5, 8.0, 0.04))
    (tmp_path / "in").mkdir()
    nibabel.save(image, tmp_path / "in" / "heart.nii.gz")
    done = infer(python, scratch, tmp_path / "in", tmp_path / "out")
    assert done.status == 0, done.stderr
    result = nibabel.load(tmp_path / "out" / "heart_recon.nii.gz")
    assert result.shape == (*SIZE, 3, N_FRAMES)
    np.testing.assert_allclose(result.affine, affine, atol=1e-4)
    np.testing.assert_allclose(result.header.get_zooms(), (1.5, 1.5, 8.0, 0.04), rtol=1e-5)
    assert 200 < np.asarray(result.dataobj).max() < 2000


def test_a_raw_file_comes_out_as_dicom(
    scratch: Path, networks: dict[str, torch.nn.Module], tmp_path: Path, python: WarmPython
) -> None:
    """A file for each slice and frame, whose slices, times and values are those of the NIfTI file of the same run."""
    pydicom = pytest.importorskip("pydicom")
    radial_scan(tmp_path / "in" / "scan.h5")
    more = overrides(source_options="{'spokes': 9}", writer__formats=["nifti", "dicom"])
    done = infer(python, scratch, tmp_path / "in", tmp_path / "out", *more, config=["magnitudes"])
    assert done.status == 0, done.stderr
    folder = tmp_path / "out" / "scan_recon"
    headers = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    assert len(headers) == 2 * N_FRAMES
    assert [float(one.TriggerTime) for one in headers] == pytest.approx(np.arange(N_FRAMES).repeat(2) * 27)
    with open_source(folder) as series, open_source(tmp_path / "out" / "scan_recon.nii.gz") as image:
        assert series.spec.shape == image.spec.shape
        assert series.spec.geometry.spacing_mm == pytest.approx(image.spec.geometry.spacing_mm)
        assert series.spec.geometry.frame_times_s == pytest.approx(image.spec.geometry.frame_times_s)
        values, largest = image.read(), float(image.read().max())
        np.testing.assert_allclose(series.spec.intensity.meant(series.read()), values, atol=1e-5 * largest)


def test_the_option_that_an_error_advises_works(
    scratch: Path, networks: dict[str, torch.nn.Module], tmp_path: Path, python: WarmPython
) -> None:
    (tmp_path / "in").mkdir()
    frames = beating(5, 1)[0].transpose(1, 0, 2)
    nibabel.save(nibabel.Nifti1Image(frames, np.diag([1.5, 1.5, 8.0, 1.0])), tmp_path / "in" / "heart.nii")
    done = infer(python, scratch, tmp_path / "in", tmp_path / "out")
    assert_one_line(done, r"heart\.nii: expected series of frames.*--source_options \"\{'axes': 'xyt'\}\"")
    done = infer(python, scratch, tmp_path / "in", tmp_path / "out", *overrides(source_options="{'axes': 'xyt'}"))
    assert done.status == 0, done.stderr
    assert nibabel.load(tmp_path / "out" / "heart_recon.nii").shape == frames.shape
    with h5py.File(tmp_path / "out" / "result.h5") as file:
        np.testing.assert_allclose(file["truth"][0], beating(5, 1)[0] / frames.max(), atol=1e-6)


def test_measured_kspace_and_stored_magnitudes_without_truth(
    scratch: Path, networks: dict[str, torch.nn.Module], tmp_path: Path, python: WarmPython
) -> None:
    truth = beating(6)
    mask = KtMasks(n_spokes=9)((*SIZE, N_FRAMES), 0)[0, 0].numpy()
    axes = (-3, -2)
    kspace = mask * np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(truth, axes), axes=axes, norm="ortho"), axes)
    write_series(tmp_path / "measured" / "scan.h5", kspace=kspace.astype(np.complex64), mask=mask.astype(np.uint8))
    done = infer(python, scratch, tmp_path / "measured", tmp_path / "a")
    assert done.status == 0, done.stderr
    write_series(tmp_path / "stored" / "aliased.h5", imagesRecon=truth)
    done = infer(python, scratch, tmp_path / "stored", tmp_path / "b", config=["magnitudes"])
    assert done.status == 0, done.stderr
    for folder in ("a", "b"):
        with h5py.File(tmp_path / folder / "result.h5") as file:
            assert "truth" not in file
            assert file["result"].shape == (2, *SIZE, N_FRAMES)
            assert file["result"][()].max() > 0
        assert not (tmp_path / folder / "metrics.csv").exists()


def test_synthetic_hearts_have_their_ejection_fraction_measured(
    scratch: Path, networks: dict[str, torch.nn.Module], tmp_path: Path, python: WarmPython
) -> None:
    few = overrides(n_train=0, n_valid=0, n_test=1, size=64, n_frames=8, n_slices=2)
    done = python("tools", "data", "make", "cardiac_cine", str(tmp_path / "set"), *few)
    assert done.status == 0, done.stderr
    done = infer(python, scratch, tmp_path / "set", tmp_path / "out", config=["evaluate"])
    assert done.status == 0, done.stderr
    assert read_csv(tmp_path / "out" / "ejection_fraction.csv")


def radial_scan(path: Path, factor: float = 1.0) -> Path:
    """Golden-angle spokes of three coils of two slices in ISMRMRD, by the package itself; frames are not counted."""
    pytest.importorskip("ismrmrd")
    pytest.importorskip("torchkbnufft", reason="needs the extra `radial`")
    height, width = SIZE
    places = radial_trajectory(series_angles("golden", N_FRAMES, 9), 2 * height).float()
    transform = NonuniformFourier(places, SIZE, simulated_sensitivity_maps(3, *SIZE))
    lines = []
    for z, series in enumerate(torch.from_numpy(beating(7)).permute(0, 3, 1, 2)[:, :, None]):
        samples = transform(series.to(torch.complex64)).numpy()
        for t, n in np.ndindex(N_FRAMES, 9):
            lines.append({"data": samples[t, :, n], "trajectory": factor * places[t, n].numpy(), "slice": z})
    wide = (2 * height, 2 * width, 1)
    text = header(wide, (160, 144, 8), (*SIZE, 1), (80, 72, 8), None, "radial", repetition_time_ms=3.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_mrd(path, text, lines)


def test_a_radial_raw_file_becomes_series(
    scratch: Path, networks: dict[str, torch.nn.Module], tmp_path: Path, python: WarmPython
) -> None:
    radial_scan(tmp_path / "in" / "scan.h5")
    done = infer(python, scratch, tmp_path / "in", tmp_path / "out")
    assert_one_line(done, r"scan\.h5.*--source_options \"\{'spokes': 13\}\"")
    spokes = overrides(source_options="{'spokes': 9}")
    done = infer(python, scratch, tmp_path / "in", tmp_path / "out", *spokes)
    assert_one_line(done, r"scan\.h5.*radial\.json.*magnitudes\.json")
    done = infer(python, scratch, tmp_path / "in", tmp_path / "out", *spokes, config=["magnitudes"])
    assert done.status == 0, done.stderr
    result = nibabel.load(tmp_path / "out" / "scan_recon.nii.gz")
    assert result.shape == (*SIZE[::-1], 2, N_FRAMES)
    np.testing.assert_allclose(result.header.get_zooms(), (2, 2, 5, 0.027), rtol=1e-5)
    with h5py.File(tmp_path / "out" / "result.h5") as file:
        assert file["result"].shape == (2, *SIZE, N_FRAMES)
        for series, output, truth in zip(file["input"], file["result"], beating(7), strict=True):
            assert np.corrcoef(series.ravel(), truth.ravel())[0, 1] > 0.9
            expected = networks["model_magnitudes"](torch.from_numpy(series)[None, None])[0, 0].detach()
            np.testing.assert_allclose(output, expected, atol=1e-5)


# -- bad input ---------------------------------------------------------------------------------------------------


def pairs_of_two_shapes(folder: Path) -> list[str]:
    write_series(folder / "input_test.h5", imagesRecon=beating(0, 2))
    write_series(folder / "truth_test.h5", imagesTrue=beating(0, 3))
    return ["magnitudes", *overrides(split="test", prepare_batch__measurement="stored")]


def no_data_set_of_the_name(folder: Path) -> list[str]:
    write_series(folder / "scan.h5", volume=beating(0))
    return []


def one_frame(folder: Path) -> list[str]:
    write_series(folder / "scan.h5", imagesTrue=beating(0, 2, 1))
    return []


def values_above_one(folder: Path) -> list[str]:
    write_series(folder / "scan.h5", imagesTrue=300 * beating(0))
    return []


def unknown_network(folder: Path) -> list[str]:
    write_series(folder / "scan.h5", imagesTrue=beating(0))
    return ["magnitudes", *overrides(network_options__network="UNet4D")]


def unknown_regularization(folder: Path) -> list[str]:
    write_series(folder / "scan.h5", imagesTrue=beating(0))
    return ["magnitudes", *overrides(network_options__regularization="l3")]


def magnitudes_for_a_network_of_kspace(folder: Path) -> list[str]:
    write_series(folder / "scan.h5", imagesRecon=beating(0))
    return []


def too_few_rows(folder: Path) -> list[str]:
    write_series(folder / "scan.h5", imagesTrue=beating(0))
    return overrides(mask_family="cartesian_golden", mask__accel=20)


def trajectory_in_cycles_per_field_of_view(folder: Path) -> list[str]:
    radial_scan(folder / "scan.h5", factor=SIZE[0])
    return overrides(source_options="{'spokes': 9}")


BAD_INPUT: list[tuple[Callable[[Path], list[str]], str]] = [
    (pairs_of_two_shapes, r"input_test\.h5:imagesRecon: expected the size \[3, 40, 36, 5\].*, got \[2, 40, 36, 5\]"),
    (no_data_set_of_the_name, r"scan\.h5:volume: .*several orders.*z,y,x,t"),
    (one_frame, r"scan\.h5:imagesTrue: expected series of 2 frames or more, .*got \[2, 40, 36, 1\]"),
    (values_above_one, r"scan\.h5.*\[0, 1\].*intensity_range"),
    (unknown_network, r"network must be one of UNet3D, UNet2D1D, UNet2D2D, got 'UNet4D'"),
    (unknown_regularization, r"regularization.*l3"),
    (magnitudes_for_a_network_of_kspace, r"scan\.h5: expected imagesTrue or kspace.* recon.* magnitudes\.json"),
    (trajectory_in_cycles_per_field_of_view, r"scan\.h5.*got 20; its unit looks like 1/fov.*trajectory_unit"),
    (too_few_rows, r"accel 20 leaves 2 of 40 rows a frame, less than n_center=4"),
]


@pytest.mark.parametrize(("make", "message"), BAD_INPUT, ids=[make.__name__ for make, _ in BAD_INPUT])
def test_bad_input_ends_inference_with_one_line_and_no_output(
    make: Callable[[Path], list[str]],
    message: str,
    scratch: Path,
    tmp_path: Path,
    networks: dict[str, torch.nn.Module],
    python: WarmPython,
) -> None:
    more = make(tmp_path / "in")
    config = [word for word in more if word == "magnitudes"]
    done = infer(python, scratch, tmp_path / "in", tmp_path / "out", *more[len(config) :], config=config)
    assert_one_line(done, message)
    assert not (tmp_path / "out" / "result.h5").exists()


def test_an_unknown_loss_is_refused_in_one_line(hearts: Path, tmp_path: Path, python: WarmPython) -> None:
    done = train(python, hearts, tmp_path, *overrides(objective__loss="LPIPS"))
    assert_one_line(done, r"loss must be one of MSE, MAE, BCE, SSIM, PSNR, got 'LPIPS'")
    assert not list(tmp_path.iterdir())


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
    verify_net_in_out(net_id="network_def", device="cpu", any=7, **files, **OPTIONS)


@pytest.mark.parametrize(("kind", "config"), [("train", "train.json"), ("infer", "inference.json")])
def test_workflow_has_all_properties(kind: str, config: str, hearts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = hearts if kind == "train" else hearts / "test"
    workflow = assert_all_properties(BUNDLE, kind, config, monkeypatch, dataset_dir=str(data), **OPTIONS)
    assert isinstance(workflow.network_def, LightCineCascade)


def test_train_and_inference_agree() -> None:
    train_config, inference = load("train.json"), load("inference.json")
    shared = set(train_config) & set(inference) - {"_desc_", "dataset_dir", "imports", "initialize", "run"}
    assert {"network_def", "network_options", "mask", "n_spokes"} <= shared
    for key in shared:
        assert train_config[key] == inference[key], key
    given = {key: train_config["train"]["prepare_batch"][key] for key in ("measurement", "n_coils", "noise_std")}
    inferred = inference["prepare_batch"]
    assert {**train_config["validate"]["prepare_batch"], **given} == {
        key: value for key, value in inferred.items() if key not in ("gradient_delays", "n_virtual_coils")
    }, "measured spokes alone have gradient delays and coils to compress"


def example_of(name: str, height: int, width: int, n_frames: int) -> torch.Tensor:
    """Input of the network of some weights: magnitudes, masked k-space, or gridded spokes of two coils."""
    torch.manual_seed(height)
    if name == "model_radial":
        images = torch.rand(1, 1, height, width, n_frames)
        return RadialScan(n_spokes=7, n_coils=2)(images.to(torch.complex64), torch.Generator().manual_seed(0))[0]
    given = torch.rand(1, 1 if name == "model_magnitudes" else 3, height, width, n_frames)
    if name == "model":
        given[:, 2] = (given[:, 2] > 0.5).float()
    return given


def test_torchscript_gives_the_same_numbers(
    scratch: Path, networks: dict[str, torch.nn.Module], python: WarmPython
) -> None:
    for name, config in {"model": [], "model_magnitudes": ["magnitudes"]}.items():
        files = {"meta_file": "configs/metadata.json", "ckpt_file": scratch / "models" / f"{name}.pt"}
        where = {"filepath": scratch / f"{name}.ts", "config_file": configs("inference", *config)}
        arguments = [*overrides(net_id="network_def", **where, **files), *tiny(config)]
        done = python("monai.bundle", "ckpt_export", *arguments, cwd=BUNDLE)
        assert done.status == 0, done.stderr
        exported = torch.jit.load(scratch / f"{name}.ts").eval()
        for shape in ((40, 36, 5), (33, 30, 3)):
            given = example_of(name, *shape)
            with torch.no_grad():
                torch.testing.assert_close(exported(given), networks[name](given), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model", "model_radial", "model_magnitudes"])
def test_onnx_of_the_shipped_weights_gives_the_same_numbers(name: str, tmp_path: Path) -> None:
    if name == "model_radial":
        pytest.importorskip("torchkbnufft", reason="needs the extra `radial`")
    variant = name.removeprefix("model").strip("_")
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / f"{one}.json") for one in ("inference", variant) if one])
    network = parser.get_parsed_content("network_def").eval()
    load_weights(network, BUNDLE / "models" / f"{name}.pt")
    exported = onnx(network, tmp_path, example_of(name, 24, 16, 4))
    assert_same(exported, network, [example_of(name, *shape) for shape in ((24, 16, 4), (33, 27, 3))], 1e-3)


# -- the README --------------------------------------------------------------------------------------------------


def tiny_copy(repository: Path, scratch: Path) -> None:
    """The bundle with small networks and one epoch, where a repository would have it."""
    bundle = repository / "bundles" / NAME
    shutil.copytree(BUNDLE, bundle, ignore=shutil.ignore_patterns("models", "eval", "__pycache__"))
    shutil.copytree(scratch / "models", bundle / "models")
    (repository / "tools").mkdir()
    shutil.copy(SCHEMA, repository / "tools")
    for name in ("train.json", "smoke.json", "inference.json", "magnitudes.json", "paper.json"):
        small = {"epochs": 1, "val_interval": 1} if name != "inference.json" else {}
        sizes = network_options(SMALL_MAGNITUDES) if name in ("magnitudes.json", "paper.json") else OPTIONS
        (bundle / "configs" / name).write_text(json.dumps({**load(name), **sizes, **small}), encoding="utf-8")


def tiny_command(command: str, data: Path) -> str:
    command = command.replace("$DATA", str(data))
    command = command.replace("SCAN.h5", f"{data.parent / 'scan.h5'} --source_options \"{{'spokes': 9}}\"")
    if "tools data make" in command:
        command += " --n_train 2 --n_valid 2 --n_test 2 --n_slices 1 --size 40 --n_frames 4"
    return re.sub(r"#width \d+", "#width 4", command)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["bundle folder", "repository root"])
def test_every_command_of_the_readme_runs(
    start: str, tmp_path: Path, scratch: Path, networks: dict[str, torch.nn.Module], python: WarmPython
) -> None:
    repository, data = tmp_path / "repository", tmp_path / "data"
    tiny_copy(repository, scratch)
    radial_scan(tmp_path / "scan.h5")
    run_readme(python, BUNDLE, repository, start == "repository root", lambda line: tiny_command(line, data))
    bundle = repository / "bundles" / NAME
    written = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {"models/model.ts", "models/model.onnx", "eval/test/metrics.csv", "eval/result.h5"} <= written
