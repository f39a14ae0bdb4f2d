"""Checks that run a bundle's code: what they find in copies of a tiny bundle, each with something changed."""

from __future__ import annotations

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
from tiny_zoo_bundle import change_config, change_text, probe_checks, tiny_weights, write_tiny_bundle

from common.phantoms.sets import make_tiny_set
from tools.zoo.probe import Check, Doubt, OnlyFromBundle, Skip, one_line, run_check
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
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    for i, size in enumerate([(33, 45), (47, 35)]):
        np.save(folder / f"example_{i}.npy", np.random.default_rng(i).random((1, 1, *size), np.float32))
    return folder


@pytest.fixture
def probe(processes: ForkServerContext, bundle: Path, work: Path, data: Path) -> Callable[..., dict[str, Check]]:
    return partial(probe_checks, processes, bundle, work=work, data=data)


def statuses(found: dict[str, Check]) -> dict[str, str]:
    return {check.name: check.status for check in found.values()}


# -- a right bundle ------------------------------------------------------------------------------------------------


def test_network_group_passes_a_right_bundle(probe: Callable[..., dict[str, Check]]) -> None:
    found = probe(group="network")
    assert set(statuses(found).values()) == {"pass"}, found
    assert found["stands alone"].detail == "common and scripts from the bundle"
    assert found["network definition"].detail == "39 weights, those of models/model.pt"  # 2 (9 + 1) + 2 * 9 + 1
    assert found["network output"].detail == "33x45 to 66x90, 47x35 to 94x70"


def test_an_exported_network_gives_the_same_numbers(probe: Callable[..., dict[str, Check]]) -> None:
    (check,) = probe(group="exports").values()
    assert (check.name, check.status, check.detail) == ("TorchScript", "pass", "differs by 0.0e+00")


def test_workflows_run(probe: Callable[..., dict[str, Check]], work: Path) -> None:
    for group in ("training", "inference"):
        found = probe(group=group)
        assert set(statuses(found).values()) == {"pass"}, found
    assert found["inference"].detail == "with models/model.pt"
    assert check_weights(work / "trained") == "model.pt, 4 tensors"
    assert check_results(work / "inference") == "images: 1, tables: 0"


def test_without_weights_the_trained_ones_are_used(
    probe: Callable[..., dict[str, Check]], bundle: Path, work: Path
) -> None:
    (bundle / "models" / "model.pt").unlink()
    change_config(bundle, "smoke.json", width=3)
    (check,) = probe(group="inference").values()
    assert (check.status, check.detail) == ("pass", "with fresh weights")
    assert probe(group="network")["network definition"].detail.endswith("fresh: no models/model.pt")
    (check,) = probe(group="training").values()
    assert check.status == "pass", check
    (check,) = probe(group="inference").values()
    assert (check.status, check.detail) == ("pass", "with the weights of the training")


def test_without_data_nothing_is_run(processes: ForkServerContext, bundle: Path, work: Path) -> None:
    for group in ("training", "inference"):
        found = probe_checks(processes, bundle, group, work)
        assert {(check.status, check.detail) for check in found.values()} == {("skip", "no data")}


# -- tampered ones -------------------------------------------------------------------------------------------------


def replace(name: str, old: str, new: str) -> Tamper:
    return lambda folder: change_text(folder, name, old, new)


def change(name: str, **values: Any) -> Tamper:
    return lambda folder: change_config(folder, name, **values)


def forward(line: str) -> Tamper:
    """A line at the start of the network's forward."""
    return replace("scripts/tiny.py", "        return enlarge(", f"        {line}\n        return enlarge(")


