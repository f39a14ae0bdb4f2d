"""The ISMRMRD header: which k-space was encoded, and which image is to be made of it.

Inati et al. 2017, ISMRM Raw data format: A proposed standard for MRI raw datasets, doi 10.1002/mrm.26089.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import DataError, file_errors
from common.io.geometry import Geometry

HEADER = "ismrmrd_header"
"""Data set with the header in fastMRI's files."""

_Three = tuple[float, float, float]


@dataclass(frozen=True)
class Encoding:
    """The first ``encoding`` of a header. x is the readout, rows of our k-space; y the phase encoding, columns.

    Attributes:
        encoded: matrix (x, y, z) of the k-space, with oversampling and zero padding.
        recon: matrix (x, y, z) of the image; ``None`` if the header lacks reconSpace.
        encoded_fov: field of view (x, y, z) of the k-space in mm; NaN where the header has none, or 0.
        recon_fov: field of view of the image, likewise.
        trajectory: such as "cartesian"; "" if the header lacks it.
        line_limits: lowest, highest and central phase-encoding line; ``None`` if the header lacks them.
        n_channels: receiver channels of the scanner; ``None`` if the header lacks them.
        calibration: "embedded", "interleaved", "separate", "external", "other", or "" if the header lacks it.
        trajectory_name: identifier of the trajectory's description, lower case; "" if the header lacks it.
        trajectory_parameters: numbers of that description, by their names in lower case.
        repetition_time_s: time from one readout to the next; ``None`` unless the header gives one.
        vendor: vendor of the scanner, lower case; "" if the header lacks it.
    """

    encoded: tuple[int, int, int]
    recon: tuple[int, int, int] | None
    encoded_fov: _Three
    recon_fov: _Three
    trajectory: str = ""
    line_limits: tuple[int, int, int] | None = None
    n_channels: int | None = None
    calibration: str = ""
    trajectory_name: str = ""
    trajectory_parameters: Mapping[str, float] = field(default_factory=dict)
    repetition_time_s: float | None = None
    vendor: str = ""

    def wanted(self, axis: int, n: int) -> int:
        """Pixels of the image along x (0) or y (1), cropped at the centre from the ``n`` that the k-space gives.

        The field of view of the image over that of the k-space: a reconSpace of 512 for an encoded matrix of 320 over
        the same field of view leaves 320, as the scanner fills up with zeros. Without fields of view the smaller
        matrix.
        """
        ratio = self.recon_fov[axis] / self.encoded_fov[axis]
        if math.isfinite(ratio) and ratio > 0:
            return min(max(round(n * ratio), 1), n)
        return n if self.recon is None else min(self.recon[axis], n)

    def check_fit(self, height: int, width: int, name: str) -> None:
        """Compare the header to k-space on a grid, as fastMRI's.

        Rows are the encoded x, or the recon's where oversampling was removed. Columns are the encoded y, or fewer,
        but not fewer than there are lines within the limits, where the padding was left out.

        Raises:
            DataError: they differ.
        """
        rows, columns, _ = self.encoded
        low, high, _ = self.line_limits or (0, columns - 1, 0)
        allowed = (rows,) if self.recon is None else (rows, self.recon[0])
        if height not in allowed or not min(high - low + 1, columns) <= width <= columns:
            raise DataError(
                f"{name}: expected k-space of {rows} x {columns} (readout x phase encoding) as its header says, got "
                f"{height} x {width}; name its axes: --source_options \"{{'axes': 'z,coil,y,x'}}\", pad it, or correct "
                "or remove the header"
            )

    def geometry(self, axes: tuple[str, ...], height: int, width: int, distance: float | None = None) -> Geometry:
        """Geometry of the image of k-space of ``height`` rows and ``width`` columns.

        Args:
            axes: axes of the image.
            height: rows; those of the recon matrix and not of the encoded one had their oversampling removed.
            width: columns.
            distance: distance of the slices, mm; ``None``: the thickness of the image's slices.
        """
        rows_mm = self.encoded_fov[0]
        if height != self.encoded[0] and self.recon is not None and height == self.recon[0]:
            rows_mm = self.recon_fov[0]
        depth = self.recon_fov[2] if math.isfinite(self.recon_fov[2]) else self.encoded_fov[2]
        n_deep = self.recon[2] if self.recon is not None else self.encoded[2]
        steps = {
            "y": rows_mm / height,
            "x": self.encoded_fov[1] / width,
            "z": depth / n_deep if distance is None else distance,
        }
        return Geometry.of_spacing(axes, {axis: steps[axis] for axis in steps if axis in axes}, "millimeter")


