"""Discriminators of super-resolution: fully convolutional, fully convolutional and separable, flattening.

All take images in [0, 1] and give raw scores (logits); they see ``2 x - 1``, as SRGAN's do. Their plan is SRGAN's
(Ledig et al. 2017, arXiv 1609.04802): eight 3x3 convolutions with ``width`` times 1, 1, 2, 2, 4, 4, 8, 8 feature maps,
every second with stride 2, batch norm on all but the first, LeakyReLU(0.2), then ``16 * width`` and one score.
"""

from collections.abc import Sequence

from common.networks.sr_blocks import check_image, check_spatial_dims, convolution, leaky_relu
from monai.utils import ensure_tuple_rep
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as normalise_spectrum


def _trunk(
    spatial_dims: int, channels: int, width: int, *, separable: bool = False, padding: int | None = None
) -> nn.Sequential:
    """Eight convolutions; a separable one filters each feature map alone, without bias, then mixes them."""
    units: list[nn.Module] = []
    for n in range(8):
        out_channels, stride, norm, act = width * 2 ** (n // 2), 1 + n % 2, "BATCH" if n else None, leaky_relu(0.2)
        if separable:
            filtered = channels * -(-3 // channels)
            filters = convolution(spatial_dims, channels, filtered, stride=stride, groups=channels, bias=False)
            mixer = convolution(spatial_dims, filtered, out_channels, kernel_size=1, norm=norm, act=act)
            units.append(nn.Sequential(filters, mixer))
        else:
            units.append(
                convolution(spatial_dims, channels, out_channels, stride=stride, padding=padding, norm=norm, act=act)
            )
        channels = out_channels
    return nn.Sequential(*units)


def _bound_spectrum(network: nn.Module) -> None:
    """Divide each weight by its largest singular value (Miyato et al. 2018, arXiv 1802.05957), in place."""
    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d, nn.Linear))]
    for layer in layers:
        normalise_spectrum(layer)


class FullyConvolutionalDiscriminator(nn.Module):
    """A map of scores for images of any size, so that patches can grow while it trains.

    The plan of the module, padded, with 1x1 convolutions for SRGAN's dense layers: each score judges a field of 61 x 61
    pixels (61 x 61 x 61 voxels), one every 16. Width 64, one channel: 5,214,273 parameters (3-D: 14,578,881).

    Args:
        channels: image channels.
        spatial_dims: 2 or 3.
        width: feature maps of the first convolution.
        dropout: rates after the trunk and after the 1x1 convolution of ``16 * width``, both in [0, 1);
            :meth:`set_dropout` lowers them while training.
        spectral_norm: bound the layers' gains; the state dict then has other keys.
    """

    separable = False

    def __init__(
        self,
        channels: int = 1,
        spatial_dims: int = 2,
        width: int = 64,
        dropout: tuple[float, float] = (0.0, 0.0),
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        if len(dropout) != 2 or not all(0 <= rate < 1 for rate in dropout):
            raise ValueError(f"dropout must be two rates in [0, 1), of the trunk and of the score, got {dropout}")
        check_spatial_dims(spatial_dims)
        self.channels = channels
        self.spatial_dims = spatial_dims
        self.dropout = tuple(dropout)
        self.trunk = _trunk(spatial_dims, channels, width, separable=self.separable)
        self.judge = nn.Sequential(
            nn.Dropout(dropout[0]),
            convolution(spatial_dims, 8 * width, 16 * width, kernel_size=1, act=leaky_relu(0.2)),
            nn.Dropout(dropout[1]),
            convolution(spatial_dims, 16 * width, 1, kernel_size=1),
        )
        if spectral_norm:
            _bound_spectrum(self)

    def forward(self, image: Tensor) -> Tensor:
        """``(batch, channels, *spatial)`` in [0, 1] to scores ``(batch, 1, *ceil(spatial / 16))``."""
        check_image(image, self.channels, self.spatial_dims)
        return self.judge(self.trunk(2 * image - 1))

    def set_dropout(self, factor: float) -> None:
        """Change the rates to ``factor`` times those it was built with: 1 restores them, 0 withdraws dropout.

        The state dict does not hold the rates: a schedule sets them at every epoch, a resumed one too.

        Raises:
            ValueError: if ``factor`` is not in [0, 1].
        """
        if not 0 <= factor <= 1:
            raise ValueError(f"the factor of the dropout rates must be in [0, 1], got {factor}")
        layers = [layer for layer in self.judge if isinstance(layer, nn.Dropout)]
        for layer, rate in zip(layers, self.dropout, strict=True):
            layer.p = factor * rate


class SeparableDiscriminator(FullyConvolutionalDiscriminator):
    """The discriminator of SRGAN-D: separable convolutions (Chollet 2017, arXiv 1610.02357) and dropout.

    The first one makes at least three filtered images, which is what the source has of a grey image repeated to RGB.
    Width 64: 1,065,052 parameters. Differs from the source: strided convolutions pad both sides alike; 3-D.
    """

    separable = True

    def __init__(
        self,
        channels: int = 1,
        spatial_dims: int = 2,
        width: int = 64,
        dropout: tuple[float, float] = (0.4, 0.2),
        spectral_norm: bool = False,
    ) -> None:
        super().__init__(channels, spatial_dims, width, dropout, spectral_norm)


class FlatteningDiscriminator(nn.Module):
    """One score for an image of one size: the discriminator for micro-CT of rock.

    The plan of the module without padding, then dense layers on all positions; its score has no sigmoid.
    192 x 192 pixels, width 64: 47,157,313 parameters (Wang et al. 2020, arXiv 1907.07131, by a public reproduction).

    Args:
        image_size: size of the images in all axes, or of each; at least 61.
        channels: image channels.
        spatial_dims: 2 or 3.
        width: feature maps of the first convolution.
        spectral_norm: bound the layers' gains; the state dict then has other keys.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] = 192,
        channels: int = 1,
        spatial_dims: int = 2,
        width: int = 64,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        check_spatial_dims(spatial_dims)
        self.channels = channels
        self.spatial_dims = spatial_dims
        self.image_size = ensure_tuple_rep(image_size, spatial_dims)
        positions = 1
        for size in self.image_size:
            for _ in range(4):
                size = (size - 2 - 3) // 2 + 1
            if size < 1:
                raise ValueError(f"image_size must be at least 61 for unpadded convolutions, got {image_size}")
            positions *= size
        self.trunk = _trunk(spatial_dims, channels, width, padding=0)
        self.judge = nn.Sequential(
            nn.Flatten(),
            nn.Linear(8 * width * positions, 16 * width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(16 * width, 1),
        )
        if spectral_norm:
            _bound_spectrum(self)

    def forward(self, image: Tensor) -> Tensor:
        """``(batch, channels, *image_size)`` in [0, 1] to scores ``(batch, 1)``.

        Raises:
            ValueError: for images of another size.
        """
        check_image(image, self.channels, self.spatial_dims)
        if tuple(image.shape[2:]) != self.image_size:
            raise ValueError(
                f"expected images of size {self.image_size}, for which this discriminator was built, got "
                f"{tuple(image.shape[2:])}; build it with image_size, or take a fully convolutional one"
            )
        return self.judge(self.trunk(2 * image - 1))
