"""Images and volumes on disk, read and written region by region: larger than memory.

Axes are (height, width) or (height, width, depth) whatever the format, which is that of the networks' door. Readers
give stored values; :class:`IntensityScale` maps them to [0, 1] and back.
"""

from common.data.volumes.finding import find_images
from common.data.volumes.geometry import Geometry, enlargement_matrix
from common.data.volumes.intensity import IntensityRange, IntensityScale, find_range
from common.data.volumes.opening import SUFFIXES, open_sink, open_source, split_name
from common.data.volumes.pairs import PairDataset, find_pairs
from common.data.volumes.sink import DiskFullError, VolumeSink, disk_errors
from common.data.volumes.source import VolumeSource
from common.data.volumes.spec import VolumeSpec
from common.data.volumes.whole import VolumeDataset, find_volumes

__all__ = [
    "SUFFIXES",
    "DiskFullError",
    "Geometry",
    "IntensityRange",
    "IntensityScale",
    "PairDataset",
    "VolumeDataset",
    "VolumeSink",
    "VolumeSource",
    "VolumeSpec",
    "disk_errors",
    "enlargement_matrix",
    "find_images",
    "find_pairs",
    "find_range",
    "find_volumes",
    "open_sink",
    "open_source",
    "split_name",
]
