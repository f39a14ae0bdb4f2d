"""Readers and writers of images and measured k-space, slice by slice."""

from common.data.assembler import VolumeAssembler
from common.data.atomic import atomic_path
from common.data.errors import DataError
from common.data.files import SUFFIXES, find_files
from common.data.readers import SliceReader, list_slices, open_slices
from common.data.slices import SliceDataset, find_slices
from common.data.writers import output_path, write_volume

__all__ = [
    "SUFFIXES",
    "DataError",
    "SliceDataset",
    "SliceReader",
    "VolumeAssembler",
    "atomic_path",
    "find_files",
    "find_slices",
    "list_slices",
    "open_slices",
    "output_path",
    "write_volume",
]
