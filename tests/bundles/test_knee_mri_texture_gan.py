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
from helpers import SMALL_CASCADE, numpy_deviation
from monai.bundle import verify_metadata, verify_net_in_out
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from common.engines import load_weights
from common.handlers import save_weights
from common.networks import TextureCascade
from common.operators.masks import AccelerationMasks

NAME = "knee_mri_texture_gan_reconstruction"
BUNDLE = ROOT / "bundles" / NAME
CONFIGS = BUNDLE / "configs"
SMALL: dict[str, Any] = {**SMALL_CASCADE, "n_textures": 2, "texture_widths": [4, 8], "encoder_width": 0.1}
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
def network(scratch: Path) -> TextureCascade:
    """A small network whose samples differ, as stored on disk."""
    torch.manual_seed(0)
    network = TextureCascade(**SMALL)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "tail.weight" in name or "affine" in name:
                parameter.normal_(0, 0.1)
    save_weights(network, scratch / "models" / "model.pt", half=True)
    load_weights(network, scratch / "models" / "model.pt")
    return network.eval()


# -- training ----------------------------------------------------------------------------------------------------

UNTRAINED_VGG = {"features__weights": "random", "features__width": 2}
TINY = overrides(**OPTIONS, rows__height=32, batch_size=2, val_interval=5, epochs__pixel=1)


def train(
    python: WarmPython, knees: Path, folder: Path, *more: str, config: str = "", tiny: list[str] = TINY
) -> Result:
    where = overrides(dataset_dir=knees, output_dir=folder, ckpt_dir=folder)
    configs = f"['configs/train.json','configs/smoke.json'{config}]"
    return python("monai.bundle", "run", "--config_file", configs, *where, *tiny, *more, cwd=BUNDLE)


@pytest.fixture(scope="module")
def trained(scratch: Path, knees: Path, python: WarmPython) -> Path:
    """A cascade, and the textures around its image."""
    done = train(python, knees, scratch / "training" / "cascade")
    assert done.status == 0, done.stderr
    weights = overrides(initial_weights=scratch / "training" / "cascade" / "model.pt", **UNTRAINED_VGG)
    done = train(python, knees, scratch / "training" / "textures", *weights, config=",'configs/textures.json'")
    assert done.status == 0, done.stderr
    return scratch / "training"


def test_the_textures_are_trained_and_the_cascade_before_them(trained: Path) -> None:
    cascade, textures = (torch.load(trained / name / "model.pt", weights_only=True) for name in ("cascade", "textures"))
    assert cascade.keys() == textures.keys() == TextureCascade(**SMALL).state_dict().keys()
    for name, value in cascade.items():
        if name.startswith("cascade."):
            assert torch.equal(textures[name], value), name
    name = "texture_unet.tail.weight"
    assert not cascade[name].any(), "without a training of the textures a sample is the image of the cascade"
    assert textures[name].any()
    (row,) = read_csv(trained / "textures" / "history.csv")
    terms = {"loss_image", "loss_ssim", "loss_diversity", "loss_features", "loss_kl", "loss_texture"}
    assert all(math.isfinite(float(row[term])) for term in terms)


def test_samples_are_trained_against_a_discriminator(
    trained: Path, knees: Path, tmp_path: Path, python: WarmPython
) -> None:
    weights = overrides(initial_weights=trained / "textures" / "model.pt", epochs__gan=1, **UNTRAINED_VGG)
    width = ["--discriminator_def#width", "4"]
    configs = ",'configs/textures.json','configs/adversarial.json'"
    done = train(python, knees, tmp_path, *weights, *width, config=configs)
    assert done.status == 0, done.stderr
    pixel, gan = read_csv(tmp_path / "history.csv")
    assert not pixel["loss_adversarial"]
    assert float(gan["loss_adversarial"]) > 0
    assert float(gan["loss_critic"]) > 0
    before, after = (torch.load(folder / "model.pt", weights_only=True) for folder in (trained / "textures", tmp_path))
    assert all(torch.equal(after[name], value) for name, value in before.items() if name.startswith("cascade."))


