"""Hearts as an ISMRMRD file: spokes of several coils with noise, and their trajectory."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch
from common.operators.radial_scan import RadialScan
from common.phantoms.heart_phantom import HeartPhantom


def write_scan(path: Path, heart: HeartPhantom, seed: int) -> None:
    """Write the radial scan of a heart as ISMRMRD, group ``dataset`` (Inati et al. 2017, doi 10.1002/mrm.26089).

    A readout is a spoke, read with twofold oversampling. Its ``traj`` is row, then column, in cycles per pixel, from
    -0.5 to 0.5; ``idx.phase`` is the frame, ``idx.slice`` the section. Spokes, coils and noise are those of
    :class:`~common.operators.radial_scan.RadialScan` with its defaults.

    Args:
        path: file to write; must not exist.
        heart: the heart; its series are scanned one after another.
        seed: seed of angles, coils and noise; a heart has one ring of coils.

    Raises:
        ValueError: if ismrmrd or torchkbnufft is missing.
    """
    try:
        ismrmrd = import_module("ismrmrd")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"a radial scan is written by ismrmrd, and {error.name} is not installed; `pip install 'ismrmrd>=1.15'`"
        ) from None
    scan = RadialScan()
    file = ismrmrd.Dataset(str(path), "dataset", True)
    try:
        file.write_xml_header(_header(heart, scan).encode())
        number = 0
        for section, images in enumerate(torch.from_numpy(heart.images)):
            generator = torch.Generator().manual_seed(seed % 2**63)
            kspace, gridding, _ = scan.sample(images[None, None], generator)
            for frame, (coils, places) in enumerate(zip(kspace, gridding.trajectory, strict=True)):
                for spoke, place in enumerate(places):
                    readout = ismrmrd.Acquisition.from_array(coils[:, spoke].contiguous().numpy(), place.numpy())
                    readout.scan_counter = number
                    readout.center_sample = place.shape[0] // 2
                    readout.idx.kspace_encode_step_1, readout.idx.phase, readout.idx.slice = spoke, frame, section
                    readout.position[2] = section * heart.slice_distance_mm
                    readout.read_dir[0] = readout.phase_dir[1] = readout.slice_dir[2] = 1.0
                    file.append_acquisition(readout)
                    number += 1
    finally:
        file.close()


def _header(heart: HeartPhantom, scan: RadialScan) -> str:
    """The XML header: twofold oversampling, square pixels, the time from spoke to spoke."""
    size, depth = heart.images.shape[1], heart.slice_distance_mm

    def space(tag: str, factor: int) -> str:
        n, side = factor * size, factor * size * heart.pixel_size_mm
        return (
            f"<{tag}><matrixSize><x>{n}</x><y>{n}</y><z>1</z></matrixSize>"
            f"<fieldOfView_mm><x>{side:g}</x><y>{side:g}</y><z>{depth:g}</z></fieldOfView_mm></{tag}>"
        )

    repetition_ms = 1000 * heart.frame_interval_s / scan.n_spokes
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
        "<acquisitionSystemInformation>"
        f"<receiverChannels>{scan.n_coils}</receiverChannels></acquisitionSystemInformation>"
        "<experimentalConditions><H1resonanceFrequency_Hz>63864000</H1resonanceFrequency_Hz></experimentalConditions>"
        f"<encoding>{space('encodedSpace', 2)}{space('reconSpace', 1)}<encodingLimits>"
        f"<kspace_encoding_step_1><minimum>0</minimum><maximum>{scan.n_spokes - 1}</maximum><center>0</center>"
        f"</kspace_encoding_step_1></encodingLimits><trajectory>goldenangle</trajectory></encoding>"
        f"<sequenceParameters><TR>{repetition_ms:.6g}</TR></sequenceParameters></ismrmrdHeader>"
    )
