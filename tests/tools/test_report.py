"""`python -m tools report`: what the page says of evaluations, comparisons, series and trainings."""

import io
import json
import re

import h5py
import numpy as np
import pytest
import torch
from html_page import check_page
from PIL import Image

from common.figures import PanelIndex
from common.metrics import Case, case_table, write_cases
from tools.comparison.record import write_record
from tools.report import page as page_module
from tools.report.charts import distributions, draw_histories, gain_histograms
from tools.report.command import report_results
from tools.report.page import Picture, Table, Viewer, write_page


def write_metrics(folder, rows):
    write_cases(folder / "metrics.csv", case_table(rows))


def row(file, method, psnr, protocol="magnitude_slice", index=0, **metrics):
    return {"protocol": protocol, "file": file, "slice": index, "method": method, "psnr": psnr, **metrics}


def write_panels(folder, places, protocol="magnitude_slice"):
    """Pictures of cases (file, slice); error maps end at 0.25."""
    index = PanelIndex.of(places, protocol, 0.25)
    image = torch.linspace(0, 1, 12 * 16).reshape(12, 16)
    methods = {"zero_filled": 0.5 * image, "reconstruction": 0.9 * image}
    index.draw([Case(*place, methods, image, (image > 0.5).float()) for place in places], folder / "panels")
    index.write(folder / "panels")


def report(folder, **options):
    return check_page(report_results(folder, folder / "page.html", title="A <title>", **options))


def joined(page):
    return re.sub(r"\s*\n\s*", "", page.text)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """An evaluation whose gain grows with the case, with pictures of all but one, and its page."""
    folder, n = tmp_path_factory.mktemp("evaluation"), 8
    rows = []
    for i in range(n):
        rows.append(row(f"/d/{i:03d}.png", "zero_filled", 25 + i, ssim=0.5, nmse=0.04))
        rows.append(row(f"/d/{i:03d}.png", "reconstruction", 32 + 2 * i, ssim=0.9, nmse=0.01))
    rows += [
        row("/d/v.h5", m, p, "fastmri_volume", None, ssim=0.7) for m, p in (("zero_filled", 30), ("reconstruction", 33))
    ]
    write_metrics(folder, rows)
    write_panels(folder, [(f"/d/{i:03d}.png", 0) for i in range(n) if i != 4])
    record = {"bundle": "brain", "weights": {"file": "model.pt", "sha256": "ab12"}, "command": "python -m x <y>"}
    (folder / "run.json").write_text(json.dumps({**record, "files": [{"file": "a", "mask": "radial", "rate": 0.1}]}))
    (folder / "history.csv").write_text(
        "epoch,phase,learning_rate,loss,loss_image,val_psnr\n1,pixel,1e-4,2,1,\n2,pixel,1e-4,1.5,0.8,30.1\n"
    )
    return report(folder)


def test_tables_have_means_intervals_differences_and_extremes(evaluation):
    text = joined(evaluation)
    assert "8 files, 8 slices" not in text  # nine files, of which one was measured as a volume
    assert "9 files, 8 slices" in text
    assert "Protocol magnitude_slice, 8 slices" in text
    assert "Protocol fastmri_volume, 1 volume" in text
    assert "zero-filled28.50 ± 2.45[" in text
    assert "reconstruction39.00 ± 4.90[" in text
    assert "difference (reconstruction - zero-filled)+10.50 ± 2.45[" in text
    assert "reconstruction33.000.7000" in text  # one case has no spread
    assert "best007.png, slice 032.0046.00+14.00best006.png" in text
    assert "worst000.png, slice 025.0032.00+7.00" in text


