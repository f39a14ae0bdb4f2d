"""The RefineGAN bundle as its user meets it: commands on files, from the repository and from the bundle's folder."""

from __future__ import annotations

import json
import math
import pickle
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
from bundle_commands import ROOT, Result, WarmPython, cold_python, network_options, overrides
from helpers import SMALL_CASCADE, folder_contents, small_cascade
from jsonschema import Draft202012Validator
from monai.bundle import verify_metadata, verify_net_in_out
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from common.engines import load_weights
from common.handlers import save_weights
from common.networks import LightCascade, RefineGanGenerator
from common.operators import simulated_sensitivity_maps
from common.operators.masks import sampling_mask

NAME = "brain_mri_refinegan_reconstruction"
BUNDLE = ROOT / "bundles" / NAME
CONFIGS = BUNDLE / "configs"
NETWORK = SMALL_CASCADE
OPTIONS = network_options(NETWORK)
RATE = 0.1
AFFINE = np.array([[0, -1.5, 0, 4], [0.9, 0, 0, -3], [0, 0, 5, 20], [0, 0, 0, 1.0]])

Evaluated = tuple[NDArray[np.complex128], NDArray[np.complex128] | None, NDArray[np.complex128]]


# -- data and weights --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("refinegan")


def smooth_image(seed: int, *shape: int) -> NDArray[np.float64]:
    """Something with edges and shades, from 0 to 1."""
    noise = np.random.default_rng(seed).random(shape)
    image = gaussian_filter(noise, [0] * (len(shape) - 2) + [2, 2])
    image = (image > 0.5) * 0.4 + (image - image.min()) / np.ptp(image) * 0.6
    return image / image.max()


def centred_fft(image: NDArray) -> NDArray[np.complex128]:
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=axes), norm="ortho"), axes=axes)


def centred_ifft(kspace: NDArray) -> NDArray[np.complex128]:
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=axes), norm="ortho"), axes=axes)


