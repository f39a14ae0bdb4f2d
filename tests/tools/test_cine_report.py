"""The page of a cine result: its numbers, its moving pictures, and what it says of files that are none."""

import csv
import io
import re

import h5py
import numpy as np
import pytest
import torch
from html_page import check_page
from PIL import Image

from common.metrics import get_protocol
from tools.__main__ import commands
from tools.cine_report.charts import histogram
from tools.cine_report.command import report_cine
from tools.cine_report.pictures import GAP, moving, profile_row
from tools.cine_report.result_file import Series, open_result
from tools.cine_report.scores import best_and_worst, series_scores, summary_table
from tools.command import run_commands

N, SIZE, FRAMES = 3, 24, 5


def beating(seed=0, n=N, size=SIZE, frames=FRAMES):
    """Series of a bright disc that beats, each with more noise than the one before: truth, result, input."""
    rng = np.random.default_rng(seed)
    distance = np.hypot(*(np.indices((size, size)) - size * np.array([0.6, 0.5])[:, None, None]))[..., None]
    radius = size / 4 + np.cos(2 * np.pi * np.arange(frames) / frames)
    truth = np.tile(0.1 + 0.7 * (distance < radius), (n, 1, 1, 1)).astype(np.float32)
    noise = rng.standard_normal((2, *truth.shape)) * 0.03 * (1 + np.arange(n))[:, None, None, None]
    return {
        "truth": truth,
        "result": np.abs(truth + noise[0]).astype(np.float32),
        "input": np.abs(truth + 4 * noise[1]).astype(np.float32),
    }


def write_result(path, images, sources=None, data=None, **attributes):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in (images | (data or {})).items():
            file[name] = values
        if sources is not None:
            file["sources"] = sources
        file.attrs.update(attributes)
    return path


def report(path, **options):
    return check_page(report_cine(path, path.with_name("page.html"), title="Hearts", **options))


def run(*arguments):
    words = [str(argument) for argument in arguments]
    return run_commands(commands(words), "tools", words)


