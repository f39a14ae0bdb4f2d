"""`python -m tools benchmark networks`: how large the shipped networks are, and how long a result takes."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor

from common.engines import load_weights
from common.io.atomic import atomic_path
from tools.command import command
from tools.progress import Progress
from tools.tasks.configurations import find_config
from tools.zoo.example_input import TensorFormat, example_input
from tools.zoo.layout import ROOT, find_bundle, read_json

SPEC = ROOT / "docs" / "networks.json"
WARM_UP, LEAST_RUNS = 1, 5
MEASUREMENT = ("real k-space", "imaginary k-space", "sampling mask")
"""Channels of what a network takes that is measured."""


@dataclass(frozen=True)
class ShippedNetwork:
    """A network with weights, and what it is timed on.

    Attributes:
        bundle: name of the bundle.
        config: files in `configs`, each over the one before.
        size: of the spatial axes of one input.
        of: what one input is, in words.
        measurement: whether it takes k-space and mask where the metadata's network takes images.
        overrides: keys of the configuration to values.
        inferer: whether the bundle's inferer runs the network, and not a plain call.
    """

    bundle: str
    config: list[str]
    size: list[int]
    of: str
    measurement: bool = False
    overrides: Mapping[str, Any] | None = None
    inferer: bool = False


def read_networks(path: Path) -> dict[str, ShippedNetwork]:
    """The networks that are timed, by name.

    Raises:
        ValueError: the file is not what it should be.
    """
    networks = {}
    known = [field.name for field in fields(ShippedNetwork)]
    for name, entry in read_json(path).items():
        if not isinstance(entry, dict) or [key for key in entry if key not in known]:
            raise ValueError(f"{path}: {name}: expected an object with the keys {', '.join(known)}, got {entry!r}")
        try:
            networks[name] = ShippedNetwork(**entry)
        except TypeError as error:
            raise ValueError(f"{path}: {name}: {error}; add it") from None
    return networks


@command
def networks(write: str = "", only: str = "", device: str = "cpu", threads: int = 0, seconds: float = 5.0) -> str:
    """Parameters and milliseconds per result of every network that is shipped, as docs/networks.json lists them.

    One input at a time, in float32, by the shipped weights: the median of five runs or more after one that warms up.
    Reading, degrading and writing files is not in it.

    Args:
        write: JSON file to write too, such as docs/speed.json, from which `python -m tools overview` takes them.
        only: name of one network.
        device: cpu or cuda.
        threads: of the CPU; as many as PyTorch takes if 0.
        seconds: that each is run for, at least.
    """
    wanted = read_networks(SPEC)
    if only and only not in wanted:
        raise ValueError(f"only: expected one of {', '.join(wanted)}, got {only!r}")
    if write and only:
        raise ValueError("write is for all networks; leave out only")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or before)
        found = measure_networks({name: wanted[name] for name in ([only] if only else wanted)}, device, seconds)
    finally:
        torch.set_num_threads(before)
    if write:
        with atomic_path(Path(str(write))) as temporary:
            temporary.write_text(json.dumps(found, indent=4) + "\n", encoding="utf-8")
    return _table(found)


def measure_networks(wanted: Mapping[str, ShippedNetwork], device: str, seconds: float) -> dict[str, Any]:
    """Time networks, and say where.

    Returns:
        `processor`, `device`, `threads`, `torch`, and `networks`: by name `parameters`, `milliseconds`, `of`.
    """
    where = torch.device(device)
    measured = {}
    with Progress("networks") as progress:
        for number, (name, network) in enumerate(wanted.items(), start=1):
            measured[name] = _measure(network, where, seconds)
            progress.update(number, len(wanted))
    return {
        "processor": torch.cuda.get_device_name(where) if where.type == "cuda" else _processor(),
        "device": where.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "networks": measured,
    }


def _measure(network: ShippedNetwork, device: torch.device, seconds: float) -> dict[str, Any]:
    parser = _parser(network)
    module = parser.get_parsed_content("network_def")
    load_weights(module, parser.get_parsed_content("checkpoint"))
    module.to(device).eval()
    inferer = parser.get_parsed_content("inferer") if network.inferer else None
    image = _example(network).to(device)

    def step() -> Tensor:
        return module(image) if inferer is None else inferer(image, module)

    with torch.inference_mode():
        milliseconds = 1000 * median_seconds(step, device, seconds)
    return {
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "milliseconds": float(f"{milliseconds:.3g}"),
        "of": network.of,
    }


def _parser(network: ShippedNetwork) -> ConfigParser:
    bundle = find_bundle(network.bundle)
    parser = ConfigParser()
    parser.read_config([str(find_config(name, bundle, network.bundle)) for name in network.config])
    parser.update({"bundle_root": str(bundle), **(network.overrides or {})})
    return parser


def _example(network: ShippedNetwork) -> Tensor:
    metadata = read_json(find_bundle(network.bundle) / "configs" / "metadata.json")
    tensor = TensorFormat.from_metadata(metadata, "inputs")
    if network.measurement:
        tensor = replace(tensor, kind="kspace", channels=len(MEASUREMENT), channel_words=MEASUREMENT)
    return example_input(tensor, 1, network.size)


def median_seconds(step: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Median time of a step, of five runs or as many as fit in some seconds, after one that is not counted."""

    def timed() -> float:
        start = perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return perf_counter() - start

    for _ in range(WARM_UP):
        timed()
    times: list[float] = []
    while len(times) < LEAST_RUNS or sum(times) < seconds:
        times.append(timed())
    return statistics.median(times)


def _processor() -> str:
    """The processor's name; Linux tells it in a file only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _table(found: Mapping[str, Any]) -> str:
    lines = [
        f"{found['processor']}, {found['threads']} threads, PyTorch {found['torch']}, float32",
        f"{'network':20} {'parameters':>12} {'ms':>9}  per",
    ]
    lines += [
        f"{name:20} {network['parameters']:12,} {network['milliseconds']:9,.4g}  {network['of']}"
        for name, network in found["networks"].items()
    ]
    return "\n".join(lines)