def test_cases_are_the_best_the_worst_and_further_ones(evaluation):
    page = evaluation
    heads = re.findall(r"(best|worst|further): (\d+)\.png, slice 0, \+(\d+)\.00 dB PSNR over zero-filled", page.text)
    assert heads[:4] == [("best", "007", "14"), ("best", "006", "13"), ("worst", "001", "8"), ("worst", "000", "7")]
    assert sorted(name for _, name, _ in heads[4:]) == ["002", "003", "005"]
    assert "errors 0 to 0.25" in page.text
    for name in ("zero-filled", "reconstruction", "target", "error of reconstruction", "mask of k-space"):
        assert len(page.images[name]) == 7
    target, zero_filled = (
        np.asarray(Image.open(io.BytesIO(page.images[name][0])).convert("L"), float)
        for name in ("target", "zero-filled")
    )
    assert target.shape == (12, 16)
    window = np.quantile(np.linspace(0, 1, 192), 0.998)
    np.testing.assert_allclose(target.ravel(), 255 * np.linspace(0, 1, 192).clip(0, window) / window, atol=8)
    np.testing.assert_allclose(zero_filled, target / 2, atol=8)  # in the window of the target


def test_how_it_was_made_and_trained_is_shown(evaluation):
    text = joined(evaluation)
    assert "bundlebrainweightsfile model.pt; sha256 ab12commandpython -m x <y>files1; masks radial; rates 0.1" in text
    assert "Training: loss / first epoch" in text
    assert "Training: PSNR in validation, dB" in text
    assert "A <title>" in text


def test_few_cases_have_no_histogram():
    many = {"reconstruction": {i: float(i) for i in range(20)}}
    (chart,) = gain_histograms("magnitude_slice", many, "zero_filled")
    assert "mean +9.50 dB" in chart.svg
    assert "currentColor" in chart.svg
    assert gain_histograms("magnitude_slice", {"reconstruction": {0: 1.0}}, "zero_filled") == []
    table = case_table([row("a.png", m, p, ssim=0.5) for m, p in (("zero_filled", np.inf), ("reconstruction", 3.0))])
    svg = distributions("magnitude_slice", table).svg
    assert "zero-filled" in svg
    assert svg.count("<svg") == 1
    assert "pt" not in svg[: svg.index("viewBox")]  # as wide as the page


def test_comparison_is_relative_to_its_reference(tmp_path):
    psnr = {"zero_filled": 20.0, "tv": 25.0, "good": 31.5}
    write_metrics(tmp_path, [row(f"/d/{i}.png", name, value + i) for i in range(8) for name, value in psnr.items()])
    methods = {"zero_filled": {"seconds": 0.1}, "tv": {"seconds": 9.5}}
    methods["good"] = {"seconds": 20.0, "bundle": "brain", "version": "0.2.0", "checkpoint": "/models/best.pt"}
    record = {"dataset_dir": "/data", "reference": "tv", "options": {"sampling_rate": 0.2}, "methods": methods}
    write_record(tmp_path, {**record, "seconds": 30.0})
    page = report(tmp_path)
    assert "difference (zero-filled - tv)" in page.text
    assert "difference (tv - " not in page.text
    assert "+6.50 ± 0.00" in page.text
    assert "gain of good over tv" in page.text
    assert "changed by --sampling_rate 0.2" in page.text
    assert "good (bundle brain 0.2.0, weights best.pt, 20.0 s)" in page.text
    (tmp_path / "comparison.json").write_text('{"reference": "tv"}')
    with pytest.raises(ValueError, match=r"comparison\.json: .*compare again"):
        report(tmp_path)


def test_pictures_of_volumes_are_those_of_their_slices(tmp_path):
    gains = {"a": 1, "b": 5}
    write_metrics(
        tmp_path,
        [
            row(f"/d/{name}.h5", method, 20 + extra, "fastmri_volume", None)
            for name, gain in gains.items()
            for method, extra in (("zero_filled", 0), ("reconstruction", gain))
        ],
    )
    write_panels(tmp_path, [("/d/a.h5", 3), ("/d/b.h5", 2)])
    page = report(tmp_path)
    assert "best: b.h5, slice 2, +5.00 dB PSNR over zero-filled (fastmri_volume)" in page.text
    assert "worst: a.h5, slice 3, +1.00 dB" in page.text