def parse_encoding(text: bytes, path: Path) -> Encoding | None:
    """Return the first encoding of a header, ``None`` if it has none.

    Args:
        text: the header, XML.
        path: the file it comes from, for errors.

    Raises:
        DataError: it is no XML, or the encoding lacks the encoded matrix.
    """
    with file_errors(path, "an ISMRMRD header, XML"):
        root = ElementTree.fromstring(text.rstrip(b"\0"))
    encoding = root.find("{*}encoding")
    if encoding is None:
        return None
    with file_errors(path, "an ISMRMRD header with its matrices"):
        limits = "encodingLimits/kspace_encoding_step_1"
        lines = None
        if _text(encoding, f"{limits}/minimum"):
            low, high, centre = (_number(encoding, f"{limits}/{name}") for name in ("minimum", "maximum", "center"))
            lines = (low, high, centre)
        channels = _text(root, "acquisitionSystemInformation/receiverChannels")
        return Encoding(
            _matrix(encoding, "encodedSpace"),
            None if encoding.find("{*}reconSpace") is None else _matrix(encoding, "reconSpace"),
            _field_of_view(encoding, "encodedSpace"),
            _field_of_view(encoding, "reconSpace"),
            _text(encoding, "trajectory").lower(),
            lines,
            int(channels) if channels else None,
            _text(encoding, "parallelImaging/calibrationMode").lower(),
            _text(encoding, "trajectoryDescription/identifier").lower(),
            _parameters(encoding.find("{*}trajectoryDescription")),
            _repetition_time(root),
            _text(root, "acquisitionSystemInformation/systemVendor").lower(),
        )


def _parameters(description: ElementTree.Element | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for tag in ("userParameterLong", "userParameterDouble"):
        for one in [] if description is None else description.findall(f"{{*}}{tag}"):
            found[_text(one, "name").lower()] = float(_text(one, "value"))
    return found


def _repetition_time(root: ElementTree.Element) -> float | None:
    times = {float(one.text or "nan") for one in root.findall("{*}sequenceParameters/{*}TR")}
    only = times.pop() / 1e3 if len(times) == 1 else math.nan
    return only if 0 < only < math.inf else None


def _text(element: ElementTree.Element, place: str) -> str:
    return (element.findtext("/".join(f"{{*}}{tag}" for tag in place.split("/"))) or "").strip()


def _number(element: ElementTree.Element, place: str) -> int:
    text = _text(element, place)
    if not text:
        raise ValueError(f"it lacks {place}")
    return int(text)


def _matrix(encoding: ElementTree.Element, space: str) -> tuple[int, int, int]:
    x, y, z = (_number(encoding, f"{space}/matrixSize/{axis}") for axis in "xyz")
    if not (0 < x < 2**16 and 0 < y < 2**16 and 0 < z < 2**16):
        raise ValueError(f"{space} is {x} x {y} x {z}")
    return x, y, z


def _field_of_view(encoding: ElementTree.Element, space: str) -> _Three:
    texts = [_text(encoding, f"{space}/fieldOfView_mm/{axis}") for axis in "xyz"]
    x, y, z = (float(text) if text else math.nan for text in texts)
    return tuple(n if 0 < n < math.inf else math.nan for n in (x, y, z))  # type: ignore[return-value]
