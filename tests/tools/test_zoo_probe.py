"""Checks that run a bundle's code: what they find in copies of a tiny bundle, each with something changed."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from tiny_zoo_bundle import START, change_config, change_text, probe_checks, tiny_weights, write_tiny_bundle

from common.phantoms.sets import make_tiny_set
from tools.zoo import probe as probe_module
from tools.zoo.probe import Check, Doubt, Skip, run_check
from tools.zoo.probe_process import run_group
from tools.zoo.run_results import check_results, check_weights

Tamper = Callable[[Path], Any]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "brains"
    make_tiny_set("brain_mri", folder)
    return folder


@pytest.fixture
def bundle(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / original.name)


@pytest.fixture
def work(tmp_path: Path, data: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "data").symlink_to(data)
    for i, size in enumerate([(33, 45), (47, 35)]):
        np.save(folder / f"example_{i}.npy", np.random.default_rng(i).random((1, 1, *size), np.float32))
    return folder


@pytest.fixture
def probe(processes: ForkServerContext, bundle: Path, work: Path) -> Callable[..., dict[str, Check]]:
    return partial(probe_checks, processes, bundle, work=work)


# -- a right bundle ------------------------------------------------------------------------------------------------


def test_network_and_export_of_a_right_bundle_pass(probe: Callable[..., dict[str, Check]]) -> None:
    found = {**probe(group="network"), **probe(group="exports")}
    assert {check.status for check in found.values()} == {"pass"}, found
    assert found["network definition"].detail == "39 weights, those of models/model.pt"  # 2 (9 + 1) + 2 * 9 + 1
    assert found["network output"].detail == "33x45 to 66x90, 47x35 to 94x70"
    assert found["TorchScript"].detail == "differs by 0.0e+00"


def test_workflows_run_with_the_weights_that_there_are(
    probe: Callable[..., dict[str, Check]], bundle: Path, work: Path
) -> None:
    assert probe(group="inference")["inference"].detail == "with models/model.pt"
    assert check_results(work / "inference") == "images: 1, tables: 0"
    (bundle / "models" / "model.pt").unlink()
    change_config(bundle, "smoke.json", width=3)
    (check,) = probe(group="inference").values()
    assert (check.status, check.detail) == ("pass", "with fresh weights")
    assert probe(group="training")["training"].status == "pass"
    assert check_weights(work / "trained") == "model.pt, 4 tensors"
    (check,) = probe(group="inference").values()
    assert (check.status, check.detail) == ("pass", "with the weights of the training")
    (work / "data").unlink()
    (check,) = probe(group="training").values()
    assert (check.status, check.detail) == ("skip", "no tiny data")


# -- tampered ones -------------------------------------------------------------------------------------------------


def replace(name: str, old: str, new: str) -> Tamper:
    return lambda folder: change_text(folder, name, old, new)


def change(name: str, **values: Any) -> Tamper:
    return lambda folder: change_config(folder, name, **values)


def forward(line: str) -> Tamper:
    """A line at the start of the network's forward."""
    return replace("scripts/tiny.py", "        return enlarge(", f"        {line}\n        return enlarge(")


def wrong_in_each_check(folder: Path) -> None:
    names = ("nowhere.Loss", "L2Loss", "common.networks.RefineGanGenerator")  # the last one is in this repository
    (folder / "configs" / "variant.json").write_text(json.dumps([{"_target_": name} for name in names]))
    change_config(folder, "train.json", width=3)
    change_config(folder, "metadata.json", network_data_format__outputs__pred__num_channels=2)
    change_text(folder, "common/sizes.py", "repeat_interleave(upscale, -2)", "repeat_interleave(3, -2)")


