"""Super-resolution that does not depend on the brightness and contrast of an image."""

import torch
import torch.nn.functional as F
from common.networks.sr_blocks import check_image
from common.networks.super_resolution import SrGenerator
from torch import Tensor, nn

_LAYERS_WITH_BIAS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_REACH = 2
"""Pixels to each side of the mean that is subtracted."""


class EquivariantGenerator(nn.Module):
    r"""Interpolation of an image, plus the details that a generator without biases finds.

    .. math:: y = \text{interpolate}(x) + g(x - \text{mean}_{5 \times 5}(x))

    The generator :math:`g` has no bias, and its activations are LeakyReLU or PReLU, so that :math:`g(a x) = a\,g(x)`
    for :math:`a > 0`. With the local mean subtracted, the network is equivariant to the gain and the offset of an
    image: :math:`y(a x + b) = a\,y(x) + b`. It treats images of other scanners, windows and bit depths like those of
    its training, and values outside [0, 1] like those inside. Mohan et al. 2020 (arXiv 1906.05478) show that networks
    without biases generalise to unseen noise levels; the interpolated skip is that of Kim et al. 2016 (VDSR,
    arXiv 1511.04587), here bicubic in 2-D and trilinear in 3-D.

    The last convolution starts near zero: an untrained network interpolates.

    Args:
        generator: generator without batch norm and without a bounded head, for example
            ``RrdbGenerator(bounded=False)``. Its biases are removed.

    Raises:
        ValueError: if the generator has batch norm or a bounded head.
    """

    def __init__(self, generator: SrGenerator) -> None:
        super().__init__()
        if not isinstance(generator.output, nn.Identity) or any(True for _ in generator.buffers()):
            raise ValueError(
                f"expected a generator without batch norm and with a linear head, got {type(generator).__name__} with "
                "them; give for example RrdbGenerator(bounded=False) or EdsrGenerator()"
            )
        layers = [module for module in generator.modules() if isinstance(module, _LAYERS_WITH_BIAS)]
        for layer in layers:
            layer.register_parameter("bias", None)
        nn.init.normal_(layers[-1].weight, std=0.002)
        self.generator = generator
        self.upscale = generator.upscale
        self.channels = generator.channels
        self.spatial_dims = generator.spatial_dims
        self.direct = bool(getattr(generator, "direct", False))
        self.mode = "bicubic" if generator.spatial_dims == 2 else "trilinear"
        pad, pool = (
            (nn.ReplicationPad2d, nn.AvgPool2d) if generator.spatial_dims == 2 else (nn.ReplicationPad3d, nn.AvgPool3d)
        )
        self.local_mean = nn.Sequential(pad(_REACH), pool(2 * _REACH + 1, stride=1))
        self._halo = generator.halo() + _REACH

    def forward(self, lr_image: Tensor) -> Tensor:
        """Enlarge.

        Args:
            lr_image: float, ``(batch, channels, height, width)`` or, in 3-D, ``(batch, channels, height, width,
                depth)``, of any unit.

        Returns:
            The image with ``upscale`` times the size in every spatial axis, of the same unit and type.

        Raises:
            ValueError: for another number of axes or channels.
        """
        check_image(lr_image, self.channels, self.spatial_dims)
        details = self.generator(lr_image - self.local_mean(lr_image))
        # float32: the interpolation carries most of the image
        enlarged = F.interpolate(lr_image.float(), scale_factor=float(self.upscale), mode=self.mode)
        return enlarged.to(lr_image.dtype) + details

    @torch.jit.export
    def halo(self) -> int:
        """Return how many low-resolution pixels an output pixel sees to each side of the one it lies in."""
        return self._halo
