"""Texture statistics of an image, which the style maps of a network are trained to match."""

import math

import torch
from common.networks.mobilenet import MobileNetV2Features
from common.networks.vgg import Vgg19Features
from torch import Tensor, nn


class HighPass(nn.Module):
    """An image without its low frequencies: minus its Gaussian average. An image of one value becomes zero.

    Args:
        sigma: standard deviation of the Gaussian, in pixels.
    """

    kernel: Tensor

    def __init__(self, sigma: float = 2.0) -> None:
        super().__init__()
        places = torch.arange(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1)
        kernel = torch.exp(-0.5 * (places / sigma).square())
        self.register_buffer("kernel", kernel / kernel.sum(), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """``(batch, 1, height, width)`` to the same."""
        reach = len(self.kernel) // 2
        smooth = nn.functional.pad(image, (reach, reach, reach, reach), mode="replicate")
        smooth = nn.functional.conv2d(smooth, self.kernel[None, None, :, None])
        return image - nn.functional.conv2d(smooth, self.kernel[None, None, None, :])


class GaborTextures(nn.Module):
    """Strength of oriented waves around each place, in decades: ``log10`` of local Gabor energies.

    Fixed statistics, after Manjunath and Ma 1996, doi 10.1109/34.531803: wavelengths of 2.5 pixels and up by factors of
    1.6, Gaussian windows of half a wavelength, no response to an image of one value. Energies are averaged over squares
    of ``cell`` pixels; ``log10(energy + floor^2)`` with ``floor`` 0.003 of the image's unit, so -5 where an image is
    flat, -2.2 around a sharp edge from 0 to 1, -1.2 in a wave between 0 and 1; divided by 2 and shifted by 1.75, which
    spreads it around 0.

    Args:
        n_scales: wavelengths.
        n_orientations: orientations over 180 degrees.
        cell: side of the squares.
        high_pass: removes the low frequencies first; ``None`` leaves them.
    """

    bank: Tensor
    FLOOR = 0.003

    def __init__(
        self, n_scales: int = 4, n_orientations: int = 8, cell: int = 32, high_pass: HighPass | None = None
    ) -> None:
        super().__init__()
        self.cell = cell
        self.high_pass = high_pass
        self.size = n_scales * n_orientations
        wavelengths = [2.5 * 1.6**scale for scale in range(n_scales)]
        reach = math.ceil(1.5 * wavelengths[-1])
        y, x = torch.meshgrid(*[torch.arange(-reach, reach + 1.0)] * 2, indexing="ij")
        filters = []
        for wavelength in wavelengths:
            window = torch.exp(-0.5 * (x.square() + y.square()) / (0.5 * wavelength) ** 2)
            window = window / window.sum()
            for orientation in range(n_orientations):
                angle = math.pi * orientation / n_orientations
                phase = 2 * math.pi / wavelength * (math.cos(angle) * x + math.sin(angle) * y)
                wave = window * torch.polar(torch.ones_like(phase), phase)
                filters.append(wave - window * wave.sum())  # no answer to a constant
        self.register_buffer("bank", torch.stack(filters), persistent=False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """``(batch, 1, height, width)``, about [0, 1], to ``(batch, size, rows, columns)`` of cells, rounded up."""
        with torch.autocast(image.device.type, enabled=False):
            image = image.float() if self.high_pass is None else self.high_pass(image.float())
            energy = self._responses(image).abs().square()
        energy = nn.functional.avg_pool2d(energy, self.cell, ceil_mode=True)
        return 0.5 * torch.log10(energy + self.FLOOR**2) + 1.75

    def _responses(self, image: Tensor) -> Tensor:
        """With all filters convolved: complex ``(batch, size, height, width)``; by FFT, since the filters are large."""
        reach = self.bank.shape[-1] // 2
        padded = nn.functional.pad(image, (reach, reach, reach, reach), mode="replicate")
        size = [padded.shape[-2], padded.shape[-1]]
        responses = torch.fft.ifft2(torch.fft.fft2(padded) * torch.fft.fft2(self.bank, s=size))
        return responses[..., 2 * reach :, 2 * reach :]  # where the circular convolution has not wrapped around


class MobileNetTextures(nn.Module):
    """Frozen MobileNetV2 features, averaged in fours to 320: the proxy of the source. Needs ImageNet's weights.

    Args:
        weights: torchvision's file.
        high_pass: removes the low frequencies first.
    """

    def __init__(self, weights: str, high_pass: HighPass | None = None) -> None:
        super().__init__()
        self.features = MobileNetV2Features(weights).requires_grad_(False).eval()
        self.high_pass = high_pass
        self.size = MobileNetV2Features.channels // 4

    def train(self, mode: bool = True) -> "MobileNetTextures":
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """``(batch, 1, height, width)``, about [0, 1], to ``(batch, 320, height / 32, width / 32)``, rounded up."""
        if self.high_pass is not None:
            image = self.high_pass(image)
        return self.features(image).unflatten(1, (-1, 4)).mean(dim=2)


class VggMaps(Vgg19Features):
    """The activated maps at the ends of VGG19's five blocks; arguments as the base class."""

    def forward(self, image: Tensor) -> list[Tensor]:  # type: ignore[override]
        """``(batch, 1, height, width)``, about [0, 1], to five maps, each half as large as the one before."""
        return self.block_maps(image)
