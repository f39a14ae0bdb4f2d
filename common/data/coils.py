"""Several receiver coils as one: the emulated single-coil of fastMRI."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

Coils = Literal["single", "emulated", "multi"]


def emulated_weights(coil_values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Complex weights ``w`` of a linear combination of coils that looks like their root sum of squares.

    ``w = argmin_w sum_i (sqrt|sum_c a_ic w_c| - sqrt(b_i))^2``: the nonlinear least squares with which fastMRI's
    emulated single-coil data were made, minimised by L-BFGS from the solution of the linear one ``A w = b``.
    Tygert and Zbontar 2020, Simulating single-coil MRI from the responses of multiple coils, Communications in
    Applied Mathematics and Computational Science 15:115, doi 10.2140/camcos.2020.15.115.

    Args:
        coil_values: ``a``, complex, ``[pixels, coils]``, of the coils' images.
        target: ``b``, real and not negative, ``[pixels]``.

    Returns:
        complex128, ``[coils]``. Coils that are one image times ``c_c`` get weights whose combination has the
        magnitude of the target; where the target is 0 everywhere all coils weigh the same.
    """
    n_coils = coil_values.shape[1]
    peak = float(target.max(initial=0.0))
    if peak == 0:
        return np.full(n_coils, 1 / n_coils, dtype=np.complex128)
    values = coil_values.astype(np.complex128) / peak
    start = np.linalg.lstsq(values, target / peak, rcond=None)[0]
    # slices are read where gradients are off
    with torch.inference_mode(False), torch.enable_grad():
        images, root = torch.from_numpy(values), torch.from_numpy(np.sqrt(target.astype(np.float64) / peak))
        weights = torch.view_as_real(torch.from_numpy(start)).clone().requires_grad_()
        optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

        def misfit() -> float:
            optimizer.zero_grad()
            # floor: the root's slope is infinite at 0
            magnitude = (images @ torch.view_as_complex(weights)).abs().clamp(min=1e-12)
            loss = (magnitude.sqrt() - root).square().mean()
            loss.backward()
            return loss.item()

        optimizer.step(misfit)
    return torch.view_as_complex(weights.detach()).numpy()
