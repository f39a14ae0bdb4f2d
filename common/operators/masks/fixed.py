"""A mask read from a file, in place of a generated one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image
from torch import Tensor


class FixedMask:
    """One mask from a file, the same for any seed: ``mask(shape, seed, batch, device)`` as for ``MaskSampler``.

    In a config: ``{"_target_": "common.operators.masks.FixedMask", "path": "radial_30.png"}``.

    Args:
        path: grey-scale image of 0 and one other value (PNG and what else Pillow reads), ``.npy``, ``.npz`` with one
            array or one called ``mask``, or ``.h5`` with a data set ``mask``. Centred: DC at
            ``[height // 2, width // 2]``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not 2-D, not binary, or does not sample DC; at the call, if it has not the shape asked for.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no mask file {self.path}; give an existing .png, .npy, .npz or .h5 file")
        values = _read_array(self.path)
        if values.ndim != 2 or 0 in values.shape:
            raise ValueError(f"{self.path}: expected one 2-D grey-scale mask, got an array of shape {values.shape}")
        sampled = values != 0
        levels = np.unique(values[sampled])
        if len(levels) > 1 or (len(levels) == 1 and not levels[0] > 0):
            raise ValueError(
                f"{self.path}: a mask holds 0 and one positive value, got {len(levels)} values other than 0, "
                f"{levels[0]} to {levels[-1]}; threshold it (a JPEG or a resized image is not binary any more)"
            )
        height, width = sampled.shape
        if not sampled[height // 2, width // 2]:
            raise ValueError(
                f"{self.path}: the DC sample [{height // 2}, {width // 2}] is not sampled; the mask must be centred: "
                "apply numpy.fft.fftshift if its DC is in the corner"
            )
        self._mask = torch.from_numpy(sampled.astype(np.float32))
        self.rate = float(sampled.mean())

    def __call__(
        self,
        shape: tuple[int, int],
        seed: int | str | Sequence[int | str] = 0,
        batch: int = 1,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Float32 0/1 masks ``(batch, 1, height, width)``, all alike; a sequence of seeds gives the batch."""
        if tuple(shape) != tuple(self._mask.shape):
            raise ValueError(
                f"{self.path}: the mask has shape {tuple(self._mask.shape)}, but the images have {tuple(shape)}; "
                "crop the images or choose a mask of their shape"
            )
        n_masks = batch if isinstance(seed, str) or not isinstance(seed, Sequence) else len(seed)
        return self._mask.to(device).repeat(n_masks, 1, 1, 1)

    def drawn(self, seed: int | str) -> tuple[str, float]:
        """Return the name of the file and the sampled fraction, the same for any seed."""
        return self.path.name, self.rate

    def __repr__(self) -> str:
        return f"FixedMask({str(self.path)!r}, rate={self.rate:.6g})"


def _read_array(path: Path) -> np.ndarray:
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return arrays["mask" if "mask" in arrays else arrays.files[0]]
        if suffix in (".h5", ".hdf5"):
            with h5py.File(path, "r") as file:
                return np.asarray(file["mask"])
        with Image.open(path) as image:
            return np.asarray(image.convert("L") if image.mode == "P" else image)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ValueError(
            f"{path}: cannot read a mask from it ({error}); give a .png, .npy, .npz or .h5 file"
        ) from error
