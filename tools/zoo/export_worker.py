"""Exports a bundle's network and compares the file with it, in a process whose `common` is the bundle's own.

Nothing here imports `common` of this repository: a packaged bundle brings the version that it was built with.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from tools.zoo.example_input import TensorFormat, example_input
from tools.zoo.export_formats import FORMATS, METADATA, Source, load_openvino
from tools.zoo.half_weights import store_in_half
from tools.zoo.layout import read_json
from tools.zoo.triton import Door

AXES = ("height", "width", "depth")
FULL_SIZE = {1: 256, 2: 256, 3: 64}  # of an axis that the metadata leave free, by their number
RUNTIMES = {"ts": "TorchScript", "pt2": "torch.export program", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}
RUNS = 3  # for the median time, after one to warm up


@dataclass(frozen=True)
class Parity:
    """Difference of a file from its network at one input size.

    Args:
        input_shape: shape with the batch.
        output_shape: shape of both outputs.
        difference: largest difference of any output value, relative to the largest output value.
    """

    input_shape: Sequence[int]
    output_shape: Sequence[int]
    difference: float


@dataclass(frozen=True)
class Timing:
    """Time of one runtime, and its difference from the network, as in `Parity`."""

    runtime: str
    milliseconds: float
    difference: float


@dataclass(frozen=True)
class Report:
    """Description of an exported file.

    Args:
        image: name and sizes of the input; -1 is any.
        pred: name and sizes of the output.
        half: fraction of the parameters that is kept in half precision.
        parity: differences of the file from the network, the exported size first.
        timings: times at the first of these sizes, that of the network itself first.
    """

    image: Door
    pred: Door
    half: float
    parity: Sequence[Parity]
    timings: Sequence[Timing] = ()


def prepare_process(bundle: str) -> None:
    """Let a new process import the bundle's packages first, and print nothing."""
    sys.path.insert(0, bundle)
    os.chdir(bundle)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    warnings.simplefilter("ignore")


def export_network(
    bundle: Path,
    path: Path,
    weights: Path,
    file_format: str,
    *,
    half: bool = False,
    dynamic: bool = False,
    size: Sequence[int] = (),
    compare: bool = False,
) -> Report:
    """Write the network of a bundle's inference.json to a file, and run what was written.

    Args:
        bundle: folder of the bundle, which is on `sys.path`.
        path: the file.
        weights: file with the state dict of the network.
        file_format: one of `FORMATS`.
        half: keep the weights of convolutions and linear layers in half precision.
        dynamic: let height, width and batch be free.
        size: spatial size; empty is 256 on each axis that the metadata leave free, 64 in volumes.
        compare: time all runtimes that are installed, not just that of the file.

    Returns:
        The comparison of the file with the float32 network at that size; with `dynamic` also at an odd size and at one
        of unequal sides, in batches.

    Raises:
        ValueError: in one line, if the network cannot be built, exported or run.
    """
    metadata = read_json(bundle / "configs" / METADATA)
    inputs, outputs = (TensorFormat.from_metadata(metadata, side) for side in ("inputs", "outputs"))
    shapes = _shapes(inputs, size, dynamic)
    free = _free_axes(inputs) if dynamic else {}
    texts = {file.name: file.read_text(encoding="utf-8") for file in sorted((bundle / "configs").glob("*.json"))}
    network = _load_weights(build_network(bundle), weights).float().eval()
    examples = [example_input(inputs, shape[0], shape[2:], seed) for seed, shape in enumerate(shapes)]
    with torch.no_grad():
        expected = [_expected(network, example, outputs) for example in examples]
        timings = [Timing("PyTorch", _milliseconds(network, examples[0]), 0.0)]
        fraction = store_in_half(network) if half else 0.0
        source = Source(network, examples[-1], free, (inputs.name, outputs.name), texts)
        run = _write_and_load(source, path, file_format)
        parity = [_parity(run, *pair) for pair in zip(examples, expected, strict=True)]
        runs = {file_format: run} | (_other_runtimes(source, path, file_format) if compare else {})
        for name, run in sorted(runs.items(), key=lambda item: list(RUNTIMES).index(item[0])):
            difference = _parity(run, examples[0], expected[0]).difference
            timings.append(Timing(RUNTIMES[name], _milliseconds(run, examples[0]), difference))
    image, pred = (
        Door(tensor.name, [-1 if axis in free else n for axis, n in enumerate(shape)])
        for tensor, shape in ((inputs, parity[0].input_shape), (outputs, parity[0].output_shape))
    )
    return Report(image, pred, fraction, parity, timings)


