"""`tools zoo verify`: what it takes, in which order it checks, and how it reports."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_zoo_bundle import METADATA, NAME, change_config, change_text, tiny_weights, write_tiny_bundle

from tools.command import run_commands
from tools.zoo import verify as verify_module
from tools.zoo.archive import sha256_of
from tools.zoo.fresh_venv import pinned_packages
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


def zipped(folder: Path, path: Path, **others: str) -> Path:
    """A zip of a bundle's folder, and other entries."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{folder.name}/{file.relative_to(folder)}")
        for name, text in others.items():
            archive.writestr(name, text)
    return path


@pytest.mark.usefixtures("no_processes")
def test_json_is_all_that_is_printed_of_a_bundle_that_passes(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(bundle, "--json") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert captured.err == ""
    assert (result["target"], result["passed"]) == (str(bundle), True)
    checks = {check["name"]: check for check in result["checks"]}
    assert list(checks)[: len(FIRST)] == FIRST
    assert {check["status"] for check in checks.values()} == {"pass"}
    assert all(set(check) == {"name", "status", "detail", "seconds"} for check in checks.values())


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
    change_config(bundle, "inference.json", width=3)
    for words in ([], ["--json"]):
        assert command(bundle, *words) == 1
        captured = capsys.readouterr()
        assert captured.err == f"error: {bundle}: 2 of {len(FIRST)} checks failed: file layout, config drift\n"
        if words:
            result = json.loads(captured.out)
            assert not result["passed"]
            assert [c["name"] for c in result["checks"] if c["status"] == "fail"] == ["file layout", "config drift"]
        else:
            failed = [line for line in captured.out.splitlines() if line.startswith("fail")]
            assert len(failed) == 2
            assert "expected LICENSE in the bundle" in failed[0]


@pytest.mark.parametrize(
    ("others", "options", "detail"),
    [
        ({"../outside.txt": "x"}, {}, "leads out of its folder"),
        ({"/absolute.txt": "x"}, {}, "leads out of its folder"),
        ({}, {"sha256": "0" * 64}, "expected the SHA-256 given, 0000"),
    ],
)
def test_a_zip_that_is_refused_is_one_failure_and_leaves_nothing(
    bundle: Path, tmp_path: Path, others: dict[str, str], options: dict[str, Any], detail: str
) -> None:
    path = zipped(bundle, tmp_path / f"{NAME}_v0.2.0.zip", **others)
    before = sorted(tmp_path.rglob("*"))
    (check,) = verify_bundle(str(path), **options)
    assert (check.name, check.status) == ("unpacking", "fail")
    assert detail in check.detail
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("no_processes")
def test_a_zip_of_another_name_is_a_warning(bundle: Path, tmp_path: Path) -> None:
    check = verify_bundle(str(zipped(bundle, tmp_path / "tiny.zip")))[0]
    assert (check.status, check.detail) == ("warn", f"tiny.zip holds what should be called {NAME}_v0.2.0.zip")


@pytest.mark.usefixtures("no_processes")
def test_paths_in_details_begin_at_the_bundle(bundle: Path) -> None:
    (bundle / "configs" / "metadata.json").write_text("{")
    found = {check.name: check for check in verify_bundle(str(bundle / "configs" / ".."))}
    assert found["unpacking"].status == "pass"
    assert found["metadata schema"].detail.startswith(f"{NAME}/configs/metadata.json: expected a JSON file")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: expected the name of a bundle"),
        (["nowhere.zip"], "nowhere.zip: no such file; make one with `python -m tools zoo package NAME`"),
        ([REAL, "--sha256", "12"], f"--sha256 is the checksum of a zip, and {REAL} is none"),
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
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("shape", "detail"),
    [
        (["*", "*"], "33x45, 47x35"),
        (["16*n", "2**p"], "48x64"),
        (["*", 32], "33x32, 47x32"),
        (["*", "*", "*"], "17x21x13, 23x19x15"),
        (["*", "sixteen"], "sixteen"),
    ],
)
@pytest.mark.usefixtures("no_processes")
def test_example_sizes_are_those_that_the_metadata_allow(bundle: Path, shape: list[Any], detail: str) -> None:
    change_config(bundle, "metadata.json", network_data_format__inputs__image__spatial_shape=shape)
    (check,) = (check for check in verify_bundle(str(bundle)) if check.name == "example input")
    assert check.status == ("fail" if "sixteen" in shape else "pass")
    assert detail in check.detail


