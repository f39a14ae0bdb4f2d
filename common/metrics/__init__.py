"""Image quality by named protocols: values, their statistics, and tables of them."""

from common.metrics.no_reference import piqe
from common.metrics.perceptual import PerceptualDistance
from common.metrics.protocol_metric import (
    ProtocolMetric,
    aliased_and_label,
    aliased_series,
    bicubic_and_label,
    series_without_network,
    zero_filled_and_label,
)
from common.metrics.protocols import PROTOCOLS, Protocol, get_protocol
from common.metrics.report import CaseRow, write_csv
from common.metrics.statistics import Summary, paired_difference, summarise
from common.metrics.super_resolution import super_resolution_protocol
from common.metrics.table import MetricTable

__all__ = [
    "PROTOCOLS",
    "CaseRow",
    "MetricTable",
    "PerceptualDistance",
    "Protocol",
    "ProtocolMetric",
    "Summary",
    "aliased_and_label",
    "aliased_series",
    "bicubic_and_label",
    "get_protocol",
    "paired_difference",
    "piqe",
    "series_without_network",
    "summarise",
    "super_resolution_protocol",
    "write_csv",
    "zero_filled_and_label",
]
