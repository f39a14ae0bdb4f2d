"""Synthetic knee scans on disk, in fastMRI's layout."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from common.operators.coils import root_sum_of_squares, simulated_sensitivity_maps
from common.operators.fourier import fft2c, ifft2c
from common.phantoms.knee_phantom import FIELD_OF_VIEW, SLICE_DISTANCE, knee_phantom
from common.phantoms.set_folder import SetFile, check_counts, check_integers, make_set
from numpy.typing import NDArray

# the name stays: sets on disk are known by it
GENERATOR = "common.data.knee_set, version 1"
ACQUISITION = "SYNTHETIC_SAGPDFS"
NOISE = (0.005, 0.012)
"""Standard deviation of the noise per channel and sample: from, to, as a share of the volume's largest magnitude."""


def make_knee_set(
    directory: str | Path,
    *,
    n_train: int = 32,
    n_valid: int = 4,
    n_test: int = 4,
    n_slices: int = 5,
    size: int = 256,
    n_coils: int = 1,
    seed: int = 0,
    workers: int = 0,
) -> bool:
    """Write scans of random synthetic knees as fully sampled k-space into `directory`/train, /valid and /test.

    A file is a volume of `n_slices` neighbouring sections of one knee, no knee is in two files, and each file has what
    fastMRI's have (Zbontar et al. 2018, arXiv 1811.08839): `kspace`, complex64 ``[slices, H, W]``, or
    ``[slices, coils, H, W]`` if `n_coils` is 2 or more; `reconstruction_esc`, or `reconstruction_rss`, its magnitude
    image, float32 ``[slices, H, W]``; `ismrmrd_header`; the attributes `acquisition`, `max`, `norm`, `patient_id`.
    Here the matrix is square and nothing is cropped. The same arguments give the same bytes. The folder appears whole
    or not at all, with a `dataset.json` that says that it is synthetic, and how it was made; a set that is there
    already is kept.

    Args:
        directory: a folder that does not exist yet, is empty, or holds just this set.
        n_train: number of volumes to train on.
        n_valid: number of volumes to choose a checkpoint by.
        n_test: number of volumes to report on.
        n_slices: sections in a volume.
        size: height and width in pixels, 32 or more.
        n_coils: receive coils, 1 for single-coil files.
        seed: another seed, other knees.
        workers: processes that draw; 0 draws in this one.

    Returns:
        Whether the set was made (True) or was there already (False).

    Raises:
        ValueError: for a number out of range.
        FileExistsError: `directory` holds something else; nothing is changed.
    """
    counts = check_counts(n_train, n_valid, n_test, "volume")
    check_integers({"size": size}, 32)
    check_integers({"n_slices": n_slices, "n_coils": n_coils}, 1)
    description: dict[str, Any] = {
        "name": "knee_mri",
        "synthetic": True,
        "description": "Random synthetic knee phantoms, drawn by a program. No measured data; not for diagnosis.",
        "generator": GENERATOR,
        "volumes": counts,
        "n_slices": n_slices,
        "size": size,
        "n_coils": n_coils,
    }
    write = partial(_write_volume, size, n_slices, n_coils)
    return make_set(
        directory, description, seed, write, what="synthetic knees", workers=workers, suffix=".h5", unit="volume"
    )


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
        n_slices: sections of the knee.
        n_coils: receive coils, 1 or more.
        noise: whether to add it, with a standard deviation from `NOISE`, one for each knee, the same in all coils.

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


def _write_volume(size: int, n_slices: int, n_coils: int, path: Path, file: SetFile, seed: int) -> None:
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
