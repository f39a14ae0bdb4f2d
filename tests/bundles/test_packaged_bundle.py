"""Packaged bundles in the hands of other programs, where this repository does not exist."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from packaged import python_without_repository

from tools.data import make_tiny_set
from tools.zoo.layout import bundle_names, find_bundle, read_json
from tools.zoo.package import stage_bundle
from tools.zoo.run_results import check_results, check_weights

HERE = Path(__file__).parent
CREATE_WORKFLOW = """
import json, sys
from monai.bundle import create_workflow
root, kind, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
workflow = create_workflow(config_file=f"{root}/configs/{kind}.json", bundle_root=root, workflow_type=kind, **options)
assert workflow.check_properties() == []
workflow.run()
workflow.finalize()
"""


@pytest.fixture(scope="module", params=bundle_names())
def staged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packaged bundle in a folder of its own."""
    return stage_bundle(find_bundle(request.param), tmp_path_factory.mktemp("packaged"))


@pytest.fixture(scope="module")
def data(staged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    make_tiny_set(read_json(staged / "configs" / "smoke.json")["synthetic_data"], folder)
    return folder


def options_of(staged: Path, config: str, data: Path, output: Path) -> dict[str, object]:
    """Where things are, and what makes the bundle small, as far as a config has such keys."""
    places = {"dataset_dir": str(data), "output_dir": str(output), "ckpt_dir": str(output)}
    small = {**read_json(staged / "configs" / "smoke.json"), **places}
    return {name: value for name, value in small.items() if name in read_json(staged / "configs" / f"{config}.json")}


def test_a_federated_client_starts_each_round_from_the_global_weights(staged: Path, data: Path, tmp_path: Path) -> None:
    options = json.dumps(options_of(staged, "train", data, tmp_path))
    done = python_without_repository(str(HERE / "federated_client.py"), str(staged), options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = read_json(tmp_path / "found.json")
    assert Path(found["common"]).is_relative_to(staged)
    assert found["epochs"] == 2
    first, second = found["rounds"]
    assert first["metrics"] == second["metrics"]  # of the same global weights
    assert set(first["metrics"]) >= {"psnr", "ssim"}
    for one in found["rounds"]:
        assert one["moved"] > 0.9 * found["n_weights"]


def test_create_workflow_trains_and_infers_from_python(staged: Path, data: Path, tmp_path: Path) -> None:
    trained, inferred = tmp_path / "trained", tmp_path / "inferred"
    training = options_of(staged, "train", data, trained)
    inference = {**options_of(staged, "inference", data / "test", inferred), "ckpt_dir": str(trained)}
    for kind, options in (("train", training), ("inference", inference)):
        done = python_without_repository("-c", CREATE_WORKFLOW, str(staged), kind, json.dumps(options), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    check_weights(trained)
    check_results(inferred)


@pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="needs MLflow: pip install recon-bundles[mlflow]"
)
def test_tracking_with_mlflow_records_losses_and_metrics(staged: Path, data: Path, tmp_path: Path) -> None:
    options = options_of(staged, "train", data, tmp_path / "out")
    overrides = [text for name, value in options.items() for text in (f"--{name}", _text(value))]
    done = python_without_repository(
        *("-m", "monai.bundle", "run", "--config_file", str(staged / "configs" / "train.json")),
        *("--bundle_root", str(staged), "--tracking", "mlflow", *overrides),
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
