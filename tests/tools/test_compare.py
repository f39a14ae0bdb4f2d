"""Comparisons: real processes of bundles on tiny images, numbers by hand, and what is refused."""

import csv
import re

import numpy as np
import pytest
import torch
from helpers import SMALL_CASCADE_OPTIONS, small_cascade
from html_page import check_page
from PIL import Image
from toy_comparison import BUNDLE, case, fake_run, toy_archive

from common.figures import PanelIndex
from common.handlers import save_weights
from common.operators import channels_to_complex, fft2c, pack_measurement
from common.operators.masks import sampling_mask
from tests.helpers import numpy_fft2c, numpy_ifft2c
from tools.classical import total_variation
from tools.command import run_commands
from tools.compare import compare, compare_entries
from tools.comparison import runs
from tools.comparison.bundle_runs import failure
from tools.comparison.capture import CaseFolder
from tools.comparison.summary import Comparison
from tools.progress import Progress
from tools.report import report_results

pytest.importorskip("sigpy", reason="needs the extra `classical`")
NAMES = ("a.png", "b.png", "c.png")
SIZE, RATE, WIDTH = 64, 0.3, 4


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of three images, 8 bit."""
    folder = tmp_path_factory.mktemp("images")
    for seed, name in enumerate(NAMES):
        coarse = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Two files of random weights of one network, which change images visibly."""
    folder, paths = tmp_path_factory.mktemp("weights"), []
    for seed in (0, 1):
        network = small_cascade(seed)
        save_weights(network, folder / f"w{seed}.pt")
        paths.append(folder / f"w{seed}.pt")
    return paths


@pytest.fixture(scope="module")
def compared(images, weights, tmp_path_factory):
    """Two baselines and one network with two files of weights, by the command."""
    out = tmp_path_factory.mktemp("compared") / "out"
    entries = f"tv:0.02,{BUNDLE}:{weights[0]},zero_filled,second={BUNDLE}:{weights[1]}"
    arguments = ["compare", images, "--entries", entries, "--reference", "zero_filled", "--n_cases", 2, "--out", out]
    options = [
        "--sampling_rate",
        RATE,
        *(word for name, value in SMALL_CASCADE_OPTIONS.items() for word in (f"--{name}", value)),
    ]
    assert run_commands({"compare": compare}, "tools", [str(word) for word in [*arguments, *options]]) == 0
    return out


def target(images, name):
    return np.asarray(Image.open(images / name)).astype(np.float64) / 255


def measurement(images, name):
    """The measurement as any user of `common` would make it from the documented rule: masks follow the file's name."""
    image = torch.from_numpy(target(images, name)).to(torch.complex64)[None, None]
    mask = sampling_mask("radial", (SIZE, SIZE), RATE, seed=name, angle_deg=0.0)
    return pack_measurement(mask * fft2c(image), mask)


def psnr(image, truth):
    return 10 * np.log10(1 / np.mean((np.abs(image) - truth) ** 2))


def read_rows(out):
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def reconstructed(images, weights):
    """Label to the images of the three cases, computed here."""
    results = {}
    networks = []
    for path in weights:
        network = small_cascade()
        network.load_state_dict({name: value.float() for name, value in torch.load(path, weights_only=True).items()})
        networks.append(network)
    for name in NAMES:
        measured = measurement(images, name)
        kspace, mask = (measured[0, :2].double().numpy(), measured[0, 2].double().numpy())
        with torch.no_grad():
            found = {
                "zero_filled": numpy_ifft2c((kspace[0] + 1j * kspace[1]) * mask),
                "tv:0.02": channels_to_complex(total_variation(measured, 0.02))[0, 0].numpy(),
                f"{BUNDLE}:w0": channels_to_complex(networks[0](measured))[0, 0].numpy(),
                "second": channels_to_complex(networks[1](measured))[0, 0].numpy(),
            }
        for label, image in found.items():
            results.setdefault(label, []).append(image)
    return results


@pytest.fixture(scope="module")
def expected(images, reconstructed):
    """Label to PSNR of the three cases."""
    truths = [target(images, name) for name in NAMES]
    return {label: np.array(list(map(psnr, found, truths))) for label, found in reconstructed.items()}


def test_every_value_is_that_of_the_same_measurement(compared, images, expected):
    rows = read_rows(compared)
    assert [row["method"] for row in rows] == ["tv:0.02", f"{BUNDLE}:w0", "zero_filled", "second"] * len(NAMES)
    assert [row["file"] for row in rows] == [str(images / name) for name in NAMES for _ in range(4)]
    for label, values in expected.items():
        found = [float(row["psnr"]) for row in rows if row["method"] == label]
        assert found == pytest.approx(values, abs=2e-3), label
    assert len({round(float(values[0]), 1) for values in expected.values()}) == 4  # the methods differ