def test_several_simulated_coils_are_trained_on(trained: Path, knees: Path, tmp_path: Path, python: WarmPython) -> None:
    weights = overrides(initial_weights=trained / "cascade" / "model.pt")
    coils = ["--coils", "single", "--train#prepare_batch#n_coils", "3"]
    masks = ["--accelerations", "[2]", "--mask#center_fractions", "[0.3]"]
    done = train(python, knees, tmp_path, *weights, *coils, *masks, config=",'configs/multicoil_train.json'")
    assert done.status == 0, done.stderr
    load_weights(TextureCascade(**SMALL), tmp_path / "model_multicoil.pt")


def test_training_goes_on_where_it_stopped(trained: Path, knees: Path, tmp_path: Path, python: WarmPython) -> None:
    shutil.copytree(trained / "cascade", tmp_path / "resumed")
    done = train(python, knees, tmp_path / "resumed", *overrides(epochs__pixel=2))
    assert done.status == 0, done.stderr
    assert "resuming after iteration 2" in done.stdout
    assert len(read_csv(tmp_path / "resumed" / "history.csv")) == 2


@pytest.mark.slow
def test_two_processes_train_together(knees: Path, scratch: Path, python: WarmPython) -> None:
    folder = scratch / "two_processes"
    where = overrides(dataset_dir=knees, output_dir=folder, ckpt_dir=folder)
    config = "['configs/train.json','configs/smoke.json','configs/multi_gpu.json']"
    done = python(*TORCHRUN, "--config_file", config, *where, *TINY, *overrides(batch_size=1), cwd=BUNDLE)
    assert done.status == 0, done.stderr
    assert [row["epoch"] for row in read_csv(folder / "history.csv")] == ["1"]


# -- inference ---------------------------------------------------------------------------------------------------

INFER = overrides(**OPTIONS)


def infer(python: WarmPython, scratch: Path, data: Path, out: Path, *more: str, config: str = "") -> Result:
    where = overrides(dataset_dir=data, ckpt_dir=scratch / "models", output_dir=out)
    configs = f"['configs/inference.json'{config}]"
    return python("monai.bundle", "run", "--config_file", configs, *where, *INFER, *more, cwd=BUNDLE)


@pytest.fixture(scope="module")
def inferred(scratch: Path, mixed: Path, network: TextureCascade, python: WarmPython) -> tuple[Path, Result]:
    done = infer(python, scratch, mixed, scratch / "inference", *overrides(n_samples=3))
    assert done.status == 0, done.stderr
    return scratch / "inference", done


def reconstructed(network: TextureCascade, kspace: NDArray, mask: NDArray, n_samples: int) -> NDArray[np.complex128]:
    """Image and samples of one slice without the bundle's readers, operators, inferer and engine."""
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn((2, *kspace.shape), generator=generator)[None] for _ in range(n_samples)]
    measurement = np.stack([kspace.real, kspace.imag, np.broadcast_to(mask, kspace.shape)]).astype(np.float32)
    with torch.no_grad():
        images = [network(torch.from_numpy(measurement)[None], one)[0].double().numpy() for one in (None, *noise)]
    return np.stack([real + 1j * imaginary for real, imaginary in images])


def test_inference_writes_image_deviation_and_sample_in_fastmri_layout(
    inferred: tuple[Path, Result], mixed: Path, network: TextureCascade
) -> None:
    folder = inferred[0] / "reconstructions"
    with h5py.File(mixed / "full.h5") as source, h5py.File(folder / "full.h5") as result:
        scale = source.attrs["max"]
        assert result["reconstruction"].shape == (2, 48, 40), "cropped to reconSpace"
        assert result["reconstruction"].dtype == np.float32
        mask = AccelerationMasks([8])((96, 40), seed=["full.h5"])[0, 0].numpy()
        for index in range(2):
            image, *images = reconstructed(network, source["kspace"][index] / scale * mask, mask, 3)
            deviation = numpy_deviation(image, np.stack(images))[24:72]
            image, *images = (one[24:72] for one in (image, *images))
            assert deviation.max() > 1e-3, "these samples are too much alike to tell anything"
            close = {"atol": 2e-4 * scale, "rtol": 0}
            np.testing.assert_allclose(result["reconstruction"][index], scale * np.abs(image), **close)
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
    knees: Path, scratch: Path, network: TextureCascade, python: WarmPython
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


