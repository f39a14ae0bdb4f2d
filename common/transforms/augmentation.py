"""Random views of a batch of images, drawn and resampled on the device in one interpolation."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

FLIPS: dict[str, tuple[int, ...]] = {"both": (0, 1), "columns": (0,), "none": ()}
"""Axes of the affine map, x before y, by name."""


class RandomView:
    """Random affine map and flips, each with its own probability.

    All maps of an image are multiplied into one matrix and applied by a single bicubic interpolation, so that images
    are not blurred step by step; an image whose draw is the identity (or a pure flip) keeps its values to rounding.
    Outside the image is zero; results are kept within the range of the input image.

    Args:
        probability: probability of each of the changes (affine map, flip along either axis), in [0, 1].
        degrees: largest rotation either way.
        shift: largest shift either way, as a fraction of the image.
        scale: largest enlargement or reduction, 0.1 for 0.9 to 1.1.
        shear_degrees: largest shear either way.
        flips: axes that are flipped: ``both``, ``columns`` (left and right only) or ``none``.
    """

    def __init__(
        self,
        probability: float = 0.3,
        degrees: float = 20.0,
        shift: float = 0.1,
        scale: float = 0.1,
        shear_degrees: float = 5.0,
        flips: str = "both",
    ) -> None:
        if flips not in FLIPS:
            raise ValueError(f"flips must be one of {', '.join(FLIPS)}, got {flips!r}")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {probability}")
        self.probability = probability
        self.degrees = degrees
        self.shift = shift
        self.scale = scale
        self.shear_degrees = shear_degrees
        self.flipped_axes = FLIPS[flips]

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a view of each image.

        Args:
            image: real or complex, ``(batch, channels, height, width)``.
            generator: source of random numbers on the image's device.

        Returns:
            the same shape and dtype.
        """
        if image.is_complex():
            parts = torch.cat((image.real, image.imag), dim=1)
            real, imag = self(parts, generator).chunk(2, dim=1)
            return torch.complex(real.contiguous(), imag.contiguous())
        matrix = self._matrices(image.shape[0], image.shape[-2] / image.shape[-1], generator)
        grid = F.affine_grid(matrix[:, :2], list(image.shape), align_corners=False)
        view = F.grid_sample(image, grid, mode="bicubic", padding_mode="zeros", align_corners=False)
        low, high = image.amin(dim=(1, 2, 3), keepdim=True), image.amax(dim=(1, 2, 3), keepdim=True)
        return view.clamp(low.clamp(max=0), high.clamp(min=0))

    def _matrices(self, batch: int, aspect: float, generator: torch.Generator) -> Tensor:
        """Maps from output to input positions, homogeneous in [-1, 1]^2: ``(batch, 3, 3)``.

        ``aspect`` is height over width: angles are those of square pixels.
        """

        def symmetric(largest: float, *shape: int) -> Tensor:
            return largest * (2 * torch.rand((batch, *shape), generator=generator, device=generator.device) - 1)

        def sometimes(matrix: Tensor) -> Tensor:
            chosen = torch.rand((batch, 1, 1), generator=generator, device=generator.device) < self.probability
            return torch.where(chosen, matrix, _identity(batch, generator.device))

        affine = _identity(batch, generator.device)
        angle, shear = symmetric(math.radians(self.degrees)), symmetric(math.radians(self.shear_degrees)).tan()
        size = 1 + symmetric(self.scale)
        cos, sin = angle.cos() / size, angle.sin() / size
        affine[:, 0, 0], affine[:, 0, 1] = cos, (cos * shear - sin) * aspect
        affine[:, 1, 0], affine[:, 1, 1] = sin / aspect, sin * shear + cos
        affine[:, :2, 2] = symmetric(2 * self.shift, 2)

        view = sometimes(affine)
        for axis in self.flipped_axes:
            flip = _identity(batch, generator.device)
            flip[:, axis, axis] = -1
            view = view @ sometimes(flip)
        return view


def _identity(batch: int, device: torch.device) -> Tensor:
    return torch.eye(3, device=device).repeat(batch, 1, 1)
