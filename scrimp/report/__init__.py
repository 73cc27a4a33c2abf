"""Self-contained HTML files: what was chosen, what it cost and how to repeat it; and what the data look like."""

from scrimp.report.inspection import write_inspection
from scrimp.report.page import write_report

__all__ = ["write_inspection", "write_report"]
