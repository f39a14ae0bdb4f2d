"""Model repositories for the Triton Inference Server.

Layout and configuration are those of docs/user_guide/model_repository.md and model_configuration.md of
github.com/triton-inference-server/server: `<repository>/<model>/config.pbtxt` and `<repository>/<model>/1/<file>`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tools.zoo.archive import scratch_folder

MAX_BATCH_SIZE = 8
VERSION = "1"
_SERVERS = {"ts": ("pytorch_libtorch", "model.pt", "{}__0"), "onnx": ("onnxruntime_onnx", "model.onnx", "{}")}
"""By format: Triton's platform, the file name that it looks for, and the name that it gives to a tensor. TorchScript
has no names of tensors; there Triton takes `<name>__<position>`."""


class Port(NamedTuple):
    """Name of a float32 tensor of the exported file, and its size on each axis with the batch; -1 is any."""

    name: str
    dims: Sequence[int]


def check_format(file_format: str) -> None:
    """Refuse a format that Triton does not run with a ValueError."""
    if file_format not in _SERVERS:
        raise ValueError(
            f"Triton runs {' and '.join(_SERVERS)}, got {file_format}: of .pt2 files it takes those that AOTInductor "
            "has compiled for one device, which an exported program is not; choose another --format"
        )


def model_config(name: str, file_format: str, image: Port, pred: Port, comment: str) -> str:
    """Return the text of config.pbtxt.

    A file whose batch is free is served with dynamic batching, of at most `MAX_BATCH_SIZE` samples of one size; Triton
    then adds the batch to the dimensions itself. Any other is served with the dimensions it has. The format is "ts" or
    "onnx"; the comment is one line for the reader.
    """
    (platform, _, tensor_name), batched = _SERVERS[file_format], image.dims[0] == -1
    lines = [f"# {comment}", f"name: {json.dumps(name)}", f"platform: {json.dumps(platform)}"]
    lines.append(f"max_batch_size: {MAX_BATCH_SIZE if batched else 0}")
    for side, port in (("input", image), ("output", pred)):
        dims = ", ".join(map(str, port.dims[1:] if batched else port.dims))
        tensor = json.dumps(tensor_name.format(port.name))
        lines.append(f"{side} [ {{ name: {tensor}, data_type: TYPE_FP32, dims: [ {dims} ] }} ]")
    return "\n".join([*lines, *(["dynamic_batching { }"] if batched else []), ""])


def write_model(repository: Path, name: str, file_format: str, file: Path, config: str) -> Path:
    """Put a model into a repository, in place of an older one of that name; it appears whole. Return its folder."""
    target = repository / name
    if target.exists() and not (target / "config.pbtxt").is_file():
        raise ValueError(f"{target}: expected no such folder, or a Triton model with its config.pbtxt; remove it")
    with scratch_folder(repository) as scratch:
        staged = scratch / name
        (staged / VERSION).mkdir(parents=True)
        shutil.copyfile(file, staged / VERSION / _SERVERS[file_format][1])
        (staged / "config.pbtxt").write_text(config, encoding="utf-8")
        if target.exists():
            os.rename(target, scratch / "older")
        os.rename(staged, target)
    return target
