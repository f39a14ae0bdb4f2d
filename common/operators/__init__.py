"""Physics of acquisition: Fourier transforms, masks, acquisition models, data consistency, scalings."""

from common.operators.acquisition import SingleCoilAcquisition
from common.operators.coils import root_sum_of_squares, simulated_sensitivity_maps
from common.operators.data_consistency import HardDataConsistency, SoftDataConsistency
from common.operators.fourier import channels_to_complex, complex_to_channels, fft2c, ifft2c
from common.operators.measurement import pack_measurement, unpack_coils, unpack_measurement
from common.operators.scaling import IntensityScaling
from common.operators.sense import SenseAcquisition, sense_adjoint, sense_forward
from common.operators.sense_consistency import SenseDataConsistency
from common.operators.sensitivity import estimate_sensitivity_maps

__all__ = [
    "HardDataConsistency",
    "IntensityScaling",
    "SenseAcquisition",
    "SenseDataConsistency",
    "SingleCoilAcquisition",
    "SoftDataConsistency",
    "channels_to_complex",
    "complex_to_channels",
    "estimate_sensitivity_maps",
    "fft2c",
    "ifft2c",
    "pack_measurement",
    "root_sum_of_squares",
    "sense_adjoint",
    "sense_forward",
    "simulated_sensitivity_maps",
    "unpack_coils",
    "unpack_measurement",
]
