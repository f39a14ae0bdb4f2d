"""Pages of runs: one self-contained HTML file with numbers, images to look at, charts, and how they were made."""

from tools.report.command import report, report_results

__all__ = ["report", "report_results"]
