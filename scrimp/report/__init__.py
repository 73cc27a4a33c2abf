"""Self-contained HTML files: what was chosen and what it cost, what the data look like, what a learning rate does."""

from scrimp.report.inspection import write_inspection
from scrimp.report.lr_page import write_lr_curve
from scrimp.report.page import write_report

__all__ = ["write_inspection", "write_lr_curve", "write_report"]
