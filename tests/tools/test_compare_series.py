"""Comparisons of cine networks: real processes on tiny series, numbers by hand, and what is refused."""

import json

import h5py
import numpy as np
import pytest
import torch
from toy_comparison import fake_run, read_rows

from common.figures import PanelIndex
from common.handlers import save_weights
from common.networks import CineUNet, LightCineCascade
from common.operators.masks.kt import KtMasks
from common.operators.series import batch_to_frames, frames_to_batch, pack_series
from tests.helpers import numpy_fft2c, numpy_ifft2c
from tools.command import run_commands
from tools.compare import compare, compare_entries
from tools.comparison.entries import RECONSTRUCTION, SERIES, SUPER_RESOLUTION, find_entry, task_of
from tools.comparison.record import read_record
from tools.report.command import report_results
from tools.zoo.layout import BUNDLES

BUNDLE = "cardiac_cine_unet_reconstruction"
N_SERIES, SIZE, N_FRAMES, N_SPOKES = 2, 32, 4, 5
MAGNITUDES = f"{BUNDLE}@magnitudes:magnitudes"
SMALL = {"magnitudes": {"width": 2, "depth": 2}, "kspace": {"n_stages": 2, "widths": [2, 4]}}


def write_hearts(path, phase=True):
    """A file of series that change in time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    coarse = rng.random((N_SERIES, 8, 8, N_FRAMES)).repeat(4, axis=1).repeat(4, axis=2)
    with h5py.File(path, "w") as file:
        file["imagesTrue"] = coarse.astype(np.float32)
        if phase:
            file["phaseTrue"] = rng.uniform(-1, 1, (N_SERIES, 1, 1, 1)) + np.zeros(coarse.shape, np.float32)
    return path


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    return write_hearts(tmp_path_factory.mktemp("hearts") / "test" / "a.h5")


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """By name a network of random weights and their file."""
    folder, found = tmp_path_factory.mktemp("weights"), {}
    for seed, (name, kind) in enumerate({"magnitudes": CineUNet, "kspace": LightCineCascade}.items()):
        torch.manual_seed(seed)
        network = kind(**SMALL[name]).eval()
        with torch.no_grad():
            for weights in network.parameters():
                weights.copy_(0.2 * torch.randn(weights.shape))
        save_weights(network, folder / f"{name}.pt")
        network.load_state_dict(
            {key: value.float() for key, value in torch.load(folder / f"{name}.pt", weights_only=True).items()}
        )
        found[name] = network, folder / f"{name}.pt"
    return found


@pytest.fixture(scope="module")
def compared(hearts, networks, tmp_path_factory):
    """Zero-filled, the network of magnitudes and that of k-space, by the command."""
    out = tmp_path_factory.mktemp("compared") / "out"
    entries = f"zero_filled,kspace={BUNDLE}:{networks['kspace'][1]},{BUNDLE}@magnitudes:{networks['magnitudes'][1]}"
    labels = {"kspace": "kspace", "magnitudes": MAGNITUDES}
    small = {f"{labels[n]}.network_options#{key}": value for n, few in SMALL.items() for key, value in few.items()}
    options = {**small, "n_spokes": N_SPOKES, "split": "test", "device": "cpu"}
    arguments = ["compare", hearts.parents[1], "--entries", entries, "--n_cases", 1, "--out", out]
    words = [str(word) for key, value in options.items() for word in (f"--{key}", value)]
    assert run_commands({"compare": compare}, "tools", [*map(str, arguments), *words]) == 0
    return out


def frame_wise(transform, series):
    return np.stack([transform(series[..., frame]) for frame in range(series.shape[-1])], axis=-1)


@pytest.fixture(scope="module")
def reconstructed(hearts, networks):
    """Label to the magnitudes of the series, computed here from the documented rule: masks follow file and series."""
    with h5py.File(hearts) as file:
        truth = file["imagesTrue"][()] * np.exp(1j * file["phaseTrue"][()])
    found = {"zero_filled": [], "kspace": [], MAGNITUDES: []}
    for number, series in enumerate(truth):
        mask = KtMasks(n_spokes=N_SPOKES)((SIZE, SIZE, N_FRAMES), seed=f"a.h5:{number}")
        kspace = frame_wise(numpy_fft2c, series) * mask[0, 0].numpy()
        zero_filled = np.abs(frame_wise(numpy_ifft2c, kspace))
        measured = pack_series(torch.from_numpy(kspace.astype(np.complex64))[None, None], mask)
        with torch.no_grad():
            magnitudes = networks["magnitudes"][0](torch.from_numpy(zero_filled.astype(np.float32))[None, None])
            consistent = networks["kspace"][0](measured)
        images = (zero_filled, np.hypot(*consistent[0].numpy()), magnitudes[0, 0].numpy())
        for label, image in zip(found, images, strict=True):
            found[label].append(image)
    return np.abs(truth), found


def test_every_value_is_that_of_the_same_measurement(compared, hearts, reconstructed):
    truth, found = reconstructed
    rows = read_rows(compared / "metrics.csv")
    assert {(row["protocol"], row["file"]) for row in rows} == {("cine_series", str(hearts))}
    assert [(row["slice"], row["method"]) for row in rows] == [(str(n), label) for n in range(2) for label in found]
    for row in rows:
        image, target = found[row["method"]][int(row["slice"])], truth[int(row["slice"])]
        errors = np.mean((image - target) ** 2, axis=(0, 1))
        assert float(row["psnr"]) == pytest.approx(np.mean(-10 * np.log10(errors)), abs=1e-3)
        assert float(row["mse"]) == pytest.approx(errors.mean(), rel=1e-4)
    assert len({row["psnr"] for row in rows}) == len(rows)  # the methods differ


def test_summary_and_report_are_of_series(compared):
    text = (compared / "summary.md").read_text()
    assert "2 series; mean ± standard deviation" in text
    assert "differences series by series" in text
    assert read_record(compared)["methods"][MAGNITUDES]["variant"] == "magnitudes"
    page = report_results(compared, compared / "report.html", title="Comparison").read_text()
    assert "Protocol cine_series, 2 series" in page
    assert "deviation over series, and" in page


def test_pictures_are_of_whole_series(compared):
    index = PanelIndex.read(compared / "panels")
    assert (index.protocol, sorted(index.pictures.values())) == ("cine_series", ["a_0.png", "a_1.png"])
    assert index.error_scale > 0
    assert {path.name for path in compared.iterdir()} >= {"sheet.png", "comparison.json"}


# -- what needs no process -----------------------------------------------------------------------------------------


def case(packed=False, phase=0.3, mask_seed="a", label=True):
    """A series as one of the networks gets it."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.polar(torch.rand(1, 1, 16, 16, 3, generator=generator), torch.tensor(phase))
    mask = KtMasks(n_spokes=3)((16, 16, 3), seed=mask_seed)
    kspace = torch.from_numpy(numpy_fft2c(frames_to_batch(truth).numpy())).to(torch.complex64)
    measured = mask * batch_to_frames(kspace, 1)
    if packed:
        channels = torch.cat((truth.real, truth.imag), 1)[0]
        arrays = {"image": pack_series(measured, mask)[0], "pred": 0.9 * channels, "label": channels}
    else:
        aliased = numpy_ifft2c(frames_to_batch(measured).numpy())
        images = batch_to_frames(torch.from_numpy(np.abs(aliased)).float(), 1)
        arrays = {"image": images[0], "pred": 0.9 * truth[0].abs(), "label": truth[0].abs()}
    return "/data/a.h5", 0, 1, arrays if label else {key: arrays[key] for key in ("image", "pred")}


