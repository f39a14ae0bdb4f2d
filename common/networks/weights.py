"""Reading a file of weights."""

from collections.abc import Mapping
from pathlib import Path

from common.errors import DataError
from common.io.torch_file import load_torch
from torch import Tensor, nn


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


def load_part(network: nn.Module, state: Mapping[str, Tensor], path: str | Path, wanted: str) -> None:
    """Load the entries that a network has, in place, of a state that may hold more.

    Args:
        network: network that receives the weights.
        state: state dict of a file.
        path: the file, for errors.
        wanted: files that fit, in words.

    Raises:
        ValueError: an entry is missing or has another shape.
    """
    own = network.state_dict()
    for name, value in own.items():
        found = list(state[name].shape) if name in state else "nothing of that name"
        if found != list(value.shape):
            raise ValueError(f"{path}: expected {name!r} of shape {list(value.shape)}, got {found}; give {wanted}")
    network.load_state_dict({name: state[name] for name in own})
