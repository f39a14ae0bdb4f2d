"""The checks that run a bundle's code, in a process that finds `common` and `scripts` in the bundle or nowhere.

A script for the interpreter that the bundle is to be tried with, `python -I -B probe.py GROUP REQUEST`; it needs what
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
from copy import deepcopy
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
"""Difference allowed between an exported network and the original, in units of its largest value."""
ONNX_TOLERANCE = 1e-3
"""ONNX Runtime's Fourier transforms of sizes that are no power of two are less exact."""


class Check(NamedTuple):
    """How a check ended.

    Args:
        name: of the check.
        status: "pass", "warn" (passed, but worth a look), "fail" or "skip" (could not be made).
        detail: one line; of a failure: expected, got, where, way out.
        seconds: that it took.
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
    """Make a check, which returns a detail or raises."""
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
    """What went wrong, first of all: the error that others were raised from, and what these say of it."""
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
    """Finds `common` and `scripts`, and all that is in them, in the bundle's folder, once that is on `sys.path`.

    What else has these names, and any `tools`, is not found: an installed copy of this repository, say.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As an import asks for it."""
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
        folder: of the bundle.
        work: a folder to write to; one for all groups of a verification.
        data: a small data set with train/ and test/; empty if there is none.
        no_data: why there is none.
    """

    def __init__(self, folder: str, work: str, data: str, no_data: str) -> None:
        self.folder = Path(folder)
        self.work = Path(work)
        self.data = Path(data) if data else None
        self.no_data = no_data

    def config(self, name: str) -> str:
        """Path of a config; skips the check if it is not there."""
        path = self.folder / "configs" / name
        if not path.is_file():
            raise Skip(f"no configs/{name}")
        return str(path)

    def read(self, name: str) -> dict[str, Any]:
        """A config's contents."""
        return json.loads(Path(self.config(name)).read_text(encoding="utf-8"))

    @property
    def definition(self) -> dict[str, Any]:
        """What MONAI's functions take to find the network and its metadata."""
        files = {"meta_file": self.config("metadata.json"), "config_file": self.config("inference.json")}
        return {"net_id": "network_def", "bundle_root": str(self.folder), **files}

    @cached_property
    def fresh_network(self) -> Any:
        """`network_def` of the inference config with fresh weights, in evaluation mode."""
        import torch
        from monai.bundle import ConfigParser

        torch.manual_seed(SEED)
        parser = ConfigParser()
        parser.read_config(self.config("inference.json"))
        parser["bundle_root"] = str(self.folder)
        return parser.get_parsed_content("network_def").eval()

    @cached_property
    def network(self) -> Any:
        """The network with the weights of `models/model.pt`, or fresh ones if these cannot be used.

        That they can be used has a check of its own, and so has the network: without one, the check is skipped.
        """
        import torch

        try:
            network = deepcopy(self.fresh_network)
        except Skip:
            raise
        except Exception:
            raise Skip("there is no network: see the check of its definition") from None
        try:
            network.load_state_dict(torch.load(self.folder / "models" / "model.pt", "cpu", weights_only=True))
        except Exception:
            network = deepcopy(self.fresh_network)
        return network

    @cached_property
    def weights_file(self) -> str:
        """The weights of `network`, as a file."""
        import torch

        path = self.work / "weights.pt"
        torch.save(self.network.state_dict(), path)
        return str(path)

    @cached_property
    def examples(self) -> list[Any]:
        """Network inputs, `(1, channels, ...)`; skips the check if the metadata did not tell how to make them."""
        import numpy as np
        import torch

        paths = sorted(self.work.glob("example_*.npy"))
        if not paths:
            raise Skip("no example input")
        return [torch.from_numpy(np.load(path)) for path in paths]

    def output(self, image: Any) -> Any:
        """What the network makes of an input."""
        import torch

        with torch.no_grad():
            return self.network(image)


