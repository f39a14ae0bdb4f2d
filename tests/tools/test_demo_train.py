"""`python -m tools demo_train`."""

import pytest
import yaml
from helpers import SMALL_CASCADE_OPTIONS
from html_page import check_page

from tools import demo_train as module
from tools.__main__ import main
from tools.run.reader import read_task_list


def test_the_list_fits_the_bundle(tmp_path):
    (task,) = read_task_list(module.LIST, out=tmp_path).selected
    assert [run.kind for run in task.runs] == ["train", "predict"]
    assert task.data.path == tmp_path / "data" / "brains"


@pytest.mark.slow
def test_from_nothing_to_a_report(tmp_path, monkeypatch):
    content = yaml.safe_load(module.LIST.read_text())
    content["data"]["brains"]["options"] = {"n_train": 4, "n_valid": 2, "n_test": 3}
    (task,) = content["tasks"]
    task["overrides"] |= SMALL_CASCADE_OPTIONS
    task["train"] = {"val_interval": 1, "epochs#small": 1, "epochs#full": 1, "epochs#gan": 1}
    monkeypatch.setattr(module, "LIST", tmp_path / "list.yaml")
    (tmp_path / "list.yaml").write_text(yaml.safe_dump(content))
    assert main(["demo_train", "--out", str(tmp_path / "out")]) == 0
    page = check_page(tmp_path / "out" / "report.html")
    assert "A short training on synthetic brains" in page.text
    assert "3 files" in page.text
    assert "Training: PSNR in validation" in page.text
    assert "The data are synthetic" in page.text