@pytest.mark.parametrize(
    ("smoke", "status", "detail"),
    [
        ({"synthetic_data": "brain_mri"}, "pass", "brain_mri"),
        ({"synthetic_data": "nowhere"}, "fail", "'nowhere': no such synthetic set, expected one of"),
        ({}, "skip", "no configs/smoke.json that names `synthetic_data`"),
        (None, "skip", "no configs/smoke.json that names `synthetic_data`"),
    ],
)
def test_data_are_made_by_the_name_in_smoke_json(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, smoke: dict[str, str] | None, status: str, detail: str
) -> None:
    path = bundle / "configs" / "smoke.json"
    path.unlink()
    if smoke is not None:
        path.write_text(json.dumps(smoke))
    requests: list[dict[str, str]] = []

    def run_group(group: str, request: dict[str, str], python: str) -> Iterator[Check]:
        requests.append({**request, "n_test": str(len(list(Path(request["data"] or "x").glob("test/*.png"))))})
        assert (group, python) == ("network", sys.executable)
        return iter(())

    monkeypatch.setattr(verify_module, "run_group", run_group)
    check = verify_bundle(str(bundle), quick=True)[-1]
    assert (check.name, check.status) == ("tiny data", status)
    assert detail in check.detail
    (request,) = requests
    assert (int(request["n_test"]) > 0) == bool(request["data"]) == (status == "pass")
    assert request["no_data"] == check.detail


def test_weights_that_are_refused_are_kept_from_the_bundles_code(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(tmp_path / "executed"), "w")

    there = []

    def run_group(group: str, request: dict[str, str], python: str) -> Iterator[Check]:
        there.append((Path(request["folder"]) / "models" / "model.pt").exists())
        return iter(())

    monkeypatch.setattr(verify_module, "run_group", run_group)
    for weights in (tiny_weights(2), {"bomb": Bomb()}):
        torch.save(weights, bundle / "models" / "model.pt")
        statuses = {check.name: check.status for check in verify_bundle(str(bundle), quick=True)}
    assert statuses["weights file"] == "fail"
    assert there == [True, False]
    assert not (tmp_path / "executed").exists()
    assert (bundle / "models" / "model.pt").exists()  # it is the copy that loses them


def test_results_are_looked_at_after_runs_that_passed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = {"training": Check("training", "pass", "", 1.0), "inference": Check("inference", "fail", "no", 1.0)}

    def run_group(group: str, *_: Any) -> Iterator[Check]:
        yield from [ended[group]] if group in ended else []

    monkeypatch.setattr(verify_module, "run_group", run_group)
    monkeypatch.setattr(verify_module, "EXPORTS", {})
    found = verify_bundle(str(bundle))[len(FIRST) :]
    assert [(check.name, check.status) for check in found] == [
        ("training", "pass"),
        ("training results", "fail"),  # it wrote nothing
        ("inference", "fail"),
    ]
    assert "expected that the training writes model.pt" in found[1].detail


@pytest.mark.slow  # two exports
def test_exported_files_are_compared_with_the_network(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the packages of the extra `export`")
    shutil.copy(bundle / "models" / "model.pt", tmp_path / "weights.pt")
    for file_format in verify_module.EXPORTS.values():
        assert verify_module._export(bundle, tmp_path, file_format).startswith("differs by ")
    change_text(bundle, "scripts/tiny.py", "        return enl", EXPORTED_OTHERWISE + "        return enl")
    with pytest.raises(ValueError, match="differs from the network by"):
        verify_module._export(bundle, tmp_path, "pt2")


def test_packages_are_installed_in_the_versions_named() -> None:
    assert pinned_packages(METADATA) == [
        "monai==1.6.1",
        "torch==2.13.0",
        "numpy==2.4.6",
        "fire==0.7.1",
        "pillow==13.0.0",
        "pytorch-ignite==0.5.5",
    ]


@pytest.mark.slow  # makes a virtual environment
def test_an_environment_that_cannot_be_made_ends_the_checks(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(verify_module, "run_group", _never)
    *others, check = verify_bundle(str(bundle), fresh_venv=True)
    assert [other.name for other in others] == FIRST[: len(others)]
    assert (check.name, check.status) == ("fresh environment", "fail")
    assert check.detail.startswith("pip install monai==1.6.1 torch==2.13.0")
    assert "No matching distribution found for monai==1.6.1" in check.detail


def _never(*_: Any) -> Callable[[], None]:
    raise AssertionError("nothing was to be run")