def build_network(bundle: Path) -> nn.Module:
    """Build the network of a bundle's inference.json, before its weights are loaded; nothing else of the config.

    Raises:
        ValueError: if the config defines no network.
    """
    config = bundle / "configs" / "inference.json"
    torch.manual_seed(0)
    try:
        parser = ConfigParser(read_json(config))
        parser["bundle_root"] = str(bundle)
        network = parser.get_parsed_content("network_def")
    except Exception as error:  # a config may call anything
        raise ValueError(f"{config}: network_def cannot be built ({_one_line(error)})") from None
    if not isinstance(network, nn.Module):
        raise ValueError(f"{config}: expected a network under network_def, got {type(network).__name__}")
    return network


def _load_weights(network: nn.Module, weights: Path) -> nn.Module:
    state = torch.load(weights, map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{weights}: expected the weights of network_def in inference.json, got others ({_one_line(error)})"
        ) from None
    return network


def _free_axes(inputs: TensorFormat) -> dict[int, str]:
    return {0: "batch", **{2 + i: AXES[i] for i, rule in enumerate(inputs.spatial_shape) if isinstance(rule, str)}}


def _shapes(inputs: TensorFormat, size: Sequence[int], dynamic: bool) -> list[tuple[int, ...]]:
    """Return input shapes to compare at. The last one is exported; if dynamic, it has two samples and unequal sides."""
    axes = len(inputs.spatial_shape)
    wanted = tuple(size) if len(size) == axes else (size[0] if len(size) == 1 else FULL_SIZE[axes],) * axes
    full = inputs.fit_size(wanted)
    if len(size) not in (0, 1, axes) or (size and full != wanted):
        raise ValueError(
            f"expected a --size that fits spatial_shape {list(inputs.spatial_shape)} of configs/metadata.json, got "
            f"{','.join(map(str, size))}; {','.join(map(str, full))} does"
        )
    if not dynamic:
        return [(1, inputs.channels, *full)]
    odd = inputs.fit_size([n * (3 - i % 2) // 4 | 1 for i, n in enumerate(full)])
    oblong = inputs.fit_size([n * (4 + i) // 4 for i, n in enumerate(full)])
    return [(1, inputs.channels, *full), (3, inputs.channels, *odd), (2, inputs.channels, *oblong)]


def _expected(network: nn.Module, example: Tensor, outputs: TensorFormat) -> Tensor:
    shape = list(example.shape)
    try:
        output = network(example)
    except Exception as error:  # a network may do anything
        raise ValueError(f"the network does not take {shape}, which its metadata allow ({_one_line(error)})") from error
    if not isinstance(output, Tensor) or output.dtype != torch.float32 or output.shape[1] != outputs.channels:
        got = f"{output.dtype} {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"expected a float32 output of {outputs.channels} channels, as metadata.json says, got {got}")
    if not (output.isfinite().all() and output.any()):
        raise ValueError(f"the network's output at {shape} is not finite or zero everywhere; check its weights")
    return output


def _write_and_load(source: Source, path: Path, file_format: str) -> Any:
    try:
        FORMATS[file_format].write(source, path)
        return FORMATS[file_format].load(path)
    except Exception as error:  # exporters raise many kinds
        raise ValueError(f"the network does not export to {FORMATS[file_format].title} ({_one_line(error)})") from error


def _other_runtimes(source: Source, path: Path, file_format: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return the network in the runtimes that are installed, by their keys in `RUNTIMES`, without that of the file."""
    runs: dict[str, Callable[[Tensor], Tensor]] = {}
    for name in ("ts", "onnx"):
        kind, other = FORMATS[name], path.with_name(f"other{FORMATS[name].suffix}")
        if name != file_format and all(map(importlib.util.find_spec, kind.packages)):
            runs[name] = _write_and_load(source, other, name)
    model = path if file_format == "onnx" else path.with_name("other.onnx")
    if model.is_file() and importlib.util.find_spec("openvino") is not None:
        runs["openvino"] = load_openvino(model)
    return runs


def _milliseconds(run: Callable[[Tensor], Tensor], example: Tensor) -> float:
    """Return the median time of a run."""
    run(example)
    times = []
    for _ in range(RUNS):
        start = perf_counter()
        run(example)
        times.append(perf_counter() - start)
    return 1e3 * median(times)


def _parity(run: Any, example: Tensor, expected: Tensor) -> Parity:
    shape = tuple(example.shape)
    try:
        result = run(example)
    except Exception as error:  # runtimes raise many kinds
        raise ValueError(f"the exported file does not run at {list(shape)} ({_one_line(error)})") from error
    if result.shape != expected.shape:
        raise ValueError(f"the exported file gives {list(result.shape)} at {list(shape)}, not {list(expected.shape)}")
    return Parity(shape, tuple(expected.shape), float((result - expected).abs().max() / expected.abs().max()))


def _one_line(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) < 300 else f"{text[:300]} ..."
