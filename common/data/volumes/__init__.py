"""Images and volumes on disk, read and written region by region: larger than memory.

Axes are (height, width) or (height, width, depth) whatever the format, which is that of the networks' door. Readers
give stored values; :class:`IntensityScale` maps them to [0, 1] and back.
"""

from common.data.volumes.geometry import Geometry, enlargement_matrix
from common.data.volumes.intensity import IntensityRange, IntensityScale, find_range
from common.data.volumes.opening import SUFFIXES, open_sink, open_source
from common.data.volumes.sink import DiskFullError, VolumeSink, disk_errors
from common.data.volumes.source import VolumeSource
from common.data.volumes.spec import VolumeSpec

__all__ = [
    "SUFFIXES",
    "DiskFullError",
    "Geometry",
    "IntensityRange",
    "IntensityScale",
    "VolumeSink",
    "VolumeSource",
    "VolumeSpec",
    "disk_errors",
    "enlargement_matrix",
    "find_range",
    "open_sink",
    "open_source",
]