def pictures(page, what):
    """Images whose alternative text begins so."""
    found = zip(page.alternatives, page.images, strict=True)
    return [Image.open(io.BytesIO(image)) for text, image in found if text.startswith(what)]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A result with all there can be, and its page."""
    folder = tmp_path_factory.mktemp("result")
    images = beating()
    sources = [f"/data/<b>&amp;heart.h5:{index}" for index in range(N)]
    path = write_result(
        folder / "result.h5", images, sources, frame_interval_s=0.06, network="UNet<2D2D>", synthetic=True
    )
    with (folder / "ejection_fraction.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["protocol", "file", "slice", "method", "ejection_fraction", "error", "frames_missed"])
        for heart, known in (("a.h5", 0.5), ("b.h5", 0.61)):
            for method, error in (("simulator", 0), ("truth", 0.01), ("aliased", np.nan), ("reconstruction", -0.03)):
                writer.writerow(["ejection_fraction", f"/data/{heart}", "", method, known + error, error, 0])
    return images, report(path), path


def scores(images):
    return {
        name: get_protocol("cine_series").evaluate(torch.from_numpy(images[name]), torch.from_numpy(images["truth"]))
        for name in ("input", "result")
    }


def test_numbers_are_those_of_the_protocol(measured):
    images, page, _ = measured
    values = scores(images)
    assert "result.h5: 3 series of 24 x 24 pixels and 5 frames." in page.text
    assert "Protocol cine_series, 3 series" in page.text
    assert "so the numbers say nothing about patients" in page.text
    for metric, places in (("mse", 5), ("nrmse", 4), ("psnr", 2), ("ssim", 4)):
        aliased, result = (values[name][metric] for name in ("input", "result"))
        for column in (aliased, result):
            assert f"{column.mean():.{places}f} ± {column.std():.{places}f}" in page.text
            for index in (0, 2):  # the best and the worst
                assert f"{column[index]:.{places}f}" in page.text
        difference = result - aliased
        assert f"{difference.mean():+.{places}f} ± {difference.std():.{places}f}" in page.text


def test_best_and_worst_series_are_shown_by_their_sources(measured):
    images, page, _ = measured
    ssim = scores(images)["result"]["ssim"]
    assert (int(ssim.argmax()), int(ssim.argmin())) == (0, 2)
    assert "Best series by SSIM: <b>&amp;heart.h5, slice 0" in page.text  # nothing of it was taken for a tag
    assert "Worst series by SSIM: <b>&amp;heart.h5, slice 2" in page.text
    assert "slice 1" not in page.text
    assert "b" not in page.tags


def test_animation_has_four_panels_and_all_frames(measured):
    images, page, _ = measured
    factor = 300 // SIZE
    error_end = np.quantile(np.abs(images["result"] - images["truth"])[[0, 2]], 0.995, axis=(1, 2, 3)).max()
    for heading, index in (("Best", 0), ("Worst", 2)):
        animation, still = pictures(page, f"{heading} series, ")[:2]
        assert animation.size == still.size == (4 * factor * SIZE + 3 * GAP, factor * SIZE)
        assert (animation.n_frames, still.n_frames) == (FRAMES, 1)
        assert animation.info["loop"] == 0
        end = np.quantile(images["truth"][index], 0.999)
        for frame in range(FRAMES):
            animation.seek(frame)
            assert animation.info["duration"] == 60
            drawn = np.asarray(animation.convert("L")).astype(float)
            for place, (name, scale) in enumerate(
                (("input", end), ("result", end), ("truth", end), ("error", error_end))
            ):
                series = images.get(name, np.abs(images["result"] - images["truth"]))[index]
                left = place * (factor * SIZE + GAP)
                panel = drawn[:, left : left + factor * SIZE]
                # every pixel is a square of equal pixels
                np.testing.assert_array_equal(panel, panel[::factor, ::factor].repeat(factor, 0).repeat(factor, 1))
                expected = 255 * np.clip(series[..., frame] / scale, 0, 1)
                np.testing.assert_allclose(panel[::factor, ::factor], expected, atol=0.51)
        animation.seek(0)
        np.testing.assert_array_equal(np.asarray(still), np.asarray(animation.convert("L")))


def test_page_respects_who_wants_no_motion_or_a_dark_page(measured):
    _, page, path = measured
    source = path.with_name("page.html").read_text(encoding="utf-8")
    assert re.search(
        r"prefers-reduced-motion: reduce\) \{ \.moving \{ display: none; \} \.still \{ display: block", source
    )
    assert re.search(r"prefers-color-scheme: dark\) \{ \.light \{ display: none; \} \.dark \{ display: block", source)
    assert source.count('class="moving"') == source.count('class="still"') == 2
    assert source.count('class="light"') == source.count('class="dark"') == 2 + 4 + 1  # frames, histograms, hearts
    assert source.startswith("<!DOCTYPE html>")
    light, dark = pictures(page, "MSE of each series")
    assert light.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert max(dark.convert("RGB").getpixel((0, 0))) < 40


def test_profile_is_a_row_in_time(measured):
    images, page, _ = measured
    row = int(re.search(r"Row (\d+), through the place that varies most in time", page.text)[1])
    assert abs(row - 0.6 * SIZE) <= SIZE / 4 + 2
    drawn = [picture for picture in pictures(page, "") if picture.size == (300, 288)]
    assert len(drawn) == 6  # input, result, truth, of two series
    lines = np.asarray(drawn[2])[::12, ::60]
    expected = 255 * np.clip(images["truth"][0, row] / np.quantile(images["truth"][0], 0.999), 0, 1)
    np.testing.assert_allclose(lines, expected, atol=0.51)


def test_profile_goes_through_the_ventricle_where_it_is_known(tmp_path):
    images = {name: values[0] for name, values in beating().items()}
    heart = tmp_path / "heart.h5"
    with h5py.File(heart, "w") as file:
        file["lv_area_mm2"] = np.ones((2, FRAMES))
        file["lv_center_px"] = np.stack([np.full((FRAMES, 2), 3.0), np.full((FRAMES, 2), (7.4, 2.0))])
    assert profile_row(Series(0, f"{heart}:1", images, None)) == (7, "the centre of the left ventricle")
    for source in (f"{heart}:9", f"{tmp_path / 'gone.h5'}:0", "series 0"):
        row, why = profile_row(Series(0, source, images, None))
        assert why == "the place that varies most in time"
        assert row > 7


def test_ejection_fractions_are_told(measured):
    _, page, _ = measured
    text = page.text.replace("\n", "")
    assert "Error of the ejection fraction, points; 2 simulated hearts" in text
    assert "aliased0result3.0-3.03.02truth1.0+1.01.02" in text  # mean absolute, mean, largest, hearts
    assert "a.h550.0nan47.051.0b.h561.0nan58.062.0" in text


def test_attributes_tell_how_it_was_made(measured):
    _, page, _ = measured
    text = page.text.replace("\n", "")
    assert "Attributes of result.h5attributevalueframe_interval_s0.06networkUNet<2D2D>syntheticTrue" in text


def test_without_truth_there_are_no_numbers(tmp_path):
    images = beating()
    del images["truth"]
    page = report(write_result(tmp_path / "result.h5", images))
    assert "nothing can be measured" in page.text
    assert "First series: series 0" in page.text
    assert "Second series: series 1" in page.text
    assert "PSNR" not in page.text
    animation = pictures(page, "First series, ")[0]
    assert animation.size == (2 * 288 + GAP, 288)
    assert animation.info["duration"] == 80


def test_series_without_a_truth_among_others_are_left_out(tmp_path):
    images = beating()
    images["truth"][0] = np.nan
    intervals = {"frame_interval_s": np.array([0.01, 0.07, 0.5]), "intensity_range": np.array([[0, 1], [0, 5], [0, 9]])}
    page = report(write_result(tmp_path / "result.h5", images, data=intervals))
    assert "Protocol cine_series, 2 series" in page.text
    assert "Best series by SSIM: series 1" in page.text
    assert "Worst series by SSIM: series 2" in page.text
    assert "5 frames, measured every 70 ms, each shown for 70 ms" in page.text
    assert "5 frames, measured every 500 ms, each shown for 200 ms" in page.text
    assert "frame_interval_s0.01 to 0.5intensity_range0 to 9" in page.text.replace("\n", "")


def test_a_single_series_of_one_frame_is_a_still(tmp_path):
    page = report(write_result(tmp_path / "result.h5", beating(n=1, frames=1)))
    assert "1 series of 24 x 24 pixels and 1 frame." in page.text
    assert "Only series: series 0" in page.text
    assert [picture.n_frames for picture in pictures(page, "Only series, series 0")][:2] == [1, 1]
    assert f"{scores(beating(n=1, frames=1))['result']['ssim'].item():.4f}" in page.text
    assert "±" not in page.text
    assert "of each series" not in page.text


def test_a_perfect_result_has_an_infinite_psnr(tmp_path):
    images = beating()
    with open_result(write_result(tmp_path / "result.h5", images | {"result": images["truth"]})) as file:
        values = series_scores(file)
    rows = {row[0]: row[2] for row in summary_table(values).rows}
    assert rows["SSIM"] == ("1.0000 ± 0.0000", "[1.0000, 1.0000]")
    assert rows["PSNR, dB"] == ("inf ± nan", "[nan, nan]")
    chart = histogram(values, "psnr")  # of the finite ones, the input's
    assert "PSNR" in chart.light.caption
    assert histogram({"psnr": {"input": np.full(3, np.inf), "result": np.full(3, np.nan)}}, "psnr") is None


def test_size_is_bounded(monkeypatch):
    monkeypatch.setattr("tools.cine_report.pictures.MOST_PIXELS", 4 * 3 * SIZE * SIZE)
    images = {name: values[0] for name, values in beating(frames=10).items()}
    shown = moving(Series(0, "s", images, 0.05), "caption", 0.1)
    assert Image.open(io.BytesIO(shown.animation.png)).n_frames == 3
    assert "10 frames, measured every 50 ms, one in 4 shown for 200 ms" in shown.note
    large = {name: values[0] for name, values in beating(size=700, frames=2).items()}
    shown = moving(Series(0, "s", large, None), "caption", 0.1)
    assert Image.open(io.BytesIO(shown.still.png)).size == (4 * 350 + 3 * GAP, 350)
    assert "shrunk to 350 x 350 pixels" in shown.note


def test_best_and_worst():
    assert best_and_worst(np.array([0.5, 0.9, 0.1])) == [("Best", 1), ("Worst", 2)]
    assert best_and_worst(np.array([np.nan, 0.9, 0.1])) == [("Best", 1), ("Worst", 2)]
    assert best_and_worst(np.array([np.nan, 0.9])) == [("Only", 1)]


def test_command_writes_where_asked(tmp_path, capsys):
    images = beating()
    del images["truth"]  # quick
    path = write_result(tmp_path / "in" / "result.h5", images)
    assert run("cine_report", path, "--out", tmp_path / "out", "--title", "A <title>") == 0
    page = tmp_path / "out" / "cine_report.html"
    assert capsys.readouterr().out == f"wrote {page}\n"
    assert "<h1>A &lt;title&gt;</h1>" in page.read_text(encoding="utf-8")
    assert run("cine-report", path) == 0
    assert (path.parent / "cine_report.html").is_file()
    assert run("cine_report", path, "--out", tmp_path / "own.html") == 0
    assert (tmp_path / "own.html").is_file()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"input": None}, r"missing input, got result, truth; give the result\.h5"),
        ({"result": np.zeros((3, 24, 24, 4))}, r"one shape .* got input \[3, 24, 24, 5\], result \[3, 24, 24, 4\]"),
        ({"truth": np.zeros((3, 24, 24))}, r"one shape .*truth \[3, 24, 24\]"),
        ({"result": np.zeros((3, 24, 24, 5), complex)}, "expected real magnitudes, got result complex128"),
        ({"result": np.full((3, 24, 24, 5), np.nan)}, r"NaN or infinity in result, series 0 \(series 0\)"),
        ({"sources": ["a:0"]}, "a source for each of 3 series, got 1 sources"),
        ({name: np.zeros((0, 24, 24, 5)) for name in ("input", "result", "truth")}, r"one shape .* input \[0, 24"),
    ],
)
def test_wrong_files_are_told_in_one_line(tmp_path, capsys, change, match):
    images = {name: values for name, values in (beating() | change).items() if values is not None}
    path = write_result(tmp_path / "result.h5", images)
    assert run("cine_report", path) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: ")
    assert error.count("\n") == 1
    assert re.search(match, error)
    assert not (tmp_path / "cine_report.html").exists()


def test_what_is_no_result_at_all_is_told(tmp_path, capsys):
    text = tmp_path / "result.h5"
    text.write_text("no HDF5")
    cut = write_result(tmp_path / "cut.h5", beating())
    cut.write_bytes(cut.read_bytes()[:5000])
    for path, match in ((text, "cannot be read as the result"), (cut, "cut"), (tmp_path / "gone.h5", "no such file")):
        assert run("cine_report", path) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert match in error
    good = write_result(tmp_path / "good" / "result.h5", beating())
    table = good.with_name("ejection_fraction.csv")
    for content, match in (
        ("file,method\na,b\n", r"ejection_fraction\.csv: expected columns .* missing ejection_fraction"),
        ("file,method,ejection_fraction\na,simulator,many\n", r"ejection_fraction\.csv, line 2: .*'many'"),
    ):
        table.write_text(content)
        with pytest.raises(ValueError, match=match):
            report(good)


def test_series_are_read_one_at_a_time(tmp_path):
    path = write_result(tmp_path / "result.h5", beating())
    with open_result(path) as file:
        assert len(file) == N
        assert {name: image.shape for name, image in file[1].images.items()} == dict.fromkeys(
            ("input", "result", "truth"), (SIZE, SIZE, FRAMES)
        )
        np.testing.assert_array_equal(file[1].images["result"], beating()["result"][1])
