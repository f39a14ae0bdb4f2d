"""Small networks of the texture family whose every layer counts, for tests of several kinds."""

import torch
from helpers import random_complex, random_mask
from light_cascades import SMALL, as_trained
from torch import Tensor, nn

from common.networks import TextureCascade
from common.networks.injection import TextureInjection
from common.operators import SenseAcquisition, pack_measurement, simulated_sensitivity_maps

TEXTURES = {"texture_size": 8, "encoder_width": 0.1, "texture_widths": (6, 8, 12)}
VARIANTS = {
    "adain": {"injection": "adain", "n_textures": 1, "attention": False},
    "spatial": {"injection": "spatial", "n_textures": 2},
}


def with_random_weights(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give layers, norms and injections weights as if trained: all count in the result. In evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, a=0.2, generator=generator)
            if module.bias is not None:
                module.bias.data.uniform_(-0.1, 0.1, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3, generator=generator)
            module.running_var.uniform_(1, 2, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.2, 0.2, generator=generator)
    for module in network.modules():
        if isinstance(module, TextureInjection):
            module.affine.weight.data.mul_(0.2)
            module.strength.weight.data.mul_(0.2)
            module.strength.bias.data.uniform_(0.1, 0.5, generator=generator)
    return network.eval()


def textures(name: str = "spatial", seed: int = 0) -> TextureCascade:
    """Return one of ``VARIANTS`` over a small cascade."""
    torch.manual_seed(seed)
    network = TextureCascade(**SMALL, **TEXTURES, **VARIANTS[name])
    as_trained(network.cascade, seed)
    for part in (network.encoder, network.mapping, network.texture_unet):
        with_random_weights(part, seed)
    network.texture_unet.tail.weight.data.mul_(0.1)
    return network.eval()


def noise_for(measurement: Tensor, n_samples: int = 0, seed: int = 0) -> Tensor:
    """Standard normal noise for ``forward``, or for so many samples."""
    batch, _, height, width = measurement.shape
    shape = (batch, n_samples, 2, height, width) if n_samples else (batch, 2, height, width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def coil_measurement(height: int, width: int, n_coils: int = 4, batch: int = 1, seed: int = 0) -> Tensor:
    """Noiseless measurement of random images through simulated coils."""
    maps, mask = simulated_sensitivity_maps(n_coils, height, width), random_mask(height, width, seed, batch)
    image = random_complex(batch, 1, height, width, seed=seed, dtype=torch.complex64)
    return pack_measurement(SenseAcquisition(maps, mask)(image), mask, maps)
