"""Exports of a network, and the check that they give its numbers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn


def scripted(network: nn.Module) -> Any:
    """The network by TorchScript, written and read again."""
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(network), file)
    file.seek(0)
    return torch.jit.load(file)


def program(network: nn.Module, *example: Tensor) -> Callable[..., Tensor]:
    """The network by ``torch.export``, with batch and all sizes free, written and read again."""
    file = io.BytesIO()
    torch.export.save(torch.export.export(network, example, dynamic_shapes=_free(example)), file)
    file.seek(0)
    return torch.export.load(file).module()


def onnx(network: nn.Module, folder: Path, *example: Tensor) -> Callable[..., Tensor]:
    """The network by ONNX Runtime, with batch and all sizes free; the test is skipped where it is not installed."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # torch's exporter uses what torch deprecates
        path = folder / "model.onnx"
        torch.onnx.export(network, example, path, dynamo=True, dynamic_shapes=_free(example), verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    assert len(names) == len(example)

    def run(*inputs: Tensor) -> Tensor:
        given = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, given)[0])

    return run


@torch.no_grad()
def assert_same(exported: Callable, network: nn.Module, inputs: Iterable[Any], share: float = 1e-5) -> None:
    """Compare results for other batches and sizes than were exported; ``share`` is that of the largest value."""
    for one in inputs:
        given = one if isinstance(one, tuple) else (one,)
        expected = network(*given).numpy()
        np.testing.assert_allclose(exported(*given).numpy(), expected, rtol=0, atol=share * np.abs(expected).max())


def _free(example: tuple[Tensor, ...]) -> tuple[dict[int, Any], ...]:
    auto = torch.export.Dim.AUTO
    return tuple({0: auto, **dict.fromkeys(range(2, one.dim()), auto)} for one in example)