LOSS = "train__trainer__loss_function"
DOOR = "network_data_format__outputs__pred__num_channels"
FAILURES: list[tuple[str, Tamper, dict[str, str]]] = [
    (
        "network",
        change("train.json", **{LOSS: {"_target_": "nowhere.Loss"}}),
        {"components": "configs/train.json: train#trainer#loss_function names nowhere.Loss: there is no such module"},
    ),
    (
        "network",
        change("train.json", **{LOSS: {"_target_": "L2Loss"}}),
        {"components": "names L2Loss: there is no such module, or nothing of this name"},
    ),
    (
        "network",  # this repository has it, the bundle has not
        change("train.json", **{LOSS: {"_target_": "common.networks.RefineGanGenerator"}}),
        {"components": "names common.networks.RefineGanGenerator: there is no such module"},
    ),
    (
        "network",
        change("inference.json", imports=["$import sys", "$from nowhere import thing"]),
        {"components": "configs/inference.json: imports#1 names nowhere.thing"},
    ),
    (
        "network",
        replace("scripts/tiny.py", "import numpy", "import nowhere\nimport numpy"),
        {
            "components": "scripts.tiny.TinyNetwork: ModuleNotFoundError: No module named 'nowhere'",
            "network definition": "No module named 'nowhere'",
        },
    ),
    (
        "network",
        replace("scripts/tiny.py", "import numpy", "import tools\nimport numpy"),
        {"components": "No module named 'tools'", "network definition": "No module named 'tools'"},
    ),
    (
        "network",
        replace(
            "scripts/tiny.py",
            "        self.upscale = upscale\n        self.layers",
            "        self.upscale = upscale\n"
            "        torch.hub.load_state_dict_from_url('http://127.0.0.1:9/model.pt')\n        self.layers",
        ),
        {"network definition": "network access is refused"},
    ),
    (
        "network",
        change("metadata.json", **{DOOR: 2}),
        {"network in and out": "output channel number `1` doesn't match: `2`"},
    ),
    (
        "network",
        replace("common/sizes.py", "repeat_interleave(upscale, -2)", "repeat_interleave(3, -2)"),
        {"network output": r"expected 66x90 for an input of 33x45 \(upscale 2\), got 99x90"},
    ),
    ("network", forward("image = image + torch.rand_like(image)"), {"network output": "expected the same output for"}),
    ("network", forward("image = image / 0"), {"network output": "expected finite numbers for an input of 1x1x33x45"}),
    (
        "network",
        lambda folder: torch.save(tiny_weights(3), folder / "models" / "model.pt"),
        {"network definition": "expected the weights of network_def in configs/inference.json, got.*size mismatch"},
    ),
    (
        "network",
        lambda folder: torch.save(
            {**tiny_weights(2), "layers.2.bias": torch.tensor([torch.nan])}, folder / "models/model.pt"
        ),
        {"network definition": "expected finite numbers, got others in layers.2.bias"},
    ),
    (
        "exports",
        forward("if torch.jit.is_scripting() or torch.compiler.is_compiling():\n            image = image + 0.1"),
        {"TorchScript": "expected the network's own output, got one that differs by"},
    ),
    (
        "training",
        change("train.json", train__inferer=..., train__trainer__inferer=None),
        {"training": "Property 'train_inferer' with config ID '.*' not in the config. MONAI requires it"},
    ),
    (
        "inference",
        change("inference.json", evaluator__val_handlers="@others", others=[]),
        {"inference": "expected that handlers refer to the keys MONAI knows"},
    ),
    (
        "training",
        replace("scripts/tiny.py", "/ 255", "/ 255 + torch.nowhere"),
        {"training": "module 'torch' has no attribute 'nowhere'"},
    ),
    (
        "training",  # MONAI evaluates `imports` before it puts the bundle's folder on the path
        change(
            "train.json",
            imports=["$import sys", "$import traceback", "$from scripts.tiny import TinyNetwork"],
            network="$TinyNetwork(2, 2)",
        ),
        {"training": "OptionalImportError: from scripts.tiny import TinyNetwork"},
    ),
    (
        "inference",
        lambda folder: torch.save(tiny_weights(3), folder / "models" / "model.pt"),
        {"inference": "size mismatch for layers.0.weight"},
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


def test_a_network_that_cannot_be_built_skips_what_needs_it(
    probe: Callable[..., dict[str, Check]], bundle: Path
) -> None:
    change_config(bundle, "inference.json", network_def__width="two")
    found = probe(group="network")
    assert found.pop("network definition").status == "fail"
    skipped = {name for name, check in found.items() if check.detail.startswith("there is no network")}
    assert skipped == {"network in and out", "network output"}
    assert {check.status for name, check in found.items() if name not in skipped} == {"pass"}


def test_a_pickle_bomb_is_not_executed_by_the_checks(
    probe: Callable[..., dict[str, Check]], bundle: Path, tmp_path: Path
) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(tmp_path / "executed"), "w")

    torch.save({**tiny_weights(2), "bomb": Bomb()}, bundle / "models" / "model.pt")
    found = probe(group="network")
    assert found["network definition"].status == "fail"
    assert "Unsupported" in found["network definition"].detail or "weights_only" in found["network definition"].detail
    assert probe(group="inference")["inference"].status == "fail"
    assert not (tmp_path / "executed").exists()


# -- the process ---------------------------------------------------------------------------------------------------


def first_check(bundle: Path, work: Path, code: str, timeout_s: float = 60) -> Check:
    """The first check of the network group in a new interpreter, with code at the start of the bundle's `common`."""
    (bundle / "common" / "__init__.py").write_text(code, encoding="utf-8")
    request = {"folder": str(bundle), "work": str(work), "data": "", "no_data": ""}
    return next(run_group("network", request, sys.executable, timeout_s))


@pytest.mark.parametrize(
    ("code", "timeout_s", "detail"),
    [
        ("import os; os.write(2, b'last words\\n'); os.abort()", 60, "by signal SIGABRT; its last line: last words"),
        ("import os; os._exit(3)", 60, "the process ended with exit status 3; its last line: none"),
        ("print('so long', flush=True); import time; time.sleep(60)", 3, "did not end in 3 s; its last line: so long"),
    ],
)
def test_a_process_that_dies_is_a_failure(bundle: Path, work: Path, code: str, timeout_s: float, detail: str) -> None:
    check = first_check(bundle, work, code, timeout_s)
    assert (check.name, check.status) == ("stands alone", "fail")
    assert detail in check.detail


LOOK_AROUND = """
import json, os, sys
known = {"PYTHONPATH", "PYTHONSTARTUP", "SECRET_OF_THE_USER"} & set(os.environ)
raise ValueError(json.dumps([sorted(known), os.listdir("."), os.environ["CUDA_VISIBLE_DEVICES"], sys.flags.isolated]))
"""


def test_a_process_sees_next_to_nothing(
    bundle: Path, work: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("PYTHONPATH", "SECRET_OF_THE_USER"):
        monkeypatch.setenv(name, str(tmp_path))
    check = first_check(bundle, work, LOOK_AROUND)
    assert check.detail == '[[], [], "", 1]'


@pytest.mark.parametrize("module", ["tools", "common.networks"])
def test_a_process_cannot_import_this_repository(bundle: Path, work: Path, module: str) -> None:
    check = first_check(bundle, work, f"import {module}")
    assert (check.name, check.status) == ("stands alone", "fail")
    assert f"No module named '{module}'" in check.detail


def test_own_packages_are_found_once_the_bundle_is_on_the_path(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finder = OnlyFromBundle(bundle)
    assert finder.find_spec("numpy") is None  # left to others
    with pytest.raises(ModuleNotFoundError, match="'common'"):
        finder.find_spec("common")
    monkeypatch.syspath_prepend(bundle)
    spec = finder.find_spec("common")
    assert spec is not None
    assert spec.origin == str(bundle / "common" / "__init__.py")
    assert finder.find_spec("common.sizes", [str(bundle / "common")]) is not None
    with pytest.raises(ModuleNotFoundError, match=r"'common\.nowhere'"):
        finder.find_spec("common.nowhere", [str(bundle / "common")])


def test_sockets_of_this_machine_still_work(bundle: Path, work: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(tmp_path / 's')!r})"
        assert first_check(bundle, work, code).status == "pass"


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
    assert run_check("a", raising(SystemExit(1)))[:3] == ("a", "fail", "SystemExit: 1")
    assert len(run_check("a", lambda: "x" * 1000).detail) == 500


def test_the_first_cause_is_told_first() -> None:
    error = RuntimeError("Failed to evaluate\nthis")
    assert one_line(error) == "RuntimeError: Failed to evaluate\nthis"
    error.__cause__ = KeyError("key")
    assert one_line(error) == "KeyError: 'key' (Failed to evaluate this)"


# -- what runs leave -----------------------------------------------------------------------------------------------


def test_weights_that_a_training_leaves(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected that the training writes model\.pt"):
        check_weights(tmp_path)
    torch.save({"weight": torch.tensor([1.0, torch.inf])}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="expected finite numbers, got others in weight"):
        check_weights(tmp_path)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("metrics.csv", lambda path: path.write_text("file,psnr\na.png,nan\n"), "metrics.csv .*got nan in line 2"),
        ("a.npy", lambda path: np.save(path, [1.0, np.inf]), "a.npy .*expected finite numbers"),
        ("a.png", lambda path: Image.new("L", (4, 4), 7).save(path), "a.png .*expected an image, got 7 everywhere"),
        ("readme.txt", lambda path: path.write_text("done"), r"expected images .* got none"),
    ],
)
def test_results_that_an_inference_leaves(
    tmp_path: Path, name: str, write: Callable[[Path], Any], message: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message):
        check_results(tmp_path)


def write_hdf5(path: Path, image: np.ndarray) -> None:
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
