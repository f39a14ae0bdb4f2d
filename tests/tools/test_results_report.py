"""What the report says of the folder of an evaluation, and of that of a comparison."""

import csv
import json
import re

import pytest
import torch
from html_page import check_page

from common.figures import PanelIndex
from common.metrics import Case
from tools.comparison.summary import Comparison
from tools.results import extremes, leading_method
from tools.results_report import report_results


def write_metrics(folder, rows, metrics=("psnr", "ssim", "nmse")):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["protocol", "file", "slice", "method", *metrics], *rows])


def write_panels(folder, cases, protocol="magnitude_slice"):
    """Pictures of cases (file, slice); error maps end at 0.25."""
    images = {name: torch.full((12, 12), value) for name, value in (("mask", 1.0), ("a", 0.5), ("target", 0.7))}
    index = PanelIndex.of(cases, protocol, 0.25)
    drawn = [
        Case(*case, {"zero_filled": images["a"], "reconstruction": images["a"]}, images["target"], images["mask"])
        for case in cases
    ]
    index.draw(drawn, folder / "panels")
    index.write(folder / "panels")


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """An evaluation whose gain grows with the case, with pictures of all but one, and its report."""
    folder, n, data = tmp_path_factory.mktemp("evaluation"), 8, "/data/test"
    rows = []
    for i in range(n):
        where = ["magnitude_slice", f"{data}/{i:03d}.png", 0]
        rows.append([*where, "zero_filled", 25 + i, 0.5, 0.04])
        rows.append([*where, "reconstruction", 32 + 2 * i, 0.9, 0.01])
    rows.append(["fastmri_volume", f"{data}/v.h5", "", "zero_filled", 30, 0.7, 0.02])
    rows.append(["fastmri_volume", f"{data}/v.h5", "", "reconstruction", 33, 0.8, 0.01])
    write_metrics(folder, rows)
    write_panels(folder, [(f"{data}/{i:03d}.png", 0) for i in range(n) if i != 4])
    (folder / "panels" / "999_0.png").write_bytes((folder / "panels" / "000_0.png").read_bytes())  # an older run's
    return folder, report(folder)


def report(folder, **options):
    return check_page(report_results(folder, folder / "report.html", title="Test", **options))


def section(page, heading, following):
    """The text between two headings."""
    return page.text[page.text.index(heading) : page.text.index(following)]


def test_report_of_an_evaluation_has_the_numbers(evaluation):
    _, page = evaluation
    assert "Protocol magnitude_slice, 8 slices" in page.text
    assert "Protocol fastmri_volume, 1 volume" in page.text
    for cell in ("28.50 ± 2.45", "39.00 ± 4.90", "+10.50 ± 2.45", "+0.4000 ± 0.0000", "-0.0300 ± 0.0000"):
        assert cell in page.text
    assert "difference (reconstruction - zero-filled)" in page.text
    text = page.text.replace("\n", "")
    assert re.search(r"best007\.png, slice 032\.0046\.00\+14\.00", text)
    assert re.search(r"worst000\.png, slice 025\.0032\.00\+7\.00", text)
    assert "synthetic, so" not in page.text


def test_best_and_worst_cases_are_shown_as_pictures(evaluation):
    folder, page = evaluation
    n_charts = 2 * 2  # gains and values of two protocols
    assert len(page.images) == n_charts + 7
    assert [text.partition(":")[0] for text in page.alternatives[n_charts:]] == [
        f"{i:03d}.png, slice 0" for i in (7, 6, 5, 2, 1, 0, 3)
    ]
    pictures = [folder / "panels" / f"{i:03d}_0.png" for i in (7, 6, 5, 2, 1, 0, 3)]
    assert page.images[n_charts:] == [picture.read_bytes() for picture in pictures]
    assert "999" not in page.text
    assert "007.png, slice 0: PSNR gain +14.00 dB over zero-filled (magnitude_slice)" in section(
        page, "Best cases", "Worst cases"
    )
    for heading, following in (("Best cases", "Worst cases"), ("Worst cases", "Further cases")):
        assert "All error maps have one scale, 0 to 0.25." in section(page, heading, following)


def compared(folder):
    """Three methods, the reference in the middle; `good` leads, and its gain falls with the case."""
    rows = [
        ["magnitude_slice", f"/data/{i:03d}.png", 0, method, psnr]
        for i in range(8)
        for method, psnr in (("zero_filled", 20), ("tv", 25 + i), ("good", 35))
    ]
    write_metrics(folder, rows, metrics=["psnr"])
    methods = {
        "zero_filled": {"seconds": 0.1},
        "tv": {"seconds": 9.5},
        "good": {"seconds": 20.0, "bundle": "brain", "version": "0.2.0", "checkpoint": "/models/best.pt"},
    }
    Comparison("/data", "tv", {"sampling_rate": 0.2}, methods, 30.0).write(folder)
    return folder


def test_report_of_a_comparison_is_relative_to_its_reference(tmp_path):
    page = report(compared(tmp_path))
    assert "difference (zero-filled - tv)" in page.text
    assert "difference (good - tv)" in page.text
    assert "difference (tv - " not in page.text
    assert "-8.50 ± 2.45" in page.text
    assert "+6.50 ± 2.45" in page.text
    assert "Best and worst cases by PSNR gain of good over tv" in page.text
    assert re.search(r"best000\.png, slice 020\.0025\.0035\.00\+10\.00", page.text.replace("\n", ""))
    assert "changed by --sampling_rate 0.2" in page.text
    assert "good (bundle brain 0.2.0, weights best.pt, 20.0 s)" in page.text


