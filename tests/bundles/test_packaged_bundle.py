"""Bundles beside each other in one process, and packaged bundles in the hands of other programs."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from packaged import python_without_repository

from common.phantoms.sets import make_tiny_set
from tools.zoo.layout import BUNDLES, ROOT, bundle_names, read_json
from tools.zoo.run_results import check_results, check_weights

HERE = Path(__file__).parent
BRAIN, CINE, CT, KNEE, MICRO = bundle_names()
Stage = Callable[[str], Path]


def options_of(root: Path, config: str, data: Path, output: Path) -> dict[str, object]:
    """Where things are, and what makes the bundle small, as far as a config has such keys."""
    places = {"dataset_dir": str(data), "output_dir": str(output), "ckpt_dir": str(output)}
    small = {**read_json(root / "configs" / "smoke.json"), **places}
    known = read_json(root / "configs" / f"{config}.json")
    return {name: value for name, value in small.items() if name.partition("#")[0] in known}


def make_data(root: Path, folder: Path) -> Path:
    make_tiny_set(read_json(root / "configs" / "smoke.json")["synthetic_data"], folder)
    return folder


def run_together(roots: list[Path], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Train and infer with bundles in one process."""
    requests = []
    for root in roots:
        data, output = make_data(root, tmp_path / f"{root.name}_data"), tmp_path / root.name
        training, inference = options_of(root, "train", data, output), options_of(root, "inference", data, output)
        inference |= {"dataset_dir": str(data / "test"), "output_dir": str(output / "inferred")}
        requests.append({"root": str(root), "workflows": {"train": training, "inference": inference}})
    (tmp_path / "elsewhere").mkdir()
    path = "" if (roots[0] / "common").is_dir() else str(ROOT)
    arguments = (str(HERE / "two_bundles.py"), json.dumps(requests))
    return python_without_repository(*arguments, cwd=tmp_path / "elsewhere", path=path)


def assert_both_ran(roots: list[Path], tmp_path: Path) -> None:
    done = run_together(roots, tmp_path)
    assert done.returncode == 0, done.stderr
    for root in roots:
        check_weights(tmp_path / root.name)
        check_results(tmp_path / root.name / "inferred")


@pytest.mark.parametrize("names", [(BRAIN, KNEE), pytest.param((CT, MICRO), marks=pytest.mark.slow)])
def test_two_bundles_of_the_repository_in_one_process(names: tuple[str, str], tmp_path: Path) -> None:
    assert_both_ran([BUNDLES / name for name in names], tmp_path)
    assert (tmp_path / "elsewhere" / "common.txt").read_text() == str(ROOT / "common" / "__init__.py")


@pytest.mark.parametrize("names", [(CT, MICRO), pytest.param((BRAIN, KNEE), marks=pytest.mark.slow)])
def test_two_packaged_bundles_in_one_process(staged: Stage, names: tuple[str, str], tmp_path: Path) -> None:
    roots = [staged(name) for name in names]
    assert_both_ran(roots, tmp_path)
    assert (tmp_path / "elsewhere" / "common.txt").read_text() == str(roots[0] / "common" / "__init__.py")


def test_modules_of_all_bundles_have_names_of_their_own() -> None:
    scripts = [path.name for path in BUNDLES.glob("*/scripts/*")]
    assert "__init__.py" not in scripts  # one namespace package
    assert Counter(scripts).most_common(1)[0][1] == 1


@pytest.mark.parametrize("name", bundle_names())
def test_evaluation_changes_a_training_as_federated_clients_combine_them(name: str) -> None:
    files = [BUNDLES / name / "configs" / f"{kind}.json" for kind in ("train", "evaluate")]
    config = ConfigParser.load_config_files(files)  # a nested key without its block is refused
    assert config["split"] in ("valid", "test")


@pytest.mark.parametrize(
    "name", [BRAIN, *(pytest.param(name, marks=pytest.mark.slow) for name in (CINE, CT, KNEE, MICRO))]
)
def test_a_federated_client_starts_each_round_from_the_global_weights(staged: Stage, name: str, tmp_path: Path) -> None:
    root = staged(name)
    options = json.dumps(options_of(root, "train", make_data(root, tmp_path / "data"), tmp_path))
    done = python_without_repository(str(HERE / "federated_client.py"), str(root), options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = read_json(tmp_path / "found.json")
    assert Path(found["common"]).is_relative_to(root)
    assert found["epochs"] == 2
    first, second = found["rounds"]
    assert first["metrics"] == second["metrics"]  # of the same global weights
    assert set(first["metrics"]) >= {"psnr", "ssim"}
    for one in found["rounds"]:
        assert one["moved"] > 0.9 * found["n_weights"]


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="needs MLflow: pip install recon-bundles[mlflow]"
)
@pytest.mark.parametrize("name", bundle_names())
def test_tracking_with_mlflow_records_losses_and_metrics(staged: Stage, name: str, tmp_path: Path) -> None:
    root = staged(name)
    options = options_of(root, "train", make_data(root, tmp_path / "data"), tmp_path / "out")
    overrides = [text for name, value in options.items() for text in (f"--{name}", _text(value))]
    done = python_without_repository(
        *("-m", "monai.bundle", "run", "--config_file", str(root / "configs" / "train.json")),
        *("--tracking", "mlflow", *overrides),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(tmp_path / "out" / "mlruns.db")) as database:  # MLflow's own client warns here
        recorded = {name for (name,) in database.execute("SELECT key FROM metrics")}
        statuses = [status for (status,) in database.execute("SELECT status FROM runs")]
    assert {"train_loss", "psnr", "ssim"} <= recorded
    assert statuses == ["FINISHED"]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
