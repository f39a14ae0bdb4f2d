"""Options that errors advise exist: in the configurations that read files, and in the formats that raise them."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from common.errors import DataError
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
        if "knee" in str(path) and path.stem == "train":
            needed.remove("intensity_range")  # in a block: it trains on k-space, whose errors do not advise it
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


def test_an_error_repeats_the_options_that_were_given(tmp_path: Path) -> None:
    """K-space whose axes and centre have to be named, and with a NaN: what each error advises is tried, and works."""
    images = np.zeros((3, 16, 12), np.complex64)
    images[:, 4:12, 3:9] = 1 + np.arange(6)
    kspace = np.fft.fft2(images).astype(np.complex64)
    kspace[2, 0, 7] = np.nan
    with h5py.File(tmp_path / "vol.h5", "w") as file:
        file["kspace"] = kspace
    options: dict[str, object] = {}
    for expected in ("axes", "dc", "fill"):
        with pytest.raises(DataError) as raised, open_source(tmp_path / "vol.h5", **options) as source:
            source.read()
        (advised,) = re.findall(r"--source_options \"(\{.*?\})\"", str(raised.value))
        given, options = options, ast.literal_eval(advised)
        assert options == {**given, expected: options[expected]}
    with open_source(tmp_path / "vol.h5", **options) as source:
        first = source.read()[0]
    found = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(first)))
    np.testing.assert_allclose(found, images[0], atol=1e-5)