def test_summary_has_means_and_paired_differences(compared, expected):
    text = (compared / "summary.md").read_text()
    zero_filled = expected["zero_filled"]
    for label, values in expected.items():
        mean = f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"
        assert f"| {label.replace('_filled', '-filled')} | {mean} [" in text.partition("minus")[0]
        if label != "zero_filled":
            gain = values - zero_filled
            assert f"| {label} | {gain.mean():+.2f} ± {gain.std(ddof=1):.2f} [" in text.partition("minus")[2]
    assert "| minus zero-filled, slice by slice | PSNR, dB | SSIM | NMSE |" in text
    assert text.startswith("Protocol magnitude_slice: ")


def test_pictures_show_all_methods_on_one_error_scale(compared, images, reconstructed):
    index = PanelIndex.read(compared / "panels")
    assert sorted(index.pictures.values()) == ["a_0.png", "b_0.png", "c_0.png"]  # two spread, and the extremes
    ends = [
        np.quantile(np.abs(np.abs(image) - target(images, name)), 0.99)
        for found in reconstructed.values()
        for image, name in zip(found, NAMES, strict=True)
    ]
    assert index.error_scale == pytest.approx(max(ends), rel=1e-3)
    with Image.open(compared / "sheet.png") as sheet, Image.open(compared / "panels" / "a_0.png") as panel:
        # two cases of mask, four methods and target at 100 dots an inch; a panel has 120
        assert sheet.width * 1.2 == pytest.approx(panel.width, abs=2)
        assert sheet.height * 1.2 == pytest.approx(2 * panel.height, abs=4)
        assert panel.width > 6 * 200


def test_comparison_tells_what_it_was_and_can_be_reported(compared, images, weights):
    said = Comparison.read(compared)
    assert said.reference == "zero_filled"
    assert said.options == {"sampling_rate": RATE, **SMALL_CASCADE_OPTIONS}
    assert said.methods["second"]["checkpoint"] == str(weights[1])
    assert said.methods["second"]["bundle"] == BUNDLE
    page = check_page(report_results(compared, compared / "report.html", title="Comparison"))
    assert "difference (second - zero-filled)" in page.text
    assert "--sampling_rate 0.3 --network_options#n_stages 2" in page.text


# -- a packaged bundle with a `common` of its own ------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path):
    """The zip of a bundle that brings another `common` than this repository's, and data for it."""
    archive, data = tmp_path / "toy_v0.1.0.zip", tmp_path / "data"
    toy_archive(archive)
    data.mkdir()
    for seed in range(3):
        np.save(data / f"{seed}.npy", np.random.default_rng(seed).random((16, 16)))
    return archive, data