def write_png(path: Path, image: NDArray[np.float64]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def brains(scratch: Path) -> Path:
    """A data set to train on."""
    folder = scratch / "brains"
    for seed, name in enumerate(["train/1", "train/2", "train/3", "train/4", "valid/5", "valid/6", "test/7"]):
        write_png(folder / f"{name}.png", smooth_image(seed, 40, 48))
    return folder


COLUMNS = np.isin(np.arange(40), [2, 7, 11, 17, 18, 19, 20, 21, 22, 26, 31, 38])


@pytest.fixture(scope="module")
def mixed(scratch: Path) -> Path:
    """One file of each kind, of different sizes: images, and k-space measured with a mask."""
    folder = scratch / "mixed"
    write_png(folder / "head.png", smooth_image(0, 48, 40))
    stored = np.rint(900 * smooth_image(1, 37, 30, 2)).astype(np.int16)
    nibabel.save(nibabel.nifti1.Nifti1Image(stored, AFFINE), folder / "volume.nii.gz")
    images = 3e-4 * smooth_image(2, 2, 48, 40)
    with h5py.File(folder / "scan.h5", "w") as file:
        file["kspace"] = (centred_fft(images) * COLUMNS).astype(np.complex64)
        file["mask"] = COLUMNS.astype(np.float32)
        file["reconstruction_esc"] = images.astype(np.float32)
        file["ismrmrd_header"] = "<ismrmrdHeader/>"
        file.attrs.update({"max": images.max(), "patient_id": "x"})
    mask = np.broadcast_to(COLUMNS, (48, 40)).copy()
    np.save(folder / "raw.npy", (centred_fft(20 * smooth_image(3, 48, 40)) * mask).astype(np.complex64))
    np.save(folder / "raw_mask.npy", mask)
    return folder


@pytest.fixture(scope="module")
def network(scratch: Path) -> LightCascade:
    """A small generator that changes images visibly, as stored on disk."""
    network = small_cascade()
    save_weights(network, scratch / "models" / "model.pt", half=True)
    load_weights(network, scratch / "models" / "model.pt")
    return network.eval()


def reconstruct(network: LightCascade, kspace: NDArray, mask: NDArray) -> NDArray[np.complex128]:
    measurement = np.stack([kspace.real, kspace.imag, np.broadcast_to(mask, kspace.shape)])[None]
    with torch.no_grad():
        real, imaginary = network(torch.from_numpy(measurement.astype(np.float32)))[0].double().numpy()
    return real + 1j * imaginary


def simulated(network: LightCascade, image: NDArray, name: str) -> Evaluated:
    """Zero-filled image, truth and reconstruction of an image file's slice."""
    mask = sampling_mask("radial", image.shape, RATE, seed=name, angle_deg=0)[0, 0].numpy()
    kspace = centred_fft(image) * mask
    return centred_ifft(kspace), image.astype(complex), reconstruct(network, kspace, mask)


def measured(network: LightCascade, kspace: NDArray, truth: NDArray | None) -> Evaluated:
    return centred_ifft(kspace), truth, reconstruct(network, kspace, COLUMNS)


@pytest.fixture(scope="module")
def expected(mixed: Path, network: LightCascade) -> dict[tuple[str, int], Evaluated]:
    """What inference should find, computed from the files without the bundle's readers, operators and engine."""
    with Image.open(mixed / "head.png") as picture:
        slices = {("head.png", 0): simulated(network, np.asarray(picture) / 255, "head.png")}
    volume = nibabel.load(mixed / "volume.nii.gz").get_fdata()  # type: ignore[attr-defined]
    for index in range(2):
        image = volume[..., index].T / volume.max()  # the first axis of NIfTI runs along a row
        slices["volume.nii.gz", index] = simulated(network, image, "volume.nii.gz")
    with h5py.File(mixed / "scan.h5") as file:
        scale = file.attrs["max"]
        for index in range(2):
            truth = file["reconstruction_esc"][index] / scale
            slices["scan.h5", index] = measured(network, file["kspace"][index] / scale, truth.astype(complex))
    raw = np.load(mixed / "raw.npy").astype(complex)
    slices["raw.npy", 0] = measured(network, raw / np.abs(centred_ifft(raw)).max(), None)
    for zero_filled, _, reconstruction in slices.values():
        assert np.abs(reconstruction - zero_filled).max() > 0.05, "these weights change too little to tell anything"
    return slices


# -- training ----------------------------------------------------------------------------------------------------

TINY = overrides(**OPTIONS, train__preprocessing__spatial_size=[32, 32], batch_size=2, epochs__small=0)


@pytest.fixture(scope="module")
def trained(scratch: Path, brains: Path) -> Path:
    """The output of a training that was started in the bundle's folder, by a Python of its own."""
    folder = scratch / "training"
    where = overrides(dataset_dir=brains, output_dir=folder, ckpt_dir=folder)
    done = cold_python(
        "monai.bundle", "run", "--config_file", "['configs/train.json','configs/smoke.json']", *where, *TINY, cwd=BUNDLE
    )
    assert done.status == 0, done.stderr
    assert "epoch 2/2 [gan]" in done.stdout
    return folder


def test_training_writes_weights_history_and_curves(trained: Path) -> None:
    state = torch.load(trained / "model.pt", weights_only=True)
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float16}
    network = load_weights(LightCascade(**NETWORK), trained / "model.pt").eval()
    with torch.no_grad():
        assert torch.isfinite(network(torch.rand(1, 3, 40, 48))).all()

    rows = read_csv(trained / "history.csv")
    assert [(row["epoch"], row["phase"]) for row in rows] == [("1", "full"), ("2", "gan")]
    assert not rows[0]["loss_critic"]
    assert not rows[0]["loss_adversarial"]
    values = {name: float(value) for name, value in rows[1].items() if name != "phase"}
    assert {"loss_image", "loss_error", "loss_frequency", "loss_total_variation", "loss_critic"} < values.keys()
    assert all(math.isfinite(value) for value in values.values())
    assert 0 < values["ssim"] < 1
    assert list(trained.glob("events.out.tfevents.*"))


