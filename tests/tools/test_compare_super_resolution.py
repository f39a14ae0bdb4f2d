"""Comparisons of super-resolution: real processes of a bundle on tiny images, numbers by hand, and what is refused."""

import json
import re

import numpy as np
import pytest
import torch
from html_page import check_page
from PIL import Image
from toy_comparison import fake_run, read_rows

from common.figures import PanelIndex
from common.handlers import save_weights
from common.metrics import PerceptualDistance, piqe
from common.networks import EquivariantGenerator, RrdbGenerator, Vgg19Classifier
from common.operators.degradation import resize
from tools.command import run_commands
from tools.compare import PERCEPTUAL_WEIGHTS, compare, compare_entries
from tools.comparison.entries import find_entry
from tools.comparison.record import read_record
from tools.report.command import report_results

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
    """A file of random weights."""
    path = tmp_path_factory.mktemp("weights") / "w.pt"
    torch.manual_seed(0)
    save_weights(EquivariantGenerator(RrdbGenerator(**NETWORK, bounded=False)), path)
    return path


def perceptual_file(path):
    torch.manual_seed(0)
    torch.save(Vgg19Classifier(3, width=2).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def perceptual_weights(tmp_path_factory):
    return perceptual_file(tmp_path_factory.mktemp("vgg") / "textures.pt")


@pytest.fixture(scope="module")
def compared(images, weights, perceptual_weights, tmp_path_factory):
    """Two baselines and a network, by the command."""
    out = tmp_path_factory.mktemp("compared") / "out"
    entries = f"nearest,stage1={BUNDLE}:{weights},bicubic"
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
    found, network = {}, EquivariantGenerator(RrdbGenerator(**NETWORK, bounded=False)).eval()
    network.load_state_dict({name: value.float() for name, value in torch.load(weights, weights_only=True).items()})
    for name in NAMES:
        lr_image = pillow(target(images, name), SIZE // UPSCALE, "BICUBIC")
        found.setdefault("nearest", []).append(pillow(lr_image, SIZE, "NEAREST"))
        found.setdefault("bicubic", []).append(pillow(lr_image, SIZE, "BICUBIC"))
        with torch.no_grad():
            found.setdefault("stage1", []).append(network(torch.from_numpy(lr_image)[None, None])[0, 0].numpy())
    return found


def test_every_value_is_that_of_the_same_low_resolution_image(compared, images, enlarged, perceptual_weights):
    rows = read_rows(compared / "metrics.csv")
    assert {row["protocol"] for row in rows} == {"super_resolution_x2"}
    assert [row["method"] for row in rows] == ["nearest", "stage1", "bicubic"] * len(NAMES)
    assert [row["file"] for row in rows] == [str(images / "valid" / name) for name in NAMES for _ in range(3)]
    distance = PerceptualDistance(perceptual_weights)
    for label, found in enlarged.items():
        of_label = [row for row in rows if row["method"] == label]
        for row, image, name in zip(of_label, found, NAMES, strict=True):
            measured, truth = inside(image), inside(target(images, name))
            assert float(row["psnr"]) == pytest.approx(-10 * np.log10(np.mean((measured - truth) ** 2)), abs=2e-3)
            batches = [torch.from_numpy(one)[None, None] for one in (measured, truth)]
            assert float(row["perceptual"]) == pytest.approx(distance(*batches).item(), rel=1e-3, abs=1e-6)
            assert float(row["piqe"]) == pytest.approx(piqe(batches[0]).item(), rel=0.05)  # of rounded grey values
    assert len({row["psnr"] for row in rows[:3]}) == 3  # the methods differ


def test_summary_and_report_are_of_super_resolution(compared, weights, perceptual_weights):
    text = (compared / "summary.md").read_text()
    assert f"Perceptual distance by {perceptual_weights.name}." in text
    assert re.search(r"\| method +\| PSNR, dB +\| SSIM +\| NMSE +\| perceptual distance +\| PIQE", text)
    record = read_record(compared)
    assert record["methods"]["stage1"]["checkpoint"] == str(weights)
    assert record["options"] == {**OPTIONS, "device": "cpu"}
    page = check_page(report_results(compared, compared / "report.html", title="Comparison"))
    assert "Low-resolution images were enlarged" in page.text
    assert "k-space" not in page.text
    assert "difference (stage1 - bicubic)" in page.text


def test_pictures_show_zoomed_parts_of_all_methods(compared):
    index = PanelIndex.read(compared / "panels")
    assert sorted(index.pictures.values()) == ["a_0.png", "b_0.png", "c_0.png"]
    with Image.open(compared / "sheet.png") as sheet, Image.open(compared / "panels" / "a_0.png") as panel:
        assert sheet.width == pytest.approx(panel.width, abs=2)
        assert sheet.height == pytest.approx(2 * panel.height, rel=0.01)
        assert panel.width > 4 * 2.2 * 120
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


def case(seed=0, path="a.tif", size=(32, 36), upscale=4, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    label = resize(torch.rand(1, 1, *(n // 3 for n in size), generator=generator), size, "bilinear")
    lr_image = resize(label, [n // upscale for n in size])
    return path, 0, 1, {"image": lr_image[0] + shift, "pred": 0.9 * label[0], "label": label[0]}


def test_volumes_are_measured_whole_and_shown_by_their_middle_plane(tmp_path, monkeypatch):
    cases = [case(seed, f"/data/{seed}.tif", (24, 28, 32)) for seed in range(2)]
    entries = fake_run(monkeypatch, toy_bundle(tmp_path / "toy"), network=cases)
    compare_entries(tmp_path, ["lanczos", *entries], tmp_path / "out")
    rows = read_rows(tmp_path / "out" / "metrics.csv")
    assert [(row["file"], row["method"]) for row in rows] == [
        (f"/data/{seed}.tif", method) for seed in range(2) for method in ("lanczos", "network")
    ]
    assert list(rows[0])[4:] == ["psnr", "ssim", "nmse", "piqe"]
    for row, (*_, arrays) in zip(rows[1::2], cases, strict=True):
        truth = arrays["label"][0, 4:-4, 4:-4, 4:-4].double().clamp(0, 1).numpy()
        assert float(row["psnr"]) == pytest.approx(-10 * np.log10(np.mean((0.1 * truth) ** 2)), abs=1e-3)
    assert set(PanelIndex.read(tmp_path / "out" / "panels").pictures) == {(f"/data/{seed}.tif", 0) for seed in range(2)}


def test_weights_of_the_perceptual_distance_are_found_in_the_bundle(tmp_path, monkeypatch):
    bundle = toy_bundle(tmp_path / "toy")
    perceptual_file(bundle / "models" / PERCEPTUAL_WEIGHTS)
    entries = fake_run(monkeypatch, bundle, network=[case()])
    summary = compare_entries(tmp_path, ["bicubic", *entries], tmp_path / "out")
    assert f"Perceptual distance by {PERCEPTUAL_WEIGHTS}." in summary
    *_, arrays = case()
    images = [arrays[key][None, :, 4:-4, 4:-4].clamp(0, 1) for key in ("pred", "label")]
    expected = PerceptualDistance(bundle / "models" / PERCEPTUAL_WEIGHTS)(*images).item()
    assert float(read_rows(tmp_path / "out" / "metrics.csv")[1]["perceptual"]) == pytest.approx(expected, rel=1e-4)


def test_truth_comes_from_evaluate_json_and_variants_from_files_of_differences(tmp_path):
    bundle = toy_bundle(
        tmp_path / "toy", inference={"upscale": 4, "width": 8}, evaluate={"split": "valid"}, evaluate_3d={"depth#n": 3}
    )

    def names(variant):
        return [path.stem for path in find_entry(str(bundle), tmp_path, variant).configs]

    assert names("") == ["inference", "evaluate"]
    assert names("3d") == ["inference", "evaluate", "evaluate_3d"]
    with pytest.raises(ValueError, match=r"toy: has no variant '4d', no .*inference_4d\.json or .*evaluate_4d\.json"):
        names("4d")
    brain = find_entry("brain_mri_refinegan_reconstruction", tmp_path)
    assert [path.stem for path in brain.configs] == ["inference"]


def test_bundles_that_see_other_images_are_refused(tmp_path, monkeypatch):
    for second in ([case(shift=0.01)], [case(upscale=2)], [case(1)]):
        entries = fake_run(monkeypatch, BUNDLE, first=[case()], second=second)
        with pytest.raises(ValueError, match=r"a\.tif, slice 0: second has another measurement"):
            compare_entries(tmp_path, entries, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
