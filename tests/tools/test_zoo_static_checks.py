"""Each check of a bundle's files passes a right bundle, and fails a copy in which one thing was changed."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_zoo_bundle import change_config, change_text, tiny_weights, write_tiny_bundle

from tools.zoo.layout import bundle_names
from tools.zoo.probe import Check, run_check
from tools.zoo.static_checks import CHECKS, static_checks

Tamper = Callable[[Path], Any]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("static"))


@pytest.fixture
def bundle(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / original.name)


def outcomes(folder: Path) -> dict[str, Check]:
    return {check.name: check for check in static_checks(folder)}


@pytest.mark.parametrize("name", ["tiny", *bundle_names()])
def test_right_bundles_pass(name: str, original: Path, staged: Callable[[str], Path]) -> None:
    found = outcomes(original if name == "tiny" else staged(name))
    assert {check.status for check in found.values()} == {"pass"}, found


def remove(name: str) -> Tamper:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: str | bytes) -> Tamper:
    def tamper(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return tamper


def replace(name: str, old: str, new: str) -> Tamper:
    return lambda folder: change_text(folder, name, old, new)


def weights(value: Any) -> Tamper:
    return lambda folder: torch.save(value, folder / "models" / "model.pt")


def change(name: str, **values: Any) -> Tamper:
    return lambda folder: change_config(folder, name, **values)


metadata = partial(change, "metadata.json")
inference = partial(change, "inference.json")

LIST = "large_files:\n- path: models/model.pt\n  url: https://a.org/model.pt\n  hash_type: md5\n  hash_val: '0f'\n"
PERSON = "/home/" + "ann"  # put together, so that this file holds no such path
MAC = "/Users/" + "ann"
WINDOWS = "C:\\\\" + "Users\\\\ann"

FAILURES: list[tuple[str, Tamper, str]] = [
    ("file layout", remove("LICENSE"), "expected LICENSE in the bundle"),
    ("name and version", lambda folder: folder.rename(folder.with_name("tiny_v2_net")), "tiny_v2_net: expected a b"),
    ("name and version", lambda folder: folder.rename(folder.with_name("Tiny-net")), "Tiny-net: expected a b"),
    ("name and version", metadata(changelog={"0.2.0": "a", "0.10.0": "b"}), "newest version of .* 0.10.0, .* got '0.2"),
    ("metadata schema", metadata(task=...), "'task' is a required property"),
    ("metadata schema", metadata(version="1"), "version: '1' does not match"),
    ("metadata schema", metadata(eval_metrics={"psnr_db": "30"}), "eval_metrics#psnr_db: '30' is not of type 'number'"),
    ("metadata schema", metadata(network_data_format__outputs__pred__format="picture"), "'picture' is not one of"),
    ("metadata schema", write("configs/metadata.json", '{"version": '), "metadata.json: expected a JSON file"),
    ("metadata values", metadata(network_data_format__inputs__image__num_channels=2), "expected 2 channels"),
    ("metadata values", metadata(network_data_format__outputs__pred__spatial_shape=["*"]), "as many axes"),
    ("packages", metadata(required_packages_version={"fire": "0.7.1", "pillow": "1"}), "tiny.py imports ignite"),
    (
        "packages",
        replace("common/sizes.py", "import torch\n", "from nowhere import torch\n"),
        "sizes.py imports nowhere",
    ),
    ("config keys", inference(bundle_root="/workspace/bundle"), "no absolute `bundle_root`"),
    ("config keys", inference(dataset_dir="/data/brains"), "expected `dataset_dir` /workspace/data/<name>"),
    ("personal paths", replace("docs/README.md", "## Data", f"In {PERSON}/data"), f"docs/README.md: {PERSON}/data"),
    ("personal paths", inference(output_dir=f"{MAC}/eval"), f"configs/inference.json: {MAC}/eval"),
    ("personal paths", write("docs/notes.txt", f"see {WINDOWS}"), "docs/notes.txt: C:"),
    ("file sizes", write("docs/video.mp4", bytes(26 * 2**20)), r"at most 25 MB, got docs/video.mp4 26.0 MB"),
    ("file sizes", write("large_files.yml", "large_files:\n- path: a\n"), "large_files.yml: .* a list"),
    ("README", replace("docs/README.md", "## Limitations\n", ""), "expected a section Limitations"),
    ("README", replace("docs/README.md", "## Input", "```\n# Input\n```"), "expected a section Input"),
    ("README", replace("docs/README.md", "TensorRT", "It"), "a word on TensorRT"),
    ("weights file", write("models/model.pt", b"nonsense"), "model.pt: .*damaged|model.pt: expected"),
    ("weights file", weights({"model": tiny_weights(2)}), "expected a file of weights alone"),
    ("weights file", weights({"a": torch.tensor(torch.nan)}), "expected finite numbers, got others in a"),
]


@pytest.mark.parametrize(("name", "tamper", "detail"), FAILURES)
def test_what_is_wrong_fails_in_one_line(bundle: Path, name: str, tamper: Tamper, detail: str) -> None:
    tamper(bundle)
    (folder,) = bundle.parent.iterdir()
    check = run_check(name, partial(CHECKS[name], folder))
    assert check.status == "fail"
    assert re.search(detail, check.detail), check.detail


def test_what_is_unusual_is_a_warning(bundle: Path) -> None:
    (bundle / "models" / "model.pt").unlink()
    write("eval/metrics.csv", "")(bundle)
    write("scripts/__pycache__", "")(bundle)
    change("train.json", val_interval=...)(bundle)
    inference(load_pretrain=...)(bundle)
    found = outcomes(bundle)
    assert {name for name, check in found.items() if check.status == "warn"} == {"file layout", "config keys"}
    assert "fail" not in {check.status for check in found.values()}
    for detail in ("no models/model.pt", "eval is no part of a bundle", "__pycache__ came along"):
        assert detail in found["file layout"].detail
    assert "also have val_interval" in found["config keys"].detail
    assert "also have load_pretrain" in found["config keys"].detail


def test_weights_to_download_are_no_missing_weights(bundle: Path) -> None:
    remove("models/model.pt")(bundle)
    write("large_files.yml", LIST)(bundle)
    assert outcomes(bundle)["file layout"].status == "pass"


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_a_pickle_bomb_is_named_and_not_executed(bundle: Path, tmp_path: Path) -> None:
    control, marker, path = tmp_path / "control", tmp_path / "executed", bundle / "models" / "model.pt"
    pickle.loads(pickle.dumps(Bomb(control))).close()  # what a careless reader would do
    assert control.exists()
    for content in ({**tiny_weights(2), "bomb": Bomb(marker)}, None):
        torch.save(content, path) if content else path.write_bytes(pickle.dumps(Bomb(marker)))
        check = outcomes(bundle)["weights file"]
        assert check.status == "fail"
        assert "model.pt" in check.detail
        assert not marker.exists()
