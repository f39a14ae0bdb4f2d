"""Data sets over :mod:`common.io`: slices, volumes, pairs, cine series and images by class."""

from common.data.assembler import VolumeAssembler
from common.data.classes import ClassDataset, count_classes, find_classes
from common.data.finding import find_files, find_images
from common.data.pairs import PairDataset, find_pairs
from common.data.reader import SliceReader, open_slices
from common.data.series import CineDataset, find_cine
from common.data.slices import SliceDataset, find_slices, list_slices
from common.data.volumes import VolumeDataset, find_volumes
from common.data.writers import output_path, write_volume
from common.errors import DataError
