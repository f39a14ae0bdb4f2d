"""What the tests of every bundle check alike: properties, one-line errors, the commands of the README."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundle_commands import ROOT, Result, WarmPython
from monai.bundle import ConfigParser, ConfigWorkflow

from common.handlers import save_weights

SCHEMA = ROOT / "tools" / "meta_schema.json"
TORCHRUN = ["torch.distributed.run", "--standalone", "--nnodes=1", "--nproc_per_node=2", "-m", "monai.bundle", "run"]


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def load_config(bundle: Path, name: str) -> dict[str, Any]:
    """A file of a bundle's ``configs``."""
    return json.loads((bundle / "configs" / name).read_text(encoding="utf-8"))


def assert_one_line(done: Result, message: str) -> None:
    """Assert that a command failed with one line that matches the message."""
    assert done.status == 1, done.stderr
    assert len(done.errors) == 1, done.stderr
    assert "terminating" not in done.stdout, done.stdout
    assert done.errors[0].startswith("error: ")
    assert re.search(message, done.errors[0]), done.errors[0]


def assert_all_properties(
    bundle: Path, kind: str, config: str, monkeypatch: pytest.MonkeyPatch, **values: object
) -> ConfigWorkflow:
    """MONAI finds every property of a train or infer workflow; returns the workflow, initialised."""
    monkeypatch.syspath_prepend(bundle)
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / config),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type=kind,
        bundle_root=str(bundle),
        initialize=[],  # loads weights and changes this process; not what is asked here
        **values,
    )
    workflow.initialize()
    try:
        wrong = workflow.check_properties()  # raises KeyError for the first that is missing
    except KeyError as error:
        pytest.fail(f"{config} lacks a required property: {error}")
    assert wrong == []
    assert workflow.version == load_config(bundle, "metadata.json")["version"]
    return workflow


def readme_commands(bundle: Path) -> list[str]:
    """All lines of the bash blocks of its README and of docs/RUNNING.md, the ones that make data first."""
    pages = (bundle / "docs" / "README.md", ROOT / "docs" / "RUNNING.md")
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if not line.startswith("export ")]
    image = load_config(bundle, "metadata.json")["network_data_format"]["inputs"]["image"]
    shape = [1, image["num_channels"], *(48 for _ in image["spatial_shape"])]
    commands = [line.replace("NAME", bundle.name).replace("[1, 3, 256, 256]", str(shape)) for line in lines]
    return sorted(dict.fromkeys(commands), key=lambda command: "tools data make" not in command)


def save_random_weights(bundle: Path, *configs: str) -> None:
    """Write weights of the network of these configurations, untrained, where they look for them."""
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / name) for name in configs])
    path = bundle / "models" / f"{parser['model_name']}.pt"
    save_weights(parser.get_parsed_content("network_def"), path, half=True)


def run_readme(
    python: WarmPython, bundle: Path, repository: Path, from_root: bool, shorten: Callable[[str], str]
) -> None:
    """Run every command of a bundle's README, and of the page that all bundles share.

    Args:
        python: runs them.
        bundle: whose README it is.
        repository: has a small copy of the bundle, where a repository would have it.
        from_root: from its root, or from the copy's folder.
        shorten: makes a command quick.
    """
    copy = repository / "bundles" / bundle.name
    for command in readme_commands(bundle):
        at_root = from_root or f"bundles/{bundle.name}/" in command
        quick = shorten(command)
        program, *words = shlex.split(_for_the_root(quick, bundle.name) if at_root else quick)
        assert program == "torchrun" or (program == "python" and words[0] == "-m"), f"unknown program: {command}"
        words = ["torch.distributed.run", *words] if program == "torchrun" else words[1:]
        done = python(*words, cwd=repository if at_root else copy)
        assert done.status == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"


def _for_the_root(command: str, name: str) -> str:
    if f"bundles/{name}/" in command:
        return command
    command = command.replace("../../tools", "tools")
    return re.sub(r"(?<![\w/])(configs|models|eval)/", rf"bundles/{name}/\1/", command)
