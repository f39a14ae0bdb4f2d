"""VGG19: frozen features for perceptual losses, and a classifier whose training makes such features.

Simonyan and Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition. ICLR 2015, arXiv 1409.1556.
State dicts have torchvision's keys (``features.0.weight`` ...), so that its weight files load; torchvision is not
needed.
"""

from os import PathLike
from pathlib import Path

import torch
from common.networks.weights import load_part, read_weights
from torch import Tensor, nn

RANDOM = "random"
_BLOCKS = (2, 2, 4, 4, 4)
LAYERS = tuple(f"conv{block}_{n}" for block, depth in enumerate(_BLOCKS, 1) for n in range(1, depth + 1))

Weights = str | PathLike[str] | None


class Vgg19(nn.Module):
    """VGG19's convolutions up to one of them, on images in [0, 1].

    Grey images stand for the three colours, which are normalised with the means and standard deviations of ImageNet, as
    torchvision's weights want it. Up to ``conv5_4``: 20,024,384 parameters.

    Args:
        weights: a file with a state dict: torchvision's VGG19, or one of :class:`Vgg19Classifier` of the same
            ``width``; what it holds of deeper layers and of the classifier is left aside. ``"random"`` for untrained
            weights (He et al. 2015, arXiv 1502.01852).
        layer: the last convolution, one of ``LAYERS``.
        activation: apply the ReLU of ``layer``.
        width: feature maps of the first block; 64 is VGG19.

    Raises:
        FileNotFoundError: if there is no such file, or none is given.
        ValueError: if it is not a file of such weights; for another layer.
    """

    mean: Tensor
    std: Tensor
    frozen = False

    def __init__(
        self, weights: Weights = None, *, layer: str = "conv5_4", activation: bool = False, width: int = 64
    ) -> None:
        super().__init__()
        if layer not in LAYERS:
            raise ValueError(f"layer must be one of {', '.join(LAYERS)}, got {layer!r}")
        self.layer = layer
        self.features = _convolutions(layer, activation, width)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)
        if weights == RANDOM:
            self._draw()
        else:
            # deeper layers and the classifier are in such files, and not needed
            wanted = "a state dict of VGG19 without batch norm: torchvision's vgg19, or a Vgg19Classifier of this width"
            load_part(self, _read_state(weights), str(weights), wanted)
        if self.frozen:
            self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> Tensor:
        """Feature maps of an image.

        Args:
            image: float, ``(batch, 1, height, width)``, in [0, 1].

        Returns:
            ``(batch, maps, height / 2**n, width / 2**n)``, rounded down; ``n = 4`` poolings before ``conv5``.

        Raises:
            ValueError: for another shape, or an image smaller than one feature.
        """
        return self.features(self._normalised(image))

    def block_maps(self, image: Tensor) -> list[Tensor]:
        """The activated maps at the end of each block, the last as :meth:`forward` gives them; arguments as there."""
        maps = []
        x = self._normalised(image)
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
            x = layer(x)
        return [*maps, x]

    def _normalised(self, image: Tensor) -> Tensor:
        smallest = 2 ** (int(self.layer[4]) - 1)
        if image.dim() != 4 or image.shape[1] != 1 or min(image.shape[2:]) < smallest:
            raise ValueError(
                f"expected images (batch, 1, height, width) of at least {smallest} x {smallest} pixels "
                f"for the features of {self.layer}, got shape {list(image.shape)}"
            )
        return (image - self.mean) / self.std

    def _draw(self) -> None:
        for name, value in self.features.named_parameters():
            nn.init.zeros_(value) if name.endswith("bias") else nn.init.kaiming_normal_(value, mode="fan_out")


class Vgg19Features(Vgg19):
    """Frozen VGG19 features: no weight has a gradient, and it stays in evaluation mode. Arguments: :class:`Vgg19`.

    The default is the "no-activation" VGG of SRGAN-D and ESRGAN; SRGAN and the micro-CT method use ``activation=True``.
    """

    frozen = True

    def train(self, mode: bool = True) -> "Vgg19Features":
        """Stays in evaluation mode."""
        return super().train(False)


class Vgg19Classifier(Vgg19):
    """VGG19's convolutions, the mean over all positions, and one linear layer; for training on textures.

    Its state dict is a weight file for :class:`Vgg19Features`. Differs from VGG19: the mean and the linear layer stand
    for three dense layers on 7 x 7 positions, so that images of any size will do.

    Args:
        n_classes: classes.
        weights, layer, width: arguments of :class:`Vgg19`; a file of weights gives the convolutions alone.
        dropout: rate before the linear layer.
    """

    def __init__(
        self,
        n_classes: int,
        weights: Weights = RANDOM,
        *,
        layer: str = "conv5_4",
        width: int = 64,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(weights, layer=layer, activation=True, width=width)
        block = int(layer[4])
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width * min(2 ** (block - 1), 8), n_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Image ``(batch, 1, height, width)`` in [0, 1] to logits ``(batch, n_classes)``."""
        return self.classifier(self.dropout(super().forward(image).mean(dim=(2, 3))))


def _convolutions(layer: str, activation: bool, width: int) -> nn.Sequential:
    """The layers of torchvision's ``vgg19().features`` up to ``layer``."""
    layers: list[nn.Module] = []
    in_channels = 3
    for name in LAYERS:
        block, place = int(name[4]), int(name[6])
        if block > 1 and place == 1:
            layers.append(nn.MaxPool2d(2))
        out_channels = width * min(2 ** (block - 1), 8)
        layers += [nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU(inplace=True)]
        in_channels = out_channels
        if name == layer:
            break
    return nn.Sequential(*layers) if activation else nn.Sequential(*layers[:-1])


def width_of(weights: Weights) -> int:
    """Feature maps of the first block in a file of weights; 64 for random ones.

    Raises:
        FileNotFoundError, ValueError: as :class:`Vgg19`.
    """
    first = None if weights == RANDOM else _read_state(weights).get("features.0.weight")
    return 64 if first is None else len(first)


def _read_state(weights: Weights) -> dict[str, Tensor]:
    path = Path(weights or "")
    if not weights or not path.is_file():
        raise FileNotFoundError(
            f"no VGG19 weights at {str(weights or '')!r}; give torchvision's file (vgg19-dcbb9e9d.pth, from "
            "https://download.pytorch.org/models/), or train some on textures with configs/train_vgg.json"
        )
    return read_weights(path)
