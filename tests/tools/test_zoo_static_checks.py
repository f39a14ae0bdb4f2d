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

from tools.zoo.config_drift import config_differences
from tools.zoo.layout import bundle_names
from tools.zoo.probe import Check
from tools.zoo.static_checks import static_checks

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


def change(name: str, **values: Any) -> Tamper:
    return lambda folder: change_config(folder, name, **values)


def weights(value: Any) -> Tamper:
    return lambda folder: torch.save(value, folder / "models" / "model.pt")


metadata = partial(change, "metadata.json")
train = partial(change, "train.json")
inference = partial(change, "inference.json")

LIST = "large_files:\n- path: models/model.pt\n  url: https://a.org/model.pt\n  hash_type: md5\n  hash_val: '0f'\n"
PERSON = "/home/" + "ann"  # put together, so that this file holds no such path
MAC = "/Users/" + "ann"
WINDOWS = "C:\\\\" + "Users\\\\ann"

FAILURES: list[tuple[str, Tamper, str]] = [
    ("file layout", remove("LICENSE"), "expected LICENSE in the bundle"),
    ("name and version", lambda folder: folder.rename(folder.with_name("tiny_v2_net")), "tiny_v2_net; rename"),
    ("name and version", lambda folder: folder.rename(folder.with_name("Tiny-net")), "Tiny-net; rename"),
    ("name and version", metadata(changelog={"0.1.0": "first"}), "newest version of .*, 0.1.0, .* got 0.2.0"),
    ("name and version", metadata(changelog={"0.2.0": "a", "0.10.0": "b"}), "newest version of .* 0.10.0, .* got 0.2"),
    ("metadata schema", metadata(task=...), "'task' is a required property"),
    ("metadata schema", metadata(version="1"), "version: '1' does not match"),
    ("metadata schema", metadata(eval_metrics={"psnr_db": "30"}), "eval_metrics#psnr_db: '30' is not of type 'number'"),
    ("metadata schema", metadata(network_data_format__inputs={}), "inputs: 'image' is a required property"),
    ("metadata schema", metadata(network_data_format__outputs__pred__format="picture"), "'picture' is not one of"),
    ("metadata values", metadata(network_data_format__inputs__image__num_channels=2), "expected 2 channels"),
    ("metadata values", metadata(network_data_format__outputs__pred__spatial_shape=["*"]), "as many axes"),
    ("packages", metadata(required_packages_version={"fire": "0.7.1", "pillow": "13.0.0"}), "pytorch-ignite differs"),
    ("packages", replace("scripts/tiny.py", "import torch\n", "import nowhere\n"), "tiny.py:.* imports nowhere"),
    ("config keys", inference(bundle_root="/workspace/bundle"), "no absolute `bundle_root`"),
    ("config keys", inference(dataset_dir="/data/brains"), "expected `dataset_dir` /workspace/data/<name>"),
    ("config drift", inference(width=3), r"network_def#width \(@width\): 2 in train.json, 3 in inference.json"),
    ("config drift", train(network_def__bias=True), "network_def#bias: True in train.json, 'nothing' in inference"),
    ("personal paths", replace("docs/README.md", "## Data", f"In {PERSON}/data"), f"docs/README.md: {PERSON}/data"),
    ("personal paths", inference(output_dir=f"{MAC}/eval"), f"configs/inference.json: {MAC}/eval"),
    ("personal paths", write("docs/notes.txt", f"see {WINDOWS}"), "docs/notes.txt: C:"),
    ("personal paths", write("docs/notes.txt", "in /root" + "/x"), "docs/notes.txt: /root"),
    ("file sizes", write("docs/video.mp4", bytes(26 * 2**20)), r"at most 25 MB, got docs/video.mp4 26.0 MB"),
    ("file sizes", write("large_files.yml", "large_files:\n- path: a\n"), "large_files.yml: expected a list"),
    ("README", replace("docs/README.md", "## Limitations\n", ""), "expected a section Limitations"),
    ("README", replace("docs/README.md", "## Input", "```\n# Input\n```"), "expected a section Input"),
    ("README", replace("docs/README.md", "TensorRT", "It"), "a word on TensorRT"),
    ("file layout", remove("docs/README.md"), "expected docs/README.md"),
    ("file layout", remove("docs/data_license.txt"), "expected docs/data_license.txt"),
    ("weights file", write("models/model.pt", b"nonsense"), "damaged or no torch file .*it was not executed"),
    ("weights file", weights({"model": tiny_weights(2)}), "holds other objects"),
    ("weights file", weights([torch.zeros(2)]), "holds other objects"),
]


