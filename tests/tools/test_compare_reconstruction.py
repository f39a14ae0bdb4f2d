"""Comparisons of reconstructions of volumes: rows of samples, variants, crops, sweeps, the perceptual distance."""

import json
import re

import numpy as np
import pytest
import torch
from toy_comparison import fake_run, read_rows, refused

from common.figures import PanelIndex
from common.metrics import PerceptualDistance
from common.networks import Vgg19Classifier
from common.operators import pack_measurement
from tests.helpers import numpy_fft2c, numpy_ifft2c, random_complex, random_mask
from tools.command import run_commands
from tools.compare import compare, compare_entries
from tools.comparison.entries import find_entry
from tools.comparison.record import read_record
from tools.comparison.results import read_sweep, setting_folder
from tools.comparison.runs import options_of

CONFIG = {"accelerations": [4, 8], "center_fractions": [0.08, 0.04], "n_samples": 8, "protocols": ["fastmri_volume"]}
RAW = 1e-4
"""Images of a scanner, in its units."""


@pytest.fixture
def bundle(tmp_path):
    """The folder of a bundle of configurations alone, measured by volumes."""
    configs = tmp_path / "knee" / "configs"
    configs.mkdir(parents=True)
    (configs / "inference.json").write_text(json.dumps(CONFIG))
    for variant in ("baseline", "3d"):
        (configs / f"inference_{variant}.json").write_text('{"width": 8}')
    (configs / "metadata.json").write_text('{"version": "0.1.0"}')
    return configs.parent


@pytest.fixture
def no_pictures(monkeypatch):
    """Drawing takes most of the time of a small comparison."""
    monkeypatch.setattr("tools.comparison.results._draw", lambda *arguments: None)


def channels(image):
    return torch.from_numpy(np.stack([image.real, image.imag]).astype(np.float32))


