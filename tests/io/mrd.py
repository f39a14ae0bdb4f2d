"""ISMRMRD headers and files, the files by the package ismrmrd."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Three = tuple[float, float, float]


def header(
    encoded: Three,
    encoded_fov: Three,
    recon: Three | None = None,
    recon_fov: Three | None = None,
    limits: tuple[int, int, int] | None = None,
    trajectory: str = "cartesian",
    more: str = "",
    channels: int | None = None,
    repetition_time_ms: float | None = None,
    vendor: str = "",
) -> str:
    """XML of a header; ``recon=None`` leaves reconSpace out."""

    def space(tag: str, matrix: Three, fov: Three) -> str:
        parts = [f"<{axis}>{n}</{axis}>" for axis, n in zip("xyz", matrix, strict=True)]
        sides = [f"<{axis}>{n}</{axis}>" for axis, n in zip("xyz", fov, strict=True)]
        return (
            f"<{tag}><matrixSize>{''.join(parts)}</matrixSize><fieldOfView_mm>{''.join(sides)}</fieldOfView_mm></{tag}>"
        )

    spaces = space("encodedSpace", encoded, encoded_fov)
    if recon is not None:
        spaces += space("reconSpace", recon, recon_fov or encoded_fov)
    lines = ""
    if limits is not None:
        low, high, centre = limits
        lines = (
            f"<kspace_encoding_step_1><minimum>{low}</minimum><maximum>{high}</maximum>"
            f"<center>{centre}</center></kspace_encoding_step_1>"
        )
    system = f"<systemVendor>{vendor}</systemVendor>" if vendor else ""
    if channels is not None:
        system += f"<receiverChannels>{channels}</receiverChannels>"
    if system:
        system = f"<acquisitionSystemInformation>{system}</acquisitionSystemInformation>"
    timing = ""
    if repetition_time_ms is not None:
        timing = f"<sequenceParameters><TR>{repetition_time_ms}</TR></sequenceParameters>"
    return (
        f'<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">{system}<encoding>{spaces}'
        f"<encodingLimits>{lines}</encodingLimits><trajectory>{trajectory}</trajectory>{more}</encoding>{timing}</ismrmrdHeader>"
    )


def write_mrd(path: Path, xml: str, lines: Sequence[dict[str, Any]], group: str = "dataset") -> Path:
    """Write acquisitions: ``data`` [coils, samples], ``step``, ``flags``, ``position``, and counters by name.

    ``trajectory`` is [samples, dimensions].
    """
    import ismrmrd

    dataset = ismrmrd.Dataset(str(path), group, True)
    dataset.write_xml_header(xml.encode())
    for n, line in enumerate(lines):
        values = np.ascontiguousarray(line["data"], np.complex64)
        trajectory = line.get("trajectory")
        more = () if trajectory is None else (np.ascontiguousarray(trajectory, np.float32),)
        one = ismrmrd.Acquisition.from_array(values, *more)
        one.scan_counter = n
        one.center_sample = line.get("center", values.shape[1] // 2)
        one.discard_pre, one.discard_post = line.get("discard", (0, 0))
        one.acquisition_time_stamp = line.get("time_stamp", 0)
        one.idx.kspace_encode_step_1 = line.get("step", 0)
        for name in ("slice", "contrast", "repetition", "average", "phase", "set"):
            setattr(one.idx, name, line.get(name, 0))
        one.position[2] = line.get("position", 5.0 * line.get("slice", 0))
        one.read_dir[0] = one.phase_dir[1] = one.slice_dir[2] = 1.0
        for flag in line.get("flags", ()):
            one.setFlag(getattr(ismrmrd, f"ACQ_IS_{flag}"))
        dataset.append_acquisition(one)
    dataset.close()
    return path


def lines_of(kspace: np.ndarray, steps: Sequence[int] | None = None, **counters: Any) -> list[dict[str, Any]]:
    """Lines of k-space ``[coils, rows, columns]``; all columns, or those of ``steps``."""
    chosen = range(kspace.shape[-1]) if steps is None else steps
    return [{"data": kspace[:, :, step], "step": step, **counters} for step in chosen]
