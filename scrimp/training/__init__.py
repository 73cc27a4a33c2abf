"""From packed images to a trained model: the recipe, the loop, the checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrimp.training.history import Epoch
from scrimp.training.recipe import Recipe

if TYPE_CHECKING:
    from scrimp.training.loop import Trained, train

__all__ = ["Epoch", "Recipe", "Trained", "train"]


def __getattr__(name: str) -> Any:
    if name in ("Trained", "train"):  # torch is only imported by those who train
        from scrimp.training import loop

        return getattr(loop, name)
    raise AttributeError(f"module 'scrimp.training' has no attribute '{name}'")
