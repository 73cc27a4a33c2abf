"""When to stop early; only val decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import linear_regression

from scrimp.training.history import Epoch
from scrimp.training.recipe import Recipe


def why_stop(history: Sequence[Epoch], recipe: Recipe) -> str:
    """Why the run should end after these epochs, or "" to go on.

    It should after `patience` epochs in which validation loss did not get more than `min_delta` below the lowest that
    counted before (Prechelt 1998, "Early stopping - but when?"). Where meanwhile validation loss rose and training loss
    fell, both by the slope of a least-squares line, the reason says so.
    """
    if recipe.patience is None or _epochs_without_gain(history, recipe.min_delta) < recipe.patience:
        return ""
    by = f" by more than {recipe.min_delta:g}" if recipe.min_delta else ""
    epochs = "1 epoch" if recipe.patience == 1 else f"{recipe.patience} epochs"
    return f"validation loss did not fall{by} for {epochs}{_overshoot(history[-recipe.patience - 1 :])}"


def _epochs_without_gain(history: Sequence[Epoch], min_delta: float) -> int:
    lowest, since = math.inf, 0
    for epoch in history:
        if epoch.val_loss < lowest - min_delta:
            lowest, since = epoch.val_loss, 0
        else:
            since += 1
    return since


def _overshoot(history: Sequence[Epoch]) -> str:
    losses = [epoch.train_loss for epoch in history if epoch.train_loss is not None]  # not before the first epoch
    history = history[-len(losses) :]
    if len(losses) < 2:
        return ""
    val = linear_regression(range(len(history)), [epoch.val_loss for epoch in history]).slope
    train = linear_regression(range(len(losses)), losses).slope
    if not val > 0 > train:
        return ""
    return f"; it rose by {val:.2g} an epoch while training loss fell by {-train:.2g}: training images learnt by heart"
