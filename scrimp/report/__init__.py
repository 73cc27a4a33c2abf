"""Self-contained HTML files: what was chosen and what it cost, why it is right or wrong, what the data look like, …"""

from scrimp.report.contact_sheet import write_contact_sheet
from scrimp.report.distilled import write_distillation
from scrimp.report.explanation import EXPLANATION, write_explanation
from scrimp.report.inspection import write_inspection
from scrimp.report.lr_page import write_lr_curve
from scrimp.report.page import write_report
from scrimp.report.study import chart, study_tables, write_study

__all__ = [
    "EXPLANATION",
    "chart",
    "study_tables",
    "write_contact_sheet",
    "write_distillation",
    "write_explanation",
    "write_inspection",
    "write_lr_curve",
    "write_report",
    "write_study",
]
