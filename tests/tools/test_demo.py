"""`python -m tools demo`: one page of the shipped weights of all bundles."""

import logging

import pytest
from html_page import check_page

from common.metrics.cases import read_cases
from tools import demo as module
from tools.__main__ import commands
from tools.command import run_commands

SMALL = {"brain_mri": {"size": 64}, "cardiac_cine": {"n_slices": 1, "size": 64, "n_frames": 4}}


def run(out):
    words = ["demo", "--out", str(out)]
    return run_commands(commands(words), "tools", words)


@pytest.fixture(autouse=True)
def logging_as_before():
    """The bundle's logging writes to what pytest has captured; later tests must not."""
    handlers = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = handlers


def psnr_of(folder, method):
    table = read_cases(folder / "metrics.csv")
    (value,) = table[table["method"] == method]["psnr"]
    return f"{value:.2f}"


def test_two_bundles_in_one_process_on_one_page(tmp_path, monkeypatch, capsys):
    examples = [one._replace(options=SMALL[one.data]) for one in module.EXAMPLES[:2]]
    monkeypatch.setattr(module, "EXAMPLES", examples)
    assert run(tmp_path) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.endswith(f"Open {tmp_path / 'report.html'}\n")
    page = check_page(tmp_path / "report.html")
    for example in examples:
        before, after = (psnr_of(tmp_path / example.bundle, name) for name in (example.baseline, "reconstruction"))
        assert f"{before} dB -> {after} dB" in printed.out
        assert f"{before} → {after}" in page.text
        assert f"bundles/{example.bundle}/configs/inference.json" in page.text
        assert float(after) > float(before)
    assert {"reconstruction", "error of zero-filled"} <= set(page.images)
    assert any("view sharing, reconstruction" in name for name in page.images)
    assert "dB PSNR over view sharing" in page.text


@pytest.mark.slow
def test_all_five_bundles(tmp_path, capsys):
    assert run(tmp_path) == 0
    page = check_page(tmp_path / "report.html")
    assert {one.bundle for one in module.EXAMPLES} == {path.parent.name for path in tmp_path.glob("*/metrics.csv")}
    assert len(module.EXAMPLES) == 5
    assert "deviation of samples" in page.images
    gains = [line.split() for line in capsys.readouterr().out.splitlines() if " dB -> " in line]
    assert all(float(words[-2]) > float(words[-5]) for words in gains)
    assert len(gains) == 5
