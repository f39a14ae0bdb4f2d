"""Which packages a bundle needs, by what it imports.

`required_packages_version`: what is imported when the bundle's configs and scripts are; and what MONAI, Ignite and
PyTorch import only when the parts that the bundle uses are, such as TensorBoard.
`optional_packages_version`: what is imported only inside functions, or where an `ImportError` is caught: a file format
that not every user has. What a bundle cannot run without is therefore imported at the top of a module.
torch, numpy and monai have keys of their own.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from tools.zoo.imports import COMMON, Reached, reach
from tools.zoo.layout import read_json
from tools.zoo.references import Reference, top

REQUIRED, OPTIONAL = _LISTS = ("required_packages_version", "optional_packages_version")

NEEDS = (
    ("monai.engines", "ignite"),
    ("monai.handlers", "ignite"),
    ("monai.handlers.TensorBoard", "tensorboard"),
    ("monai.handlers.tensorboard_handlers", "tensorboard"),
    ("torch.utils.tensorboard", "tensorboard"),
    ("ignite.handlers.ProgressBar", "tqdm"),
    ("ignite.handlers.tqdm_logger", "tqdm"),
)
"""Names that begin so need a module which their library imports only when they are used."""

_RUN = Reference("fire", "python -m monai.bundle")
_KEYS_OF_THEIR_OWN = ("torch", "numpy", "monai")


def with_right_packages(metadata: Mapping[str, Any], reached: Reached) -> dict[str, Any]:
    """Metadata that name just the packages which a bundle needs.

    A version that is there for a package stays; else it is the installed one.

    Args:
        metadata: of the bundle.
        reached: what it uses.

    Raises:
        ValueError: if a module is used that no installed package has, or the lists are none.
    """
    stated = _stated(metadata)
    lists: dict[str, dict[str, str]] = {key: {} for key in _LISTS}
    for package, use in sorted(_packages(reached, stated).items()):
        name, number = stated.get(package) or (package, version(package).partition("+")[0])
        lists[OPTIONAL if use.lazy else REQUIRED][name] = number
    right = {**metadata, **lists}
    if not lists[OPTIONAL]:
        del right[OPTIONAL]
    return right


def package_differences(bundle: Path, common: Path = COMMON) -> list[str]:
    """What is wrong with the packages that a bundle's metadata name, one line each; empty if nothing is.

    Args:
        bundle: its folder.
        common: the package that it imports.

    Raises:
        ValueError: as `reach` and `with_right_packages` do.
    """
    metadata = read_json(bundle / "configs" / "metadata.json")
    reached = reach(bundle, common)
    right = with_right_packages(metadata, reached)
    places = {package: use.place for package, use in _packages(reached, _stated(metadata)).items()}
    lines = []
    for key in _LISTS:
        named, needed = metadata.get(key, {}), right.get(key, {})
        lines += [
            f"{key} lacks {name} {number}, see {places[_canonical(name)]}"
            for name, number in needed.items()
            if name not in named
        ]
        lines += [f"{key} names {name}, which is not needed there" for name in named if name not in needed]
    return lines


def _stated(metadata: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Name and version of each package that the metadata name, by its canonical name."""
    lists = {key: metadata.get(key, {}) for key in _LISTS}
    for key, named in lists.items():
        if not isinstance(named, Mapping):
            raise ValueError(f"metadata.json: expected an object under `{key}`, got {named!r}; mend it")
    return {_canonical(name): (name, number) for named in lists.values() for name, number in named.items()}


def _packages(reached: Reached, known: Container[str]) -> dict[str, Reference]:
    """The first use of each package, by its canonical name; a use that is not lazy if there is one."""
    used = [_RUN, *reached.libraries]
    used += [replace(use, name=module) for use in used for start, module in NEEDS if use.name.startswith(start)]
    packages: dict[str, Reference] = {}
    for use in sorted(used, key=lambda use: use.lazy):
        if top(use.name) not in _KEYS_OF_THEIR_OWN:
            packages.setdefault(_package(use, known), use)
    return packages


def _package(use: Reference, known: Container[str]) -> str:
    """The installed package that has a module; if there is none, one of the module's name that the metadata name."""
    module = top(use.name)
    names = [_canonical(name) for name in _installed().get(module, [module])]
    found = next((name for name in names if name in known), names[0])
    if module not in _installed() and found not in known:
        raise ValueError(
            f"{use.place}: imports {module}, which no installed package has; install it, so that its version is known, "
            "or mend the import"
        )
    return found


@cache
def _installed() -> Mapping[str, list[str]]:
    return packages_distributions()


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
