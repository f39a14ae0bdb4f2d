"""Reading a file of weights."""

from pathlib import Path

import torch
from torch import Tensor


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A plain state dict, on the CPU.

    Files are read with ``weights_only``: a pickle that would run code is refused unread.

    Raises:
        FileNotFoundError: without such a file.
        ValueError: if the file is damaged, or holds more than weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights; train first, or give the path of a model.pt")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a damaged or refused file
        raise ValueError(
            f"{path}: expected a file of weights alone, got one that is damaged or holds other objects "
            f"({type(error).__name__}); it was not executed: get it again from its source"
        ) from None
