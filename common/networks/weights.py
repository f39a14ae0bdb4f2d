"""Reading a file of weights."""

from collections.abc import Mapping
from pathlib import Path

from common.errors import DataError
from common.io.torch_file import load_torch
from torch import Tensor


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Return a plain state dict, on the CPU, of a file that is as it was written, see `common.io.torch_file`.

    Raises:
        FileNotFoundError: without such a file.
        DataError: if the file is damaged, or holds more than weights, in which case nothing in it was executed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights; train first, or give the path of a model.pt")
    state = load_torch(path)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(
            f"{path}: expected a file of weights alone, got a {type(state).__name__} of other objects; save "
            "network.state_dict()"
        )
    return dict(state)
