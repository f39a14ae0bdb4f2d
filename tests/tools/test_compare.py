"""Comparisons: real processes of bundles on tiny images, numbers by hand, and what is refused."""

import re

import numpy as np
import pytest
import torch
from helpers import SMALL_CASCADE_OPTIONS, small_cascade
from html_page import check_page
from PIL import Image
from quick_bundle import PROGRAM, write_quick_bundle
from toy_comparison import BUNDLE, case, fake_run, read_rows, refused, toy_archive

from common.figures import PanelIndex
from common.handlers import save_weights
from common.operators import channels_to_complex, fft2c, pack_measurement
from common.operators.masks import sampling_mask
from tests.helpers import numpy_fft2c, numpy_ifft2c
from tools.classical import total_variation
from tools.command import run_commands
from tools.compare import compare, compare_entries
from tools.comparison.record import read_record
from tools.comparison.runs import followed
from tools.report.command import report_results
from tools.run import process

pytest.importorskip("sigpy", reason="needs the extra `classical`")
NAMES = ("a.png", "b.png", "c.png")
CINE, SCALED = "cardiac_cine_unet_reconstruction", "ct_mri_srgan_d_super_resolution"
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
    """A file of random weights, which change images visibly."""
    path = tmp_path_factory.mktemp("weights") / "w.pt"
    save_weights(small_cascade(0), path)
    return path


@pytest.fixture(scope="module")
def compared(images, weights, tmp_path_factory):
    """Two baselines and a network, by the command."""
    out = tmp_path_factory.mktemp("compared") / "out"
    entries = f"tv:0.02,{BUNDLE}:{weights},zero_filled"
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


