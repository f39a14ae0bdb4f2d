"""Image quality by named protocols: values, their statistics, and tables of them."""

from common.metrics.case import Case
from common.metrics.cases import Summary, case_table, paired_difference, read_cases, summarise, write_cases
from common.metrics.collector import CaseCollector
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
from common.metrics.super_resolution import super_resolution_protocol
