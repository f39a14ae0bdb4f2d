"""Random views of a batch of images, drawn and resampled on the device in one interpolation."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

FLIPS: dict[str, tuple[int, ...]] = {"both": (0, 1), "columns": (0,), "none": ()}
"""Axes of the projective map, x before y, by name."""


class RandomView:
    """Random crop and enlargement, affine map, flips and light perspective, each with its own probability.

    All maps of an image are multiplied into one projective matrix and applied by a single bicubic
    interpolation, so that images are not blurred step by step; an image whose draw is the identity (or a pure
    flip) keeps its values to rounding. Outside the image is zero; results are kept within the range of
    the input image. RefineGAN's public re-implementation augments so, with a chain of interpolations.

    Args:
        probability: probability of each of the five kinds of change (crop, affine map, perspective, flip along
            either axis), in [0, 1].
        crop: smallest side of the crop, as a fraction of the image.
        degrees: largest rotation either way.
        shift: largest shift either way, as a fraction of the image.
        scale: largest enlargement or reduction, 0.1 for 0.9 to 1.1.
        shear_degrees: largest shear either way.
        perspective: largest perspective coefficient; 0.1 changes the magnification by 10 % across half an image.
        flips: axes that are flipped: ``both``, ``columns`` (left and right only) or ``none``.
    """

    def __init__(
        self,
        probability: float = 0.3,
        crop: float = 0.7,
        degrees: float = 20.0,
        shift: float = 0.1,
        scale: float = 0.1,
        shear_degrees: float = 5.0,
        perspective: float = 0.05,
        flips: str = "both",
    ) -> None:
        if flips not in FLIPS:
            raise ValueError(f"flips must be one of {', '.join(FLIPS)}, got {flips!r}")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {probability}")
        if not 0 < crop <= 1:
            raise ValueError(f"crop must be in (0, 1], got {crop}")
        self.probability = probability
        self.crop = crop
        self.degrees = degrees
        self.shift = shift
        self.scale = scale
        self.shear_degrees = shear_degrees
        self.perspective = perspective
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
        grid = _projective_grid(matrix, image.shape[-2], image.shape[-1])
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

        crop = _identity(batch, generator.device)
        side = 1 - (1 - self.crop) * (0.5 + symmetric(0.5))
        crop[:, 0, 0] = crop[:, 1, 1] = side
        crop[:, :2, 2] = (1 - side)[:, None] * symmetric(1.0, 2)

        affine = _identity(batch, generator.device)
        angle, shear = symmetric(math.radians(self.degrees)), symmetric(math.radians(self.shear_degrees)).tan()
        size = 1 + symmetric(self.scale)
        cos, sin = angle.cos() / size, angle.sin() / size
        affine[:, 0, 0], affine[:, 0, 1] = cos, (cos * shear - sin) * aspect
        affine[:, 1, 0], affine[:, 1, 1] = sin / aspect, sin * shear + cos
        affine[:, :2, 2] = symmetric(2 * self.shift, 2)

        perspective = _identity(batch, generator.device)
        perspective[:, 2, :2] = symmetric(self.perspective, 2)

        flips = [_identity(batch, generator.device) for _ in self.flipped_axes]
        for flip, axis in zip(flips, self.flipped_axes, strict=True):
            flip[:, axis, axis] = -1
        view = _identity(batch, generator.device)
        for matrix in (crop, affine, perspective, *flips):
            view = view @ sometimes(matrix)
        return view


def _identity(batch: int, device: torch.device) -> Tensor:
    return torch.eye(3, device=device).repeat(batch, 1, 1)


def _projective_grid(matrix: Tensor, height: int, width: int) -> Tensor:
    """Sampling positions ``(batch, height, width, 2)`` for ``grid_sample``, pixel centres, x before y."""
    y = (2 * torch.arange(height, device=matrix.device) + 1) / height - 1
    x = (2 * torch.arange(width, device=matrix.device) + 1) / width - 1
    y, x = torch.meshgrid(y, x, indexing="ij")
    places = torch.stack((x, y, torch.ones_like(x)), dim=-1)
    mapped = places.reshape(1, -1, 3) @ matrix.transpose(1, 2)
    return (mapped[..., :2] / mapped[..., 2:]).reshape(-1, height, width, 2)
