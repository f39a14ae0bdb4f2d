"""Files of tasks and configurations: YAML or JSON, checked against a schema, errors in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match

from tools.zoo.layout import read_json

SCHEMA = Path(__file__).with_name("schema.json")


class _Loader(yaml.SafeLoader):
    """Loader of plain values that refuses a key given twice, of which PyYAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.MarkedYAMLError(problem=f"{twice[0]} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads a number without a point or a sign, such as 1e-4 and 1.5e3, as a text
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON file that holds one mapping of values that JSON can hold."""
    if path.suffix == ".json":
        return read_json(path)
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
            raise ValueError(f"{type(found).__name__} instead of `key: value` lines")
        return json.loads(json.dumps(found))
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: expected a YAML file, got {' '.join(str(error).split())}; mend it") from None


def read_list(path: Path) -> dict[str, Any]:
    """Read a file of tasks and check its structure."""
    content = read_mapping(path)
    try:
        check_structure(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return content


def check_structure(content: dict[str, Any], part: str = "") -> None:
    """Check the structure of a list, or of a mapping that a definition of `schema.json` describes."""
    schema = read_json(SCHEMA)
    if part:
        schema = {"$ref": f"#/$defs/{part}", "$defs": schema["$defs"]}
    if error := best_match(Draft202012Validator(schema).iter_errors(content)):
        raise ValueError(_explain(error, content))


def _explain(error: ValidationError, content: dict[str, Any]) -> str:
    """Return a schema error as text: where, what was expected, what was found."""
    place = list(error.absolute_path)
    if place[:1] == ["tasks"] and len(place) > 1:
        entry = content["tasks"][place[1]]
        named = isinstance(entry, dict) and isinstance(entry.get("name"), str) and place[2:] != ["name"]
        place = [f"task {entry['name'] if named else int(place[1]) + 1}", *place[2:]]
    where = "".join(f"{part}: " for part in place)
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(key for key in error.instance if key not in known)
        return f"{where}unknown key {unknown!r}; expected {', '.join(known)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"{where}{missing}: missing; add it"
    while "description" not in error.schema and isinstance(error.parent, ValidationError):
        error = error.parent
    # containers and addresses of servers are not repeated, because a password may stand in them
    kinds: dict[type, str] = {dict: "a mapping", list: "a list"}
    got = kinds.get(type(error.instance)) or ("another text" if "writeOnly" in error.schema else repr(error.instance))
    return f"{where}expected {error.schema.get('description', error.message)}, got {got}; correct it"


def find_config(name: str, bundle: Path, where: str) -> Path:
    """Find a configuration in a bundle by its name, or any by its path."""
    for path in (bundle / "configs" / name, Path(name)):
        if path.is_file():
            return path.resolve()
    known = ", ".join(sorted(path.name for path in (bundle / "configs").glob("*.json")))
    raise ValueError(f"{where}: config: no file {name}, {bundle.name} has {known}; correct it or give a path")


def merged(configs: Sequence[Path]) -> dict[str, Any]:
    """Return the content of configurations, each over the one before."""
    return {key: value for path in configs for key, value in read_mapping(path).items()}


def top_key(key: str) -> str:
    """Return the first part of a key such as `train#trainer#max_epochs` or `+handlers`."""
    return re.split("#|::", key.removeprefix("+"))[0]


def check_known(values: Mapping[str, Any], content: Mapping[str, Any], configs: Sequence[Path], where: str) -> None:
    """Refuse keys that a configuration does not have.

    Below an object's arguments a key may be new; below other mappings, such as `epochs#refin`, it may not.
    """
    known = {top_key(key) for key in content}
    if unknown := [key for key in values if top_key(key) not in known]:
        files, names = " and ".join(path.name for path in configs), sorted(key for key in known if key[:1].islower())
        raise ValueError(f"{where}: unknown key {unknown[0]!r}, {files} have {', '.join(names)}")
    for key in values:
        *parents, last = key.split("#")
        found: Any = content
        for parent in parents:
            found = found.get(parent) if isinstance(found, dict) else None
        if parents and isinstance(found, dict) and found and "_target_" not in found and last not in found:
            raise ValueError(f"{where}: unknown key {key!r}, {'#'.join(parents)} has {', '.join(found)}")
