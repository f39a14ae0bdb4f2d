"""Pages of runs: one self-contained HTML file with numbers, images to look at, charts, and how they were made."""

from tools.report.command import report, report_results
from tools.report.overview import Part, metric_means, report_runs

__all__ = ["Part", "metric_means", "report", "report_results", "report_runs"]