def test_training_goes_on_where_it_stopped(trained: Path, brains: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / "resumed"
    shutil.copytree(trained, folder)
    config = f"['{CONFIGS / 'train.json'}','{CONFIGS / 'smoke.json'}']"
    where = overrides(bundle_root=BUNDLE, dataset_dir=brains, output_dir=folder, ckpt_dir=folder)
    command = ["monai.bundle", "run", "--config_file", config, *where, *TINY]

    done = python(*command)
    assert done.status == 0, done.stderr
    assert "already has its 2 epochs" in done.stdout

    done = python(*command, *overrides(epochs__gan=2))
    assert done.status == 0, done.stderr
    assert "resuming after iteration 4" in done.stdout
    before, after = read_csv(trained / "history.csv"), read_csv(folder / "history.csv")
    assert [row["epoch"] for row in after] == ["1", "2", "3"]
    assert after[:2] == before
    assert math.isfinite(float(after[2]["loss"]))


def test_the_papers_generator_trains_and_reconstructs(scratch: Path, brains: Path, python: WarmPython) -> None:
    folder = scratch / "paper"
    where = overrides(
        dataset_dir=brains,
        output_dir=folder,
        ckpt_dir=folder,
        network_options__width=4,
        train__preprocessing__spatial_size=[32, 32],
    )
    short = overrides(batch_size=2, epochs={"pixel": 1, "refine": 1, "gan": 1}, val_interval=5)
    config = "['configs/train.json','configs/paper.json']"
    done = python("monai.bundle", "run", "--config_file", config, *where, *short, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    rows = read_csv(folder / "history.csv")
    assert [row["phase"] for row in rows] == ["pixel", "refine", "gan"]
    assert all(float(row["psnr"]) for row in rows)  # the last epoch of each phase is validated
    load_weights(RefineGanGenerator(4), folder / "model_paper.pt")

    config = "['configs/inference.json','configs/inference_paper.json']"
    where = overrides(dataset_dir=brains / "test", output_dir=folder, ckpt_dir=folder, network_options__width=4)
    done = python("monai.bundle", "run", "--config_file", config, *where, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    assert (folder / "reconstructions" / "7_recon.png").is_file()


def write_scan_of_several_coils(folder: Path) -> None:
    maps = simulated_sensitivity_maps(4, 40, 36)[0].numpy()
    mask = sampling_mask("poisson", (40, 36), 0.4, seed=1)[0, 0].numpy()
    folder.mkdir()
    np.save(folder / "scan.npy", (mask * centred_fft(maps * smooth_image(3, 40, 36))).astype(np.complex64))
    np.save(folder / "scan_mask.npy", mask)


def test_several_coils_train_on_simulated_ones_and_reconstruct_measured_ones(
    scratch: Path, brains: Path, tmp_path: Path, python: WarmPython
) -> None:
    where = overrides(dataset_dir=brains, output_dir=tmp_path / "train", ckpt_dir=tmp_path / "models")
    config = "['configs/train.json','configs/multicoil_train.json','configs/smoke.json']"
    more = [*where, *TINY, *overrides(mask_family="poisson", sampling_rate=0.4, n_coils=3)]
    done = python("monai.bundle", "run", "--config_file", config, *more, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    write_scan_of_several_coils(tmp_path / "in")
    where = overrides(dataset_dir=tmp_path / "in", output_dir=tmp_path / "out", ckpt_dir=tmp_path / "models", **OPTIONS)
    config = "['configs/inference.json','configs/inference_multicoil.json']"
    more = [*where, *overrides(source_options="{'axes': 'coil,y,x'}")]
    done = python("monai.bundle", "run", "--config_file", config, *more, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    result = np.load(tmp_path / "out" / "reconstructions" / "scan_recon.npy").reshape(40, 36)
    assert np.corrcoef(np.abs(result).ravel(), smooth_image(3, 40, 36).ravel())[0, 1] > 0.9


def test_the_papers_generator_refuses_phase(scratch: Path, tmp_path: Path, python: WarmPython) -> None:
    phase = np.exp(4j * smooth_image(1, 2, 24, 20))
    kspace = centred_fft(smooth_image(0, 2, 24, 20) * phase).astype(np.complex64)
    data = tmp_path / "data"
    data.mkdir()
    write_kspace(data / "scan.h5", kspace=kspace)
    save_weights(RefineGanGenerator(4), tmp_path / "model_paper.pt")
    config = "['configs/inference.json','configs/inference_paper.json']"
    where = overrides(dataset_dir=data, output_dir=tmp_path / "out", ckpt_dir=tmp_path, network_options__width=4)
    done = python("monai.bundle", "run", "--config_file", config, *where, cwd=BUNDLE)
    assert_one_line(done, r"scan\.h5: expected an image without phase")


@pytest.mark.slow
def test_two_processes_train_together(brains: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / "two_processes"
    config = "['configs/train.json','configs/smoke.json','configs/multi_gpu.json']"
    where = overrides(dataset_dir=brains, output_dir=folder, ckpt_dir=folder)
    done = python(*TORCHRUN, "--config_file", config, *where, *TINY, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    load_weights(LightCascade(**NETWORK), folder / "model.pt")
    rows = read_csv(folder / "history.csv")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(math.isfinite(float(row["loss"])) for row in rows)


# -- inference and evaluation ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inferred(scratch: Path, mixed: Path, network: LightCascade, python: WarmPython) -> tuple[Path, Result]:
    """The output of inference from the root of the repository."""
    folder = scratch / "inference"
    bundle = BUNDLE.relative_to(ROOT)
    where = overrides(bundle_root=bundle, dataset_dir=mixed, ckpt_dir=scratch / "models", output_dir=folder)
    done = python(
        "monai.bundle", "run", "--config_file", f"{bundle}/configs/inference.json", *where, *overrides(**OPTIONS)
    )
    assert done.status == 0, done.stderr
    return folder, done


def test_inference_writes_each_file_in_its_own_format(
    inferred: tuple[Path, Result], mixed: Path, expected: dict[tuple[str, int], Evaluated]
) -> None:
    folder = inferred[0] / "reconstructions"
    magnitude = {key: np.abs(images[2]) for key, images in expected.items()}
    assert sorted(path.name for path in folder.iterdir()) == [
        "head_recon.png",
        "raw_recon.npy",
        "scan_recon.h5",
        "volume_recon.nii.gz",
    ]

    with Image.open(folder / "head_recon.png") as picture:
        assert picture.mode == "L"
        np.testing.assert_allclose(np.asarray(picture), np.clip(255 * magnitude["head.png", 0], 0, 255), atol=0.51)

    source, result = nibabel.load(mixed / "volume.nii.gz"), nibabel.load(folder / "volume_recon.nii.gz")
    np.testing.assert_array_equal(result.affine, source.affine)  # type: ignore[attr-defined]
    assert result.get_data_dtype() == source.get_data_dtype()  # type: ignore[attr-defined]
    both = np.stack([magnitude["volume.nii.gz", index].T for index in range(2)], axis=-1)
    peak = source.get_fdata().max()  # type: ignore[attr-defined]
    np.testing.assert_allclose(result.get_fdata(), peak * both, atol=1e-3 * peak)  # type: ignore[attr-defined]

    with h5py.File(mixed / "scan.h5") as before, h5py.File(folder / "scan_recon.h5") as after:
        both = np.stack([magnitude["scan.h5", index] for index in range(2)])
        scale = before.attrs["max"]
        assert after["reconstruction"].dtype == np.float32
        np.testing.assert_allclose(after["reconstruction"], scale * both, atol=1e-3 * scale)
        assert dict(after.attrs) == dict(before.attrs)
        assert after["ismrmrd_header"][()] == before["ismrmrd_header"][()]

    raw, result = np.load(mixed / "raw.npy"), np.load(folder / "raw_recon.npy")
    assert result.dtype == np.float32
    scale = np.abs(centred_ifft(raw)).max()
    np.testing.assert_allclose(result, scale * magnitude["raw.npy", 0], atol=1e-3 * scale)


def test_reconstructions_keep_the_measured_samples(expected: dict[tuple[str, int], Evaluated]) -> None:
    for zero_filled, _, reconstruction in expected.values():
        measured_kspace = centred_fft(zero_filled)
        sampled = np.abs(measured_kspace) > 1e-6
        np.testing.assert_allclose(centred_fft(reconstruction)[sampled], measured_kspace[sampled], atol=1e-4)


def quality(image: NDArray, truth: NDArray, protocol: str) -> dict[str, float]:
    if protocol == "refinegan_shifted":
        image, truth = np.abs(image + 0.5j), np.minimum(np.abs(truth + 0.5j), 1)
    image, truth = np.abs(image), np.abs(truth)
    error = np.mean((image - truth) ** 2)
    ssim = structural_similarity(
        truth, image, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return {"psnr": -10 * math.log10(error), "ssim": ssim, "nmse": error / np.mean(truth**2)}


def assert_metrics(
    rows: list[dict[str, str]], expected: dict[tuple[str, int], Evaluated], protocols: tuple[str, ...]
) -> None:
    """The rows are those of the cases that have a truth, with the values of an independent computation."""
    with_truth = {key: images for key, images in expected.items() if images[1] is not None}
    found = {(row["protocol"], Path(row["file"]).name, int(row["slice"]), row["method"]): row for row in rows}
    assert len(found) == len(rows) == 2 * len(protocols) * len(with_truth)
    for (name, index), (zero_filled, truth, reconstruction) in with_truth.items():
        assert truth is not None
        for protocol in protocols:
            for method, image in (("zero_filled", zero_filled), ("reconstruction", reconstruction)):
                row = found[protocol, name, index, method]
                for metric, value in quality(image, truth, protocol).items():
                    assert float(row[metric]) == pytest.approx(value, rel=1e-3), (name, index, method, metric)


def test_metrics_are_those_of_an_independent_computation(
    inferred: tuple[Path, Result], expected: dict[tuple[str, int], Evaluated]
) -> None:
    assert_metrics(read_csv(inferred[0] / "metrics.csv"), expected, ("magnitude_slice",))
    assert "protocol magnitude_slice" in inferred[1].stdout


def test_inference_draws_panels(inferred: tuple[Path, Result]) -> None:
    panels = sorted((inferred[0] / "panels").glob("*.png"))
    assert [path.name for path in panels] == [
        "head_0.png",
        "scan_0.png",
        "scan_1.png",
        "volume_0.png",
        "volume_1.png",
    ], "the file without a target is not drawn unless a number is asked for"
    with Image.open(panels[0]) as picture:
        assert min(picture.size) > 100


EVALUATE = "['configs/inference.json','configs/evaluate.json']"


@pytest.fixture(scope="module")
def evaluated(scratch: Path, brains: Path, network: LightCascade, python: WarmPython) -> Path:
    folder = scratch / "evaluation"
    where = overrides(dataset_dir=brains, ckpt_dir=scratch / "models", output_dir=folder, **OPTIONS)
    done = python("monai.bundle", "run", "--config_file", EVALUATE, *where, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    assert not (folder / "reconstructions").exists()
    return folder


def test_evaluation_measures_the_validation_images_by_both_protocols(
    evaluated: Path, brains: Path, network: LightCascade
) -> None:
    expected = {}
    for path in sorted((brains / "valid").iterdir()):
        with Image.open(path) as picture:
            expected[path.name, 0] = simulated(network, np.asarray(picture) / 255, path.name)
    assert_metrics(read_csv(evaluated / "metrics.csv"), expected, ("magnitude_slice", "refinegan_shifted"))


def test_two_processes_evaluate_as_one_does(evaluated: Path, scratch: Path, brains: Path, python: WarmPython) -> None:
    folder = scratch / "evaluation_2"
    config = EVALUATE[:-1] + ",'configs/multi_gpu.json']"
    where = overrides(dataset_dir=brains, ckpt_dir=scratch / "models", output_dir=folder, **OPTIONS)
    done = python(*TORCHRUN, "--config_file", config, *where, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    one, two = folder_contents(evaluated), folder_contents(folder)
    assert one.pop("run.json") != two.pop("run.json")  # command and time
    assert len(one) == 6
    assert two == one


def test_images_smaller_than_a_window_are_reconstructed(
    scratch: Path, network: LightCascade, tmp_path: Path, python: WarmPython
) -> None:
    for seed in range(2):
        (tmp_path / "in").mkdir(exist_ok=True)
        np.save(tmp_path / "in" / f"{seed}.npy", smooth_image(seed, 5, 5).astype(np.float32))
    where = overrides(dataset_dir=tmp_path / "in", ckpt_dir=scratch / "models", output_dir=tmp_path / "out", **OPTIONS)
    done = python("monai.bundle", "run", "--config_file", "configs/inference.json", *where, cwd=BUNDLE)
    assert done.status == 0, done.stderr
    assert "ssim of magnitude_slice: undefined" in done.stdout + done.stderr
    rows = read_csv(tmp_path / "out" / "metrics.csv")
    assert [row["ssim"] for row in rows] == [""] * 4
    assert all(math.isfinite(float(row[metric])) for row in rows for metric in ("psnr", "nmse"))
    for seed in range(2):
        assert np.load(tmp_path / "out" / "reconstructions" / f"{seed}_recon.npy").shape == (5, 5)


# -- bad input ---------------------------------------------------------------------------------------------------


def missing_folder(folder: Path) -> list[str]:
    folder.rmdir()
    return []


def empty_folder(folder: Path) -> list[str]:
    return []


def text_called_png(folder: Path) -> list[str]:
    (folder / "note.png").write_text("not a picture")
    return []


def write_kspace(path: Path, **more: NDArray) -> NDArray[np.complex64]:
    kspace = centred_fft(smooth_image(0, 2, 24, 20)).astype(np.complex64)
    with h5py.File(path, "w") as file:
        for name, values in {"kspace": kspace, **more}.items():
            file[name] = values
        file.attrs["acquisition"] = "AXT2"
    return kspace


def truncated_h5(folder: Path) -> list[str]:
    write_kspace(folder / "cut.h5")
    content = (folder / "cut.h5").read_bytes()
    (folder / "cut.h5").write_bytes(content[: len(content) // 2])
    return []


def h5_without_an_image(folder: Path) -> list[str]:
    with h5py.File(folder / "other.h5", "w") as file:
        file["values"] = np.ones(5)
    return []


def nan_in_kspace(folder: Path) -> list[str]:
    kspace = write_kspace(folder / "hole.h5")
    kspace[1, 3, 5] = np.nan
    write_kspace(folder / "hole.h5", kspace=kspace)
    return []


def mask_of_other_size(folder: Path) -> list[str]:
    write_kspace(folder / "scan.h5", mask=np.ones(19, dtype=bool))
    return []


def mask_file_of_other_size(folder: Path) -> list[str]:
    write_png(folder / "head.png", smooth_image(0, 24, 20))
    np.save(folder.parent / "mask_20_24.npy", np.ones((20, 24), dtype=bool))
    return overrides(mask__file=folder.parent / "mask_20_24.npy")


def good_image(folder: Path) -> None:
    write_png(folder / "head.png", smooth_image(0, 24, 20))


def unknown_mask_family(folder: Path) -> list[str]:
    good_image(folder)
    return overrides(mask_family="zigzag")


def rate_0(folder: Path) -> list[str]:
    good_image(folder)
    return overrides(sampling_rate=0)


def rate_above_1(folder: Path) -> list[str]:
    good_image(folder)
    return overrides(sampling_rate=1.5)


def missing_weights(folder: Path) -> list[str]:
    good_image(folder)
    return overrides(checkpoint=folder / "none.pt")


def weights_of_other_size(folder: Path) -> list[str]:
    good_image(folder)
    return overrides(network_options__n_stages=3)


class Malicious:
    """Leaves a trace if it is ever unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.trace,)


def malicious_weights(folder: Path) -> list[str]:
    good_image(folder)
    (folder / "bad.pt").write_bytes(pickle.dumps(Malicious(folder / "executed")))
    return overrides(checkpoint=folder / "bad.pt")


def malicious_zip(folder: Path) -> list[str]:
    good_image(folder)
    torch.save({"stage1": Malicious(folder / "executed")}, folder / "bad.pt")
    return overrides(checkpoint=folder / "bad.pt")


def misspelt_option(folder: Path) -> list[str]:
    good_image(folder)
    return overrides(sampling_rates=0.2)


BAD_INPUT: list[tuple[Callable[[Path], list[str]], str]] = [
    (missing_folder, r"dataset_dir: no folder .*missing_folder; .*tools data make brain_mri"),
    (empty_folder, r"dataset_dir: no image or volume .*\.png, .* in .*empty_folder; .*tools data make brain_mri"),
    (text_called_png, r"note\.png: cannot be read as a PNG, JPEG or BMP picture"),
    (truncated_h5, r"cut\.h5: cannot be read as an HDF5 file \(.*truncated"),
    (h5_without_an_image, r"other\.h5: expected one data set with rows and columns, .*none"),
    (nan_in_kspace, r"hole\.h5:kspace: 1 of 480 values are NaN or infinite in \[z 1:2"),
    (mask_of_other_size, r"different size: .*scan\.h5:kspace is 2 x 24 x 20 .*, .*scan\.h5:mask is 1 x 19"),
    (mask_file_of_other_size, r"mask_20_24\.npy: the mask has shape \(20, 24\), but the images have \(24, 20\)"),
    (unknown_mask_family, r"unknown mask family 'zigzag'; choose one of .*radial"),
    (rate_0, r"must be in \(0, 1\], got 0;"),
    (rate_above_1, r"must be in \(0, 1\], got 1\.5;"),
    (missing_weights, r"none\.pt: no such weights"),
    (weights_of_other_size, r"model\.pt: does not fit this configuration; use the width it was trained with"),
    (malicious_weights, r"bad\.pt: the file is damaged or not of torch"),
    (misspelt_option, r"--sampling_rates, .* --sampling_rate: .*inference\.json"),
    (malicious_zip, r"bad\.pt: expected a file of tensors alone, .* it was not executed"),
]


@pytest.mark.parametrize(("make", "message"), BAD_INPUT, ids=[make.__name__ for make, _ in BAD_INPUT])
def test_bad_input_ends_inference_with_one_line_and_no_output(
    make: Callable[[Path], list[str]],
    message: str,
    scratch: Path,
    tmp_path: Path,
    network: LightCascade,
    python: WarmPython,
) -> None:
    folder = tmp_path / make.__name__
    folder.mkdir()
    where = overrides(dataset_dir=folder, ckpt_dir=scratch / "models", output_dir=tmp_path / "out", **OPTIONS)
    done = python("monai.bundle", "run", "--config_file", "configs/inference.json", *where, *make(folder), cwd=BUNDLE)
    assert_one_line(done, message)
    assert not (tmp_path / "out").exists()
    assert not (folder / "executed").exists()


def too_few_images(folder: Path) -> list[str]:
    for split in ("train", "valid"):
        (folder / split).mkdir()
        good_image(folder / split)
    return []


def no_training_folder(folder: Path) -> list[str]:
    good_image(folder)
    return []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_training_folder, r"dataset_dir: no folder .*no_training_folder.train; .*tools data make brain_mri"),
        (too_few_images, r"at least batch_size=2 training images .*got 1 .*lower batch_size"),
    ],
)
def test_bad_input_ends_training_with_one_line(
    make: Callable[[Path], list[str]], message: str, tmp_path: Path, python: WarmPython
) -> None:
    folder = tmp_path / make.__name__
    folder.mkdir()
    more = make(folder)
    where = overrides(dataset_dir=folder, output_dir=tmp_path / "out", ckpt_dir=tmp_path / "out", **OPTIONS)
    where += overrides(batch_size=2)
    config = "['configs/train.json','configs/smoke.json']"
    done = python("monai.bundle", "run", "--config_file", config, *where, *more, cwd=BUNDLE)
    assert_one_line(done, message)
    assert not (tmp_path / "out" / "model.pt").exists()


# -- metadata, properties, exports -------------------------------------------------------------------------------


def load(name: str) -> dict[str, Any]:
    return load_config(BUNDLE, name)


@pytest.mark.filterwarnings("ignore:No hash value provided")
def test_metadata_is_valid_and_agrees_with_itself() -> None:
    Draft202012Validator.check_schema(json.loads(SCHEMA.read_text(encoding="utf-8")))
    verify_metadata(meta_file=str(CONFIGS / "metadata.json"), filepath=SCHEMA)
    metadata = load("metadata.json")
    assert metadata["version"] in metadata["changelog"]
    formats = metadata["network_data_format"]
    for tensor in (formats["inputs"]["image"], formats["outputs"]["pred"]):
        assert list(tensor["channel_def"]) == [str(channel) for channel in range(tensor["num_channels"])]


BROKEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "no version": lambda m: m.pop("version"),
    "no changelog": lambda m: m.pop("changelog"),
    "no required packages": lambda m: m.pop("required_packages_version"),
    "no pred": lambda m: m["network_data_format"]["outputs"].pop("pred"),
    "no channels": lambda m: m["network_data_format"]["inputs"]["image"].pop("num_channels"),
    "version is a number": lambda m: m.update(version=0.1),
    "version of a word": lambda m: m.update(version="first"),
    "package without version": lambda m: m["required_packages_version"].update(h5py=""),
    "references are a text": lambda m: m.update(references="Quan 2018"),
    "metric is a text": lambda m: m.update(eval_metrics={"psnr": "good"}),
    "empty task": lambda m: m.update(task=" "),
    "unknown format": lambda m: m["network_data_format"]["inputs"]["image"].update(format="k-space"),
    "channels are a text": lambda m: m["network_data_format"]["inputs"]["image"].update(num_channels="3"),
    "negative size": lambda m: m["network_data_format"]["inputs"]["image"].update(spatial_shape=[-1, 256]),
    "size of a word": lambda m: m["network_data_format"]["inputs"]["image"].update(spatial_shape=["any", "any"]),
    "range of one": lambda m: m["network_data_format"]["inputs"]["image"].update(value_range=[0]),
    "patch is a text": lambda m: m["network_data_format"]["outputs"]["pred"].update(is_patch_data="false"),
    "channel of a name": lambda m: m["network_data_format"]["outputs"]["pred"].update(channel_def={"re": "real"}),
}


@pytest.mark.filterwarnings("ignore:No hash value provided")
@pytest.mark.parametrize("breakage", BROKEN)
def test_broken_metadata_is_refused(breakage: str, tmp_path: Path) -> None:
    metadata = load("metadata.json")
    BROKEN[breakage](metadata)
    (tmp_path / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=SCHEMA)


@pytest.mark.parametrize("size", [1, 48])
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
def test_workflow_has_all_properties(kind: str, config: str, brains: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = brains if kind == "train" else brains / "test"
    workflow = assert_all_properties(BUNDLE, kind, config, monkeypatch, dataset_dir=str(data), **OPTIONS)
    assert isinstance(workflow.network_def, LightCascade)


def test_train_and_inference_agree() -> None:
    train, inference = load("train.json"), load("inference.json")
    for key in ("network_def", "network_options", "mask"):
        assert train[key] == inference[key], key
    paper, inference_paper = load("paper.json"), load("inference_paper.json")
    for key in ("network_def", "network_options#width", "network_options#scaling", "model_name"):
        assert paper[key] == inference_paper[key], key
    assert inference["mask_family"] in train["mask_family"]
    assert inference["sampling_rate"] in train["sampling_rate"]
    noise = {"noise_std": train["train"]["prepare_batch"]["noise_std"]}
    assert {**train["validate"]["prepare_batch"], **noise} == inference["prepare_batch"]


def export_arguments(scratch: Path, filepath: Path) -> list[str]:
    return overrides(
        net_id="network_def",
        filepath=filepath,
        ckpt_file=scratch / "models" / "model.pt",
        meta_file="configs/metadata.json",
        config_file="configs/inference.json",
        **OPTIONS,
    )


def measurement(height: int, width: int) -> torch.Tensor:
    kspace = centred_fft(smooth_image(8, height, width))
    mask = sampling_mask("radial", (height, width), 0.3, seed=0)[0, 0].numpy()
    return torch.from_numpy(np.stack([kspace.real * mask, kspace.imag * mask, mask])[None].astype(np.float32))


def test_torchscript_gives_the_same_numbers(scratch: Path, network: LightCascade, python: WarmPython) -> None:
    done = python("monai.bundle", "ckpt_export", *export_arguments(scratch, scratch / "model.ts"), cwd=BUNDLE)
    assert done.status == 0, done.stderr
    exported = torch.jit.load(scratch / "model.ts").eval()
    with torch.no_grad():
        for shape in ((48, 40), (37, 30)):
            torch.testing.assert_close(exported(measurement(*shape)), network(measurement(*shape)), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_onnx_gives_the_same_numbers(scratch: Path, network: LightCascade, python: WarmPython) -> None:
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
    """The bundle with a small network, and one epoch of each phase, where a repository would have it."""
    bundle = repository / "bundles" / NAME
    shutil.copytree(BUNDLE, bundle, ignore=shutil.ignore_patterns("models", "eval", "__pycache__"))
    (repository / "tools").mkdir()
    shutil.copy(SCHEMA, repository / "tools")
    epochs = dict.fromkeys(load("train.json")["epochs"], 1)
    small = {"train#preprocessing#spatial_size": [32, 32], "batch_size": 2, "val_interval": 1, "epochs": epochs}
    papers = {"network_options#width": 4, "epochs": dict.fromkeys(load("paper.json")["epochs"], 1), "batch_size": 2}
    for name, changes in (
        ("train.json", {**OPTIONS, **small}),
        ("smoke.json", {**OPTIONS, **small}),
        ("inference.json", OPTIONS),
        ("paper.json", papers),
        ("inference_paper.json", {"network_options#width": 4}),
    ):
        config = {**load(name), **changes}
        (bundle / "configs" / name).write_text(json.dumps(config), encoding="utf-8")
    save_random_weights(bundle, "inference.json")
    save_random_weights(bundle, "inference.json", "inference_paper.json")
    save_random_weights(bundle, "inference.json", "inference_multicoil.json")


def tiny_command(command: str, data: Path) -> str:
    more = " --n_train 4 --n_valid 2 --n_test 1 --size 32" if "tools data make" in command else ""
    return command.replace("$DATA", str(data)).replace(" scans ", f" {data.parent}/scans ") + more


@pytest.mark.slow
@pytest.mark.parametrize("start", ["bundle folder", "repository root"])
def test_every_command_of_the_readme_runs(start: str, tmp_path: Path, python: WarmPython) -> None:
    repository, data = tmp_path / "repository", tmp_path / "data"
    tiny_copy(repository)
    write_scan_of_several_coils(tmp_path / "scans")
    run_readme(python, BUNDLE, repository, start == "repository root", lambda line: tiny_command(line, data))
    bundle = repository / "bundles" / NAME
    written = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*")}
    assert {"models/own/model.pt", "models/model.ts", "models/model.onnx", "eval/valid/metrics.csv"} <= written
