"""Readers and writers of images and measured k-space, slice by slice."""

from common.data.assembler import VolumeAssembler
from common.data.cine import CineDataset, find_cine
from common.data.classes import ClassDataset, count_classes, find_classes
from common.data.files import SUFFIXES, find_files
from common.data.finding import find_images
from common.data.pairs import PairDataset, find_pairs
from common.data.readers import SliceReader, list_slices, open_slices
from common.data.slices import SliceDataset, find_slices
from common.data.volumes import VolumeDataset, find_volumes
from common.data.writers import output_path, write_volume
from common.errors import DataError
from common.io.atomic import atomic_path

__all__ = [
    "SUFFIXES",
    "CineDataset",
    "ClassDataset",
    "DataError",
    "PairDataset",
    "SliceDataset",
    "SliceReader",
    "VolumeAssembler",
    "VolumeDataset",
    "atomic_path",
    "count_classes",
    "find_cine",
    "find_classes",
    "find_files",
    "find_images",
    "find_pairs",
    "find_slices",
    "find_volumes",
    "list_slices",
    "open_slices",
    "output_path",
    "write_volume",
]