@pytest.mark.parametrize("packed", [(False, True), (True, False)])
def test_inputs_of_one_measurement_may_have_two_forms(packed, tmp_path, monkeypatch):
    entries = fake_run(monkeypatch, BUNDLE, **{f"n{n}": [case(one)] for n, one in enumerate(packed)})
    compare_entries(tmp_path, ["zero_filled", *entries], tmp_path / "out")
    rows = {row["method"]: row for row in read_rows(tmp_path / "out" / "metrics.csv")}
    assert rows["n0"]["nrmse"] == rows["n1"]["nrmse"] == "0.1"
    _, _, _, plain = case()
    error = plain["image"][0].double() - plain["label"][0].double()
    assert float(rows["zero_filled"]["mse"]) == pytest.approx(error.square().mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (case(mask_seed="b"), "a.h5, slice 0: second has another measurement than first; .* --n_spokes 13"),
        (case(True, mask_seed="b"), "second has another measurement"),
        (case(label=False), "second has another target than first"),
    ],
)
def test_networks_that_see_other_samples_are_refused(second, message, tmp_path, monkeypatch):
    entries = fake_run(monkeypatch, BUNDLE, first=[case()], second=[second])
    with pytest.raises(ValueError, match=message):
        compare_entries(tmp_path, entries, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_tasks_of_the_bundles():
    tasks = {path.name: task_of(path) for path in BUNDLES.iterdir() if (path / "configs").is_dir()}
    assert tasks == {
        "brain_mri_refinegan_reconstruction": RECONSTRUCTION,
        BUNDLE: SERIES,
        "ct_mri_srgan_d_super_resolution": SUPER_RESOLUTION,
        "knee_mri_texture_gan_reconstruction": RECONSTRUCTION,
        "micro_ct_srgan_super_resolution": SUPER_RESOLUTION,
    }


def test_a_variant_for_training_too_is_one_that_changes_inference(tmp_path):
    configs = tmp_path / "toy" / "configs"
    configs.mkdir(parents=True)
    files = {
        "metadata": {"version": "0.1.0"},
        "inference": {"width": 8, "network": {}},
        "both": {"_comment": "over either", "width": 4, "network#depth": 2},
        "train": {"width": 4, "epochs": 9, "dataloader": {}},
        "method": {"width": 4, "epochs": 9},
        "resumed": {"width": 4, "dataloader#batch_size": 9},
        "own": {"epochs": 9},
        "inference_own": {"width": 2},
    }
    for name, content in files.items():
        (configs / f"{name}.json").write_text(json.dumps(content))

    def names(variant):
        return [path.stem for path in find_entry(f"{tmp_path / 'toy'}@{variant}", tmp_path).configs]

    assert names("both") == ["inference", "both"]
    assert names("method") == ["inference", "method"]
    assert names("own") == ["inference", "inference_own"]
    for variant in ("train", "inference", "resumed", "none"):
        with pytest.raises(
            ValueError, match=rf"@{variant}: has no variant '{variant}', no .*inference_{variant}\.json"
        ):
            names(variant)
