"""Synthetic knee scans on disk, in fastMRI's layout."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch
from common.operators.coils import root_sum_of_squares, simulated_sensitivity_maps
from common.operators.fourier import fft2c, ifft2c
from common.phantoms.knee_phantom import FIELD_OF_VIEW, SLICE_DISTANCE, knee_phantom
from common.phantoms.set_folder import SetFile
from numpy.typing import NDArray

ACQUISITION = "SYNTHETIC_SAGPDFS"
NOISE = (0.005, 0.012)
"""Standard deviation of the noise per channel and sample: from, to, as a share of the volume's largest magnitude."""


def knee_kspace(
    seed: int, size: int = 256, *, n_slices: int = 5, n_coils: int = 1, noise: bool = True
) -> NDArray[np.complex64]:
    """K-space ``F(S_c x) + n`` of a random knee: centred orthonormal FFT, complex white noise in each coil.

    One coil has the map 1. More stand in a ring (`simulated_sensitivity_maps`), at another distance and angle for each
    knee, so that without noise the root sum of squares of the coil images is ``|x|``, the magnitude of
    `knee_phantom` of this seed.

    Args:
        seed: non-negative number of the knee.
        size: height and width in pixels, 32 or more.
        n_slices: number of sections of the knee.
        n_coils: number of receive coils, 1 or more.
        noise: True to add noise; its standard deviation is drawn from `NOISE` for each knee, the same in all coils.

    Returns:
        complex64 ``(n_slices, n_coils, size, size)``.

    Raises:
        ValueError: for a number out of range.
    """
    image = torch.from_numpy(knee_phantom(seed, size, n_slices=n_slices))[:, None]
    rng = np.random.default_rng((seed, 1))  # another stream than the knee's
    radius, angle = rng.uniform(1.5, 2.0), rng.uniform(0, 360)
    level = rng.uniform(*NOISE)
    if n_coils != 1:
        image = image * simulated_sensitivity_maps(n_coils, size, size, radius=radius, angle_deg=angle)
    kspace = fft2c(image).numpy()
    if noise:
        real, imaginary = rng.standard_normal((2, *kspace.shape), dtype=np.float32)
        kspace = kspace + np.float32(level / np.sqrt(2)) * (real + 1j * imaginary)
    return kspace


def write_knee(path: Path, file: SetFile, seed: int, *, n_slices: int, size: int, n_coils: int) -> None:
    """Write one knee as fully sampled k-space in the layout of fastMRI (Zbontar et al. 2018, arXiv 1811.08839).

    The data sets are ``kspace``, complex64 ``[slices, H, W]``, or ``[slices, coils, H, W]`` of several coils;
    ``reconstruction_esc``, or ``reconstruction_rss``, its magnitude image, float32 ``[slices, H, W]``;
    ``ismrmrd_header``. Attributes are ``acquisition``, ``max``, ``norm`` and ``patient_id``. Unlike fastMRI's, the
    matrix is square and nothing is cropped.

    Args:
        path: file to write.
        file: place of the file in its set.
        seed: seed of the knee.
        n_slices: neighbouring sections, 3 mm apart.
        size: height and width in pixels.
        n_coils: receive coils, 1 for a single-coil file.
    """
    kspace = knee_kspace(seed, size, n_slices=n_slices, n_coils=n_coils)
    reconstruction = root_sum_of_squares(ifft2c(torch.from_numpy(kspace)))[:, 0].numpy()
    with h5py.File(path, "w") as volume:
        volume.create_dataset("kspace", data=kspace if n_coils > 1 else kspace[:, 0], track_times=False)
        name = "reconstruction_rss" if n_coils > 1 else "reconstruction_esc"
        volume.create_dataset(name, data=reconstruction, track_times=False)
        volume.create_dataset("ismrmrd_header", data=np.bytes_(_header(size, n_slices, n_coils)), track_times=False)
        volume.attrs["acquisition"] = ACQUISITION
        volume.attrs["max"] = float(reconstruction.max())
        volume.attrs["norm"] = float(np.linalg.norm(reconstruction.astype(np.float64)))
        volume.attrs["patient_id"] = f"synthetic_knee_{file.split}_{file.index + 1:05d}"


def _header(size: int, n_slices: int, n_coils: int) -> str:
    """ISMRMRD header of one volume; the second axis of the matrix, y, is that of the phase encoding, W."""
    space = (
        f"<matrixSize><x>{size}</x><y>{size}</y><z>1</z></matrixSize>"
        f"<fieldOfView_mm><x>{FIELD_OF_VIEW:g}</x><y>{FIELD_OF_VIEW:g}</y><z>{SLICE_DISTANCE:g}</z></fieldOfView_mm>"
    )
    limits = "".join(
        f"<{name}><minimum>0</minimum><maximum>{n - 1}</maximum><center>{n // 2}</center></{name}>"
        for name, n in (("kspace_encoding_step_1", size), ("slice", n_slices))
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
        "<studyInformation><bodyPartExamined>KNEE</bodyPartExamined></studyInformation>"
        "<acquisitionSystemInformation><systemFieldStrength_T>3</systemFieldStrength_T>"
        f"<receiverChannels>{n_coils}</receiverChannels></acquisitionSystemInformation>"
        "<experimentalConditions><H1resonanceFrequency_Hz>127728000</H1resonanceFrequency_Hz></experimentalConditions>"
        f"<encoding><encodedSpace>{space}</encodedSpace><reconSpace>{space}</reconSpace>"
        f"<encodingLimits>{limits}</encodingLimits><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"
    )