def test_pictures_of_volumes_are_those_of_their_slices(tmp_path):
    rows = [
        ["fastmri_volume", f"/data/{name}.h5", "", method, psnr]
        for name, gain in (("a", 1), ("b", 5))
        for method, psnr in (("zero_filled", 20), ("reconstruction", 20 + gain))
    ]
    write_metrics(tmp_path, rows, metrics=["psnr"])
    write_panels(tmp_path, [("/data/a.h5", 3), ("/data/b.h5", 2)])
    page = report(tmp_path)
    assert "b.h5, slice 2: PSNR gain +5.00 dB over zero-filled (fastmri_volume)" in section(
        page, "Best cases", "Worst cases"
    )
    assert page.alternatives[-1].startswith("a.h5, slice 3: PSNR gain +1.00 dB")


def test_training_curves_are_drawn_from_the_history(tmp_path):
    write_metrics(tmp_path, [["own", "a.png", 0, "reconstruction", 30]], metrics=["psnr"])
    (tmp_path / "history.csv").write_text(
        "epoch,phase,learning_rate,loss,loss_image,val_psnr\n1,pixel,1e-4,2,1,\n2,pixel,1e-4,1.5,0.8,30.1\n"
    )
    page = report(tmp_path)
    assert "Training: loss / first epoch" in page.text
    assert "Training: PSNR in validation, dB" in page.text
    (tmp_path / "history.csv").write_text("epoch,loss\n1,many\n")
    with pytest.raises(ValueError, match=r"history\.csv: column loss: .*'many'"):
        report(tmp_path)
    (tmp_path / "history.csv").write_text("step,loss\n1,2\n")
    with pytest.raises(ValueError, match="expected a column epoch, got step, loss"):
        report(tmp_path)


def test_synthetic_data_are_called_synthetic(tmp_path):
    data = tmp_path / "brain" / "test"
    data.mkdir(parents=True)
    (tmp_path / "brain" / "dataset.json").write_text(json.dumps({"synthetic": True, "description": "Phantoms <here>."}))
    said = "The data are synthetic, so the numbers say nothing about patients. Phantoms <here>."
    row = ["magnitude_slice", f"{data}/a.png", 0, "reconstruction", 30]
    write_metrics(tmp_path / "found", [row], metrics=["psnr"])
    assert said in report(tmp_path / "found").text
    write_metrics(tmp_path / "named", [[*row[:1], "/moved/a.png", *row[2:]]], metrics=["psnr"])
    assert said in report(tmp_path / "named", dataset_dir=tmp_path / "brain").text


def test_infinite_and_undefined_values_are_shown(tmp_path):
    rows = [
        ["magnitude_slice", "a.png", 0, "zero_filled", 30, 0.8, "nan"],
        ["magnitude_slice", "a.png", 0, "reconstruction", "inf", 1, ""],
    ]
    write_metrics(tmp_path, rows)
    page = report(tmp_path)
    assert "inf ± nan" in page.text
    assert "1 undefined" in page.text
    assert "Best and worst" not in page.text


def test_results_of_one_method_have_no_difference(tmp_path):
    write_metrics(tmp_path, [["own", "a.png", 0, "reconstruction", 30]], metrics=["psnr"])
    page = report(tmp_path)
    assert "Protocol own, 1 slice" in page.text
    assert "difference" not in page.text


def test_extremes_and_leading_method():
    gain = {"a": 1.0, "b": 5.0, "c": 3.0, "d": -2.0, "e": 4.0}
    assert extremes(gain, 2) == (["b", "e"], ["a", "d"])
    assert extremes(gain, 3) == (["b", "e", "c"], ["a", "d"])
    assert extremes({"a": 1.0}, 3) == (["a"], [])
    assert extremes({}, 3) == ([], [])
    values = {name: {None: {"psnr": psnr}} for name, psnr in (("ref", 40.0), ("one", 20.0), ("two", 30.0))}
    assert leading_method(values, "ref") == "two"
    assert leading_method({"ref": values["ref"]}, "ref") == "ref"


def test_wrong_results_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics\.csv: no such file; evaluate first"):
        report(tmp_path)
    (tmp_path / "metrics.csv").write_text("file,psnr\na,1\n")
    with pytest.raises(ValueError, match="missing protocol, slice, method"):
        report(tmp_path)
    write_metrics(tmp_path, [])
    with pytest.raises(ValueError, match="holds no case"):
        report(tmp_path)
    write_metrics(tmp_path, [["p", "a.png", 0, "reconstruction", "good", 1, 1]])
    with pytest.raises(ValueError, match=r"metrics\.csv, line 2: .*'good'"):
        report(tmp_path)
    compared(tmp_path)
    (tmp_path / "comparison.json").write_text('{"reference": "tv"}')
    with pytest.raises(
        ValueError, match=r"comparison\.json: expected the description of a comparison, .*compare again"
    ):
        report(tmp_path)
    assert not (tmp_path / "report.html").exists()
