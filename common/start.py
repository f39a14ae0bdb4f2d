"""Start of a bundle run: errors in one line; unknown options and another version of this package are refused."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from pydoc import locate
from typing import Any

from common.errors import report_errors_in_one_line
from monai.bundle import ConfigComponent, ConfigParser, ConfigWorkflow, ReferenceResolver, run, run_workflow
from monai.bundle.config_item import ComponentLocator
from monai.bundle.scripts import create_workflow
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS
from monai.utils import ensure_tuple

RESERVED = ("_target_", "_desc_", "_disabled_", "_mode_", "_requires_")
"""Keys that MONAI knows in every component of a configuration."""
COMMANDS = {command.__name__ for command in (run, run_workflow)}


def start_run(bundle_root: str) -> None:
    """Report errors in one line, and check the options of this process; first step of a bundle's ``initialize``.

    Args:
        bundle_root: folder of the bundle.

    Raises:
        ValueError: an option of the command line is not a key of the configuration files, or the bundle needs another
            version of this package than the one that this process has imported.
    """
    report_errors_in_one_line()
    check_package(Path(bundle_root) / "common")
    if Path(sys.argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py") and set(sys.argv[1:2]) <= COMMANDS:
        check_options(sys.argv[2:])


def check_package(shipped: Path) -> None:
    """Refuse a copy of this package that differs from the imported one: a process has one ``common`` for all bundles.

    Args:
        shipped: the copy that a packaged bundle brings; need not exist.

    Raises:
        ValueError: the sources differ.
    """
    imported = Path(__file__).resolve().parent
    if shipped.is_dir() and shipped.resolve() != imported and _digest(shipped) != _digest(imported):
        raise ValueError(
            f"{shipped}: expected the version of `common` that this process has imported, {imported}, got another one; "
            "run this bundle in a process of its own, or package both bundles with the same version"
        )


def _digest(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def check_options(words: Sequence[str]) -> None:
    """Refuse options that would change nothing, because MONAI adds unknown keys to a configuration without a word.

    A nested option, ``a#b``, is known if the configuration has it, if ``a`` is an empty mapping, or if ``a`` is a
    component that takes the argument ``b``.

    Args:
        words: command line after ``monai.bundle run``.

    Raises:
        ValueError: for unknown options, with the nearest known one of each.
    """
    import fire  # the command itself has imported it

    given: dict[str, Any] = fire.Fire(lambda *_, **options: options, command=list(words), serialize=lambda _: None)
    if given.get("args_file"):
        given = {**ConfigParser.load_config_file(given["args_file"]), **given}
    files = ensure_tuple(given["config_file"])
    parser = ConfigParser(ConfigParser.load_config_files(files))
    own = _monai_options(given)
    complaints = []
    for option, value in given.items():
        if option in own:
            continue
        parts = ReferenceResolver.split_id(option)
        if (unknown := _unknown_part(parser.get(), parts)) is None:
            parser[option] = value
            continue
        depth, known = unknown
        nearest = get_close_matches(parts[depth], [*known, *([] if depth else own)], n=1, cutoff=0.0)
        complaints.append(f"unknown option --{option}")
        if nearest:
            complaints[-1] += f", the nearest known one is --{'#'.join([*parts[:depth], *nearest])}"
    if complaints:
        names = ", ".join(Path(file).name for file in files)
        raise ValueError(f"{'; '.join(complaints)}: options are the keys of {names}")


def _monai_options(given: Mapping[str, Any]) -> set[str]:
    """Options of MONAI's own, those of experiment tracking only where it is asked for."""
    functions = (run, create_workflow, ConfigWorkflow.__init__)
    names = {
        parameter.name
        for function in functions
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    if tracking := given.get("tracking"):
        settings: Any = DEFAULT_EXP_MGMT_SETTINGS.get(tracking) if isinstance(tracking, str) else tracking
        names |= {"save_execute_config", *(settings or ConfigParser.load_config_file(tracking))["configs"]}
    return names - {"self"}


def _unknown_part(config: Any, parts: Sequence[str]) -> tuple[int, list[str]] | None:
    """Return the place of the first unknown part of an id and the known ones in its place, or None if all are known."""
    for depth, part in enumerate(parts):
        keys = list(config) if isinstance(config, Mapping) else []
        if isinstance(config, list):
            keys = [str(index) for index in range(len(config))]
        if part not in keys:
            if depth and isinstance(config, Mapping) and (not config or part in RESERVED):
                return None
            arguments = _arguments(config) if "_target_" in keys else []
            if arguments is None or part in arguments:
                return None
            return depth, sorted({key for key in (*keys, *arguments) if not key.startswith("_")})
        config = config[part] if isinstance(config, Mapping) else config[int(part)]
    return None


def _arguments(component: Mapping[str, Any]) -> list[str] | None:
    """Names of the arguments that a component takes, or None if it takes any."""
    target = ConfigComponent(dict(component), locator=ComponentLocator()).resolve_module_name()
    function = locate(target) if isinstance(target, str) else target
    if not callable(function):
        return None
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters]
