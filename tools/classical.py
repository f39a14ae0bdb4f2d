"""Classical reconstructions of undersampled MRI through sigpy: sparse wavelets and total variation.

Both minimise `1/2 |M F S x - y|^2 + weight * penalty(x)` over complex images x, with the sensitivity maps S of the
coils (one coil: 1 everywhere), the sampling mask M, the centred orthonormal Fourier transform F and the masked k-space
y. Images are scaled by the largest magnitude of the zero-filled one before, and back after, so that a weight means the
same in the units of any scanner.

The default weights are fixed. They were chosen on every tenth of 100 training slices of brain_ixi (IXI, 256 x 256),
sampled to 10 % by radial spokes, by mean PSNR and SSIM of the magnitude; the zero-filled images have 22.21 dB:

| weight  | total variation, 200 iterations | | weight | wavelets (db4), 50 iterations |
|---------|---------------------------------|-|--------|-------------------------------|
| 0.00625 | 27.10 dB, 0.707                 | | 0.0125 | 24.03 dB, 0.419               |
| 0.00875 | 27.01 dB, 0.714                 | | 0.025  | 24.05 dB, 0.434               |
| 0.01    | 26.97 dB, 0.718                 | | 0.05   | 23.99 dB, 0.452               |
| 0.0125  | 26.91 dB, 0.725                 | |        |                               |
| 0.01875 | 26.75 dB, 0.737                 | |        |                               |

On slices of four training volumes of complex knees (mridata.org) under random Cartesian lines, 0.01 is better than 0.02
too, after 1000 iterations: 25.03 and 24.91 dB at 8x (zero-filled 23.76 dB), 18.77 and 18.74 dB at 32x (18.71 dB).

A slice takes about 1 s (total variation) and 0.4 s (wavelets) of one CPU core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from common.operators import complex_to_channels, sense_adjoint, unpack_coils

TV_WEIGHT, WAVELET_WEIGHT = 0.01, 0.025
Steps = Mapping[str, Callable[[float], float]]
"""Step sizes of a solver by name, from an upper bound of the eigenvalues of `S^H F^H M F S`."""


def total_variation(measurement: Tensor, weight: float = TV_WEIGHT, n_iterations: int = 200) -> Tensor:
    """Total variation (Rudin et al. 1992, doi:10.1016/0167-2789(92)90242-F; Block et al. 2007,
    doi:10.1002/mrm.21236), anisotropic, by the primal-dual hybrid gradient method.

    Args:
        measurement: packed, float `(batch, 3 or 4 n_coils + 1, height, width)`, see
            `common.operators.pack_measurement`.
        weight: weight of the sum of |differences of neighbours|, as a part of the largest magnitude of the zero-filled
            image.
        n_iterations: number of iterations; twice the default changes the PSNR by less than 0.1 dB.

    Returns:
        Real and imaginary image, float32 `(batch, 2, height, width)`.

    Raises:
        ValueError: sigpy is not installed, the weight is negative, or the measurement has another shape.
    """
    # sigma * tau * |A|^2 <= 1, where the two differences add 8 to |A|^2; a small sigma because the dual variables are
    # as small as the weight
    steps = {"sigma": lambda _: 0.03, "tau": lambda largest_eigenvalue: 1 / (0.03 * (largest_eigenvalue + 8))}
    return _solve("TotalVariationRecon", measurement, weight, steps, n_iterations)


def wavelet(measurement: Tensor, weight: float = WAVELET_WEIGHT, n_iterations: int = 50) -> Tensor:
    """Wavelet compressed sensing (Lustig et al. 2007, doi:10.1002/mrm.21391), Daubechies 4, by FISTA.

    Arguments and errors are those of `total_variation`; the weight is that of the sum of |wavelet coefficients|. After
    50 iterations the objective is within 0.01 % of its limit.
    """
    return _solve("L1WaveletRecon", measurement, weight, {"alpha": lambda largest: 1 / largest}, n_iterations)


def require_sigpy() -> ModuleType:
    """Import `sigpy.mri.app`, or raise a ValueError that says how to install it."""
    try:
        import sigpy.mri.app
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the classical reconstructions need sigpy, and {error.name} is not installed; "
            "`pip install recon-bundles[classical]`"
        ) from None
    return sigpy.mri.app


def _solve(app: str, measurement: Tensor, weight: float, steps: Steps, n_iterations: int) -> Tensor:
    """Reconstruct images by a solver of sigpy, one by one."""
    solver = getattr(require_sigpy(), app)
    if not weight >= 0:
        raise ValueError(f"the weight of a penalty must be 0 or more, got {weight}; 0.01 is usual")
    masked_kspace, masks, sensitivity_maps = unpack_coils(measurement.detach().cpu().float())
    starts = sense_adjoint(masked_kspace, sensitivity_maps, masks)
    images = []
    for kspace, mask, maps, start in zip(masked_kspace, masks, sensitivity_maps, starts[:, 0], strict=True):
        peak = start.abs().max().item() or 1.0  # both solvers' steps are for images in [0, 1]
        largest_eigenvalue = maps.abs().square().sum(0).max().item() or 1.0
        problem = solver(
            (kspace / peak).numpy(),
            maps.numpy(),
            weight,
            weights=mask.numpy(),
            x=(start / peak).numpy(),
            show_pbar=False,
            max_iter=n_iterations,
            **{name: step(largest_eigenvalue) for name, step in steps.items()},
        )
        images.append(peak * torch.from_numpy(problem.run().astype(np.complex64)))
    return complex_to_channels(torch.stack(images)[:, None])
