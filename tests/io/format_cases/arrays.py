"""Arrays: by numpy, h5py and zarr themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr

from common.io import Spec
from tests.io.format_case import EVERY_NUMBER, FormatCase, Independent

_AXES = (("y", "x"), ("z", "y", "x"), ("t", "z", "y", "x"), ("coil", "z", "y", "x"))
_TYPES = (*EVERY_NUMBER, "b1", "c16", "c8")


def _named(spec: Spec) -> dict[str, object]:
    return {"axes": ",".join(spec.axes), "kind": spec.kind}


def _described(spec: Spec) -> dict[str, object]:
    return {**_named(spec), "shape": list(spec.shape), "dtype": spec.dtype.str}


def _raw(path: Path, spec: Spec) -> Independent:
    return Independent(np.fromfile(path, spec.dtype).reshape(spec.shape))


def _hdf5(path: Path, spec: Spec) -> Independent:
    with h5py.File(path, "r") as file:
        image: Any = file[spec.dataset]
        sizes = image.attrs.get("element_size_um")
        return Independent(image[()], None if sizes is None else tuple(float(n) / 1000 for n in sizes))


def _zarr(path: Path, spec: Spec) -> Independent:
    group: Any = zarr.open_group(path, mode="r")
    (image,) = group.attrs["ome"]["multiscales"]
    scale = image["datasets"][0]["coordinateTransformations"][0]["scale"]
    millimeters = {"millimeter": 1.0, "micrometer": 1e-3}
    axes = [axis for axis in image["axes"] if axis["type"] == "space"]
    steps = tuple(
        size * millimeters[axis["unit"]] if "unit" in axis else None
        for size, axis in zip(scale[-len(axes) :], axes, strict=True)
    )
    return Independent(group["0"][...], steps)


def _zarr_2(path: Path) -> dict[str, Any]:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    image = group.create_array("0", shape=(3, 13, 17), chunks=(2, 8, 8), dtype="<u2")
    image[...] = np.arange(3 * 13 * 17).reshape(3, 13, 17)
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    scale = [{"type": "scale", "scale": [2.0, 1.0, 1.0]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    return {}


CASES = [
    FormatCase("npy", ".npy", _AXES, _TYPES, lambda path, spec: Independent(np.load(path)), options=_named),
    FormatCase("raw", ".raw", _AXES, _TYPES, _raw, options=_described),
    FormatCase("hdf5", ".h5", _AXES, _TYPES, _hdf5, frozenset({"spacing", "times"})),
    FormatCase("zarr", ".zarr", _AXES[:3], _TYPES, _zarr, frozenset({"spacing", "origin", "times"})),
]
SAMPLES = {"version_2.zarr": _zarr_2}
