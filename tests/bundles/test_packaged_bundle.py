"""Packaged bundles in the hands of other programs, where this repository does not exist."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from packaged import python_without_repository

from tools.data import make_tiny_set
from tools.zoo.layout import bundle_names, find_bundle, read_json
from tools.zoo.package import stage_bundle

HERE = Path(__file__).parent
SMALL = {"brain_mri_refinegan_reconstruction": {"width": 4, "image_size": [64, 64]}}
CREATE_WORKFLOW = """
import json, sys
from monai.bundle import create_workflow
root, options = sys.argv[1], json.loads(sys.argv[2])
files = [f"{root}/configs/train.json", f"{root}/configs/smoke.json"]
training = create_workflow(config_file=files, workflow_type="train", bundle_root=root, **options)
assert training.check_properties() == []
training.run()
training.finalize()
checkpoint = options["ckpt_dir"] + "/model.pt"
options = {name: value for name, value in options.items() if name in INFERENCE}
inference = create_workflow(
    config_file=f"{root}/configs/inference.json", workflow_type="inference", bundle_root=root, checkpoint=checkpoint,
    split="test", **options,
)
assert inference.check_properties() == []
inference.run()
inference.finalize()
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


def options_of(staged: Path, data: Path, output: Path) -> dict[str, object]:
    return {"dataset_dir": str(data), "output_dir": str(output), "ckpt_dir": str(output), **SMALL.get(staged.name, {})}


def test_a_federated_client_starts_each_round_from_the_global_weights(staged: Path, data: Path, tmp_path: Path) -> None:
    options = json.dumps(options_of(staged, data, tmp_path))
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
    options = options_of(staged, data, tmp_path / "out")
    kept = set(read_json(staged / "configs" / "inference.json"))
    script = CREATE_WORKFLOW.replace("INFERENCE", repr(sorted(kept & set(options))))
    done = python_without_repository("-c", script, str(staged), json.dumps(options), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(torch.isfinite(value).all() for value in torch.load(tmp_path / "out" / "model.pt").values())
    assert len(list((tmp_path / "out" / "reconstructions").iterdir())) == len(list((data / "test").iterdir()))


@pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="needs MLflow: pip install recon-bundles[mlflow]"
)
def test_tracking_with_mlflow_records_losses_and_metrics(staged: Path, data: Path, tmp_path: Path) -> None:
    import mlflow

    overrides = [f"--{name}={value}" for name, value in options_of(staged, data, tmp_path / "out").items()]
    configs = [str(staged / "configs" / name) for name in ("train.json", "smoke.json")]
    done = python_without_repository(
        *("-m", "monai.bundle", "run", "--config_file", str(configs), "--bundle_root", str(staged), *overrides),
        *("--tracking", "mlflow"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'out' / 'mlruns.db'}")
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert {"train_loss", "psnr", "ssim"} <= run.data.metrics.keys()
