"""Checks that run a bundle's code, in a process that finds `common` and `scripts` in the bundle or nowhere.

This is a script for the interpreter that the bundle is tried with, `python -I -B probe.py GROUP FOLDER WORK`; it needs
what the bundle's metadata name and nothing else. WORK may hold network inputs `example_<i>.npy` and a small data set
`data`. As a check begins and ends, WORK/GROUP.jsonl gets a line: `{"begin": name}`, then the fields of a `Check`.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

OWN_PACKAGES = ("common", "scripts", "tools")
NETWORK_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
LONGEST_DETAIL = 500
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
    except (Doubt, Skip) as reason:
        status, detail = "warn" if isinstance(reason, Doubt) else "skip", str(reason)
    except (Exception, SystemExit) as error:
        status, detail = "fail", one_line(error)
    return Check(name, status, _shortened(detail), perf_counter() - start)


def one_line(error: BaseException) -> str:
    """Describe an error in one line: its first cause, then what was raised from it."""
    cause, outer = error, None
    while cause.__cause__ is not None:
        cause, outer = cause.__cause__, cause
    plain = isinstance(cause, (ValueError, OSError)) and str(cause)
    text = str(cause) if plain else f"{type(cause).__name__}: {cause}"
    return text if outer is None else f"{text} ({_shortened(str(outer), LONGEST_DETAIL // 3)})"


def _shortened(text: str, longest: int = LONGEST_DETAIL) -> str:
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 4] + " ..."


class OnlyFromBundle:
    """Import hook that finds `common` and `scripts` in the bundle's folder alone, once that is on `sys.path`.

    Anything else of these names, and any `tools`, is not found: an installed copy of this repository, for example.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
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


class Bundle:
    """A bundle, and what its checks share.

    Args:
        folder: folder of the bundle.
        work: a folder to write to, the same for all groups of a verification.
        weights: file of the network's weights; default is models/model.pt of the bundle.
    """

    def __init__(self, folder: Path, work: Path, weights: Path | None = None) -> None:
        self.folder = folder
        self.work = work
        self.weights = weights or folder / "models" / "model.pt"

    def config(self, name: str) -> str:
        """Return the path of a config; skips the check if it is not there."""
        path = self.folder / "configs" / name
        if not path.is_file():
            raise Skip(f"no configs/{name}")
        return str(path)

    def read(self, name: str) -> dict[str, Any]:
        """Return the contents of a config."""
        return json.loads(Path(self.config(name)).read_text(encoding="utf-8"))

    def network_def(self, name: str, **options: Any) -> Any:
        """Return `network_def` of a config, by default built."""
        from monai.bundle import ConfigParser

        parser = ConfigParser(self.read(name))
        parser["bundle_root"] = str(self.folder)
        return parser.get_parsed_content("network_def", **options)

    @property
    def definition(self) -> dict[str, Any]:
        """Arguments by which MONAI's functions find the network and its metadata."""
        files = {"meta_file": self.config("metadata.json"), "config_file": self.config("inference.json")}
        return {"net_id": "network_def", "bundle_root": str(self.folder), **files}

    @cached_property
    def network(self) -> Any:
        """`network_def` of the inference config in evaluation mode, with its weights if there are any."""
        import torch

        torch.manual_seed(0)
        network = self.network_def("inference.json")
        if not isinstance(network, torch.nn.Module):
            raise ValueError(f"expected a network under network_def, got {type(network).__name__}")
        if self.weights.is_file():
            try:
                network.load_state_dict(torch.load(self.weights, map_location="cpu", weights_only=True))
            except (RuntimeError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{self.weights}: expected the weights of network_def in configs/inference.json, got others; make "
                    f"the config that of the training, or train again ({_shortened(str(error), LONGEST_DETAIL // 2)})"
                ) from None
        return network.eval()

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


def components(bundle: Bundle) -> str:
    """Check that every `_target_` of every config can be found."""
    from pydoc import locate

    from monai.bundle.config_item import ConfigComponent

    faults, n_names = [], 0
    for path in sorted((bundle.folder / "configs").glob("*.json")):
        for name in re.findall(r'"_target_":\s*"([A-Za-z_][\w.]*)"', path.read_text(encoding="utf-8")):
            n_names += 1
            try:
                if locate(ConfigComponent({"_target_": name}).resolve_module_name()) is None:
                    raise ValueError("there is no such module, or nothing of this name in it")
            except Exception as error:
                faults.append(f"configs/{path.name} names {name}: {one_line(error)}")
    if faults:
        raise ValueError(f"{'; '.join(faults)}; correct the name, or the packages in configs/metadata.json")
    return f"{n_names} names"


