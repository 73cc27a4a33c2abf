"""Spends a budget like a miser: what may be spent, who is tried, who goes on, and the best model that it bought."""

from scrimp.fitting.budget import Budget
from scrimp.fitting.spending import fit

__all__ = ["Budget", "fit"]
