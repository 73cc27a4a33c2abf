"""Why a trained model is right or wrong: heat maps, mistakes, calibration, and what it makes of worse images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrimp.explaining.kinds import Explanation

if TYPE_CHECKING:
    from scrimp.explaining.explaining import explain

__all__ = ["Explanation", "explain"]


def __getattr__(name: str) -> Any:
    if name == "explain":  # torch is only imported by those who explain, not by those who show it
        from scrimp.explaining.explaining import explain

        return explain
    raise AttributeError(f"module 'scrimp.explaining' has no attribute '{name}'")