def volume(path="/data/a.h5", n_slices=2, size=(16, 16), crop=(16, 16), scale=RAW, n_coils=0, seed=0):
    """Slices of a complex volume: cases whose prediction is 0.9 of the truth and whose sample 0.8 of it.

    Two is the sum of squares of the coils' sensitivities, which differ from place to place.
    """
    top, left = (whole // 2 - part // 2 for whole, part in zip(size, crop, strict=True))
    inside = (..., slice(top, top + crop[0]), slice(left, left + crop[1]))
    cases = []
    for index in range(n_slices):
        image = scale * (index + 1) * random_complex(*size, seed=seed + index).numpy()
        mask = random_mask(*size, seed=index)
        maps = random_complex(max(n_coils, 1), *size, seed=99).numpy()
        maps = maps * np.sqrt(2 / (np.abs(maps) ** 2).sum(0)) if n_coils else np.ones((1, *size))
        kspace = torch.from_numpy(mask[0].numpy() * numpy_fft2c(maps * image)).to(torch.complex64)[None]
        coils = torch.from_numpy(maps).to(torch.complex64)[None] if n_coils else None
        truth = channels(image[inside])
        arrays = {"image": pack_measurement(kspace, mask, coils)[0], "label": truth, "pred": 0.9 * truth}
        cases.append((path, index, n_slices, {**arrays, "sample": 0.8 * truth}))
    return cases


def zero_filled(arrays, crop):
    """By NumPy, of a measurement of one coil or several."""
    packed = arrays["image"].double().numpy()
    n = (len(packed) - 1) // 4 or 1
    kspace = packed[:n] + 1j * packed[n : 2 * n]
    maps = packed[2 * n + 1 : 3 * n + 1] + 1j * packed[3 * n + 1 :] if len(packed) > 3 else 1
    image = (np.conj(maps) * numpy_ifft2c(kspace)).sum(0)
    top, left = (whole // 2 - part // 2 for whole, part in zip(image.shape, crop, strict=True))
    return image[top : top + crop[0], left : left + crop[1]]


def magnitudes(cases, key="label"):
    return np.stack([np.hypot(*arrays[key].double().numpy()) for _, _, _, arrays in cases])


def volume_psnr(images, truth):
    return 10 * np.log10(truth.max() ** 2 / np.mean((np.abs(images) - truth) ** 2))


# -- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_pictures")
def test_samples_get_a_row_beside_their_mean_and_the_bundle_says_how_it_is_measured(tmp_path, monkeypatch, bundle):
    entries = fake_run(monkeypatch, bundle, texture=volume())
    summary = compare_entries(tmp_path, ["zero_filled", *entries], tmp_path / "out")
    rows = read_rows(tmp_path / "out" / "metrics.csv")
    assert [(row["protocol"], row["method"]) for row in rows] == [
        ("fastmri_volume", method) for method in ("zero_filled", "texture", "texture, one sample")
    ]
    truth = magnitudes(volume())
    assert float(rows[1]["psnr"]) == pytest.approx(volume_psnr(0.9 * truth, truth), abs=1e-3)
    assert float(rows[2]["psnr"]) == pytest.approx(volume_psnr(0.8 * truth, truth), abs=1e-3)
    assert float(rows[1]["nmse"]) == pytest.approx(0.01, rel=1e-4)
    assert summary.startswith("Protocol fastmri_volume: ")
    assert "| difference (texture, one sample - zero-filled) | " in summary
    assert list(read_record(tmp_path / "out")["methods"]) == ["zero_filled", "texture"]


def test_pictures_of_volumes_in_scanner_units_are_relative_to_their_maximum(tmp_path, monkeypatch, bundle):
    cases = volume(n_slices=3) + volume("/data/b.h5", n_slices=3, seed=7)
    compare_entries(tmp_path, fake_run(monkeypatch, bundle, texture=cases), tmp_path / "out", n_cases=1)
    index = PanelIndex.read(tmp_path / "out" / "panels")
    assert index.protocol == "magnitude_slice"
    # that of the sheet, and the middle slices of the best and the worst volume
    assert set(index.pictures) == {("/data/a.h5", 0), ("/data/a.h5", 1), ("/data/b.h5", 1)}
    drawn = [(cases[:3], 0), (cases[:3], 1), (cases[3:], 1)]
    ends = [np.quantile(0.2 * magnitudes(one)[n] / magnitudes(one).max(), 0.99) for one, n in drawn]  # of the samples
    assert index.error_scale == pytest.approx(max(ends), rel=1e-4)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("n_coils", "size", "crop"), [(0, (24, 20), (16, 16)), (3, (17, 20), (16, 11))])
def test_baselines_are_cropped_to_the_target_whatever_the_number_of_coils(
    n_coils, size, crop, tmp_path, monkeypatch, bundle
):
    pytest.importorskip("sigpy", reason="needs the extra `classical`")
    cases = volume(size=size, crop=crop, n_coils=n_coils)
    entries = fake_run(monkeypatch, bundle, texture=cases)
    summary = compare_entries(tmp_path, ["zero_filled", "tv:0", *entries], tmp_path / "out")
    assert "tv:0: weight of the penalty 0 of the zero-filled image's largest magnitude, as given." in summary
    found = {row["method"]: float(row["psnr"]) for row in read_rows(tmp_path / "out" / "metrics.csv")}
    images = np.stack([zero_filled(arrays, crop) for _, _, _, arrays in cases])
    assert found["zero_filled"] == pytest.approx(volume_psnr(images, magnitudes(cases)), abs=1e-3)
    if not n_coils:  # without a penalty samples that were not measured stay zero
        assert found["tv:0"] == pytest.approx(found["zero_filled"], abs=1e-3)
    else:  # the coils fill them
        assert found["tv:0"] > found["zero_filled"] + 3


def test_other_noise_in_scanner_units_is_another_measurement(tmp_path, monkeypatch, bundle):
    """K-space is compared by its own largest value, not by the mask's 1."""
    noisy = volume()
    noisy[0][3]["image"][:2] *= 1.001
    entries = fake_run(monkeypatch, bundle, first=volume(), second=noisy)
    with pytest.raises(ValueError, match=r"a\.h5, slice 0: second has another measurement than first"):
        compare_entries(tmp_path, entries, tmp_path / "out")


# -- the perceptual distance -----------------------------------------------------------------------------------------


@pytest.fixture
def perceptual_weights(tmp_path):
    torch.manual_seed(0)
    torch.save(Vgg19Classifier(3, width=2).state_dict(), tmp_path / "textures.pt")
    return tmp_path / "textures.pt"


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("protocol", ["fastmri_volume", "magnitude_slice"])
def test_perceptual_distance_is_of_magnitudes_and_of_volumes_by_their_maximum(
    protocol, tmp_path, monkeypatch, bundle, perceptual_weights
):
    scale = RAW if protocol == "fastmri_volume" else 0.2
    cases = volume(scale=scale)
    for _, _, _, arrays in cases:
        arrays["pred"] = arrays["label"].flip(-1)
    entries = fake_run(monkeypatch, bundle, texture=cases)
    options = {"protocol": protocol, "perceptual_weights": str(perceptual_weights)}
    summary = compare_entries(tmp_path, entries, tmp_path / "out", **options)
    rows = read_rows(tmp_path / "out" / "metrics.csv")
    found = [float(row["perceptual"]) for row in rows if row["method"] == "texture"]
    truth = magnitudes(cases)
    if protocol == "fastmri_volume":
        truth = truth / truth.max()
    images = torch.from_numpy(truth.clip(0, 1).astype(np.float32))[:, None]
    expected = PerceptualDistance(perceptual_weights)(images.flip(-1), images)
    expected = [expected.mean().item()] if protocol == "fastmri_volume" else expected.tolist()
    assert min(expected) > 1e-3
    assert found == pytest.approx(expected, rel=1e-3)
    assert "Perceptual distance by textures.pt." in summary
    assert re.search(r"\| method +\| PSNR, dB +\| SSIM +\| NMSE +\| perceptual distance +\|", summary)


@pytest.mark.usefixtures("no_pictures")
def test_volume_of_zeros_has_no_perceptual_distance(tmp_path, monkeypatch, bundle, perceptual_weights):
    cases = volume() + volume("/data/empty.h5", scale=0.0)
    compare_entries(
        tmp_path,
        fake_run(monkeypatch, bundle, texture=cases),
        tmp_path / "out",
        perceptual_weights=str(perceptual_weights),
    )
    rows = read_rows(tmp_path / "out" / "metrics.csv")
    assert [row["perceptual"] == "" for row in rows] == [False, False, True, True]


# -- variants and options of an entry --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "default", "label", "variant", "checkpoint"),
    [
        ("{bundle}@baseline:{weights}", "", "knee@baseline:w", "baseline", True),
        ("{bundle}@baseline", "3d", "knee@baseline", "baseline", False),
        ("{bundle}@", "3d", "knee", "", False),
        ("{bundle}", "3d", "knee", "3d", False),
        ("unet={bundle}@baseline", "", "unet", "baseline", False),
    ],
)
def test_entry_names_its_variant_and_its_weights(text, default, label, variant, checkpoint, tmp_path, bundle):
    weights = tmp_path / "w.pt"
    weights.write_bytes(b"")
    entry = find_entry(text.format(bundle=bundle, weights=weights), tmp_path, default)
    assert (entry.label, entry.variant) == (label, variant)
    assert entry.checkpoint == (weights if checkpoint else None)