@pytest.mark.parametrize(("name", "tamper", "detail"), FAILURES)
def test_what_is_wrong_fails_in_one_line(bundle: Path, name: str, tamper: Tamper, detail: str) -> None:
    tamper(bundle)
    (folder,) = bundle.parent.iterdir()
    found = outcomes(folder)
    assert found[name].status == "fail"
    assert re.search(detail, found[name].detail), found[name].detail
    assert "\n" not in found[name].detail


@pytest.mark.parametrize(
    ("name", "tamper", "detail"),
    [
        ("file layout", remove("models/model.pt"), "no models/model.pt"),
        ("file layout", write("eval/metrics.csv", ""), "eval is no part of a bundle"),
        ("file layout", write("scripts/__pycache__", ""), "__pycache__ came along"),
        ("config keys", train(val_interval=...), "also have val_interval"),
        ("config keys", inference(load_pretrain=...), "also have load_pretrain"),
    ],
)
def test_what_is_unusual_is_a_warning(bundle: Path, name: str, tamper: Tamper, detail: str) -> None:
    tamper(bundle)
    found = outcomes(bundle)
    assert found[name].status == "warn"
    assert detail in found[name].detail
    assert "fail" not in {check.status for check in found.values()}


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


@pytest.mark.parametrize("plain", [False, True])
def test_a_pickle_bomb_is_named_and_not_executed(bundle: Path, tmp_path: Path, plain: bool) -> None:
    control, marker, path = tmp_path / "control", tmp_path / "executed", bundle / "models" / "model.pt"
    pickle.loads(pickle.dumps(Bomb(control))).close()  # what a careless reader would do
    assert control.exists()
    if plain:
        path.write_bytes(pickle.dumps(Bomb(marker)))
    else:
        torch.save({**tiny_weights(2), "bomb": Bomb(marker)}, path)
    check = outcomes(bundle)["weights file"]
    assert check.status == "fail"
    assert ("is damaged or no torch file" if plain else "asks for io.open; it was not executed") in check.detail
    assert not marker.exists()


def test_damaged_json_is_told_by_the_file(bundle: Path) -> None:
    write("configs/metadata.json", '{"version": ')(bundle)
    found = outcomes(bundle)
    assert "configs/metadata.json: expected a JSON file" in found["metadata schema"].detail
    assert found["config keys"].status == "pass"


def test_differences_are_found_behind_references() -> None:
    one = {"net": {"a": "@size", "b": ["$2 * @size", "%text"]}, "size": 1, "text": {"x": 1, "_desc_": "one"}}
    same = {"net": {"a": 1, "b": ["$2 * @size", {"x": 1}]}, "size": 1, "unused": 5}
    assert config_differences(one, same, "net") == []
    other = {"net": {"a": 1, "b": ["$2 * @size", {"x": 2}]}, "size": 3}
    assert config_differences(one, other, "net") == [("net#b#0 (@size)", 1, 3), ("net#b#1#x", 1, 2)]
    nested = {"net": {"width": "@sizes#1"}, "sizes": [1, 2]}
    assert config_differences(nested, {"net": {"width": 2}}, "net") == []
    assert config_differences(nested, {"net": [1]}, "net") == [("net", {"width": "@sizes#1"}, [1])]
    assert config_differences(nested, {}, "net") == [("net", {"width": "@sizes#1"}, "nothing")]