MISSING = "configs/variant.json names {}: there is no such module, or nothing of this name in it"
DOWNLOAD = "torch.hub.load_state_dict_from_url('http://127.0.0.1:9/model.pt')"
FAILURES: list[tuple[str, Tamper, dict[str, str]]] = [
    (
        "network",
        wrong_in_each_check,
        {
            "components": ".*".join(
                MISSING.format(name) for name in ("nowhere.Loss", "L2Loss", "common.networks.RefineGanGenerator")
            ),
            "config drift": "width: 3 in train.json, 2 in inference.json",
            "network in and out": "output channel number `1` doesn't match: `2`",
            "network output": r"expected 66x90 for an input of 33x45 \(upscale 2\), got 99x90",
        },
    ),
    (
        "network",  # and what needs a network is not checked
        replace("scripts/tiny.py", "import numpy", "import tools\nimport numpy"),
        dict.fromkeys(("components", "network definition"), "No module named 'tools'"),
    ),
    (
        "network",
        replace(
            "scripts/tiny.py",
            "        self.upscale = upscale\n",
            f"        self.upscale = upscale\n        {DOWNLOAD}\n",
        ),
        {"network definition": "network access is refused"},
    ),
    ("network", forward("image = image + torch.rand_like(image)"), {"network output": "expected the same output for"}),
    ("network", forward("image = image / 0"), {"network output": "expected finite numbers for an input of 1x1x33x45"}),
    (
        "network",
        lambda folder: torch.save(tiny_weights(3), folder / "models" / "model.pt"),
        {"network definition": "expected the weights of network_def in configs/inference.json, got.*size mismatch"},
    ),
    (
        "exports",
        forward("if torch.jit.is_scripting():\n            image = image + 0.1"),
        {"TorchScript": "expected the network's own output, got one that differs by"},
    ),
    (
        "training",
        change("train.json", train__inferer=..., train__trainer__inferer=None),
        {"training": "Property 'train_inferer' with config ID '.*' not in the config"},
    ),
    (
        "inference",
        change("inference.json", evaluator__val_handlers="@others", others=[]),
        {"inference": "expected that handlers refer to the keys MONAI knows"},
    ),
    (
        "training",  # MONAI evaluates `imports` before it puts the bundle's folder on the path
        change(
            "train.json",
            imports=[*START["imports"], "$from scripts.tiny import TinyNetwork"],
            network="$TinyNetwork(2, 2)",
        ),
        {"training": "OptionalImportError: from scripts.tiny import TinyNetwork"},
    ),
]


@pytest.mark.parametrize(
    ("group", "tamper", "details"), FAILURES, ids=[f"{group}: {next(iter(details))}" for group, _, details in FAILURES]
)
def test_what_is_wrong_fails_in_one_line(
    probe: Callable[..., dict[str, Check]], bundle: Path, group: str, tamper: Tamper, details: dict[str, str]
) -> None:
    tamper(bundle)
    found = probe(group=group)
    assert {name for name, check in found.items() if check.status == "fail"} == set(details), found
    for name, detail in details.items():
        assert re.search(detail, found[name].detail), found[name].detail
        assert "\n" not in found[name].detail
    assert ("network output" in found) == (group == "network" and "network definition" not in details)


# -- the process ---------------------------------------------------------------------------------------------------

SCRIPT = """
import json, os, socket, sys
from pathlib import Path
sys.path.append({probe!r})
import probe
_, _, folder, work = sys.argv
def check():
    {code}
with open(work + "/network.jsonl", "w", buffering=1) as report:
    report.write(json.dumps({{"begin": "first"}}) + "\\n")
    report.write(json.dumps(probe.run_check("first", check)._asdict()) + "\\n")
"""


@pytest.fixture
def first_check(bundle: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Check]:
    """Run lines of code in place of the checks of a group, in a new interpreter."""

    def check(code: str, timeout_s: float = 60) -> Check:
        script = work / "script.py"
        script.write_text(SCRIPT.format(probe=str(Path(probe_module.__file__).parent), code=code), encoding="utf-8")
        with monkeypatch.context() as context:
            context.setattr(probe_module, "__file__", str(script))
            (found,) = run_group("network", bundle, work, sys.executable, timeout_s)
        return found

    return check


@pytest.mark.parametrize(
    ("code", "timeout_s", "detail"),
    [
        ("os.write(2, b'last words\\n'); os.abort()", 60, "by signal SIGABRT; its last line: last words"),
        ("os._exit(3)", 60, "the process ended with 3; its last line: none"),
        ("print('so long', flush=True); import time; time.sleep(60)", 2, "did not end in 2 s; its last line: so long"),
    ],
)
def test_a_process_that_dies_is_a_failure(
    first_check: Callable[..., Check], code: str, timeout_s: float, detail: str
) -> None:
    check = first_check(code, timeout_s)
    assert (check.name, check.status) == ("first", "fail")
    assert detail in check.detail


