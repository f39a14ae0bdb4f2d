"""Times of the frames of an ISMRMRD scan: by the clock of the readouts, else by the header's repetition time."""

from __future__ import annotations

import logging

import numpy as np
from common.io.geometry import even_times
from common.io.ismrmrd_header import Encoding

logger = logging.getLogger("recon")

_SIEMENS_TICK_S = 2.5e-3
_TICK_S = 1e-3  # the format's own example: milliseconds since midnight
_CONFLICT = 0.1  # relative


def frame_times(first: np.ndarray, clock: np.ndarray, encoding: Encoding, name: str) -> list[float] | None:
    """Return the time of each frame in seconds from the first one, or ``None`` if it is unknown.

    The unit of ``acquisition_time_stamp`` is the vendor's: ticks of 2.5 ms for Siemens, else taken as milliseconds.
    Stamps that do not rise from frame to frame say nothing. Without them, frames follow each other by the readouts
    between them and the header's TR, which is the time of a readout; some sequences store that of a frame there, so
    that a conflict is logged.

    Args:
        first: place in the file of the first readout of each frame, of two frames or more.
        clock: ``acquisition_time_stamp`` of all readouts of the file.
        encoding: the header.
        name: file, for the log.
    """
    n_frames, between = len(first), np.unique(np.diff(first))
    by_header, header_text = None, ""
    if encoding.repetition_time_s is not None and len(between) == 1:
        by_header = encoding.repetition_time_s * int(between[0])
        header_text = f"{between[0]} readouts of the header's TR, {1000 * encoding.repetition_time_s:.2f} ms"
    tick = _SIEMENS_TICK_S if "siemens" in encoding.vendor else _TICK_S
    times = (clock[first].astype(np.float64) - float(clock[first[0]])) * tick
    if (np.diff(times) > 0).all():
        interval = times[-1] / (n_frames - 1)
        text = f"frames of {1000 * interval:.1f} ms by the time stamps of the readouts, in ticks of {1000 * tick:g} ms"
        if by_header is not None and abs(by_header - interval) > _CONFLICT * interval + tick:
            logger.warning(f"{name}: {text}; {header_text}, would give {1000 * by_header:.1f} ms, and are not used")
        else:
            logger.info(f"{name}: {text}")
        even = even_times(n_frames, interval)
        assert even is not None
        return even if np.abs(times - even).max() <= tick else times.tolist()
    if by_header is not None:
        logger.info(f"{name}: frames of {1000 * by_header:.1f} ms: {header_text}")
    return even_times(n_frames, by_header)
