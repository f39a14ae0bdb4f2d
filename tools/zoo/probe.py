"""Checks that run a bundle's code, in a process that finds `common` and `scripts` in the bundle or nowhere.

This is a script for the interpreter that the bundle is tried with, `python -I -B probe.py GROUP REQUEST`; it needs what
the bundle's metadata name and nothing else. REQUEST is the JSON of a `Bundle`. As a check begins and ends, stdout gets
a line of JSON: `{"begin": name}`, then the fields of a `Check`. All that the bundle prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any, NamedTuple, TextIO

OWN_PACKAGES = ("common", "scripts", "tools")
NETWORK_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
LONGEST_DETAIL = 500
SEED = 0
TOLERANCE = 1e-4
"""Largest difference between an exported network and the original, relative to its largest output."""


class Check(NamedTuple):
    """Result of a check.

    Args:
        name: what is checked.
        status: "pass", "warn" (passed, but worth a look), "fail" or "skip" (could not be made).
        detail: one line; for a failure: expected, got, where, what to do.
        seconds: duration.
    """

    name: str
    status: str
    detail: str
    seconds: float


class Doubt(Exception):  # noqa: N818
    """Raised by a check that passed, for something worth a look."""


class Skip(Exception):  # noqa: N818
    """Raised by a check that cannot be made, with the reason."""


def run_check(name: str, check: Callable[[], str]) -> Check:
    """Run a function that returns a detail or raises, and return the result."""
    start = perf_counter()
    try:
        status, detail = "pass", check()
    except Skip as reason:
        status, detail = "skip", str(reason)
    except Doubt as reason:
        status, detail = "warn", str(reason)
    except (Exception, SystemExit) as error:
        status, detail = "fail", one_line(error)
    return Check(name, status, _shortened(detail), perf_counter() - start)


def one_line(error: BaseException) -> str:
    """Describe an error in one line: its first cause, then what was raised from it."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    cause = chain[-1]
    plain = isinstance(cause, (ValueError, OSError)) and str(cause)
    text = str(cause) if plain else f"{type(cause).__name__}: {cause}"
    return text if len(chain) == 1 else f"{text} ({_shortened(str(chain[-2]), LONGEST_DETAIL // 3)})"


def _shortened(text: str, longest: int = LONGEST_DETAIL) -> str:
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 4] + " ..."


# -- what the process may see --------------------------------------------------------------------------------------


class OnlyFromBundle:
    """Import hook that finds `common` and `scripts` in the bundle's folder alone, once that is on `sys.path`.

    Anything else of these names, and any `tools`, is not found: an installed copy of this repository, for example.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the place of a module, or None if it is no module of these packages."""
        top = fullname.partition(".")[0]
        if top not in OWN_PACKAGES:
            return None
        if path is None:
            path = [entry for entry in sys.path if Path(entry).resolve() == self.folder]
        spec = PathFinder.find_spec(fullname, path, target) if top != "tools" else None
        if spec is None:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return spec


def isolate(folder: Path) -> None:
    """Let this process import the bundle's packages from the bundle alone, and reach no network."""
    for name in [name for name in sys.modules if name.partition(".")[0] in OWN_PACKAGES]:
        del sys.modules[name]
    sys.meta_path.insert(0, OnlyFromBundle(folder))
    sys.addaudithook(_refuse_network)


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event in NETWORK_EVENTS and getattr(getattr(arguments[0], "family", None), "name", "") != "AF_UNIX":
        raise OSError(f"network access is refused while a bundle is verified, got {event} {arguments[1:] or arguments}")


# -- the bundle ----------------------------------------------------------------------------------------------------


class Bundle:
    """A bundle, and what its checks share.

    Args:
        folder: folder of the bundle.
        work: a folder to write to, the same for all groups of a verification.
        data: a small data set with train/ and test/; empty if there is none.
        no_data: the reason why there is none.
    """

    def __init__(self, folder: str, work: str, data: str, no_data: str) -> None:
        self.folder = Path(folder)
        self.work = Path(work)
        self.data = Path(data) if data else None
        self.no_data = no_data

    def config(self, name: str) -> str:
        """Return the path of a config; skips the check if it is not there."""
        path = self.folder / "configs" / name
        if not path.is_file():
            raise Skip(f"no configs/{name}")
        return str(path)

    def read(self, name: str) -> dict[str, Any]:
        """Return the contents of a config."""
        return json.loads(Path(self.config(name)).read_text(encoding="utf-8"))

    @property
    def definition(self) -> dict[str, Any]:
        """Arguments by which MONAI's functions find the network and its metadata."""
        files = {"meta_file": self.config("metadata.json"), "config_file": self.config("inference.json")}
        return {"net_id": "network_def", "bundle_root": str(self.folder), **files}

    @cached_property
    def weights(self) -> Path | None:
        """`models/model.pt`, if it is there."""
        path = self.folder / "models" / "model.pt"
        return path if path.is_file() else None

    @cached_property
    def network(self) -> Any:
        """`network_def` of the inference config in evaluation mode, with the weights of `models/model.pt` if any."""
        import torch
        from monai.bundle import ConfigParser

        torch.manual_seed(SEED)
        parser = ConfigParser()
        parser.read_config(self.config("inference.json"))
        parser["bundle_root"] = str(self.folder)
        network = parser.get_parsed_content("network_def").eval()
        if self.weights is not None:
            state = torch.load(self.weights, map_location="cpu", weights_only=True)
            try:
                network.load_state_dict(state)
            except (RuntimeError, TypeError, AttributeError) as error:
                raise ValueError(
                    "models/model.pt: expected the weights of network_def in configs/inference.json, got others; make "
                    f"the config that of the training, or train again ({_shortened(str(error), LONGEST_DETAIL // 2)})"
                ) from None
            if infinite := [name for name, value in state.items() if not value.isfinite().all()]:
                raise ValueError(
                    f"models/model.pt: expected finite numbers, got others in {', '.join(infinite)}; train again"
                )
        return network

    @property
    def usable_network(self) -> Any:
        """The network; skips the check if it cannot be built, which has a check of its own."""
        try:
            return self.network
        except Exception:
            raise Skip("there is no network: see the check of its definition") from None

    @cached_property
    def examples(self) -> list[Any]:
        """Network inputs, `(1, channels, ...)`; skips the check if the metadata do not describe them."""
        import numpy as np
        import torch

        paths = sorted(self.work.glob("example_*.npy"))
        if not paths:
            raise Skip("no example input")
        return [torch.from_numpy(np.load(path)) for path in paths]


