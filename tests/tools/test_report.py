"""The HTML report and what it says of an evaluation."""

import base64
import csv
import json
import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from common.figures import save_figure
from tools.report import ReportImage, ReportTable, write_report
from tools.results_report import report_results

VOID = {"meta", "img", "br", "link"}
NASTY = "<script>alert('x')</script> & \"quoted\" $5"


class Checker(HTMLParser):
    """Well-formed, and nothing that comes from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.images, self.text = [], [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            assert name not in ("href", "srcset", "action", "data")
            assert not name.startswith("on")
            if name == "src":
                assert value.startswith("data:image/png;base64,")
                self.images.append(base64.b64decode(value.partition(",")[2], validate=True))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def check(path):
    source = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(source)
    checker.close()
    assert checker.open == []
    assert not {"script", "link", "iframe", "base"} & set(checker.tags)
    assert not re.search(r"url\(|@import|https?:", source)
    assert "prefers-color-scheme: dark" in source
    assert 'name="viewport"' in source
    return checker


def picture():
    figure = Figure(figsize=(1, 1))
    figure.subplots()
    return ReportImage.draw(figure, NASTY)


def test_report_is_one_wellformed_file_with_all_text_escaped(tmp_path):
    path = write_report(
        tmp_path / "new" / "report.html",
        title=NASTY,
        intro=[NASTY],
        tables=[ReportTable(NASTY, [NASTY], [[NASTY], [(NASTY, NASTY)]], note=NASTY)],
        charts=[picture()],
        panels=[picture()],
        commands=[(NASTY, NASTY)],
    )
    checker = check(path)
    assert checker.text.count(NASTY) == 13  # title twice; none was taken for a tag
    assert len(checker.images) == 2
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_sections_without_content_are_left_out(tmp_path):
    checker = check(write_report(tmp_path / "report.html", title="t", intro=["one", "two"]))
    assert "h2" not in checker.tags
    assert checker.tags.count("p") == 2


def test_what_is_no_png_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a PNG image for 'photo'"):
        write_report(tmp_path / "report.html", title="t", intro=[], panels=[ReportImage("photo", b"\xff\xd8\xff")])
    assert list(tmp_path.iterdir()) == []


def write_metrics(folder, rows, metrics=("psnr", "ssim", "nmse")):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["protocol", "file", "slice", "method", *metrics], *rows])


def results(folder, n=6, data="/data/test"):
    rows = []
    for i in range(n):
        where = ["magnitude_slice", f"{data}/{i:03d}.png", 0]
        rows.append([*where, "zero_filled", 25 + i, 0.5, 0.04])
        rows.append([*where, "reconstruction", 32 + 2 * i, 0.9, 0.01])
    rows.append(["fastmri_volume", f"{data}/v.h5", "", "zero_filled", 30, 0.7, 0.02])
    rows.append(["fastmri_volume", f"{data}/v.h5", "", "reconstruction", 33, 0.8, 0.01])
    write_metrics(folder, rows)
    figure = Figure(figsize=(1, 1))
    for i in (10, 2):
        save_figure(figure, folder / "panels" / f"{i:03d}_0.png", dpi=20)
    return folder


def report(folder, **options):
    return check(report_results(folder, folder / "report.html", title="Test", **options))


def test_report_of_results_has_the_numbers(tmp_path):
    checker = report(results(tmp_path))
    assert "Protocol magnitude_slice, 6 slices" in checker.text
    assert "Protocol fastmri_volume, 1 volume" in checker.text
    for cell in ("27.50 ± 1.87", "37.00 ± 3.74", "+9.50 ± 1.87", "+0.4000 ± 0.0000", "-0.0300 ± 0.0000"):
        assert cell in checker.text
    assert "difference (reconstruction - zero-filled)" in checker.text
    text = checker.text.replace("\n", "")
    assert re.search(r"best005\.png, slice 030\.0042\.00\+12\.00", text)
    assert re.search(r"worst000\.png, slice 025\.0032\.00\+7\.00", text)
    assert len(checker.images) == 2 + 2  # a histogram per protocol, two panels
    assert "002_0: PSNR gain +9.00 dB (magnitude_slice)" in checker.text
    assert checker.text.index("002_0") < checker.text.index("010_0")
    assert "synthetic, so" not in checker.text


def test_training_curves_are_drawn_from_the_history(tmp_path):
    results(tmp_path)
    (tmp_path / "history.csv").write_text(
        "epoch,phase,learning_rate,loss,loss_image,val_psnr\n1,pixel,1e-4,2,1,\n2,pixel,1e-4,1.5,0.8,30.1\n"
    )
    checker = report(tmp_path)
    assert "Training: loss / first epoch" in checker.text
    assert "Training: PSNR in validation, dB" in checker.text
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
    assert said in report(results(tmp_path / "found", data=data)).text
    assert said in report(results(tmp_path / "named"), dataset_dir=tmp_path / "brain").text


def test_infinite_and_undefined_values_are_shown(tmp_path):
    rows = [
        ["magnitude_slice", "a.png", 0, "zero_filled", 30, 0.8, "nan"],
        ["magnitude_slice", "a.png", 0, "reconstruction", "inf", 1, ""],
    ]
    write_metrics(tmp_path, rows)
    checker = report(tmp_path)
    assert "inf ± nan" in checker.text
    assert "1 undefined" in checker.text
    assert "Best and worst" not in checker.text


def test_results_without_baseline_have_no_difference(tmp_path):
    write_metrics(tmp_path, [["own", "a.png", 0, "reconstruction", 30]], metrics=["psnr"])
    checker = report(tmp_path)
    assert "Protocol own, 1 slice" in checker.text
    assert "difference" not in checker.text


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
    assert not (tmp_path / "report.html").exists()
