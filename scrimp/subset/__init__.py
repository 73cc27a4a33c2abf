"""Which images are worth training on: a selection of them, or a few made out of many."""

from scrimp.subset.distillation import Distillation, Distilled, distill
from scrimp.subset.selection import Selected, Selection, select

__all__ = ["Distillation", "Distilled", "Selected", "Selection", "distill", "select"]
