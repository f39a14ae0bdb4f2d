"""Physics of acquisition: Fourier transforms, masks, acquisition models, data consistency, scalings."""

from common.operators.acquisition import SingleCoilAcquisition
from common.operators.data_consistency import HardDataConsistency, SoftDataConsistency
from common.operators.fourier import channels_to_complex, complex_to_channels, fft2c, ifft2c
from common.operators.measurement import pack_measurement, unpack_measurement
from common.operators.scaling import IntensityScaling

__all__ = [
    "HardDataConsistency",
    "IntensityScaling",
    "SingleCoilAcquisition",
    "SoftDataConsistency",
    "channels_to_complex",
    "complex_to_channels",
    "fft2c",
    "ifft2c",
    "pack_measurement",
    "unpack_measurement",
]