def _by(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


# -- the network ---------------------------------------------------------------------------------------------------


def stands_alone(bundle: Bundle) -> str:
    """`common` comes from the bundle, and `tools` from nowhere."""
    from importlib import import_module

    found = []
    for name in ("common", "scripts"):
        if (bundle.folder / name).is_dir():
            found.append(name)
            import_module(name)
    try:
        import_module("tools")
    except ModuleNotFoundError:
        return f"{' and '.join(found) or 'nothing'} from the bundle"
    raise ValueError("expected that `tools` cannot be imported beside a bundle, but it can")


def components(bundle: Bundle) -> str:
    """Every `_target_` and import of every config leads somewhere."""
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
    """Where a config names an object, and its dotted name."""
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
    """A short name is one of MONAI's."""
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
    """`network_def` can be built."""
    n_weights = sum(weight.numel() for weight in bundle.fresh_network.parameters())
    return f"{n_weights:,} weights"


def weights_fit(bundle: Bundle) -> str:
    """`models/model.pt` is read as weights alone, is finite and fits the network."""
    import torch

    path = bundle.folder / "models" / "model.pt"
    if not path.is_file():
        raise Skip("no models/model.pt; the checks of the network use fresh weights")
    network = deepcopy(bundle.network)
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(
            "models/model.pt: expected the weights of network_def in configs/inference.json, got others; make the "
            f"config that of the training, or train again ({_shortened(str(error), LONGEST_DETAIL // 2)})"
        ) from None
    if infinite := [name for name, value in state.items() if not value.isfinite().all()]:
        raise ValueError(f"models/model.pt: expected finite numbers, got others in {', '.join(infinite)}; train again")
    return f"{len(state)} tensors"


def network_in_out(bundle: Bundle) -> str:
    """MONAI's own check: channels and types are those of the metadata."""
    from monai.bundle import verify_net_in_out

    bundle.network  # noqa: B018 skips the check where there is none
    try:
        verify_net_in_out(**bundle.definition, device="cpu")
    except Exception as error:
        raise ValueError(
            f"network_def does not do what network_data_format in configs/metadata.json says: {one_line(error)}; "
            "correct the metadata or the network"
        ) from None
    return ""


def output_size(bundle: Bundle) -> str:
    """The output has the input's size, times `upscale` if the config has it."""
    upscale = bundle.read("inference.json").get("upscale", 1)
    found = []
    for image in bundle.examples:
        size, output = tuple(image.shape[2:]), tuple(bundle.output(image).shape[2:])
        expected = tuple(upscale * side for side in size)
        if output != expected:
            raise ValueError(
                f"network_def: expected {_by(expected)} for an input of {_by(size)} (upscale {upscale}), got "
                f"{_by(output)}; correct the network, or `upscale` in configs/inference.json"
            )
        found.append(f"{_by(size)} to {_by(output)}")
    return ", ".join(found)


def same_twice(bundle: Bundle) -> str:
    """The same input gives the same finite output, to the bit."""
    import torch

    for image in bundle.examples:
        first, second = bundle.output(image), bundle.output(image)
        if not first.isfinite().all():
            raise ValueError(f"network_def: expected finite numbers for an input of {_by(image.shape)}, got others")
        if not torch.equal(first, second):
            raise ValueError(
                f"network_def: expected the same output for the same input, got {(first - second).abs().max():.2g} "
                "between two; turn what is random off in evaluation, or make it an input"
            )
    return ""


# -- exported networks ---------------------------------------------------------------------------------------------


def torchscript(bundle: Bundle) -> str:
    """MONAI's export to TorchScript, read again, gives the same numbers."""
    import torch
    from monai.bundle import ckpt_export

    bundle.network  # noqa: B018 skips the check where there is none
    path = str(bundle.work / "model.ts")
    ckpt_export(**bundle.definition, filepath=path, ckpt_file=bundle.weights_file)
    return _parity(bundle, torch.jit.load(path), bundle.examples, TOLERANCE)


def torch_export(bundle: Bundle) -> str:
    """`torch.export`, written and read again, gives the same numbers."""
    import torch

    path, examples = bundle.work / "model.pt2", bundle.examples[:1]
    torch.export.save(torch.export.export(bundle.network, (examples[0],)), path)
    return _parity(bundle, torch.export.load(path).module(), examples, TOLERANCE)


def onnx(bundle: Bundle) -> str:
    """MONAI's export to ONNX gives the same numbers in ONNX Runtime."""
    from importlib.util import find_spec

    import torch

    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise Skip(f"{', '.join(missing)} not installed beside the bundle")
    import onnxruntime
    from monai.bundle import onnx_export

    bundle.network  # noqa: B018 skips the check where there is none
    path, examples = str(bundle.work / "model.onnx"), bundle.examples[:1]
    shape = list(examples[0].shape)
    onnx_export(**bundle.definition, filepath=path, ckpt_file=bundle.weights_file, input_shape=shape)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    input_name = session.get_inputs()[0].name

    def exported(image: Any) -> Any:
        return torch.from_numpy(session.run(None, {input_name: image.numpy()})[0])

    return _parity(bundle, exported, examples, ONNX_TOLERANCE)


def _parity(bundle: Bundle, exported: Callable[[Any], Any], examples: Sequence[Any], tolerance: float) -> str:
    import torch

    worst = 0.0
    for image in examples:
        expected = bundle.output(image)
        with torch.no_grad():
            got = exported(image)
        difference = float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
        if not difference <= tolerance:
            raise ValueError(
                f"expected the network's own output for an input of {_by(image.shape)}, got one that differs by "
                f"{difference:.1e} of its largest value (allowed: {tolerance:.0e}); look for what is random, or "
                "depends on sizes or values, in its forward"
            )
        worst = max(worst, difference)
    return f"differs by {worst:.1e}"


# -- workflows -----------------------------------------------------------------------------------------------------


def train_properties(bundle: Bundle) -> str:
    """The training workflow has what MONAI asks of one."""
    return _properties(bundle, "train", bundle.config("train.json"), {"dataset_dir": bundle.data})


def inference_properties(bundle: Bundle) -> str:
    """The inference workflow has what MONAI asks of one."""
    path = bundle.config("inference.json")
    overrides: dict[str, Any] = {"dataset_dir": _inference_data(bundle)}
    if not (bundle.folder / "models" / "model.pt").is_file():
        overrides["load_pretrain"] = False
    return _properties(bundle, "inference", path, overrides)


def _properties(bundle: Bundle, kind: str, path: str, overrides: dict[str, Any]) -> str:
    from monai.bundle import ConfigWorkflow

    if bundle.data is None:
        raise Skip(bundle.no_data)
    overrides |= {"output_dir": bundle.work / "properties", "ckpt_dir": bundle.folder / "models"}
    workflow = ConfigWorkflow(path, workflow_type=kind, **_overrides(bundle, [path], overrides))
    workflow.initialize()
    try:
        wrong = workflow.check_properties()
    except KeyError as error:
        raise ValueError(f"configs/{Path(path).name}: {error.args[0]} MONAI requires it of workflows; add it") from None
    if wrong:
        raise ValueError(
            f"configs/{Path(path).name}: expected that {', '.join(wrong)} refer to the keys MONAI knows them by, got "
            "others; see monai/bundle/properties.py for the names"
        )
    return ""


def training(bundle: Bundle) -> str:
    """A short training, as `python -m monai.bundle run` does it."""
    if bundle.data is None:
        raise Skip(bundle.no_data)
    files = [bundle.config("train.json"), bundle.config("smoke.json")]
    results = {"output_dir": bundle.work / "training", "ckpt_dir": bundle.work / "trained"}
    _run(bundle, files, {"dataset_dir": bundle.data, **results})
    return ""


def inference(bundle: Bundle) -> str:
    """An inference with the bundle's weights, or with those of the short training if it has none."""
    path = bundle.config("inference.json")
    overrides: dict[str, Any] = {"dataset_dir": _inference_data(bundle), "output_dir": bundle.work / "inference"}
    if (bundle.folder / "models" / "model.pt").is_file():
        detail = "with models/model.pt"
    elif (bundle.work / "trained" / "model.pt").is_file():
        detail = "with the weights of the short training"
        overrides |= {**bundle.read("smoke.json"), "ckpt_dir": bundle.work / "trained"}
    else:
        detail = "with fresh weights"
        overrides["load_pretrain"] = False
    _run(bundle, [path], overrides)
    return detail


def _inference_data(bundle: Bundle) -> Path:
    if bundle.data is None:
        raise Skip(bundle.no_data)
    return bundle.data / "test"


def _run(bundle: Bundle, files: list[str], overrides: dict[str, Any]) -> None:
    from monai.bundle import run

    run(config_file=files, **_overrides(bundle, files, overrides))


def _overrides(bundle: Bundle, files: Sequence[str], values: dict[str, Any]) -> dict[str, Any]:
    """The values whose keys the configs have; paths as texts."""
    known = {key for file in files for key in bundle.read(Path(file).name)}
    chosen = {key: value for key, value in {"bundle_root": bundle.folder, **values}.items() if key in known}
    return {key: str(value) if isinstance(value, Path) else value for key, value in chosen.items()}


# -- the process ---------------------------------------------------------------------------------------------------

GROUPS: dict[str, dict[str, Callable[[Bundle], str]]] = {
    "network": {
        "stands alone": stands_alone,
        "components": components,
        "network definition": network_definition,
        "weights fit": weights_fit,
        "network in and out": network_in_out,
        "output size": output_size,
        "same output twice": same_twice,
    },
    "exports": {"TorchScript": torchscript, "torch.export": torch_export, "ONNX": onnx},
    "workflows": {"training properties": train_properties, "inference properties": inference_properties},
    "training": {"short training": training},
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
