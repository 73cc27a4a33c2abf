"""Whole studies from one file: what they cost before they start, what they found, and what of others' claims held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrimp.studying.plans import Study, read_study

if TYPE_CHECKING:
    from scrimp.studying.running import Studied, load_study, run_study

__all__ = ["Studied", "Study", "load_study", "read_study", "run_study"]


def __getattr__(name: str) -> Any:
    if name in ("Studied", "load_study", "run_study"):  # torch is only imported by those who run or load one
        from scrimp.studying import running

        return getattr(running, name)
    raise AttributeError(f"module 'scrimp.studying' has no attribute '{name}'")