def _by(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


# -- the network ---------------------------------------------------------------------------------------------------


def stands_alone(bundle: Bundle) -> str:
    """Check that `common` and `scripts` come from the bundle, and `tools` from nowhere."""
    from importlib import import_module

    found = [name for name in ("common", "scripts") if (bundle.folder / name).is_dir()]
    for name in found:
        import_module(name)
    try:
        import_module("tools")
    except ModuleNotFoundError:
        return f"{' and '.join(found) or 'nothing'} from the bundle"
    raise ValueError("expected that `tools` cannot be imported beside a bundle, but it can")


def components(bundle: Bundle) -> str:
    """Check that every `_target_` and import of every config can be found."""
    from monai.bundle.config_item import ComponentLocator

    locator = ComponentLocator()
    faults, n_names = [], 0
    for path in sorted((bundle.folder / "configs").glob("*.json")):
        for place, name in _named_objects(bundle.read(path.name)):
            n_names += 1
            try:
                _find_object(_full_name(locator, name))
            except Exception as error:
                faults.append(f"configs/{path.name}: {place} names {name}: {one_line(error)}")
    if faults:
        raise ValueError(
            f"{'; '.join(faults)}; correct the name, or name its package under required_packages_version in "
            "configs/metadata.json"
        )
    return f"{n_names} names"


def _named_objects(config: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield where a config names an object, and its dotted name."""
    items = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, value in items:
        inside = f"{place}#{key}" if place else str(key)
        if key == "_target_" and isinstance(value, str) and value[:1] not in ("$", "@"):
            yield place, value
        elif isinstance(value, str) and (found := re.fullmatch(r"\$\s*import\s+([\w.]+)(?:\s+as\s+\w+)?", value)):
            yield inside, found[1]
        elif isinstance(value, str) and (found := re.fullmatch(r"\$\s*from\s+([\w.]+)\s+import\s+(\w+).*", value)):
            yield inside, f"{found[1]}.{found[2]}"
        else:
            yield from _named_objects(value, inside)


def _full_name(locator: Any, name: str) -> str:
    """Return the full name; a short one is one of MONAI's."""
    module = locator.get_component_module_name(name)
    return name if module is None else f"{module if isinstance(module, str) else module[0]}.{name}"


def _find_object(name: str) -> None:
    from pydoc import ErrorDuringImport, locate

    try:
        found = locate(name)
    except ErrorDuringImport as error:
        raise error.value or error from None
    if found is None:
        raise ValueError("there is no such module, or nothing of this name in it")


def network_definition(bundle: Bundle) -> str:
    """Check that `network_def` can be built, and that `models/model.pt` fits it and is finite."""
    n_weights = sum(weight.numel() for weight in bundle.network.parameters())
    return f"{n_weights:,} weights, {'those of models/model.pt' if bundle.weights else 'fresh: no models/model.pt'}"


def network_in_out(bundle: Bundle) -> str:
    """Check channels and types by MONAI's own function."""
    from monai.bundle import verify_net_in_out

    bundle.usable_network  # noqa: B018 skips the check where there is none
    try:
        verify_net_in_out(**bundle.definition, device="cpu")
    except Exception as error:
        raise ValueError(
            f"network_def does not do what network_data_format in configs/metadata.json says: {one_line(error)}; "
            "correct the metadata or the network"
        ) from None
    return ""


def network_output(bundle: Bundle) -> str:
    """Check that outputs have the input's size times `upscale`, are finite, and the same twice."""
    import torch

    upscale, found = bundle.read("inference.json").get("upscale", 1), []
    for image in bundle.examples:
        with torch.no_grad():
            output, again = bundle.usable_network(image), bundle.usable_network(image)
        size, expected = tuple(output.shape[2:]), tuple(upscale * side for side in image.shape[2:])
        if size != expected:
            raise ValueError(
                f"network_def: expected {_by(expected)} for an input of {_by(image.shape[2:])} (upscale {upscale}), "
                f"got {_by(size)}; correct the network, or `upscale` in configs/inference.json"
            )
        if not output.isfinite().all():
            raise ValueError(f"network_def: expected finite numbers for an input of {_by(image.shape)}, got others")
        if not torch.equal(output, again):
            raise ValueError(
                f"network_def: expected the same output for the same input, got {(output - again).abs().max():.2g} "
                "between two; turn what is random off in evaluation, or make it an input"
            )
        found.append(f"{_by(image.shape[2:])} to {_by(size)}")
    return ", ".join(found)


def torchscript(bundle: Bundle) -> str:
    """Check that MONAI's own export to TorchScript, read again, gives the same numbers."""
    import torch
    from monai.bundle import ckpt_export

    network, path, weights = bundle.usable_network, bundle.work / "model.ts", bundle.work / "weights.pt"
    torch.save(network.state_dict(), weights)
    ckpt_export(**bundle.definition, filepath=str(path), ckpt_file=str(weights))
    exported, worst = torch.jit.load(path), 0.0
    for image in bundle.examples:
        with torch.no_grad():
            expected, got = network(image), exported(image)
        worst = max(worst, float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-12)))
    if not worst <= TOLERANCE:
        raise ValueError(
            f"expected the network's own output, got one that differs by {worst:.1e} of its largest value (allowed: "
            f"{TOLERANCE:.0e}); look for what is random, or depends on sizes or values, in its forward"
        )
    return f"differs by {worst:.1e}"


