"""Files that a network is exported to, TorchScript, torch.export program and ONNX: how each is written and run."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from monai.data import save_net_with_metadata
from monai.networks.utils import convert_to_torchscript
from torch import Tensor, nn


class Source(NamedTuple):
    """Content of a file."""

    network: nn.Module  # in evaluation mode, one tensor in, one out
    example: Tensor  # an input; its size is that of the file on all axes that are not free
    free_axes: Mapping[int, str]  # axes of the input that may change their size, with a name for each
    names: tuple[str, str]  # of input and output
    texts: Mapping[str, str]  # JSON files by name, `metadata.json` among them


class FileFormat(NamedTuple):
    """One kind of file."""

    title: str
    suffix: str
    write: Callable[[Source, Path], None]  # no path of this machine goes into the file
    load: Callable[[Path], Callable[[Tensor], Tensor]]
    packages: tuple[str, ...] = ()  # that it needs besides torch and MONAI

    @property
    def missing(self) -> list[str]:
        """Packages that it needs and that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]


def _write_torchscript(source: Source, path: Path) -> None:
    """Write what `monai.bundle ckpt_export` does, with all configs, and without the records of Python files."""
    archive = io.BytesIO()
    save_net_with_metadata(
        convert_to_torchscript(source.network),
        archive,
        include_config_vals=False,
        meta_values=json.loads(source.texts["metadata.json"]),
        more_extra_files={name: text.encode() for name, text in source.texts.items() if name != "metadata.json"},
    )
    archive.seek(0)
    reader = torch._C.PyTorchFileReader(archive)
    writer = torch._C.PyTorchFileWriter(str(path))
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl"):
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()


def _load_torchscript(path: Path) -> Callable[[Tensor], Tensor]:
    return torch.jit.load(path, map_location="cpu")


def _write_program(source: Source, path: Path) -> None:
    sizes = dict.fromkeys(source.free_axes, torch.export.Dim.AUTO)
    program = torch.export.export(source.network, (source.example,), dynamic_shapes=(sizes,))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    torch.export.save(program, path, extra_files=dict(source.texts))


def _load_program(path: Path) -> Callable[[Tensor], Tensor]:
    return torch.export.load(path).module()


def _write_onnx(source: Source, path: Path) -> None:
    program = torch.onnx.export(
        source.network,
        (source.example,),
        dynamo=True,
        dynamic_shapes=(dict(source.free_axes),),
        input_names=source.names[:1],
        output_names=source.names[1:],
        verbose=False,
    )
    assert program is not None  # which only the older exporter returns
    program.model.metadata_props.update(source.texts)
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # source lines and file names
    program.save(path, external_data=False)


def _load_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    return lambda tensor: torch.from_numpy(session.run(None, {entry.name: tensor.numpy()})[0])


def load_openvino(path: Path) -> Callable[[Tensor], Tensor]:
    """Compile an ONNX file with OpenVINO for the CPU."""
    import openvino

    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda tensor: torch.from_numpy(model(tensor.numpy())[0].copy())


FORMATS = {
    "ts": FileFormat("TorchScript", ".ts", _write_torchscript, _load_torchscript),
    "pt2": FileFormat("torch.export program", ".pt2", _write_program, _load_program),
    "onnx": FileFormat("ONNX", ".onnx", _write_onnx, _load_onnx, packages=("onnx", "onnxscript", "onnxruntime")),
}
