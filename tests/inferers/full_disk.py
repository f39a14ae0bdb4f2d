"""Fills file systems of its own, in a mount namespace of its own; started by ``test_full_disk.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from dicom_series import write_series

from common.data import DataError
from common.inferers import StreamingInferer
from common.io import DiskFullError
from common.networks import EdsrGenerator

UPSCALE = 2
VOLUME = (30, 40, 44)  # [slices, height, width]
N_BYTES = int(np.prod(VOLUME)) * UPSCALE**3 * 2
ROOM = {"out.tif": 0.5, "out.zarr": 1.3, "out.nii.gz": 1.3, "pictures": 1.3, "series": 1.3}
"""Outputs, and the room for each as a part of its values, uncompressed."""


def mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True, capture_output=True)


def octets(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def fill(source: Path, name: str, folder: Path, network: EdsrGenerator) -> dict[str, object]:
    """One output on a disk that is too small, then with room, and elsewhere in one go."""
    folder.mkdir()
    mount(folder, f"size={int(ROOM[name] * N_BYTES)}")
    run, message, kind = StreamingInferer(26), "", ""
    try:
        run(source, network, folder / name)
    except DataError as error:
        message, kind = str(error), type(error).__name__
    left = sorted(path.name for path in folder.iterdir())
    done = len(list((folder / f"{name}.partial").glob("*-*.npy")))
    mount(folder, f"remount,size={4 * N_BYTES}")
    run(source, network, folder / name)
    once = folder.with_name(f"{folder.name}_once") / name
    run(source, network, once)
    return {
        "kind": kind,
        "message": message,
        "left": left,
        "done": done,
        "same": octets(folder / name) == octets(once),
        "at_the_end": sorted(path.name for path in folder.iterdir()),
    }


def main(directory: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = EdsrGenerator(upscale=UPSCALE, n_blocks=1, width=2, spatial_dims=3)
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(torch.randn(value.shape) * 0.08)  # so that the output is noise, which does not compress
        network.tail.conv.bias.fill_(0.5)
    volume = np.random.default_rng(0).integers(0, 60000, VOLUME).astype(np.uint16)
    np.save(directory / "in.npy", volume)
    write_series(directory / "dicom", volume)
    results = {}
    for name in ROOM:
        source = directory / ("dicom" if name == "series" else "in.npy")
        results[name] = fill(source, name, directory / f"disk_of_{name}", network)
    print(json.dumps(results))  # noqa: T201  # read by the test


if __name__ == "__main__":
    assert issubclass(DiskFullError, DataError)
    main(Path(sys.argv[1]))
