"""What a bundle reaches of `common`: small trees whose answer is known, then the packages that follow from it."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.zoo import requirements
from tools.zoo.archive import scratch_folder
from tools.zoo.imports import Reached, reach
from tools.zoo.references import config_references
from tools.zoo.requirements import package_differences, with_right_packages

SHAPES = '''"""Shapes."""

from common.shapes.flat import Square, area
from common.shapes.solid import Cube as Die

__all__ = ["Die", "Square", "area"]
'''
COMMON = {
    "__init__": '"""Shared."""\n\n__version__ = "1"\n',
    "shapes/__init__": SHAPES,
    "shapes/flat": "import math\n\nclass Square: ...\n\ndef area() -> float: ...\n",
    "shapes/solid": "from common.shapes.flat import Square\n\nclass Cube(Square): ...\n",
    "shapes/inner/__init__": '"""Inner."""\n\nfrom common.shapes.inner.core import Core\n\n__all__ = ["Core"]\n',
    "shapes/inner/core": "Core = 1\n",
    "colours/__init__": (
        '"""Colours."""\n\n'
        "from common.colours.names import RED\nfrom common.shapes import area\nfrom common.shapes.inner import Core\n\n"
        '__all__ = ["RED", "Core", "area"]\n'
    ),
    "colours/names": "RED = 0\n",
    "whole/__init__": '"""Whole."""\n\nfrom common.whole.part import Part\n\nTABLE = {"part": Part}\n',
    "whole/part": "from common.colours import RED\n\nPart = RED\n",
    "chain": "from . import leaf\nfrom .leaf import LEAF\n",
    "leaf": "import common.ring\n\nLEAF = 1\n",
    "ring": "from common.leaf import LEAF\n",
    "typed": "import typing\n\nif typing.TYPE_CHECKING:\n    from common.leaf import LEAF\nelse:\n    import json\n",
    "late": "def run():\n    from common.shapes import area\n\n    return area()\n",
    "library/__init__": "from math import pi\nfrom common.leaf import LEAF\n",
    "star": "from common.shapes import *\n",
    "full": "import common.shapes\n\nSIDE = common.colours.RED\ncommon = {}\n",
    "local": "common = set()\ncommon.add(1)\n",
    "unused": "import this\n",
}
FLAT = ["__init__", "shapes/__init__", "shapes/flat"]
ALL_SHAPES = [*FLAT, "shapes/solid"]
INNER = ["__init__", "shapes/__init__", "shapes/inner/__init__", "shapes/inner/core"]
RED = ["__init__", "colours/__init__", "colours/names"]
WHOLE = [*RED, "whole/__init__", "whole/part"]
LEAF = ["__init__", "leaf", "ring"]
LATE = [*FLAT, "late"]

Write = Callable[..., tuple[Path, Path]]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / (name if name.endswith(".json") else f"{name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def made(tmp_path: Path) -> Write:
    """Write a bundle with one config, and a `common`."""

    def make(config: object = None, scripts: dict[str, str] | None = None, **common: str) -> tuple[Path, Path]:
        bundle = tmp_path / "bundle"
        write(bundle, {"configs/train.json": json.dumps(config or {}, indent=4)})
        write(bundle / "scripts", scripts or {})
        write(tmp_path / "common", {**COMMON, **common})
        return bundle, tmp_path / "common"

    return make


def modules(reached: Reached) -> list[str]:
    return [file.removeprefix("common/").removesuffix(".py") for file in reached.files]


# -- ways to name something --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, []),
        ({"a": "common.shapes.Square", "b": "uses common.unused", "c": ["common.unused"]}, []),  # texts, no names
        ({"_target_": "common.shapes.Square", "keys": "common.unused"}, FLAT),
        ({"a": [{"b": {"_target_": "common.shapes.flat.Square"}}]}, FLAT),
        ({"_target_": "common.shapes.Square.method.of_it"}, FLAT),
        ({"_target_": "common.shapes.Die"}, ALL_SHAPES),
        ({"_target_": "$common.shapes.area"}, FLAT),
        ({"+imports": ["$from common.shapes import area as size"]}, FLAT),
        ({"imports": ["$import common.shapes.flat"]}, FLAT),
        ({"imports": ["$import common.shapes as s"]}, ALL_SHAPES),
        ({"imports": ["$from common import shapes"]}, ALL_SHAPES),
        ({"imports": ["$import common"]}, ["__init__"]),
        ({"a": "$@b::0.to(@c#d[1]) if common.shapes.area(@e) else lambda: common.leaf.LEAF"}, [*FLAT, "leaf", "ring"]),
        ({"a": "$'common.shapes' + common.__version__ + common.__file__"}, ["__init__"]),
        ({"_target_": "common.shapes.inner.Core"}, INNER),
        ({"_target_": "common.colours.area"}, [*FLAT, "colours/__init__"]),  # re-exported twice
        ({"_target_": "common.whole.Part"}, WHOLE),
        ({"_target_": "common.whole.TABLE.get"}, WHOLE),
        ({"_target_": "common.library.pi"}, [*LEAF, "library/__init__"]),
        ({"_target_": "common.chain.LEAF"}, [*LEAF, "chain"]),
        ({"_target_": "common.typed.json"}, ["__init__", "typed"]),
        ({"_target_": "common.late.run"}, LATE),
        ({"imports": ["$import common.star"]}, [*ALL_SHAPES, "star"]),
        ({"imports": ["$import common.full"]}, [*RED, "full", *ALL_SHAPES[1:]]),
        ({"imports": ["$import common.local"]}, ["__init__", "local"]),
    ],
)
def test_a_config_reaches_just_what_it_names(made: Write, config: object, expected: list[str]) -> None:
    assert modules(reach(*made(config))) == sorted(expected)


@pytest.mark.parametrize(
    ("scripts", "expected"),
    [
        ({"a": "import math\n"}, []),
        ({"a": "from common.shapes import area\n"}, FLAT),
        ({"__init__": "from common.shapes import area\n\n__all__ = ['area']\n"}, FLAT),
        ({"a": "from . import b\nfrom .b import x\nfrom scripts.b import x\n", "b": "x = 1\n"}, []),
        ({"in/__init__": "", "in/a": "from ..b import x\n", "b": "from common.leaf import LEAF as x\n"}, LEAF),
        ({"a": "class A:\n    def run(self):\n        import common.late\n"}, LATE),
    ],
)
def test_scripts_reach_just_what_they_import(made: Write, scripts: dict[str, str], expected: list[str]) -> None:
    assert modules(reach(*made(scripts={"__init__": "", **scripts}))) == sorted(expected)


@pytest.mark.parametrize(
    "line",
    ["from common.tools.blur import blur", "from common.tools.blur import WIDTH", "from common.tools import blur"],
)
def test_a_submodule_of_a_re_exports_name_is_not_hidden_by_it(made: Write, line: str) -> None:
    tools = {
        "tools/__init__": '"""Tools."""\n\nfrom common.tools.blur import blur\n\n__all__ = ["blur"]\n',
        "tools/blur": "WIDTH = 3\n\ndef blur() -> None: ...\n",
    }
    found = reach(*made(None, {"__init__": "", "own": f"{line}\n"}, **tools))
    assert list(found.files) == ["common/__init__.py", "common/tools/__init__.py", "common/tools/blur.py"]


def test_all_configs_count(made: Write) -> None:
    bundle, common = made()
    (bundle / "configs" / "smoke.json").write_text('{"_target_": "common.leaf.LEAF"}')
    assert modules(reach(bundle, common)) == LEAF


# -- what is left of an __init__ -----------------------------------------------------------------------------------


def test_unasked_re_exports_are_left_out(made: Write) -> None:
    config = {"a": {"_target_": "common.shapes.area"}, "b": {"_target_": "common.shapes.inner.core.Core"}}
    files = reach(*made(config)).files
    assert files["common/__init__.py"] == COMMON["__init__"]
    assert files["common/shapes/flat.py"] == COMMON["shapes/flat"]
    assert files["common/shapes/__init__.py"] == (
        '"""Shapes."""\n\nfrom common.shapes.flat import area\n\n__all__ = ["area"]\n'
    )
    assert files["common/shapes/inner/__init__.py"] == '"""Inner."""\n'


NAMES = [f"name_{letter}" for letter in "abcdefg"]


@st.composite
def inits(draw: st.DrawFn) -> tuple[str, dict[str, list[str]]]:
    """An `__init__` in one line or many, and which names come from which module."""
    names = draw(st.permutations(NAMES))
    cut = draw(st.integers(1, len(names) - 1))
    origins = {"one": sorted(names[:cut]), "two": sorted(names[cut:])}

    def listed(opening: str, items: Sequence[str], closing: str) -> str:
        if draw(st.booleans()):
            return f"{opening}\n" + "".join(f"    {item},  # é {item}\n" for item in items) + f"{closing}\n"
        return f"{opening}{', '.join(items)}{closing}  # all\n"

    text = '"""Ünits."""\n\n'
    for module, items in origins.items():
        text += listed(f"from common.many.{module} import (", items, ")")
    return text + "\n" + listed("__all__ = [", [f'"{name}"' for name in sorted(NAMES)], "]"), origins


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(init=inits(), wanted=st.sets(st.sampled_from(NAMES)))
def test_any_choice_of_re_exports_can_be_left_out(
    tmp_path: Path, init: tuple[str, dict[str, list[str]]], wanted: set[str]
) -> None:
    text, origins = init
    with scratch_folder(tmp_path) as folder:
        bodies = {module: "".join(f"{name} = 1\n" for name in names) for module, names in origins.items()}
        write(folder / "common", {"__init__": "", "many/__init__": text, **{f"many/{m}": b for m, b in bodies.items()}})
        targets = [{"_target_": f"common.many.{name}"} for name in sorted(wanted)]
        imports = ["$import common.many.one", "$import common.many.two"]
        write(folder / "bundle", {"configs/a.json": json.dumps({"targets": targets, "imports": imports})})
        left = reach(folder / "bundle", folder / "common").files["common/many/__init__.py"]
    if wanted == set(NAMES):
        assert left == text
    namespace: dict[str, object] = {}
    body = ast.parse(left).body
    assert ast.get_docstring(ast.parse(left)) == "Ünits."
    imported = {(node.module, item.name) for node in body if isinstance(node, ast.ImportFrom) for item in node.names}
    assert imported == {(f"common.many.{m}", name) for m, names in origins.items() for name in wanted & set(names)}
    exec("\n".join(ast.unparse(node) for node in body if isinstance(node, ast.Assign)), namespace)
    assert namespace.get("__all__", []) == sorted(wanted)
    assert {line for line in left.splitlines() if line} <= set(text.splitlines()) or "all" in text


# -- what is not there ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"a": 1, "b": {"_target_": "common.shapes.No"}},
            "train.json:4: names common.shapes.No, but there is no .*No;",
        ),
        ({"b": {"_target_": "common.nothing.Circle"}}, "train.json:3: .* there is no common.nothing;"),
        ({"b": "$common.shapes.flat.Circle()"}, "train.json:2: .* there is no common.shapes.flat.Circle"),
        ({"b": ["é", "$from common.leaf import Ö"]}, "train.json:4: .* there is no common.leaf.Ö"),
        ({"b": {"_target_": "scripts.nothing.A"}}, "train.json:3: .* there is no scripts;"),
        ({"b": {"_target_": "tools.data.make"}}, "train.json:3: names tools.data.make, which stays in the"),
        ({"b": "$1 +"}, "train.json:2: expected Python, got invalid syntax"),
    ],
)
def test_a_config_that_names_what_is_not_there_is_refused(made: Write, config: object, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^configs/{message}"):
        reach(*made(config))


@pytest.mark.parametrize(
    ("scripts", "message"),
    [
        ({"__init__": "", "a": "import math\n\nfrom common.leaf import No\n"}, "scripts/a.py:3: names common.leaf.No,"),
        ({"__init__": "", "a": "def run():\n    import common.nothing\n"}, "scripts/a.py:2: .* no common.nothing;"),
        ({"__init__": "", "a": "from .b import x\n"}, "scripts/a.py:1: .* no scripts.b;"),
        ({"__init__": "", "a": "from tests import helpers\n"}, "scripts/a.py:1: names tests.helpers, which stays"),
        ({"__init__": "", "a": "def (:\n"}, "scripts/a.py: expected Python, got .* in line 1"),
        ({"a": ""}, "scripts/a.py: names scripts.a, but there is no scripts;"),
    ],
)
def test_a_script_that_imports_what_is_not_there_is_refused(made: Write, scripts: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        reach(*made(scripts=scripts))


def test_a_broken_module_of_common_is_named(made: Write) -> None:
    with pytest.raises(ValueError, match=r"^common/unused.py:1: .* no common.shapes.flat.Circle;"):
        reach(*made({"imports": ["$import common.unused"]}, unused="from common.shapes.flat import Circle\n"))
    with pytest.raises(ValueError, match=r"^common/shapes/__init__.py:3: .* no common.shapes.flat.Circle;"):
        reach(*made({"_target_": "common.shapes.Circle"}, **{"shapes/__init__": SHAPES.replace("Square", "Circle")}))


def test_a_config_that_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^configs/x.json: expected JSON, got Expecting"):
        config_references("{", "configs/x.json")


def test_short_targets_are_monais() -> None:
    text = '{"a": {"_target_": "SimpleInferer"},\n "ä": {"_target_": "dict"},\n\n "c": "$common.ö"}'
    found = [(used.name, used.place) for used in config_references(text, "x.json")]
    assert found == [
        ("monai.inferers.inferer.SimpleInferer", "x.json:1"),
        ("dict", "x.json:2"),
        ("common.ö", "x.json:4"),
    ]


# -- packages ------------------------------------------------------------------------------------------------------

METADATA = {"version": "1", "required_packages_version": {"Pillow": "9.0", "scipy": "1.2"}, "name": "A bundle"}


def needed(made: Write, monkeypatch: pytest.MonkeyPatch, config: object = None, **scripts: str) -> tuple[dict, dict]:
    """Required and optional packages, without `fire`, and with versions that tell them from stated ones."""
    monkeypatch.setattr(requirements, "version", lambda package: f"{package}-1+cpu")
    opener = {"opener": "import h5py, torch\n\nOpener = 1\n", "open/__init__": "from common.opener import Opener\n"}
    bundle, common = made(config, {"__init__": "", **scripts}, **opener)
    right = with_right_packages(METADATA, reach(bundle, common))
    required = right["required_packages_version"]
    assert required.pop("fire") == "fire-1"
    optional = right.pop("optional_packages_version", None)
    assert optional != {}
    assert list(right) == list(METADATA)
    return required, optional or {}


@pytest.mark.parametrize(
    ("script", "required", "optional"),
    [
        ("import math, torch, numpy as np, monai.data\n", {}, {}),
        ("import PIL.Image\nimport h5py\n", {"Pillow": "9.0", "h5py": "h5py-1"}, {}),
        ("def run():\n    import h5py\n", {}, {"h5py": "h5py-1"}),
        ("async def run():\n    import h5py\n", {}, {"h5py": "h5py-1"}),
        ("def run():\n    import h5py\nimport h5py.h5\n", {"h5py": "h5py-1"}, {}),
        ("try:\n    import h5py\nexcept ImportError:\n    h5py = None\n", {}, {"h5py": "h5py-1"}),
        ("try:\n    import h5py\nexcept (OSError, ModuleNotFoundError):\n    h5py = None\n", {}, {"h5py": "h5py-1"}),
        ("try:\n    import h5py\nexcept OSError:\n    raise\n", {"h5py": "h5py-1"}, {}),
        ("class A:\n    import h5py\n", {"h5py": "h5py-1"}, {}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import h5py\n", {}, {}),
        ("import typing\nif typing.TYPE_CHECKING:\n    import h5py\n", {}, {}),
        ("import common.opener\n", {"h5py": "h5py-1"}, {}),
        ("def run():\n    import common.opener\n", {}, {"h5py": "h5py-1"}),
        ("def run():\n    from common.open import Opener\n", {}, {"h5py": "h5py-1"}),
        ("def run():\n    import common.opener\nfrom common import opener\n", {"h5py": "h5py-1"}, {}),
        ("from monai.engines import SupervisedTrainer\n", {"pytorch-ignite": "pytorch-ignite-1"}, {}),
        ("from torch.utils.tensorboard import SummaryWriter\n", {"tensorboard": "tensorboard-1"}, {}),
        ("def f():\n    from torch.utils.tensorboard import SummaryWriter\n", {}, {"tensorboard": "tensorboard-1"}),
        (
            "from torch.utils.tensorboard import SummaryWriter\ndef f():\n    import tensorboard\n",
            {"tensorboard": "tensorboard-1"},
            {},
        ),
        ("from ignite.handlers import ProgressBar\n", {"pytorch-ignite": "pytorch-ignite-1", "tqdm": "tqdm-1"}, {}),
    ],
)
def test_packages_follow_from_imports(
    made: Write, monkeypatch: pytest.MonkeyPatch, script: str, required: dict[str, str], optional: dict[str, str]
) -> None:
    assert needed(made, monkeypatch, a=script) == (required, optional)


def test_packages_follow_from_configs(made: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "imports": ["$import h5py"],
        "a": {"_target_": "TensorBoardStatsHandler"},
        "b": {"_target_": "scipy.ndimage.zoom"},
        "c": "$lambda: h5py.File(@a)",
    }
    required, optional = needed(made, monkeypatch, config)
    assert set(required) == {"h5py", "pytorch-ignite", "scipy", "tensorboard"}
    assert required["scipy"] == "1.2"  # as stated
    assert optional == {}


def test_a_module_that_no_package_has_is_refused(made: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^scripts/a.py:2: imports not_installed, which no installed package has"):
        needed(made, monkeypatch, a="import math\nimport not_installed.part\n")
    stated = {**METADATA, "optional_packages_version": {"not-installed": "7"}}
    bundle, common = made(scripts={"__init__": "", "a": "def f():\n    import not_installed\n"})
    right = with_right_packages(stated, reach(bundle, common))
    assert right["optional_packages_version"] == {"not-installed": "7"}


def test_differences_say_what_lacks_and_what_is_not_needed(made: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "version", lambda package: "1")
    bundle, common = made(scripts={"__init__": "", "a": "import h5py\n\ndef f():\n    import PIL\n"})
    path = bundle / "configs" / "metadata.json"
    path.write_text(json.dumps(METADATA))
    assert package_differences(bundle, common) == [
        "required_packages_version lacks fire 1, see python -m monai.bundle",
        "required_packages_version lacks h5py 1, see scripts/a.py:1",
        "required_packages_version names Pillow, which is not needed there",
        "required_packages_version names scipy, which is not needed there",
        "optional_packages_version lacks Pillow 9.0, see scripts/a.py:4",
    ]
    path.write_text(json.dumps(with_right_packages(METADATA, reach(bundle, common))))
    assert package_differences(bundle, common) == []