def test_synthetic_data_are_called_synthetic(tmp_path):
    data = tmp_path / "brain" / "test"
    data.mkdir(parents=True)
    (tmp_path / "brain" / "dataset.json").write_text(json.dumps({"synthetic": True, "description": "Phantoms <here>."}))
    expected = "The data are synthetic, so the numbers say nothing about patients. Phantoms <here>."
    write_metrics(tmp_path / "found", [row(f"{data}/a.png", "reconstruction", 30.0)])
    assert expected in report(tmp_path / "found").text
    write_metrics(tmp_path / "named", [row("/moved/a.png", "reconstruction", 30.0, "own")])
    page = report(tmp_path / "named", dataset_dir=tmp_path / "brain")
    assert expected in page.text
    assert "Protocol own, 1 slice" in page.text
    assert "difference" not in page.text


# -- series --------------------------------------------------------------------------------------------------------

N, SIZE, FRAMES = 3, 24, 5


def beating():
    """Series of a bright disc that beats, each with more noise than the one before."""
    rng = np.random.default_rng(0)
    distance = np.hypot(*(np.indices((SIZE, SIZE)) - SIZE * np.array([0.6, 0.5])[:, None, None]))[..., None]
    radius = SIZE / 4 + np.cos(2 * np.pi * np.arange(FRAMES) / FRAMES)
    truth = np.tile(0.1 + 0.7 * (distance < radius), (N, 1, 1, 1)).astype(np.float32)
    noise = rng.standard_normal((2, *truth.shape)) * 0.03 * (1 + np.arange(N))[:, None, None, None]
    result, aliased = np.abs(truth + noise[0]), np.abs(truth + 4 * noise[1])
    return {"truth": truth, "result": result.astype(np.float32), "input": aliased.astype(np.float32)}


def write_result(path, images, sources=None, **attributes):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in images.items():
            file[name] = values
        if sources is not None:
            file["sources"] = sources
        file.attrs.update(attributes)


def test_series_of_a_result_file_beat(tmp_path):
    images, rows = beating(), []
    sources = [f"/data/<b>&amp;heart.h5:{index}" for index in range(N)]
    write_result(tmp_path / "result.h5", images, sources, frame_interval_s=0.06, network="UNet<2D2D>")
    for index, source in enumerate(sources):
        for method, psnr in (("aliased", 20), ("reconstruction", 25 + index)):
            rows.append(row(source.rpartition(":")[0], method, psnr, "cine_series", index))
    write_metrics(tmp_path, rows)
    hearts = [
        {
            "protocol": "ejection_fraction",
            "file": f"/data/{heart}",
            "method": method,
            "ejection_fraction": known + error,
        }
        for heart, known in (("a.h5", 0.5), ("b.h5", 0.61))
        for method, error in (("simulator", 0), ("truth", 0.01), ("aliased", np.nan), ("reconstruction", -0.03))
    ]
    write_cases(tmp_path / "ejection_fraction.csv", case_table(hearts))
    page = report(tmp_path)
    assert "best: <b>&amp;heart.h5, slice 2" in page.text  # nothing of it was taken for a tag
    assert "b" not in page.tags
    name = next(name for name in page.images if name.startswith("best") and "aliased, reconstruction" in name)
    moving, still = (Image.open(io.BytesIO(data)) for data in page.images[name])
    assert (moving.n_frames, getattr(still, "n_frames", 1)) == (FRAMES, 1)
    height, width = int(0.6 * SIZE), 4 * int(0.6 * SIZE) + 9  # the part that moves, four panels
    assert moving.size == still.size == (width, height)
    assert moving.info["loop"] == 0
    moving.seek(1)
    np.asarray(moving)  # Pillow knows the duration of a frame once it is decoded
    assert moving.info["duration"] == 60
    assert "measured every 60 ms" in page.text
    text = joined(page)
    assert "Error of the ejection fraction, points; 2 simulated hearts" in text
    assert "target1.0+1.01.02aliased0reconstruction3.0-3.03.02" in text  # mean absolute, mean, largest, hearts
    assert "a.h550.051.047.0b.h561.062.058.0" in text
    assert "Attributes of result.h5attributevalueframe_interval_s0.06networkUNet<2D2D>" in text
    source = (tmp_path / "page.html").read_text()
    assert re.search(
        r"prefers-reduced-motion: reduce\) \{ \.moving \{ display: none; \} \.still \{ display: block", source
    )