def config_drift(bundle: Bundle) -> str:
    """Check that training and inference build the same network: `network_def` with all references followed."""
    one, other = (_plain(bundle.network_def(name, instantiate=False)) for name in ("train.json", "inference.json"))
    if one != other:
        keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
        texts = [f"{key}: {one.get(key)} in train.json, {other.get(key)} in inference.json" for key in keys]
        raise ValueError(f"expected one network_def in both configs, got {'; '.join(texts)}; make them equal")
    return ""


def _plain(value: Any) -> Any:
    """Return a resolved part of a config in words that can be compared."""
    value = value.get_config() if hasattr(value, "get_config") else value
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key != "_desc_"}
    return [_plain(inner) for inner in value] if isinstance(value, list) else repr(value)


def network_definition(bundle: Bundle) -> str:
    """Check that `network_def` can be built, and that `models/model.pt` fits it."""
    n_weights = sum(weight.numel() for weight in bundle.network.parameters())
    return f"{n_weights:,} weights, {'those of' if bundle.weights.is_file() else 'fresh: no'} models/model.pt"


def network_in_out(bundle: Bundle) -> str:
    """Check channels and types by MONAI's own function."""
    from monai.bundle import verify_net_in_out

    verify_net_in_out(**bundle.definition, device="cpu")
    return ""


def network_output(bundle: Bundle) -> str:
    """Check that outputs have the input's size times `upscale`, are finite, and the same twice."""
    import torch

    upscale, found = bundle.read("inference.json").get("upscale", 1), []
    for image in bundle.examples:
        with torch.no_grad():
            output, again = bundle.network(image), bundle.network(image)
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

    network, path, weights = bundle.network, bundle.work / "model.ts", bundle.work / "weights.pt"
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


def training(bundle: Bundle) -> str:
    """Check the properties of the training workflow by MONAI's own function, and train for a moment."""
    files = [bundle.config("train.json"), bundle.config("smoke.json")]
    results = {"output_dir": bundle.work / "training", "ckpt_dir": bundle.work / "trained"}
    _run(bundle, "train", files, {"dataset_dir": bundle.work / "data", **results})
    return ""


def inference(bundle: Bundle) -> str:
    """Check the inference workflow likewise, with the bundle's weights, or those of the training if it has none."""
    data = bundle.work / "data" / "test"
    overrides: dict[str, Any] = {"dataset_dir": data, "output_dir": bundle.work / "inference"}
    if bundle.weights.is_file():
        detail = "with models/model.pt"
    elif (bundle.work / "trained" / "model.pt").is_file():
        detail = "with the weights of the training"
        overrides |= {**bundle.read("smoke.json"), "ckpt_dir": bundle.work / "trained"}
    else:
        detail = "with fresh weights"
        overrides["load_pretrain"] = False
    _run(bundle, "inference", [bundle.config("inference.json")], overrides)
    return detail


def _run(bundle: Bundle, kind: str, files: list[str], overrides: dict[str, Any]) -> None:
    """Run a workflow from a folder that is not the bundle's, without telling it where the bundle is."""
    from monai.bundle import create_workflow

    if not (bundle.work / "data").is_dir():
        raise Skip("no tiny data")
    known = {key for file in files for key in bundle.read(Path(file).name)}
    chosen = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in overrides.items()
        if key.partition("#")[0] in known
    }
    workflow = create_workflow(config_file=files, workflow_type=kind, **chosen)
    if wrong := workflow.check_properties():
        raise ValueError(
            f"configs/{Path(files[0]).name}: expected that {', '.join(wrong)} refer to the keys MONAI knows them by, "
            "got others; see monai/bundle/properties.py for the names"
        )
    workflow.run()
    workflow.finalize()


GROUPS: dict[str, dict[str, Callable[[Bundle], str]]] = {
    "network": {
        "components": components,
        "config drift": config_drift,
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


def main(group: str, folder: str, work: str) -> None:
    """Make the checks of a group, and report; without a network there is nothing to check about it."""
    bundle = Bundle(Path(folder), Path(work))
    isolate(bundle.folder)
    if group in PREPENDED:
        sys.path.insert(0, folder)
    warnings.simplefilter("ignore")
    with open(bundle.work / f"{group}.jsonl", "w", encoding="utf-8", buffering=1) as report:
        for name, check in GROUPS[group].items():
            report.write(json.dumps({"begin": name}) + "\n")
            result = run_check(name, partial(check, bundle))
            report.write(json.dumps(result._asdict()) + "\n")
            if (name, result.status) == ("network definition", "fail"):
                break


if __name__ == "__main__":
    main(*sys.argv[1:])