def test_sign_in_the_path_of_a_bundle_names_no_variant(tmp_path, bundle):
    moved = bundle.rename(tmp_path / "knee@home")
    entry = find_entry(str(moved), tmp_path)
    assert (entry.root, entry.variant) == (moved, "")
    assert find_entry(f"{moved}@baseline", tmp_path).variant == "baseline"


def test_options_of_one_entry_come_after_those_of_all():
    labels = ["my-net", "net", "net.2"]
    options = {"n_samples": 8, "net.n_samples": 2, "my_net.train#width": 4, "noise_std": 0.1}
    assert options_of("net", labels, options) == {"n_samples": 2, "noise_std": 0.1}
    assert options_of("my-net", labels, options) == {"n_samples": 8, "noise_std": 0.1, "train#width": 4}
    assert options_of("net.2", labels, options) == {"n_samples": 8, "noise_std": 0.1}


# -- sweeps ----------------------------------------------------------------------------------------------------------

SWEEP = "accelerations=4,8 center_fractions=0.08,0.04"


def test_sweep_is_a_comparison_for_each_setting_and_one_table(tmp_path, monkeypatch, bundle):
    seen = []

    def cases(overrides):
        seen.append(dict(overrides))
        return volume(seed=10 * overrides["accelerations"][0]) + volume("/data/b.h5", seed=7)

    entries = fake_run(monkeypatch, bundle, texture=cases)
    words = ["compare", tmp_path, "--entries", ",".join(["zero_filled", *entries]), "--out", tmp_path / "out"]
    words += ["--sweep", SWEEP, "--n_samples", 2]
    assert run_commands({"compare": compare}, "tools", [str(word) for word in words]) == 0
    assert seen == [
        {"n_samples": 2, "accelerations": [4], "center_fractions": [0.08]},
        {"n_samples": 2, "accelerations": [8], "center_fractions": [0.04]},
    ]
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "accelerations_4",
        "accelerations_8",
        "summary.md",
        "sweep.csv",
    ]
    rows = read_rows(out / "sweep.csv")
    assert list(rows[0])[:6] == ["accelerations", "center_fractions", "protocol", "file", "slice", "method"]
    for accel, fraction in (("4", "0.08"), ("8", "0.04")):
        part = [row for row in rows if row["accelerations"] == accel]
        assert {row.pop("center_fractions") for row in part} == {fraction}
        assert [
            {**row, "accelerations": accel} for row in read_rows(out / f"accelerations_{accel}" / "metrics.csv")
        ] == part
        assert read_record(out / f"accelerations_{accel}")["options"]["accelerations"] == [int(accel)]
    text = (out / "summary.md").read_text()
    assert re.search(r"\| PSNR, dB +\| accelerations=4 +\| accelerations=8 +\|\n\|[-|]+\|\n\| zero-filled +\|", text)
    means = [
        np.mean([float(row["psnr"]) for row in rows if (row["accelerations"], row["method"]) == (accel, "zero_filled")])
        for accel in ("4", "8")
    ]
    line = next(line for line in text.splitlines() if line.startswith("| zero-filled "))
    assert [cell.split()[0] for cell in line.split("|")[2:4]] == [f"{mean:.2f}" for mean in means]
    assert means[0] != means[1]
    assert "## accelerations=8, center_fractions=0.04\n\nProtocol fastmri_volume" in text
    compare_entries(tmp_path, entries, out, sweep="n_samples=1,2", **{"accelerations": [4]})  # replaces it
    assert sorted(path.name for path in out.iterdir()) == ["n_samples_1", "n_samples_2", "summary.md", "sweep.csv"]


