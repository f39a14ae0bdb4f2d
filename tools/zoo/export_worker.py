"""Exports a bundle's network and compares the file with it, in a process whose `common` is the bundle's own.

Nothing here imports `common` of this repository: a packaged bundle brings the version that it was built with.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tools.zoo.example_input import TensorFormat, example_input
from tools.zoo.export_formats import FORMATS, Source, load_openvino
from tools.zoo.half_weights import store_in_half
from tools.zoo.layout import read_metadata
from tools.zoo.probe import Bundle, one_line
from tools.zoo.triton import Port

AXES = ("height", "width", "depth")
FULL_SIZE = {1: 256, 2: 256, 3: 64}  # of an axis that the metadata leave free, by their number
RUNS = 3  # for the median time, after one to warm up
Run = Callable[[Tensor], Tensor]


class Parity(NamedTuple):
    """Difference of a file from its network at one input size."""

    input_shape: Sequence[int]
    output_shape: Sequence[int]
    difference: float  # largest one of any output value, relative to the largest output value


class Report(NamedTuple):
    """Description of an exported file."""

    image: Port
    pred: Port
    half: float  # fraction of the parameters that is kept in half precision
    parity: Sequence[Parity]  # the exported size first
    timings: Sequence[tuple[str, float, float]] = ()  # runtime, milliseconds and difference at the first of these sizes


def prepare_process(bundle: str) -> None:
    """Let a new process import the bundle's packages first, and print nothing."""
    sys.path.insert(0, bundle)
    os.chdir(bundle)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    warnings.simplefilter("ignore")


@torch.no_grad()
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

    The bundle's folder is on `sys.path`; options are those of `tools zoo export`. The file is compared with the float32
    network at one size; with `dynamic` also at an odd size and at one of unequal sides, in batches.

    Raises:
        ValueError: in one line, if the network cannot be built, exported or run.
    """
    metadata = read_metadata(bundle)
    inputs, outputs = (TensorFormat.from_metadata(metadata, side) for side in ("inputs", "outputs"))
    try:
        network = Bundle(bundle, path.parent, weights).network.float()
    except Exception as error:  # a config may call anything
        raise ValueError(f"network_def cannot be built: {one_line(error)}") from None
    examples = [
        example_input(inputs, shape[0], shape[2:], seed) for seed, shape in enumerate(_shapes(inputs, size, dynamic))
    ]
    expected = [_expected(network, example, outputs) for example in examples]
    timings = [("PyTorch", _milliseconds(network, examples[0]), 0.0)]
    fraction = store_in_half(network) if half else 0.0
    free = {2 + i: AXES[i] for i, rule in enumerate(inputs.spatial_shape) if isinstance(rule, str)}
    source = Source(
        network,
        examples[-1],
        {0: "batch", **free} if dynamic else {},
        (inputs.name, outputs.name),
        {file.name: file.read_text(encoding="utf-8") for file in sorted((bundle / "configs").glob("*.json"))},
    )
    exported = _write_and_load(source, path, file_format)
    parity = [_parity(exported, *pair) for pair in zip(examples, expected, strict=True)]
    runs = {FORMATS[file_format].title: exported}
    if compare:
        runs |= _other_runtimes(source, path, file_format)
    for title, run in runs.items():
        difference = _parity(run, examples[0], expected[0]).difference
        timings.append((title, _milliseconds(run, examples[0]), difference))
    image, pred = (
        Port(name, [-1 if axis in source.free_axes else n for axis, n in enumerate(shape)])
        for name, shape in zip(source.names, parity[0][:2], strict=True)
    )
    return Report(image, pred, fraction, parity, timings)


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
    channels = len(inputs.channels)
    if not dynamic:
        return [(1, channels, *full)]
    odd = inputs.fit_size([n * (3 - i % 2) // 4 | 1 for i, n in enumerate(full)])
    oblong = inputs.fit_size([n * (4 + i) // 4 for i, n in enumerate(full)])
    return [(1, channels, *full), (3, channels, *odd), (2, channels, *oblong)]


def _expected(network: nn.Module, example: Tensor, outputs: TensorFormat) -> Tensor:
    shape, channels = list(example.shape), len(outputs.channels)
    try:
        output = network(example)
    except Exception as error:  # a network may do anything
        raise ValueError(f"the network does not take {shape}, which its metadata allow ({one_line(error)})") from error
    if not isinstance(output, Tensor) or output.dtype != torch.float32 or output.shape[1] != channels:
        got = f"{output.dtype} {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"expected a float32 output of {channels} channels, as metadata.json says, got {got}")
    if not (output.isfinite().all() and output.any()):
        raise ValueError(f"the network's output at {shape} is not finite or zero everywhere; check its weights")
    return output


def _write_and_load(source: Source, path: Path, file_format: str) -> Run:
    try:
        FORMATS[file_format].write(source, path)
        return FORMATS[file_format].load(path)
    except Exception as error:  # exporters raise many kinds
        raise ValueError(f"the network does not export to {FORMATS[file_format].title} ({one_line(error)})") from error


def _other_runtimes(source: Source, path: Path, file_format: str) -> dict[str, Run]:
    """Return the network in the runtimes that are installed, by their names, without that of the file."""
    runs: dict[str, Run] = {}
    for name in ("ts", "onnx"):
        if name != file_format and not FORMATS[name].missing:
            other = path.with_name(f"other{FORMATS[name].suffix}")
            runs[FORMATS[name].title] = _write_and_load(source, other, name)
    model = path if file_format == "onnx" else path.with_name("other.onnx")
    if model.is_file() and importlib.util.find_spec("openvino") is not None:
        runs["OpenVINO"] = load_openvino(model)
    return runs


def _milliseconds(run: Run, example: Tensor) -> float:
    """Return the median time of a run."""
    run(example)
    times = []
    for _ in range(RUNS):
        start = perf_counter()
        run(example)
        times.append(perf_counter() - start)
    return 1e3 * median(times)


def _parity(run: Run, example: Tensor, expected: Tensor) -> Parity:
    shape = tuple(example.shape)
    try:
        result = run(example)
    except Exception as error:  # runtimes raise many kinds
        raise ValueError(f"the exported file does not run at {list(shape)} ({one_line(error)})") from error
    if result.shape != expected.shape:
        raise ValueError(f"the exported file gives {list(result.shape)} at {list(shape)}, not {list(expected.shape)}")
    return Parity(shape, tuple(expected.shape), float((result - expected).abs().max() / expected.abs().max()))
