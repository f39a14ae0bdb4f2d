"""Angles of the spokes of an ISMRMRD scan that stores no trajectory."""

from __future__ import annotations

import logging
import math
import re

import numpy as np
from common.errors import DataError, source_option
from common.io.ismrmrd_header import Encoding
from common.operators.radial import tiny_golden_angle

logger = logging.getLogger("recon")


def spoke_angles(
    steps: np.ndarray, numbers: np.ndarray, encoding: Encoding, angle: str | float | None, name: str
) -> np.ndarray:
    """Return the angles of spokes from the direction of the readout, in radians.

    - Golden angles (Winkelmann et al. 2007, doi 10.1109/TMI.2006.885337) and tiny ones, see
      :func:`~common.operators.radial.tiny_golden_angle`, add up from spoke to spoke of a slice, in the order of the
      file.
    - Uniform ones spread the lines within the header's limits over 180 degrees.

    Args:
        steps: ``kspace_encode_step_1`` of all lines of the file.
        numbers: places of the spokes in the file, ``[frames, slices, spokes]``.
        encoding: the header, which names them where ``angle`` does not.
        angle: "golden", "tiny_golden_<n>", "uniform", or degrees from spoke to spoke.
        name: the scan, for errors.

    Returns:
        float64 ``[frames, slices, spokes]``.

    Raises:
        ValueError: for another ``angle``.
        DataError: if the header does not name them.
    """
    order = numbers.transpose(0, 2, 1).reshape(-1, numbers.shape[1]).argsort(0).argsort(0)  # of acquisition
    count = order.reshape(numbers.shape[0], numbers.shape[2], -1).transpose(0, 2, 1)
    found = _angle_of(encoding, name) if angle is None else angle
    logger.info(f"{name}: no trajectory is taken from the file; spokes have the angle {found!r}")
    if found == "uniform":
        low, high, _ = encoding.line_limits or (0, numbers.shape[2] - 1, 0)
        return math.pi / (high - low + 1) * (steps[numbers].astype(float) - low)
    if tiny := re.fullmatch(r"(?:tiny_)?golden(?:_(\d+))?", str(found)):
        return tiny_golden_angle(int(tiny.group(1) or 1)) * count
    if not isinstance(found, (int, float)):
        raise ValueError(f"{name}: angle must be 'golden', 'tiny_golden_7', 'uniform' or degrees, got {found!r}")
    return math.radians(found) * count


def _angle_of(encoding: Encoding, name: str) -> str:
    """Name of the angle from spoke to spoke that a header gives, for scans without a stored trajectory."""
    if encoding.trajectory == "radial":
        return "uniform"
    if encoding.trajectory != "goldenangle":
        raise DataError(
            f"{name}: expected a trajectory with each readout of this {encoding.trajectory!r} scan, got none; store it "
            f"in the field traj, or if these are spokes, give their angle: {source_option('angle', 'golden')}"
        )
    if "tiny" not in f"{encoding.trajectory_name} {' '.join(encoding.trajectory_parameters)}":
        return "golden"
    numbers = [int(n) for key, n in encoding.trajectory_parameters.items() if "tiny" in key and n == int(n) > 0]
    numbers += [int(n) for n in re.findall(r"tiny\D*(\d+)", encoding.trajectory_name)]
    if len(set(numbers)) != 1:
        raise DataError(
            f"{name}: its header names tiny golden angles without their number; give it: "
            + source_option("angle", "tiny_golden_7")
        )
    return f"tiny_golden_{numbers[0]}"