def test_a_process_sees_next_to_nothing(
    first_check: Callable[..., Check], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("PYTHONPATH", "SECRET_OF_THE_USER"):
        monkeypatch.setenv(name, str(tmp_path))
    known = "{'PYTHONPATH', 'SECRET_OF_THE_USER'} & set(os.environ)"
    check = first_check(
        f"return str([{known}, os.listdir('.'), os.environ['CUDA_VISIBLE_DEVICES'], sys.flags.isolated])"
    )
    assert check.detail == "[set(), [], '', 1]"


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("import tools", "No module named 'tools'"),
        ("import common.networks", "No module named 'common.networks'"),
        ("sys.path.remove(folder); del sys.modules['common']; import common", "No module named 'common'"),
        ("import common.sizes; return common.__file__", "{bundle}/common/__init__.py"),
    ],
)
def test_a_process_imports_from_the_bundle_alone(
    first_check: Callable[..., Check], bundle: Path, line: str, detail: str
) -> None:
    (bundle / "common" / "sizes.py").write_text("")
    root = str(Path(probe_module.__file__).parents[2])  # as an installed copy of this repository is found
    start = f"probe.isolate(Path(folder)); sys.path[:0] = [folder, {root!r}]; import common"
    assert detail.format(bundle=bundle) in first_check(f"{start}; {line}").detail


def test_sockets_of_this_machine_still_work(first_check: Callable[..., Check], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        code = f"probe.isolate(Path(folder)); socket.socket(socket.AF_UNIX).connect({str(tmp_path / 's')!r}); return ''"
        assert first_check(code).status == "pass"


# -- how checks end ------------------------------------------------------------------------------------------------


def raising(error: BaseException) -> Callable[[], str]:
    def check() -> str:
        raise error

    return check


def test_outcomes() -> None:
    assert run_check("a", lambda: "two\nlines")[:3] == ("a", "pass", "two lines")
    assert run_check("a", raising(Skip("no data")))[:3] == ("a", "skip", "no data")
    assert run_check("a", raising(Doubt("odd")))[:3] == ("a", "warn", "odd")
    assert run_check("a", raising(ValueError("wrong")))[:3] == ("a", "fail", "wrong")
    error = RuntimeError("Failed to evaluate\nthis")
    error.__cause__ = KeyError("key")
    assert run_check("a", raising(error))[:3] == ("a", "fail", "KeyError: 'key' (Failed to evaluate this)")
    assert run_check("a", raising(SystemExit(1)))[:3] == ("a", "fail", "SystemExit: 1")
    assert len(run_check("a", lambda: "x" * 1000).detail) == 500


# -- what runs leave -----------------------------------------------------------------------------------------------


def write_hdf5(path: Path, image: Any) -> None:
    with h5py.File(path, "w") as file:
        file["group/reconstruction"] = image
        file["mask"] = np.ones(4, np.uint8)
        file["ismrmrd_header"] = "<ismrmrdHeader/>"


def write_nifti(path: Path, image: np.ndarray) -> None:
    nibabel.save(nibabel.nifti1.Nifti1Image(image, np.eye(4)), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.npy", np.save), ("a.tif", tifffile.imwrite), ("a.nii.gz", write_nifti), ("a.h5", write_hdf5)],
)
def test_results_in_every_format_are_read(tmp_path: Path, name: str, write: Callable[[Path, np.ndarray], Any]) -> None:
    image = np.random.default_rng(0).random((4, 6), np.float32)
    write(tmp_path / name, image)
    assert check_results(tmp_path) == "images: 1, tables: 0"
    image[0, 0] = np.nan
    write(tmp_path / name, image)
    with pytest.raises(ValueError, match=f"{name} of the inference: expected finite numbers"):
        check_results(tmp_path)


def test_results_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("done")
    with pytest.raises(ValueError, match=r"expected images .* got none"):
        check_results(tmp_path)
    Image.new("L", (4, 4), 7).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png .*expected an image, got 7 everywhere"):
        check_results(tmp_path)
    (tmp_path / "a.csv").write_text("file,psnr\na.png,nan\n")
    with pytest.raises(ValueError, match=r"a\.csv .*nan.* in line 2"):
        check_results(tmp_path)


def test_weights_that_a_training_leaves(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected that the training writes model\.pt"):
        check_weights(tmp_path)
    torch.save({"weight": torch.tensor([1.0, torch.inf])}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt: expected finite numbers, got others in weight"):
        check_weights(tmp_path)