def test_series_without_truth_are_shown_without_numbers(tmp_path):
    images = beating()
    del images["truth"]
    write_result(tmp_path / "deep" / "result.h5", images)
    page = report(tmp_path / "deep")
    assert "nothing can be measured" in page.text
    assert "first: series, slice 0" in page.text
    assert "second: series, slice 1" in page.text
    assert "PSNR" not in page.text
    assert check_page(report_results(tmp_path / "deep" / "result.h5", tmp_path / "own.html")).text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"result": None}, "got input .*truth"),
        ({"input": np.ones((N, SIZE, SIZE, 1))}, "of one shape"),
        ({"result": np.full((N, SIZE, SIZE, FRAMES), np.nan)}, "NaN or infinity in reconstruction, series 0"),
        ({"sources": ["a:0"]}, "a source for each of 3 series, got 1"),
    ],
)
def test_files_that_are_no_result_are_refused_by_name(tmp_path, change, message):
    images = {name: value for name, value in {**beating(), **change}.items() if value is not None}
    write_result(tmp_path / "result.h5", images)
    with pytest.raises(ValueError, match=rf"result\.h5: .*{message}"):
        report(tmp_path)
    assert not (tmp_path / "page.html").exists()


# -- what may go wrong, and sizes ----------------------------------------------------------------------------------


def test_folders_without_results_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no metrics\.csv, result\.h5, history\.csv or panels"):
        report(tmp_path)
    (tmp_path / "history.csv").write_text("step,loss\n1,2\n")
    with pytest.raises(ValueError, match=r"history\.csv: expected a column epoch"):
        report(tmp_path)
    (tmp_path / "history.csv").write_text("epoch,loss\n1,many\n")
    with pytest.raises(ValueError, match=r"history\.csv: .*many"):
        report(tmp_path)
    (tmp_path / "history.csv").write_text("epoch,loss\n1,2\n")
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(ValueError, match=r"run\.json"):
        report(tmp_path)


def test_a_page_stays_small_however_many_images_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "BUDGET", 60_000)
    noise = np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)
    viewers = [
        Viewer(f"case {i}", [Picture(name, [np.roll(noise, i)]) for name in ("before", "after")], "before", "after")
        for i in range(8)
    ]
    page = check_page(write_page(tmp_path / "page.html", "Many", [], [("Cases", viewers), ("Empty", [])]))
    assert "case 0" in page.text
    assert "case 7" not in page.text
    assert "further cases are not on this page" in page.text
    assert "Empty" not in page.text


def test_texts_are_escaped_and_failed_pages_leave_no_file(tmp_path):
    table = Table("<i>", ["&amp;"], [["</td>", ("<b>", "small")]], "a $note")
    page = check_page(write_page(tmp_path / "a" / "page.html", "<h1>", ["\udcff"], [("S", [table, "text"])]))
    assert {"i", "b"}.isdisjoint(page.tags)
    assert "</td>" in page.text
    with pytest.raises(TypeError):
        write_page(tmp_path / "b" / "page.html", "t", [], [("S", [Table("", [], None)])])
    assert not (tmp_path / "b").exists()


def test_histories_of_several_trainings_share_a_figure(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "history.csv").write_text(
            "epoch,phase,psnr,loss_critic\n1,gan,21,1\n2,gan,,0.5\n3,gan,23,0.3\n"
        )
    runs = {f"srgan_{name}": [tmp_path / name / "history.csv"] for name in ("a", "b")}
    for columns, name in ((["psnr"], "one.png"), (["psnr", "loss_critic"], "two.png")):
        draw_histories(runs, columns, tmp_path / "figures" / name)
    with Image.open(tmp_path / "figures" / "one.png") as one, Image.open(tmp_path / "figures" / "two.png") as two:
        assert two.width == one.width
        assert two.height > 1.5 * one.height
    for arguments, message in (
        (({"x": [tmp_path / "history.csv"]}, ["psnr"]), r"history\.csv: no such file"),
        ((runs, ["speed"]), "no values in a column 'speed'"),
    ):
        with pytest.raises(ValueError, match=message):
            draw_histories(*arguments, tmp_path / "no.png")
    assert not (tmp_path / "no.png").exists()
