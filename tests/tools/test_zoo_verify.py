"""`tools zoo verify`: what it takes, in which order it checks, and how it reports."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_zoo_bundle import NAME, change_config, change_text, tiny_weights, write_tiny_bundle

from tools.command import run_commands
from tools.zoo import verify as verify_module
from tools.zoo.archive import sha256_of
from tools.zoo.layout import find_bundle
from tools.zoo.package import build_package
from tools.zoo.probe import Check
from tools.zoo.static_checks import CHECKS
from tools.zoo.verify import verify, verify_bundle

EXPORTED_OTHERWISE = "        if torch.compiler.is_compiling():\n            image = image + 0.1\n"
REAL = "brain_mri_refinegan_reconstruction"
FIRST = ["unpacking", *CHECKS, "example input", "tiny data"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("verify"))


@pytest.fixture
def bundle(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / NAME)


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "GROUPS", ())


def command(*words: object) -> int:
    return run_commands({"verify": verify}, "zoo", ["verify", *map(str, words)])


def zipped(folder: Path, path: Path) -> Path:
    """A zip of a bundle's folder."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{folder.name}/{file.relative_to(folder)}")
    return path


@pytest.mark.slow  # a minute and more: exports and runs of a network of full width, each in a new interpreter
def test_the_real_bundles_zip_passes_all_checks(tmp_path: Path) -> None:
    found = verify_bundle(str(build_package(find_bundle(REAL), tmp_path).path))
    assert {check.name: check.detail for check in found if check.status not in ("pass", "skip")} == {}
    assert [check.name for check in found][-4:] == ["training", "training results", "inference", "inference results"]


@pytest.mark.usefixtures("no_processes")
def test_each_check_is_a_line_and_the_last_a_summary(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = zipped(bundle, tmp_path / f"{NAME}_v0.2.0.zip")
    assert command(path, "--sha256", sha256_of(path)) == 0
    captured = capsys.readouterr()
    *lines, summary = captured.out.splitlines()
    assert [line[:27].split("  ")[1] for line in lines] == FIRST
    assert lines[3].split()[:3] == ["pass", "metadata", "schema"]
    assert summary.startswith(f"{path}: {len(FIRST)} checks passed, 0 warned, 0 skipped in ")
    assert captured.err == ""


@pytest.mark.usefixtures("no_processes")
def test_failures_are_lines_and_the_exit_status(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "LICENSE").unlink()
    change_config(bundle, "inference.json", dataset_dir="/data")
    for words in ([], ["--json"]):
        assert command(bundle, *words) == 1
        captured = capsys.readouterr()
        assert captured.err == f"error: {bundle}: 2 of {len(FIRST)} checks failed: file layout, config keys\n"
    result = json.loads(captured.out)
    assert (result["target"], result["passed"]) == (str(bundle), False)
    assert [check["name"] for check in result["checks"]] == FIRST
    (failure, _) = (check for check in result["checks"] if check["status"] == "fail")
    assert "expected LICENSE in the bundle" in failure["detail"]


@pytest.mark.usefixtures("no_processes")
def test_a_zip_that_is_refused_leaves_nothing_and_another_name_is_a_warning(bundle: Path, tmp_path: Path) -> None:
    path = zipped(bundle, tmp_path / "tiny.zip")
    before = sorted(tmp_path.rglob("*"))
    (check,) = verify_bundle(str(path), sha256="0" * 64)
    assert (check.name, check.status) == ("unpacking", "fail")
    assert "expected the SHA-256 0000" in check.detail
    assert sorted(tmp_path.rglob("*")) == before
    check = verify_bundle(str(path))[0]
    assert (check.status, check.detail) == ("warn", f"tiny.zip holds what should be called {NAME}_v0.2.0.zip")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: expected the name of a bundle"),
        (["nowhere.zip"], "nowhere.zip: no such file"),
        ([REAL, "--sha256", "12"], "--sha256 is the checksum of a zip"),
        ([REAL, "--python", "nowhere"], "expected one Python interpreter, got nowhere"),
        ([REAL, "--python", sys.executable, "--fresh-venv"], "--fresh-venv"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_done(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*words) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.usefixtures("no_processes")
def test_without_synthetic_data_runs_are_skipped(bundle: Path) -> None:
    change_config(bundle, "smoke.json", synthetic_data=...)
    assert verify_bundle(str(bundle))[-1][:3] == (
        "tiny data",
        "skip",
        "no configs/smoke.json that names `synthetic_data`",
    )


def test_weights_that_are_refused_are_kept_from_the_bundles_code(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(tmp_path / "executed"), "w")

    there = []

    def run_group(group: str, folder: Path, *_: Any) -> list[Check]:
        there.append((folder / "models" / "model.pt").exists())
        return []

    monkeypatch.setattr(verify_module, "run_group", run_group)
    for weights in (tiny_weights(2), {"bomb": Bomb()}):
        torch.save(weights, bundle / "models" / "model.pt")
        statuses = {check.name: check.status for check in verify_bundle(str(bundle), quick=True)}
    assert statuses["weights file"] == "fail"
    assert there == [True, False]
    assert not (tmp_path / "executed").exists()
    assert (bundle / "models" / "model.pt").exists()  # it is the copy that loses them


def test_checks_that_need_what_failed_are_not_made(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = {"training": Check("training", "pass", "", 1.0), "inference": Check("inference", "fail", "no", 1.0)}
    monkeypatch.setattr(verify_module, "run_group", lambda group, *_: [ended[group]] if group in ended else [])
    monkeypatch.setattr(verify_module, "EXPORTS", {})
    names = [(check.name, check.status) for check in verify_bundle(str(bundle))[len(FIRST) :]]
    assert names == [("training", "pass"), ("training results", "fail"), ("inference", "fail")]  # it wrote nothing
    ended["network"] = Check("network definition", "fail", "no network", 1.0)
    assert [check.name for check in verify_bundle(str(bundle))[len(FIRST) :]] == ["network definition"]


@pytest.mark.slow  # two exports
def test_exported_files_are_compared_with_the_network(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the packages of the extra `export`")
    shutil.copy(bundle / "models" / "model.pt", tmp_path / "weights.pt")
    for file_format in verify_module.EXPORTS.values():
        assert verify_module._export(bundle, tmp_path, file_format).startswith("differs by ")
    change_text(bundle, "scripts/tiny.py", "        return enl", EXPORTED_OTHERWISE + "        return enl")
    with pytest.raises(ValueError, match="differs from the network by"):
        verify_module._export(bundle, tmp_path, "pt2")


@pytest.mark.slow  # makes a virtual environment
def test_an_environment_that_cannot_be_made_ends_the_checks(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    *others, check = verify_bundle(str(bundle), fresh_venv=True)
    assert [other.name for other in others] == FIRST[: len(others)]
    assert (check.name, check.status) == ("fresh environment", "fail")
    packages = "monai==1.6.1 torch==2.13.0 numpy==2.4.6 fire==0.7.1 pillow==13.0.0 pytorch-ignite==0.5.5"
    assert check.detail.startswith(f"pip install {packages}: ")
    assert "No matching distribution found for monai==1.6.1" in check.detail
