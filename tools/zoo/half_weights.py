"""Networks that keep their large weights in half precision, and compute in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class _HalfConvolution(nn.modules.conv._ConvNd):
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight.to(input.dtype), self.bias)


class _HalfTransposed(nn.modules.conv._ConvTransposeNd):
    def forward(self, input: Tensor) -> Tensor:
        weight, padding = self.weight.to(input.dtype), self.padding
        assert isinstance(padding, tuple)
        return torch.convolution(
            input, weight, self.bias, self.stride, padding, self.dilation, True, self.output_padding, self.groups
        )


class _HalfConv2d(_HalfConvolution, nn.Conv2d):
    pass


class _HalfConv3d(_HalfConvolution, nn.Conv3d):
    pass


class _HalfConvTranspose2d(_HalfTransposed, nn.ConvTranspose2d):  # type: ignore[misc]
    pass


class _HalfConvTranspose3d(_HalfTransposed, nn.ConvTranspose3d):  # type: ignore[misc]
    pass


class _HalfLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(input, self.weight.to(input.dtype), self.bias)


_HALVES = (_HalfConv2d, _HalfConv3d, _HalfConvTranspose2d, _HalfConvTranspose3d, _HalfLinear)
_HALF: dict[type, type[nn.Module]] = {half.__bases__[-1]: half for half in _HALVES}


def store_in_half(network: nn.Module) -> float:
    """Keep the weights of plain convolutions and linear layers in half precision, in place.

    They are converted to the input's type where they are used: inputs, features, Fourier transforms and outputs keep
    their type, and so do all other parameters and buffers, which are small. Exporters keep the conversion, so that a
    file needs half the space.

    Returns:
        The fraction of the network's parameters that is now in half precision.

    Raises:
        ValueError: there is no such layer.
    """
    stored = 0
    for module in network.modules():
        if half := _HALF.get(type(module)):
            module.__class__ = half
            weight = module.get_parameter("weight").detach().to(torch.float16)
            module.register_parameter("weight", nn.Parameter(weight, requires_grad=False))
            stored += weight.numel()
    if stored == 0:
        raise ValueError(
            "half precision is for weights of convolutions and linear layers, the network has none; "
            "export without --fp16"
        )
    return stored / sum(parameter.numel() for parameter in network.parameters())
