"""Options that errors advise exist: in the configurations that read files, and in the formats that raise them."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path

import pytest

from common.io import FORMATS, open_source

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(path for name in ("inference", "train") for path in ROOT.glob(f"bundles/*/configs/{name}.json"))


def advised_in(*places: str) -> dict[str, set[str]]:
    """The options of the command line in the messages of modules, and where they are."""
    found: dict[str, set[str]] = {}
    for place in places:
        for path in sorted((ROOT / "common" / place).rglob("*.py")):
            for option in re.findall(r"\s--([a-z_]+)", path.read_text()):
                found.setdefault(option, set()).add(f"{place}/{path.name}")
    return found


def test_options_of_the_command_line_are_keys_of_the_configurations() -> None:
    found = advised_in("io", "data", "inferers")
    del found["raw"]  # of another program
    assert set(found) == {"source_options", "intensity_range", "output_suffix", "coils"}
    assert found["coils"] == {"data/reader.py"}  # its message says which bundles have the key
    for path in CONFIGS:
        keys = json.loads(path.read_text()).keys()
        needed = {"source_options", "intensity_range"}
        if "super_resolution" in str(path) and path.stem == "inference":
            needed.add("output_suffix")  # the other bundles choose the format of their outputs themselves
        assert needed <= keys, path
    assert len(CONFIGS) == 10


@pytest.mark.parametrize("module", sorted({one.module for one in FORMATS}))
def test_options_of_a_source_are_those_of_its_format(module: str) -> None:
    module_of = importlib.import_module(f"common.io.formats.{module}")
    known = {*inspect.signature(module_of.open_source).parameters, *inspect.signature(open_source).parameters}
    text = (ROOT / "common" / "io" / "formats" / f"{module}.py").read_text()
    assert set(re.findall(r"\{'(\w+)':", text)) <= known
