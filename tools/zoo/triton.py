"""Model repositories for the Triton Inference Server.

Layout and configuration as in docs/user_guide/model_repository.md and model_configuration.md of
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
    """How Triton runs one kind of file.

    Args:
        platform: Triton's name for it.
        file_name: that it looks for.
        tensor_name: made of a tensor's name. TorchScript has no names: there Triton takes `<name>__<position>`.
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
    """A tensor of the exported file, float32: its name, and its size on each axis with the batch; -1 is any."""

    name: str
    dims: Sequence[int]


def server_for(file_format: str) -> Server:
    """How Triton runs a format.

    Raises:
        ValueError: if it does not.
    """
    if file_format not in _SERVERS:
        raise ValueError(
            f"Triton runs {' and '.join(_SERVERS)}, got {file_format}: of .pt2 files it takes those that AOTInductor "
            "has compiled for one device, which an exported program is not; choose another --format"
        )
    return _SERVERS[file_format]


def model_config(name: str, file_format: str, image: Door, pred: Door, comment: str = "") -> str:
    """The text of config.pbtxt.

    A file whose batch is free is served with dynamic batching, of at most `MAX_BATCH_SIZE` samples of one size; Triton
    then adds the batch to the dimensions itself. Any other is served with the dimensions it has.

    Args:
        name: of the model, which is also that of its folder.
        file_format: of the file, one that `server_for` knows.
        image: what goes in.
        pred: what comes out.
        comment: one line for the reader.
    """
    server = server_for(file_format)
    batched = image.dims[0] == -1
    lines = [f"# {comment}"] if comment else []
    lines += [f"name: {json.dumps(name)}", f"platform: {json.dumps(server.platform)}"]
    lines.append(f"max_batch_size: {MAX_BATCH_SIZE if batched else 0}")
    for side, door in (("input", image), ("output", pred)):
        dims = ", ".join(map(str, door.dims[1:] if batched else door.dims))
        tensor = json.dumps(server.tensor_name.format(door.name))
        lines += [
            f"{side} [",
            "  {",
            f"    name: {tensor}",
            "    data_type: TYPE_FP32",
            f"    dims: [ {dims} ]",
            "  }",
            "]",
        ]
    if batched:
        lines.append("dynamic_batching { }")
    return "\n".join(lines) + "\n"


def write_model(repository: Path, name: str, file_format: str, file: Path, config: str) -> Path:
    """Put a model into a repository, in place of an older one of that name; it appears whole.

    Returns:
        the model's folder.

    Raises:
        ValueError: if there is a folder of that name that holds no model.
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
