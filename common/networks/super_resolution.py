"""Base class of the super-resolution generators."""

import torch
from common.networks.receptive_field import receptive_halo
from common.networks.sr_blocks import check_image
from torch import Tensor, nn


class SrGenerator(nn.Module):
    """Low-resolution image in, super-resolved image out: ``output(tail(upsampling(trunk(head(image)))))``.

    All work before the enlargement is done at low resolution. Any size of image will do. Also a scripted generator
    knows ``upscale`` and ``halo()``.

    Args:
        head: image to feature maps.
        trunk: feature maps to feature maps, its long skip included.
        upsampling: enlarges feature maps.
        tail: feature maps to image.
        output: last step, from the tail's values to image units, in the image's own precision under autocast too.
        upscale: ratio of the images' sizes.
        channels: image channels.
        spatial_dims: 2 or 3.
    """

    def __init__(
        self,
        head: nn.Module,
        trunk: nn.Module,
        upsampling: nn.Module,
        tail: nn.Module,
        output: nn.Module | None = None,
        *,
        upscale: int,
        channels: int,
        spatial_dims: int,
    ) -> None:
        super().__init__()
        self.upscale = upscale
        self.channels = channels
        self.spatial_dims = spatial_dims
        self.head = head
        self.trunk = trunk
        self.upsampling = upsampling
        self.tail = tail
        self.output = nn.Identity() if output is None else output
        self._halo = receptive_halo(self)

    def forward(self, lr_image: Tensor) -> Tensor:
        """Enlarge.

        Args:
            lr_image: float, ``(batch, channels, height, width)`` or, in 3-D, ``(batch, channels, height, width,
                depth)``, intensities in [0, 1].

        Returns:
            The image with ``upscale`` times the size in every spatial axis, of the same unit and type.

        Raises:
            ValueError: for another number of axes or channels.
        """
        check_image(lr_image, self.channels, self.spatial_dims)
        features = self.trunk(self.head(lr_image))
        return self.output(self.tail(self.upsampling(features)).to(lr_image.dtype))

    @torch.jit.export
    def halo(self) -> int:
        """Low-resolution pixels that an output pixel sees to each side of the one it lies in.

        From the layers, see :func:`~common.networks.receptive_field.receptive_halo`.
        """
        return self._halo