# -- workflows -----------------------------------------------------------------------------------------------------


def training(bundle: Bundle) -> str:
    """Check the properties of the training workflow by MONAI's own function, and train for a moment."""
    files = [bundle.config("train.json"), bundle.config("smoke.json")]
    results = {"output_dir": bundle.work / "training", "ckpt_dir": bundle.work / "trained"}
    return _run(bundle, "train", files, {"dataset_dir": _data(bundle), **results})


def inference(bundle: Bundle) -> str:
    """Check the inference workflow likewise, with the bundle's weights, or those of the training if it has none."""
    path = bundle.config("inference.json")
    overrides: dict[str, Any] = {"dataset_dir": _data(bundle) / "test", "output_dir": bundle.work / "inference"}
    if bundle.weights is not None:
        detail = "with models/model.pt"
    elif (bundle.work / "trained" / "model.pt").is_file():
        detail = "with the weights of the training"
        overrides |= {**bundle.read("smoke.json"), "ckpt_dir": bundle.work / "trained"}
    else:
        detail = "with fresh weights"
        overrides["load_pretrain"] = False
    return _run(bundle, "inference", [path], overrides) or detail


def _data(bundle: Bundle) -> Path:
    if bundle.data is None:
        raise Skip(bundle.no_data)
    return bundle.data


def _run(bundle: Bundle, kind: str, files: list[str], overrides: dict[str, Any]) -> str:
    """Run a workflow from a folder that is not the bundle's, without telling it where the bundle is."""
    from monai.bundle import create_workflow

    known = {key for file in files for key in bundle.read(Path(file).name)}
    chosen = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in overrides.items()
        if key.partition("#")[0] in known
    }
    workflow = create_workflow(config_file=files, workflow_type=kind, **chosen)
    name = f"configs/{Path(files[0]).name}"
    try:
        wrong = workflow.check_properties()
    except KeyError as error:
        raise ValueError(f"{name}: {error.args[0]} MONAI requires it of workflows; add it") from None
    if wrong:
        raise ValueError(
            f"{name}: expected that {', '.join(wrong)} refer to the keys MONAI knows them by, got others; see "
            "monai/bundle/properties.py for the names"
        )
    workflow.run()
    workflow.finalize()
    return ""


# -- the process ---------------------------------------------------------------------------------------------------

GROUPS: dict[str, dict[str, Callable[[Bundle], str]]] = {
    "network": {
        "stands alone": stands_alone,
        "components": components,
        "network definition": network_definition,
        "network in and out": network_in_out,
        "network output": network_output,
    },
    "exports": {"TorchScript": torchscript},
    "training": {"training": training},
    "inference": {"inference": inference},
}
"""Checks by name, in groups of one process each."""

PREPENDED = ("network", "exports")
"""Groups that find the bundle's packages from the start, as in the zoo's checks; the others as its users do."""


def main(group: str, request: str) -> None:
    """Make the checks of a group, and report."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stdout:
        os.dup2(2, 1)
        bundle = Bundle(**json.loads(request))
        isolate(bundle.folder)
        if group in PREPENDED:
            sys.path.insert(0, str(bundle.folder))
        warnings.simplefilter("ignore")
        for name, check in GROUPS[group].items():
            _report(stdout, {"begin": name})
            _report(stdout, run_check(name, partial(check, bundle))._asdict())


def _report(stdout: TextIO, line: dict[str, Any]) -> None:
    stdout.write(json.dumps(line) + "\n")
    stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
