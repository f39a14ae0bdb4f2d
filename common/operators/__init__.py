"""Physics of acquisition: Fourier transforms, masks, trajectories, acquisition models, data consistency, scalings."""

from common.operators.acquisition import SingleCoilAcquisition
from common.operators.coils import root_sum_of_squares, simulated_sensitivity_maps
from common.operators.data_consistency import HardDataConsistency, SoftDataConsistency
from common.operators.density import iterated_density, radial_density
from common.operators.fourier import channels_to_complex, complex_to_channels, fft2c, ifft2c
from common.operators.measurement import pack_measurement, unpack_coils, unpack_measurement
from common.operators.nonuniform import NonuniformFourier
from common.operators.radial import radial_trajectory, series_angles
from common.operators.scaling import IntensityScaling
from common.operators.sense import SenseAcquisition, sense_adjoint, sense_forward
from common.operators.sense_consistency import SenseDataConsistency
from common.operators.sensitivity import estimate_sensitivity_maps
from common.operators.toeplitz import toeplitz_kernel, toeplitz_normal

__all__ = [
    "HardDataConsistency",
    "IntensityScaling",
    "NonuniformFourier",
    "SenseAcquisition",
    "SenseDataConsistency",
    "SingleCoilAcquisition",
    "SoftDataConsistency",
    "channels_to_complex",
    "complex_to_channels",
    "estimate_sensitivity_maps",
    "fft2c",
    "ifft2c",
    "iterated_density",
    "pack_measurement",
    "radial_density",
    "radial_trajectory",
    "root_sum_of_squares",
    "sense_adjoint",
    "sense_forward",
    "series_angles",
    "simulated_sensitivity_maps",
    "toeplitz_kernel",
    "toeplitz_normal",
    "unpack_coils",
    "unpack_measurement",
]