def test_values_of_a_sweep_are_read_as_options_are():
    settings = read_sweep("rates=[4,8],16 family=radial,cartesian", lambda key: key == "rates")
    assert list(settings.values()) == [{"rates": [4, 8], "family": "radial"}, {"rates": [16], "family": "cartesian"}]
    assert list(map(setting_folder, settings)) == ["rates_4_8", "rates_16"]


@pytest.mark.parametrize(
    ("entry", "options", "message"),
    [
        ("texture={}", ["--sweep", "accelerations"], "of each key once, got 'accelerations'"),
        ("texture={}", ["--sweep", "accelerations=4 accelerations=8"], "of each key once"),
        ("texture={}", ["--sweep", "accelerations=4,8 center_fractions=0.08"], "got 2 of accelerations, 1 of cen"),
        ("texture={}", ["--sweep", "n_samples=2,2"], "must differ, got 'n_samples=2,2'"),
        ("texture={}", ["--sweep", "rate=0.1,0.2"], "texture: unknown key 'rate'"),
        ("{}@unet", [], "knee@unet: has no variant 'unet'"),
        ("texture={}", ["--texture.rate", "2"], "texture: unknown key 'rate'"),
        ("texture={}", ["--other.n_samples", "2"], "texture: unknown key 'other.n_samples'"),
    ],
)
def test_what_cannot_be_is_refused(entry, options, message, tmp_path, monkeypatch, bundle, capsys):
    assert message in refused(monkeypatch, capsys, tmp_path, entry.format(bundle), *options)