@pytest.fixture(scope="module")
def reconstructed(images, weights):
    """Label to the images of the three cases, computed here."""
    results, network = {}, small_cascade()
    network.load_state_dict({name: value.float() for name, value in torch.load(weights, weights_only=True).items()})
    for name in NAMES:
        measured = measurement(images, name)
        kspace, mask = (measured[0, :2].double().numpy(), measured[0, 2].double().numpy())
        with torch.no_grad():
            found = {
                "zero_filled": numpy_ifft2c((kspace[0] + 1j * kspace[1]) * mask),
                "tv:0.02": channels_to_complex(total_variation(measured, 0.02))[0, 0].numpy(),
                f"{BUNDLE}:w": channels_to_complex(network(measured))[0, 0].numpy(),
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
    rows = read_rows(compared / "metrics.csv")
    assert [row["method"] for row in rows] == ["tv:0.02", f"{BUNDLE}:w", "zero_filled"] * len(NAMES)
    assert [row["file"] for row in rows] == [str(images / name) for name in NAMES for _ in range(3)]
    for label, values in expected.items():
        found = [float(row["psnr"]) for row in rows if row["method"] == label]
        assert found == pytest.approx(values, abs=2e-3), label
    assert len({round(float(values[0]), 1) for values in expected.values()}) == 3  # the methods differ


def test_summary_has_means_and_paired_differences(compared, expected):
    text = (compared / "summary.md").read_text()
    zero_filled = expected["zero_filled"]
    for label, values in expected.items():
        mean = f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"
        name = label.replace("_filled", "-filled")
        assert re.search(rf"\n\| {name} +\| {re.escape(mean)} \[", text)
        if label != "zero_filled":
            gain = re.escape(f"{(values - zero_filled).mean():+.2f} ± {(values - zero_filled).std(ddof=1):.2f} [")
            assert re.search(rf"\n\| difference \({name} - zero-filled\) +\| {gain}", text)
    assert re.search(r"\n\| method +\| PSNR, dB +\| SSIM +\| NMSE +\|\n", text)
    assert text.startswith("Protocol magnitude_slice: ")
    assert "differences slice by slice" in text


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
        # two cases of mask, three methods and target at 100 dots an inch; a panel has 120
        assert sheet.width == pytest.approx(panel.width, abs=2)
        assert sheet.height == pytest.approx(2 * panel.height, rel=0.01)
        assert panel.width > 5 * 200


def test_comparison_has_a_record_and_can_be_reported(compared, images, weights):
    record = read_record(compared)
    assert record["reference"] == "zero_filled"
    assert record["options"] == {"sampling_rate": RATE, **SMALL_CASCADE_OPTIONS}
    assert record["methods"][f"{BUNDLE}:w"]["checkpoint"] == str(weights)
    assert record["methods"][f"{BUNDLE}:w"]["bundle"] == BUNDLE
    page = check_page(report_results(compared, compared / "report.html", title="Comparison"))
    assert f"difference ({BUNDLE}:w - zero-filled)" in page.text
    assert "--sampling_rate 0.3 --network_options#n_stages 2" in page.text


def test_packaged_bundle_runs_with_its_own_common_its_variant_and_its_sample(tmp_path):
    """A file of differences, an option of the entry, a postprocessing that leaves samples, another `common`."""
    split = "$lambda item: {**item, 'sample': 0.5 * item['pred']}"
    variant = {"evaluator#postprocessing": {"_target_": "Lambda", "func": split}, "factor": 0.5}
    archive, data = toy_archive(tmp_path / "toy_v0.1.0.zip", inference_half=variant), tmp_path / "data"
    data.mkdir()
    for seed in range(2):
        np.save(data / f"{seed}.npy", np.random.default_rng(seed).random((16, 16)))
    options = {"factor": 3.0, "half.factor": 0.25}
    compare_entries(data, [f"half={archive}@half", "zero_filled"], tmp_path / "out", **options)
    found = {(row["file"], row["method"]): float(row["psnr"]) for row in read_rows(tmp_path / "out" / "metrics.csv")}
    for path in sorted(data.iterdir()):
        image, mask = np.load(path), np.zeros((16, 16))
        mask[:, ::2] = 1
        zero_filled = numpy_ifft2c(mask * numpy_fft2c(image))
        for method, factor in {"zero_filled": 1.0, "half": 0.25, "half, one sample": 0.125}.items():
            assert found[str(path), method] == pytest.approx(psnr(factor * zero_filled, image), abs=1e-3), method
    assert read_record(tmp_path / "out")["methods"]["half"]["variant"] == "half"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out", "toy_v0.1.0.zip"]


def test_error_of_a_bundle_is_passed_on_and_the_older_results_stay(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(process, "PROGRAM", PROGRAM)
    monkeypatch.chdir(tmp_path)
    bundle = write_quick_bundle(tmp_path / "quick")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "comparison.json").write_text("older")
    for how, message in (("fails", "quick: data: expected images"), ("crashes", "quick: ended .*RuntimeError: a def")):
        with pytest.raises(ValueError, match=f"^{message}"):
            compare_entries(tmp_path, [str(bundle)], tmp_path / "out", **{"how": how})
        assert ("Traceback" in capsys.readouterr().err) == (how == "crashes")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["comparison.json"]


# -- what needs no process -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "options", "message"),
    [
        ("zero_filed", [], "unknown entry 'zero_filed': expected zero_filled, tv"),
        ("missing.zip", [], "unknown entry 'missing.zip'"),
        ("tv:much", [], "got 'much'"),
        ("bicubic:2", [], "bicubic has no parameter, got '2'"),
        (f"{BUNDLE}:missing.pt", [], "no file of weights missing.pt"),
        (f"{BUNDLE},{BUNDLE}", [], f"two entries are called {BUNDLE}"),
        ("target=zero_filled", [], "an entry cannot be called target"),
        (",", [], "nothing to compare"),
        ("zero_filled,wavelet", [], "give --measure_like BUNDLE"),
        ("zero_filled", ["--measure_like", "tv"], "got the baseline 'tv'"),
        (BUNDLE, ["--measure_like", BUNDLE], "measure_like is for comparisons without a bundle"),
        ("tv", ["--measure_like", CINE], f"measure_like must be a bundle of reconstruction, got '{CINE}'"),
        ("nearest", ["--measure_like", BUNDLE], "measure_like must be a bundle of super-resolution"),
        (BUNDLE, ["--reference", "tv"], f"reference must be one of {BUNDLE}, got 'tv'"),
        (BUNDLE, ["--protocol", "best"], "unknown protocol 'best'"),
        (BUNDLE, ["--protocol", "cine_series"], "protocol must be one of reconstruction, such as magnitude_slice"),
        (CINE, ["--protocol", "magnitude_slice"], "protocol must be one of reconstruction of series"),
        (BUNDLE, ["--n_cases", "0"], "n_cases must be an integer of 1 or more, got 0"),
        (BUNDLE, ["--sampling_rat", "0.2"], f"{BUNDLE}: unknown key 'sampling_rat'"),
        (f"tv,{CINE}", [], f"tv is a method of reconstruction and {CINE} one of reconstruction of series"),
        (f"zero_filled,{CINE},bicubic", [], "bicubic one of super-resolution; compare methods of one task"),
        (f"{SCALED},{BUNDLE}", [], "compare methods of one task"),
        (f"{CINE}@paper", [], f"{CINE}@paper: has no variant 'paper'"),
        (SCALED, ["--variant", "9d"], f"{SCALED}: has no variant '9d'"),
        (SCALED, ["--perceptual_weights", "missing.pt"], "missing.pt"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    entries, options, message, tmp_path, capsys, monkeypatch
):
    assert message in refused(monkeypatch, capsys, tmp_path, entries, *options)


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
    assert [row["method"] for row in read_rows(tmp_path / "out" / "metrics.csv")] == ["first", "second"]


def test_cases_without_target_are_refused(tmp_path, monkeypatch):
    entries = fake_run(monkeypatch, first=[case(0), case(1, path="raw.h5", label=False)])
    with pytest.raises(ValueError, match=r"^raw\.h5: has no target"):
        compare_entries(tmp_path, entries, tmp_path / "out")
    entries = fake_run(monkeypatch, first=[])
    with pytest.raises(ValueError, match="first: reconstructed no case"):
        compare_entries(tmp_path, entries, tmp_path / "out")


def test_baselines_alone_are_measured_by_the_bundle_named_without_its_weights(tmp_path, monkeypatch):
    seen = {}

    def cases(overrides):
        seen.update(overrides)
        return [case(0)]

    fake_run(monkeypatch, **{BUNDLE: cases})
    options = {"measure_like": BUNDLE, "sampling_rate": 0.5}
    compare_entries(tmp_path, ["wavelet", "zero_filled"], tmp_path / "out", **options)
    assert seen == {"load_pretrain": False, "sampling_rate": 0.5}
    assert [row["method"] for row in read_rows(tmp_path / "out" / "metrics.csv")] == ["wavelet", "zero_filled"]


def test_progress_is_a_line_a_tenth_where_nobody_watches(capsys):
    update = followed(40, "tv")
    for done in range(1, 41):
        update(done)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert (captured.out, len(lines), lines[-1]) == ("", 10, "tv: 40 of 40 cases")
    assert re.fullmatch(r"tv: 4 of 40 cases, \d+ s to go", lines[0])
