"""Image quality by named protocols: values, their statistics, and tables of them."""

from common.metrics.protocol_metric import ProtocolMetric, zero_filled_and_label
from common.metrics.protocols import PROTOCOLS, Protocol, get_protocol
from common.metrics.report import CaseRow, write_csv
from common.metrics.statistics import Summary, paired_difference, summarise
from common.metrics.table import MetricTable

__all__ = [
    "PROTOCOLS",
    "CaseRow",
    "MetricTable",
    "Protocol",
    "ProtocolMetric",
    "Summary",
    "get_protocol",
    "paired_difference",
    "summarise",
    "write_csv",
    "zero_filled_and_label",
]
