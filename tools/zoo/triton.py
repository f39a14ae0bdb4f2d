"""Model repositories for the Triton Inference Server.

Layout and configuration are those of docs/user_guide/model_repository.md and model_configuration.md of
github.com/triton-inference-server/server: `<repository>/<model>/config.pbtxt` and `<repository>/<model>/1/<file>`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.zoo.archive import scratch_folder

MAX_BATCH_SIZE = 8
VERSION = "1"


@dataclass(frozen=True)
class Server:
    """Triton's name for a kind of file, the file name that it looks for, and the name that it gives to a tensor.

    TorchScript has no names of tensors; there Triton takes `<name>__<position>`.
    """

    platform: str
    file_name: str
    tensor_name: str


_SERVERS = {
    "ts": Server("pytorch_libtorch", "model.pt", "{}__0"),
    "onnx": Server("onnxruntime_onnx", "model.onnx", "{}"),
}


@dataclass(frozen=True)
class Door:
    """Name of a float32 tensor of the exported file, and its size on each axis with the batch; -1 is any."""

    name: str
    dims: Sequence[int]


def server_for(file_format: str) -> Server:
    """Return how Triton runs a format.

    Raises:
        ValueError: it does not run it.
    """
    if file_format not in _SERVERS:
        raise ValueError(
            f"Triton runs {' and '.join(_SERVERS)}, got {file_format}: of .pt2 files it takes those that AOTInductor "
            "has compiled for one device, which an exported program is not; choose another --format"
        )
    return _SERVERS[file_format]


def model_config(name: str, file_format: str, image: Door, pred: Door, comment: str = "") -> str:
    """Return the text of config.pbtxt.

    A file whose batch is free is served with dynamic batching, of at most `MAX_BATCH_SIZE` samples of one size; Triton
    then adds the batch to the dimensions itself. Any other is served with the dimensions it has.

    Args:
        name: name of the model, which is also that of its folder.
        file_format: format of the file, one that `server_for` knows.
        image: the input.
        pred: the output.
        comment: one line for the reader.
    """
    server, batched = server_for(file_format), image.dims[0] == -1
    lines = [f"# {comment}"] if comment else []
    lines += [f"name: {json.dumps(name)}", f"platform: {json.dumps(server.platform)}"]
    lines.append(f"max_batch_size: {MAX_BATCH_SIZE if batched else 0}")
    for side, array in (("input", image), ("output", pred)):
        dims = ", ".join(map(str, array.dims[1:] if batched else array.dims))
        tensor = json.dumps(server.tensor_name.format(array.name))
        lines.append(f"{side} [ {{ name: {tensor}, data_type: TYPE_FP32, dims: [ {dims} ] }} ]")
    return "\n".join([*lines, *(["dynamic_batching { }"] if batched else []), ""])


def write_model(repository: Path, name: str, file_format: str, file: Path, config: str) -> Path:
    """Put a model into a repository, in place of an older one of that name; it appears whole.

    Returns:
        The model's folder.

    Raises:
        ValueError: there is a folder of that name that holds no model.
    """
    target = repository / name
    if target.exists() and not (target / "config.pbtxt").is_file():
        raise ValueError(f"{target}: expected no such folder, or a Triton model with its config.pbtxt; remove it")
    with scratch_folder(repository) as scratch:
        staged = scratch / name
        (staged / VERSION).mkdir(parents=True)
        shutil.copyfile(file, staged / VERSION / server_for(file_format).file_name)
        (staged / "config.pbtxt").write_text(config, encoding="utf-8")
        if target.exists():
            os.rename(target, scratch / "older")
        os.rename(staged, target)
    return target
