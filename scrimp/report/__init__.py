"""One self-contained HTML file that shows what was chosen, what it cost, and how to repeat it."""

from scrimp.report.page import write_report

__all__ = ["write_report"]
