"""Linear combinations of receive coils: prewhitening by a noise scan, and compression to fewer virtual coils."""

import torch
from torch import Tensor


def whitening_matrix(noise: Tensor) -> Tensor:
    """Return the matrix that makes the noise of coils white.

    ``W = s L^-1`` with the Cholesky factor ``L`` of the covariance ``N N^H / n`` (Pruessmann et al. 2001, doi
    10.1002/mrm.1241, appendix A). Differs from it: ``s``, the root of the mean variance of the coils, keeps the unit of
    the samples.

    Args:
        noise: complex samples of a noise scan, ``(n_coils, n_samples)``, more samples than coils.

    Returns:
        complex of that precision, ``(n_coils, n_coils)``: whitened samples are ``W @ samples``.

    Raises:
        ValueError: if the covariance is singular: too few samples, or a coil without noise.
    """
    n_coils, n_samples = noise.shape
    wide = noise.to(torch.complex128)
    covariance = wide @ wide.mH / n_samples
    factor, info = torch.linalg.cholesky_ex(covariance)
    if n_samples <= n_coils or int(info) != 0:
        raise ValueError(
            f"expected noise of which {n_coils} coils have independent parts, got {n_samples} samples of a singular "
            "covariance"
        )
    scale = covariance.diagonal().real.mean().sqrt().to(wide.dtype)
    return torch.linalg.solve_triangular(factor, torch.eye(n_coils) * scale, upper=False).to(noise.dtype)


def compress_coils(samples: Tensor, n_coils: int) -> Tensor:
    """Combine coils to fewer virtual ones that hold most of the energy.

    The singular value decomposition of all samples of each item of the batch (Buehrer et al. 2007, doi
    10.1002/mrm.21237; Huang et al. 2008, doi 10.1016/j.mri.2007.04.010).

    Args:
        samples: complex, ``(batch, coils, ...)``.
        n_coils: largest number of virtual coils.

    Returns:
        complex ``(batch, min(coils, n_coils), ...)``, in the order of their energy; the samples themselves if there are
        no more coils than that.
    """
    if samples.shape[1] <= n_coils:
        return samples
    flat = samples.flatten(2)
    # eigenvectors of the small covariance: those of the left side of the decomposition
    _, vectors = torch.linalg.eigh(flat @ flat.mH)
    virtual = vectors.flip(2)[:, :, :n_coils].mH
    return (virtual @ flat).unflatten(2, samples.shape[2:])
