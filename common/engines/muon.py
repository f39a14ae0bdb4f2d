"""Muon for convolutional networks: orthogonalised momentum for the kernels, AdamW for the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

SMALLEST_MATRIX = 8


class Muon(Optimizer):
    """``torch.optim.Muon`` for the weights of convolutions, ``torch.optim.AdamW`` for the rest.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) steps along the nearest orthogonal matrix of
    the momentum, so that all directions of a weight learn at one speed. A convolution's weight is the matrix
    ``(out, in * kernel)``, a transposed convolution's ``(in, out * kernel)``. PyTorch's class accepts only parameters
    with two axes; this class hands it views of convolutions. Matrices with fewer than 8 rows or columns, linear layers,
    biases and scalars go to AdamW. Parameters that need no gradient are left out.

    There are two ``param_groups``, Muon's and AdamW's, each with its learning rate, which a schedule multiplies alike.
    The state has the shapes of the parameters, so that a training may go on in another memory format.

    Args:
        network: network whose parameters are trained.
        lr: learning rate of Muon, the spectral norm of an update, times ``sqrt(rows / columns)`` for tall matrices.
        adam_lr: learning rate of AdamW.
        momentum: Nesterov momentum of Muon.
        betas: decay rates of AdamW.

    Raises:
        ValueError: if the network has no parameter to train.
    """

    def __init__(
        self,
        network: nn.Module,
        lr: float = 0.004,
        adam_lr: float = 0.001,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        if not trained:
            raise ValueError("expected a network with parameters that need gradients, got none")
        matrices = [parameter for parameter in trained if _is_matrix(parameter)]
        rest = [parameter for parameter in trained if not _is_matrix(parameter)]
        # each is given its parameters anew at every step: `Module.to` replaces the memory behind them
        self._muon = torch.optim.Muon([torch.zeros(1, 1)], lr=lr, momentum=momentum, weight_decay=0.0)
        self._adam = torch.optim.AdamW([torch.zeros(1)], lr=adam_lr, betas=(betas[0], betas[1]), weight_decay=0.0)
        groups = [{**self._muon.defaults, "params": matrices}, {**self._adam.defaults, "params": rest}]
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient.

        Args:
            closure: computes the loss again.

        Returns:
            the closure's value, or ``None``.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        muon_group, adam_group = self.param_groups
        self._adam.param_groups, self._adam.state = [adam_group], self.state
        self._adam.step()

        matrices: list[Tensor] = []
        momenta: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)
        for parameter in muon_group["params"]:
            if parameter.grad is None:
                continue
            buffer = self.state[parameter].get("momentum_buffer")
            if buffer is None:
                buffer = torch.zeros_like(parameter)
            elif buffer.stride() != parameter.stride():  # of a checkpoint in the other memory format
                buffer = torch.empty_like(parameter).copy_(buffer)
            self.state[parameter]["momentum_buffer"] = buffer
            matrix = _as_matrix(parameter.detach(), parameter)
            matrix.grad = _as_matrix(parameter.grad, parameter)
            matrices.append(matrix)
            momenta[matrix]["momentum_buffer"] = _as_matrix(buffer, parameter)
        self._muon.param_groups, self._muon.state = [{**muon_group, "params": matrices}], momenta
        self._muon.step()
        return loss


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.dim() > 2 and min(parameter.shape[0], parameter[0].numel()) >= SMALLEST_MATRIX


def _as_matrix(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Flatten a tensor of a parameter's shape to ``(rows, columns)``, in the order of the parameter's memory.

    That makes it a view, but for gradients in another layout. An orthogonalised update does not depend on the order of
    the columns.
    """
    if not parameter.is_contiguous():  # channels last
        tensor = tensor.movedim(1, -1)
    return tensor.flatten(1)
