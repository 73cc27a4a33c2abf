"""From packed images to a trained model: the recipe, the loop, the checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrimp.training.history import Epoch
from scrimp.training.recipe import Recipe

if TYPE_CHECKING:
    from scrimp.training.loop import Trained, train
    from scrimp.training.lr_finding import LrFound, find_lr

__all__ = ["Epoch", "LrFound", "Recipe", "Trained", "find_lr", "train"]


def __getattr__(name: str) -> Any:
    if name in ("Trained", "train"):  # torch is only imported by those who train
        from scrimp.training import loop

        return getattr(loop, name)
    if name in ("LrFound", "find_lr"):
        from scrimp.training import lr_finding

        return getattr(lr_finding, name)
    raise AttributeError(f"module 'scrimp.training' has no attribute '{name}'")
