"""Networks run in lower precision than they are stored in."""

from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_precision(precision: str, device: torch.device | str) -> str:
    """``precision`` itself, and for ``auto`` bfloat16 where the device is built for it, else float32.

    Raises:
        ValueError: for another name, or float16 without CUDA.
    """
    device = torch.device(device)
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16_units(device) else "float32"
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of auto, {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "float16" and device.type != "cuda":
        raise ValueError(f"precision float16 needs a CUDA device, got {device}; use bfloat16 or float32")
    return precision


class Autocast(nn.Module):
    """A network that computes in ``precision``, its outputs in float32.

    Args:
        network: from an image to a tensor, or to a tuple or list of tensors.
        precision: ``float32``, ``bfloat16``, ``float16``, or ``auto``, see :func:`resolve_precision`.
        device: device that the network runs on.
    """

    def __init__(self, network: nn.Module, precision: str, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.network = network
        self.dtype = PRECISIONS[resolve_precision(precision, device)]

    def forward(self, image: Tensor) -> Any:
        """Return the output of the network, in float32."""
        if self.dtype is None:
            return self.network(image)
        with torch.autocast(image.device.type, dtype=self.dtype):
            outputs = self.network(image)
        return outputs.float() if isinstance(outputs, Tensor) else type(outputs)(o.float() for o in outputs)


def set_memory_format(network: nn.Module, channels_last: bool) -> None:
    """Lay a network's kernels out channels last or contiguously, of images and of volumes or series, in place."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(
                memory_format=torch.channels_last if channels_last else torch.contiguous_format
            )
        elif parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(
                memory_format=torch.channels_last_3d if channels_last else torch.contiguous_format
            )


def has_bfloat16_units(device: torch.device) -> bool:
    """Return True if the device computes in bfloat16 faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
