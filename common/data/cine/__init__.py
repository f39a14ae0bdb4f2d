"""Cine series: moving pictures of a heart, slice by slice."""

from common.data.cine.dataset import CineDataset
from common.data.cine.finding import find_cine
from common.data.cine.reader import CineReader, open_cine
from common.data.cine.source import CineGeometry, CineSource

__all__ = ["CineDataset", "CineGeometry", "CineReader", "CineSource", "find_cine", "open_cine"]
