"""Files of k-space that are read and not written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import savemat

from tests.io.mrd import header, lines_of, write_mrd
from tests.io.phantom import body, centred, coil_maps


def fastmri(path: Path) -> dict[str, Any]:
    images = np.stack([body(16, 12, n, 2.0) for n in range(2)])
    mask = np.arange(12) % 2 == 0
    with h5py.File(path, "w") as file:
        coils = centred(images[:, None] * coil_maps(2, 16, 12)).astype(np.complex64) * mask
        file.create_dataset("kspace", data=coils, chunks=(1, 2, 16, 12), compression="gzip")
        file["mask"], file["reconstruction_rss"] = mask, images[:, 4:12].astype(np.float32)
        file["ismrmrd_header"] = header((16, 12, 1), (320, 120, 5), (8, 12, 1), (160, 120, 5))
        file.attrs.update(max=1.0, acquisition="AXT2")
    return {}


def cine(path: Path) -> dict[str, Any]:
    images = np.stack([[body(16, 12, n + t) for t in range(3)] for n in range(2)])
    with h5py.File(path, "w") as file:
        file["kspace"] = np.moveaxis(centred(images), 1, -1).astype(np.complex64)
        file["mask"] = np.ones((16, 12, 3), np.uint8)
        file["imagesTrue"] = np.moveaxis(images, 1, -1).clip(0, 1).astype(np.float32)
        file["imagesRecon"] = file["imagesTrue"][()]
        file.attrs.update(pixel_size_mm=(2.0, 1.5), frame_interval_s=0.04)
    return {}


CASES: list[Any] = []
SAMPLES: dict[str, Any] = {"fastmri.h5": fastmri, "cine.h5": cine}


def mrd(path: Path) -> dict[str, Any]:
    xml = header((16, 12, 1), (320, 120, 5), (8, 12, 1), (160, 120, 5), (0, 11, 6))
    lines: list[dict[str, Any]] = []
    for n in range(2):
        lines += lines_of(centred(body(16, 12, n, 2.0) * coil_maps(2, 16, 12)), range(0, 12, 2), slice=n)
    write_mrd(path, xml, lines)
    return {}


def matlab(path: Path) -> dict[str, Any]:
    savemat(path, {"kspace": centred(body(16, 12)), "x": 1.0, "text": "abc"}, do_compression=True)
    return {}


def matlab_flat(path: Path) -> dict[str, Any]:
    savemat(path, {"volume": np.arange(16 * 12 * 5, dtype=np.uint16).reshape(16, 12, 5)})
    return {}


def bart(path: Path) -> dict[str, Any]:
    path.with_suffix(".hdr").write_text("# Dimensions\n16 12 1 2 1\n")
    path.write_bytes((centred(body(16, 12) * coil_maps(2, 16, 12)).transpose(0, 2, 1)).astype("<c8").tobytes())
    return {"kind": "kspace"}


SAMPLES |= {"scan.mrd": mrd, "small.mat": matlab, "flat.mat": matlab_flat, "ksp.cfl": bart}
