"""Degradations by name, as a configuration asks for them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common.operators.degradation.blur import BoxBlur, GaussianBlur
from common.operators.degradation.chain import Degradation, DegradationChain, OneOf
from common.operators.degradation.kspace import KspaceTruncation
from common.operators.degradation.noise import GaussianNoise, PoissonNoise, RicianNoise
from common.operators.degradation.resize import Downscale
from common.operators.degradation.strength import Strength, checked_upscale

SRGAN_D_KERNELS = ("nearest", "bilinear", "bicubic", "lanczos")


def _bicubic(upscale: int) -> Degradation:
    """Bicubic reduction, as PIL computes it; nothing is random."""
    return Downscale(upscale, "bicubic")


def _mixed(upscale: int, *, kernels: Sequence[str] = SRGAN_D_KERNELS) -> Degradation:
    """Reduction by a kernel drawn for each sample, as SRGAN-D trains."""
    return Downscale(upscale, kernels)


def _mr(upscale: int, *, noise_std: Strength = (0.0, 0.03), aligned: bool = True) -> Degradation:
    """The centre of k-space, and the noise of a magnitude image; ``aligned`` as in ``truncate_kspace``."""
    return DegradationChain([KspaceTruncation(upscale, aligned), RicianNoise(noise_std)])


def _ct(
    upscale: int,
    *,
    blur_width: Strength | None = None,
    photons: Strength = (1e3, 1e4),
    noise_std: Strength = (0.0, 0.01),
) -> Degradation:
    """A detector with elements of the low-resolution pixel's size, further blurred, then noise.

    ``blur_width`` in high-resolution pixels, by default from 1 (none) to ``upscale``; ``photons`` at intensity 1 and
    ``noise_std`` (electronics) for each low-resolution pixel.
    """
    width = (1.0, float(upscale)) if blur_width is None else blur_width
    return DegradationChain(
        [BoxBlur(width), Downscale(upscale, "box"), PoissonNoise(photons), GaussianNoise(noise_std)]
    )


def _blind(
    upscale: int,
    *,
    sigma: Strength | None = None,
    kernels: Sequence[str] = SRGAN_D_KERNELS,
    noise_std: Strength = (0.0, 0.03),
    random_order: bool = True,
) -> Degradation:
    """Anisotropic Gaussian blur, reduction by a random kernel, Gaussian noise, in random order.

    ``sigma`` in pixels, by default from 0.1 to 0.4 ``upscale``. After BSRGAN (Zhang et al. 2021, arXiv 2103.14006)
    without its second blur, its JPEG and camera noise.
    """
    sigma = (0.1, 0.4 * upscale) if sigma is None else sigma
    steps: list[Degradation] = [GaussianBlur(sigma), Downscale(upscale, kernels), GaussianNoise(noise_std)]
    return DegradationChain(steps, random_order)


_PRESETS: dict[str, Callable[..., Degradation]] = {
    "bicubic": _bicubic,
    "mixed": _mixed,
    "mr": _mr,
    "ct": _ct,
    "blind": _blind,
}
DEGRADATIONS = tuple(_PRESETS)


def degradation(
    name: str | Sequence[str], upscale: int, options: Mapping[str, Any] | None = None, **more_options: Any
) -> Degradation:
    """Build a degradation by its name, or one of several drawn for each sample.

    | name    | steps, and options with their defaults                                                          |
    |---------|-------------------------------------------------------------------------------------------------|
    | bicubic | bicubic reduction                                                                               |
    | mixed   | reduction by one of ``kernels`` (nearest, bilinear, bicubic, lanczos) per sample                |
    | mr      | k-space truncation (``aligned`` true), Rician noise (``noise_std`` 0 to 0.03)                   |
    | ct      | box blur (``blur_width`` 1 to upscale), mean over detector elements, Poisson noise              |
    |         | (``photons`` 1e3 to 1e4), Gaussian noise (``noise_std`` 0 to 0.01)                              |
    | blind   | in random order (``random_order`` true): anisotropic Gaussian blur (``sigma`` 0.1 to 0.4        |
    |         | upscale), reduction by one of ``kernels`` as in mixed, Gaussian noise (``noise_std`` 0 to 0.03) |

    Strengths are a number or a range ``[lowest, highest]`` drawn from for each sample; standard deviations are in
    image units, blur in pixels, photons are counts at intensity 1.

    Args:
        name: one of ``DEGRADATIONS``, or several of them, all equally likely.
        upscale: whole factor of reduction.
        options: options of the preset, as in the table; with several names, a mapping from each name to its options.
        **more_options: further options as keywords; they replace those of ``options``.

    Raises:
        ValueError: for an unknown name or option, or a strength out of its range.
    """
    if not isinstance(name, str):
        by_name = {**(options or {}), **more_options}
        for key in by_name:
            if key not in name:
                raise ValueError(f"degradations {', '.join(name)}: expected options by their names, got {key!r}")
        return OneOf([degradation(one, upscale, by_name.get(one)) for one in name])
    if name not in _PRESETS:
        raise ValueError(f"unknown degradation {name!r}; choose one of {', '.join(DEGRADATIONS)}")
    chosen = {**(options or {}), **more_options}
    parameters = inspect.signature(_PRESETS[name]).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for option in chosen:
        if option not in known:
            raise ValueError(
                f"unknown option {option!r} of degradation {name!r}; it knows {', '.join(known) or 'no option'}"
            )
    return _PRESETS[name](checked_upscale(upscale), **chosen)
