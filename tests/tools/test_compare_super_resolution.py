"""Comparisons of super-resolution: real processes of a bundle on tiny images, numbers by hand, and what is refused."""

import csv
import json

import numpy as np
import pytest
import torch
from html_page import check_page
from PIL import Image

from common.figures import PanelIndex
from common.handlers import save_weights
from common.metrics import PerceptualDistance, piqe
from common.networks import RrdbGenerator, Vgg19Classifier
from common.operators.degradation import resize
from tools.command import run_commands
from tools.compare import compare, compare_entries
from tools.comparison import runs
from tools.comparison.bundle_runs import check_overrides, config_files
from tools.comparison.capture import CaseFolder
from tools.comparison.entries import BundleEntry, find_entry
from tools.comparison.quality import PERCEPTUAL_WEIGHTS
from tools.comparison.summary import Comparison
from tools.report import report_results

BUNDLE = "ct_mri_srgan_d_super_resolution"
NAMES = ("a.png", "b.png", "c.png")
SIZE, UPSCALE = 64, 2
NETWORK = {"upscale": UPSCALE, "n_blocks": 1, "width": 4, "growth": 4}
OPTIONS = {"upscale": UPSCALE, **{f"network_options#{name}": NETWORK[name] for name in ("n_blocks", "width", "growth")}}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with three images, 8 bit, to evaluate on."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "valid").mkdir()
    for seed, name in enumerate(NAMES):
        coarse = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
        Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(folder / "valid" / name)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Two files of random weights of one network."""
    folder, paths = tmp_path_factory.mktemp("weights"), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        paths.append(folder / f"w{seed}.pt")
        save_weights(RrdbGenerator(**NETWORK), paths[-1])
    return paths


def perceptual_file(path):
    torch.manual_seed(0)
    torch.save(Vgg19Classifier(3, width=2).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def perceptual_weights(tmp_path_factory):
    return perceptual_file(tmp_path_factory.mktemp("vgg") / "textures.pt")


@pytest.fixture(scope="module")
def compared(images, weights, perceptual_weights, tmp_path_factory):
    """Two baselines and one network with two files of weights, by the command."""
    out = tmp_path_factory.mktemp("compared") / "out"
    entries = f"nearest,stage1={BUNDLE}:{weights[0]},bicubic,{BUNDLE}:{weights[1]}"
    arguments = ["compare", images, "--entries", entries, "--reference", "bicubic", "--n_cases", 2, "--out", out]
    arguments += ["--perceptual_weights", perceptual_weights, "--device", "cpu"]
    options = [word for key, value in OPTIONS.items() for word in (f"--{key}", value)]
    assert run_commands({"compare": compare}, "tools", [str(word) for word in [*arguments, *options]]) == 0
    return out


def target(images, name):
    return np.asarray(Image.open(images / "valid" / name)).astype(np.float32) / 255


def pillow(image, size, kernel):
    return np.array(Image.fromarray(image).resize((size, size), getattr(Image.Resampling, kernel)))


def inside(image):
    """What `super_resolution_x2` measures."""
    return np.asarray(image, np.float64).clip(0, 1)[2:-2, 2:-2]


@pytest.fixture(scope="module")
def enlarged(images, weights):
    """Label to the images of the three cases, computed here from Pillow's reduction."""
    found = {}
    networks = []
    for path in weights:
        network = RrdbGenerator(**NETWORK).eval()
        network.load_state_dict({name: value.float() for name, value in torch.load(path, weights_only=True).items()})
        networks.append(network)
    for name in NAMES:
        lr_image = pillow(target(images, name), SIZE // UPSCALE, "BICUBIC")
        found.setdefault("nearest", []).append(pillow(lr_image, SIZE, "NEAREST"))
        found.setdefault("bicubic", []).append(pillow(lr_image, SIZE, "BICUBIC"))
        for label, network in zip(("stage1", f"{BUNDLE}:w1"), networks, strict=True):
            with torch.no_grad():
                found.setdefault(label, []).append(network(torch.from_numpy(lr_image)[None, None])[0, 0].numpy())
    return found


def read_rows(out):
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_value_is_that_of_the_same_low_resolution_image(compared, images, enlarged, perceptual_weights):
    rows = read_rows(compared)
    assert {row["protocol"] for row in rows} == {"super_resolution_x2"}
    assert [row["method"] for row in rows] == ["nearest", "stage1", "bicubic", f"{BUNDLE}:w1"] * len(NAMES)
    assert [row["file"] for row in rows] == [str(images / "valid" / name) for name in NAMES for _ in range(4)]
    distance = PerceptualDistance(perceptual_weights)
    for label, found in enlarged.items():
        of_label = [row for row in rows if row["method"] == label]
        for row, image, name in zip(of_label, found, NAMES, strict=True):
            measured, truth = inside(image), inside(target(images, name))
            assert float(row["psnr"]) == pytest.approx(-10 * np.log10(np.mean((measured - truth) ** 2)), abs=2e-3)
            batches = [torch.from_numpy(one)[None, None] for one in (measured, truth)]
            assert float(row["perceptual"]) == pytest.approx(distance(*batches).item(), rel=1e-3, abs=1e-6)
            assert float(row["piqe"]) == pytest.approx(piqe(batches[0]).item(), rel=0.05)  # of rounded grey values
    assert len({row["psnr"] for row in rows[:4]}) == 4  # the methods differ


def test_summary_and_report_are_of_super_resolution(compared, weights, perceptual_weights):
    text = (compared / "summary.md").read_text()
    assert f"Perceptual distance by {perceptual_weights.name}." in text
    assert "| minus bicubic, image by image | PSNR, dB | SSIM | NMSE | perceptual distance | PIQE" in text
    said = Comparison.read(compared)
    assert said.methods["stage1"]["checkpoint"] == str(weights[0])
    assert said.options == {**OPTIONS, "device": "cpu"}
    page = check_page(report_results(compared, compared / "report.html", title="Comparison"))
    assert "Low-resolution images were enlarged" in page.text
    assert "k-space" not in page.text
    assert "difference (stage1 - bicubic)" in page.text


def test_pictures_show_zoomed_parts_of_all_methods(compared):
    index = PanelIndex.read(compared / "panels")
    assert sorted(index.pictures.values()) == ["a_0.png", "b_0.png", "c_0.png"]
    with Image.open(compared / "sheet.png") as sheet, Image.open(compared / "panels" / "a_0.png") as panel:
        assert sheet.width * 1.2 == pytest.approx(panel.width, abs=2)
        assert sheet.height * 1.2 == pytest.approx(2 * panel.height, abs=4)
        assert panel.width > 5 * 2.2 * 120
        assert panel.height > 3 * 2.2 * 120


# -- what needs no process -----------------------------------------------------------------------------------------

TOY = {"metadata": {"version": "0.1.0"}, "inference": {"upscale": 4}, "evaluate": {}}


def toy_bundle(folder, **configs):
    """A bundle of configurations alone, without weights."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    for name, content in {**TOY, **configs}.items():
        (folder / "configs" / f"{name}.json").write_text(json.dumps(content))
    return folder


def fake_run(monkeypatch, bundle, **folders):
    """Entries whose evaluation gives prepared cases: lists of (path, arrays)."""

    def run(entry, dataset_dir, overrides, folder, tell):
        cases = CaseFolder(folder)
        for number, (path, arrays) in enumerate(folders[entry.label]):
            place = {"path": np.asarray(path), "slice": np.asarray(0), "n_slices": np.asarray(1)}
            cases.write(number, {**arrays, **place})
        tell(1, 1)
        return cases

    monkeypatch.setattr(runs, "run_bundle", run)
    return [f"{label}={bundle}" for label in folders]


def case(seed=0, path="a.tif", size=(32, 36), upscale=4, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    label = resize(torch.rand(1, 1, *(n // 3 for n in size), generator=generator), size, "bilinear")
    lr_image = resize(label, [n // upscale for n in size])
    return path, {"image": lr_image[0] + shift, "pred": 0.9 * label[0], "label": label[0]}


def test_volumes_are_measured_whole_and_shown_by_their_middle_plane(tmp_path, monkeypatch):
    cases = [case(seed, f"/data/{seed}.tif", (24, 28, 32)) for seed in range(2)]
    entries = fake_run(monkeypatch, toy_bundle(tmp_path / "toy"), network=cases)
    compare_entries(tmp_path, ["lanczos", *entries], tmp_path / "out")
    rows = read_rows(tmp_path / "out")
    assert [(row["file"], row["method"]) for row in rows] == [
        (f"/data/{seed}.tif", method) for seed in range(2) for method in ("lanczos", "network")
    ]
    assert list(rows[0])[4:] == ["psnr", "ssim", "nmse", "piqe"]
    for row, (_, arrays) in zip(rows[1::2], cases, strict=True):
        truth = arrays["label"][0, 4:-4, 4:-4, 4:-4].double().clamp(0, 1).numpy()
        assert float(row["psnr"]) == pytest.approx(-10 * np.log10(np.mean((0.1 * truth) ** 2)), abs=1e-3)
    assert set(PanelIndex.read(tmp_path / "out" / "panels").pictures) == {(f"/data/{seed}.tif", 0) for seed in range(2)}


def test_another_protocol_may_be_asked_for(tmp_path, monkeypatch):
    entries = fake_run(monkeypatch, toy_bundle(tmp_path / "toy"), network=[case()])
    compare_entries(tmp_path, ["nearest", *entries], tmp_path / "out", protocol="magnitude_slice")
    assert {row["protocol"] for row in read_rows(tmp_path / "out")} == {"magnitude_slice"}
    assert "piqe" not in read_rows(tmp_path / "out")[0]


def test_weights_of_the_perceptual_distance_are_found_in_the_bundle(tmp_path, monkeypatch):
    bundle = toy_bundle(tmp_path / "toy")
    perceptual_file(bundle / "models" / PERCEPTUAL_WEIGHTS)
    entries = fake_run(monkeypatch, bundle, network=[case()])
    summary = compare_entries(tmp_path, ["bicubic", *entries], tmp_path / "out")
    assert f"Perceptual distance by {PERCEPTUAL_WEIGHTS}." in summary
    _, arrays = case()
    images = [arrays[key][None, :, 4:-4, 4:-4].clamp(0, 1) for key in ("pred", "label")]
    expected = PerceptualDistance(bundle / "models" / PERCEPTUAL_WEIGHTS)(*images).item()
    assert float(read_rows(tmp_path / "out")[1]["perceptual"]) == pytest.approx(expected, rel=1e-4)


def test_truth_comes_from_evaluate_json_and_variants_from_files_of_differences(tmp_path):
    bundle = toy_bundle(
        tmp_path / "toy", inference={"upscale": 4, "width": 8}, evaluate={"split": "valid"}, evaluate_3d={"depth#n": 3}
    )

    def names(entry):
        return [path.stem for path in config_files(entry)]

    plain, solid = BundleEntry("toy", bundle), find_entry(str(bundle), tmp_path, "3d")
    assert names(plain) == ["inference", "evaluate"]
    assert names(solid) == ["inference", "evaluate", "evaluate_3d"]
    check_overrides(solid, {"depth#n": 4, "split": "test", "width": 4})
    with pytest.raises(ValueError, match=r"toy: unknown option --depth.*; it has split, upscale, width"):
        check_overrides(plain, {"depth": 4})
    with pytest.raises(ValueError, match=r"toy: has no variant '4d', no .*inference_4d\.json or .*evaluate_4d\.json"):
        config_files(BundleEntry("toy", bundle, variant="4d"))
    assert names(find_entry("brain_mri_refinegan_reconstruction", tmp_path)) == ["inference"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            [case(shift=0.01)],
            "a.tif, slice 0: second has another measurement than first; .* --degradation_name bicubic",
        ),
        ([case(upscale=2)], "a.tif, slice 0: second has another measurement"),
        ([case(1)], "a.tif, slice 0: second has another measurement"),
    ],
)
def test_bundles_that_see_other_images_are_refused(second, message, tmp_path, monkeypatch):
    entries = fake_run(monkeypatch, BUNDLE, first=[case()], second=second)
    with pytest.raises(ValueError, match=message):
        compare_entries(tmp_path, entries, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("entries", "options", "message"),
    [
        (
            f"zero_filled,{BUNDLE}",
            [],
            f"zero_filled is a method of reconstruction and {BUNDLE} one of super-resolution",
        ),
        (f"{BUNDLE},brain_mri_refinegan_reconstruction", [], "compare methods of one task"),
        ("bicubic:2", [], "bicubic has no parameter, got '2'"),
        ("nearest,lanczos", [], "no entry is a bundle: give --measure_like BUNDLE"),
        (
            "nearest",
            ["--measure_like", "brain_mri_refinegan_reconstruction"],
            "measure_like must be a bundle of super-resolution, got 'brain_mri_refinegan_reconstruction' of recon",
        ),
        (BUNDLE, ["--variant", "9d"], f"{BUNDLE}: has no variant '9d'"),
        (BUNDLE, ["--perceptual_weights", "missing.pt"], "no VGG19 weights at 'missing.pt'"),
        (BUNDLE, ["--sampling_rate", "0.2"], f"{BUNDLE}: unknown option --sampling_rate"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line_before_anything_runs(
    entries, options, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(runs, "run_bundle", None)
    words = ["compare", str(tmp_path), "--entries", entries, "--out", str(tmp_path / "results" / "out"), *options]
    assert run_commands({"compare": compare}, "tools", words) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert list(tmp_path.iterdir()) == []
