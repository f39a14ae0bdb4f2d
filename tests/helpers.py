"""Checks and random material that several tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.networks import LightCascade
from common.operators import fft2c, pack_measurement

SMALL_CASCADE: dict[str, Any] = {"n_stages": 2, "widths": [4, 6], "memory": 2, "n_conditions": 3}
"""Options of the brain bundle's network that make it small."""
SMALL_CASCADE_OPTIONS = {f"network_options#{name}": value for name, value in SMALL_CASCADE.items()}


def small_cascade(seed: int = 0) -> LightCascade:
    """Return a small cascade of random weights that changes images visibly, in evaluation mode."""
    torch.manual_seed(seed)
    network = LightCascade(**SMALL_CASCADE)
    for stage in network.networks:
        torch.nn.init.normal_(stage.tail.weight, std=0.01)  # type: ignore[union-attr]
    return network.eval()


def numpy_deviation(image: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Root mean square of ``|samples - image|`` over the samples, the first axis, and windows of 5 x 5 pixels."""
    squares = (np.abs(samples - image) ** 2).mean(axis=0)
    padded = np.pad(squares, [(0, 0)] * (squares.ndim - 2) + [(2, 2), (2, 2)], constant_values=np.nan)
    return np.sqrt(np.nanmean(np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(-2, -1)), axis=(-2, -1)))


def assert_adjoint(op: Any, x: Tensor, y: Tensor, rtol: float = 1e-10) -> None:
    """``<A x, y> == <x, A^H y>``; shapes are compared too, since vdot would hide wrong ones."""
    forward, adjoint = op.forward(x), op.adjoint(y)
    assert forward.shape == y.shape
    assert adjoint.shape == x.shape
    left, right = torch.vdot(y.flatten(), forward.flatten()), torch.vdot(adjoint.flatten(), x.flatten())
    torch.testing.assert_close(left, right, rtol=rtol, atol=1e-10)


def random_complex(*shape: int, seed: int = 0, dtype: torch.dtype = torch.complex128) -> Tensor:
    """Standard complex normal values."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_mask(height: int, width: int, seed: int = 0, batch: int = 1, rate: float = 0.4) -> Tensor:
    """Masks ``(batch, 1, height, width)``, float32 0/1, of independent samples, DC among them."""
    mask = (torch.rand(batch, 1, height, width, generator=torch.Generator().manual_seed(seed)) < rate).float()
    mask[..., height // 2, width // 2] = 1
    return mask


def random_measurement(height: int, width: int, seed: int = 0, batch: int = 1) -> Tensor:
    """Packed measurements ``(batch, 3, height, width)`` of magnitude images in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(batch, 1, height, width, generator=generator).to(torch.complex64)
    mask = random_mask(height, width, seed, batch)
    return pack_measurement(mask * fft2c(image), mask)


def numpy_fft2c(image: np.ndarray) -> np.ndarray:
    """Centred orthonormal transform of the last two axes, by NumPy."""
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(image, axes), axes=axes, norm="ortho"), axes)


def numpy_ifft2c(kspace: np.ndarray) -> np.ndarray:
    """Inverse of :func:`numpy_fft2c`."""
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(kspace, axes), axes=axes, norm="ortho"), axes)


def n_parameters(network: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in network.parameters())


def copy_state(module: nn.Module) -> dict[str, Tensor]:
    """A state dict that later training does not change."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two state dicts are equal to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def folder_contents(folder: Path) -> dict[str, bytes]:
    """Bytes of each file of a folder, by its path within the folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