def test_packaged_bundle_runs_with_its_own_common_and_measures_for_the_baselines(toy, tmp_path):
    archive, data = toy
    compare_entries(data, ["quarter=" + str(archive), "zero_filled"], tmp_path / "out", overrides={"factor": 0.25})
    found = {(row["file"], row["method"]): float(row["psnr"]) for row in read_rows(tmp_path / "out")}
    for path in sorted(data.iterdir()):
        image, mask = np.load(path), np.zeros((16, 16))
        mask[:, ::2] = 1
        zero_filled = numpy_ifft2c(mask * numpy_fft2c(image))
        assert found[str(path), "zero_filled"] == pytest.approx(psnr(zero_filled, image), abs=1e-4)
        assert found[str(path), "quarter"] == pytest.approx(psnr(0.25 * zero_filled, image), abs=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out", "toy_v0.1.0.zip"]


def test_error_of_a_bundle_is_passed_on_and_the_older_results_stay(images, weights, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "comparison.json").write_text("older")
    with pytest.raises(ValueError, match=rf"^{BUNDLE}:w0: .*w0\.pt: "):  # of two stages, the bundle's has six
        compare_entries(images, [f"{BUNDLE}:{weights[0]}"], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["comparison.json"]


# -- what needs no process -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "options", "message"),
    [
        (
            "zero_filed",
            [],
            "unknown entry 'zero_filed': expected zero_filled, tv, wavelet, nearest, bicubic, lanczos, or a bundle",
        ),
        ("missing.zip", [], "unknown entry 'missing.zip'"),
        ("tv:much", [], "tv:WEIGHT takes a number, got 'much'"),
        ("zero_filled:1", [], "zero_filled has no parameter, got '1'"),
        (f"{BUNDLE}:missing.pt", [], "no file of weights missing.pt"),
        (f"{BUNDLE},{BUNDLE}", [], f"two entries are called {BUNDLE}; give them names"),
        ("target=zero_filled", [], "an entry cannot be called target"),
        (",", [], "nothing to compare"),
        ("zero_filled,wavelet", [], "no entry is a bundle: give --measure_like BUNDLE"),
        ("zero_filled", ["--measure_like", "tv"], "measure_like must be a bundle, got the baseline 'tv'"),
        (BUNDLE, ["--measure_like", BUNDLE], "measure_like is for comparisons without a bundle"),
        (BUNDLE, ["--reference", "tv"], f"reference must be one of {BUNDLE}, got 'tv'"),
        (BUNDLE, ["--protocol", "best"], "unknown protocol 'best'"),
        (BUNDLE, ["--n_cases", "0"], "n_cases must be an integer of 1 or more, got 0"),
        (BUNDLE, ["--sampling_rat", "0.2"], f"{BUNDLE}: unknown option --sampling_rat"),
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


def test_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds something else than a comparison; give --out a new folder"):
        compare_entries(tmp_path, [BUNDLE], tmp_path)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ([case(0)], "second has 1 cases and first has 2; give options that make both measure alike"),
        ([case(0), case(1, path="c.png")], "case 1 is slice 0 of c.png in second and slice 0 of b.png in first"),
        ([case(0), case(1, path="b.png", shift=0.01)], "b.png, slice 0: second has another measurement than first"),
        ([case(0), case(1, path="b.png", label=False)], "b.png, slice 0: second has another target than first"),
    ],
)
def test_bundles_that_measure_otherwise_are_refused(second, message, tmp_path, monkeypatch):
    entries = fake_run(monkeypatch, first=[case(0), case(1, path="b.png")], second=second)
    with pytest.raises(ValueError, match=message):
        compare_entries(tmp_path, entries, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_rounding_of_another_version_is_no_other_measurement(tmp_path, monkeypatch):
    entries = fake_run(monkeypatch, first=[case(0)], second=[case(0, shift=1e-7)])
    compare_entries(tmp_path, entries, tmp_path / "out")
    assert [row["method"] for row in read_rows(tmp_path / "out")] == ["first", "second"]


def test_defect_of_a_bundle_shows_its_traceback_and_one_line(capsys):
    log = ["2026 - INFO - begin\n", "Traceback (most recent call last):\n", "KeyError: 'pred'\n", "\n"]
    assert failure(log, 1) == "its inference ended with status 1: KeyError: 'pred'"
    assert capsys.readouterr().err == "".join(log)
    assert failure([*log, "error: a.png: damaged\n", "bye\n"], 1) == "a.png: damaged"
    assert capsys.readouterr().err == ""


def test_cases_without_target_are_refused(tmp_path, monkeypatch):
    entries = fake_run(monkeypatch, first=[case(0), case(1, path="raw.h5", label=False)])
    with pytest.raises(ValueError, match=r"^raw\.h5: has no target"):
        compare_entries(tmp_path, entries, tmp_path / "out")
    entries = fake_run(monkeypatch, first=[])
    with pytest.raises(ValueError, match="first: reconstructed no case"):
        compare_entries(tmp_path, entries, tmp_path / "out")


def test_volumes_are_measured_whole_and_shown_by_their_middle(tmp_path, monkeypatch):
    cases = [case(10 * v + i, f"/data/{v}.h5", i, 3) for v in range(2) for i in range(3)]
    entries = fake_run(monkeypatch, first=cases)
    compare_entries(tmp_path, ["zero_filled", *entries], tmp_path / "out", protocol="fastmri_volume", n_cases=1)
    rows = read_rows(tmp_path / "out")
    assert [(row["file"], row["slice"], row["method"]) for row in rows] == [
        (f"/data/{v}.h5", "", method) for v in range(2) for method in ("zero_filled", "first")
    ]
    for volume in range(2):
        truth = np.stack([arrays["label"][0].numpy() for path, _, _, arrays in cases if path == f"/data/{volume}.h5"])
        peak = truth.max()
        by_hand = 10 * np.log10(peak**2 / np.mean((0.1 * truth) ** 2))
        assert float(rows[2 * volume + 1]["psnr"]) == pytest.approx(by_hand, abs=1e-3)
    pictures = PanelIndex.read(tmp_path / "out" / "panels").pictures
    assert set(pictures) == {("/data/0.h5", 0), ("/data/0.h5", 1), ("/data/1.h5", 1)}


def test_baselines_alone_are_measured_by_the_bundle_named_without_its_weights(tmp_path, monkeypatch):
    seen = {}

    def run(entry, dataset_dir, overrides, folder, tell):
        seen.update(overrides)
        cases = CaseFolder(folder)
        place = {"path": np.asarray("a.png"), "slice": np.asarray(0), "n_slices": np.asarray(1)}
        cases.write(0, {**case(0)[-1], **place})
        return cases

    monkeypatch.setattr(runs, "run_bundle", run)
    compare_entries(
        tmp_path, ["wavelet", "zero_filled"], tmp_path / "out", measure_like=BUNDLE, overrides={"sampling_rate": 0.5}
    )
    assert seen == {"load_pretrain": False, "sampling_rate": 0.5}
    assert [row["method"] for row in read_rows(tmp_path / "out")] == ["wavelet", "zero_filled"]


def test_progress_is_a_line_a_tenth_where_nobody_watches(capsys):
    with Progress("tv") as progress:
        for done in range(1, 41):
            progress.update(done, 40)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert len(lines) == 10
    assert re.fullmatch(r"tv: 4 of 40 cases, \d+ s to go", lines[0])
    assert re.fullmatch(r"tv: 40 of 40 cases, \d+ s", lines[-1])


def test_older_comparison_is_replaced(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "comparison.json").write_text("{}")
    (out / "stale.png").write_text("")
    compare_entries(tmp_path, fake_run(monkeypatch, first=[case(0)]), out)
    assert sorted(path.name for path in out.iterdir()) == [
        "comparison.json",
        "metrics.csv",
        "panels",
        "sheet.png",
        "summary.md",
    ]