def test_several_coils(scratch: Path, network: TextureCascade, python: WarmPython, tmp_path: Path) -> None:
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


def fewer_than_no_samples(folder: Path) -> list[str]:
    write_volume(folder / "scan.h5", centred_fft(smooth_image(0, 2, *SIZE)))
    return overrides(n_samples=-1)


BAD_INPUT: list[tuple[Callable[[Path], list[str]], str]] = [
    (coils_where_one_was_asked, r"coils\.h5.*of one coil, got 3 x 2 x 48 x 40 .*--coils emulated.*multicoil\.json"),
    (header_of_another_matrix, r"scan\.h5:kspace: expected k-space of 64 x 32 .*header says, got 48 x 40"),
    (acceleration_without_centre, r"expected a center_fraction for each acceleration, got accelerations=\[4, 8\]"),
    (
        centre_larger_than_the_acceleration_allows,
        r"center_fraction must be in \(0, 0\.125\] for acceleration 8, got 0\.2",
    ),
    (image_too_small_for_the_textures, r"expected noise .* at least 64 pixels"),
    (fewer_than_no_samples, r"n_samples must be at least 0, got -1"),
]


@pytest.mark.parametrize(("make", "message"), BAD_INPUT, ids=[make.__name__ for make, _ in BAD_INPUT])
def test_bad_input_ends_inference_with_one_line_and_no_output(
    make: Callable[[Path], list[str]],
    message: str,
    scratch: Path,
    tmp_path: Path,
    network: TextureCascade,
    python: WarmPython,
) -> None:
    done = infer(python, scratch, tmp_path / "in", tmp_path / "out", *make(tmp_path / "in"))
    assert_one_line(done, message)
    assert not (tmp_path / "out").exists()


def test_weights_of_another_width_are_refused(
    network: TextureCascade, scratch: Path, knees: Path, tmp_path: Path, python: WarmPython
) -> None:
    more = overrides(**network_options({**SMALL, "widths": [4, 8]}), initial_weights=scratch / "models" / "model.pt")
    assert_one_line(train(python, knees, tmp_path / "out", *more), r"model\.pt: does not fit")


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
    assert isinstance(workflow.network_def, TextureCascade)


def test_train_and_inference_agree() -> None:
    train, inference = load("train.json"), load("inference.json")
    assert train["network_def"] == inference["network_def"]
    for key in ("mask", "coils", "network_options"):
        assert train[key] == inference[key], key
    noise = {"noise_std": train["train"]["prepare_batch"]["noise_std"]}
    assert {**train["validate"]["prepare_batch"], **noise} == inference["prepare_batch"]


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
    scratch: Path, network: TextureCascade, python: WarmPython
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
def test_onnx_gives_the_same_numbers(scratch: Path, network: TextureCascade, python: WarmPython) -> None:
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
    tiny = {**OPTIONS, "rows#height": 32, "val_interval": 1, "epochs": {"pixel": 1}}
    changes = {"train.json": tiny, "smoke.json": tiny, "inference.json": OPTIONS}
    for name in ("textures.json", "multicoil_train.json"):
        changes[name] = {"epochs": {"pixel": 1}}
    changes["textures.json"] |= {"features#weights": "random", "features#width": 2}
    changes["multicoil_train.json"] |= {"accelerations": [2]}
    for name, change in changes.items():
        (bundle / "configs" / name).write_text(json.dumps({**load(name), **change}), encoding="utf-8")
    save_random_weights(bundle, "inference.json")


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
