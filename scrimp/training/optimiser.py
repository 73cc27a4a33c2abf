"""Optimisers, and how the learning rate moves."""

from __future__ import annotations

import math

from torch import nn, optim

from scrimp.training.recipe import Recipe

_RISE = 0.25  # part of a one-cycle run in which the learning rate rises
_START = 0.04  # of its peak, where a one-cycle run begins


def optimiser_for(model: nn.Module, recipe: Recipe) -> optim.Optimizer:
    """The recipe's optimiser over the parameters that may learn; biases and norms (one dimension) do not decay."""
    learning = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimiser == "sgd":
        return optim.SGD(groups, lr=recipe.lr, momentum=0.9, nesterov=True)
    if recipe.optimiser == "adam":
        return optim.Adam(groups, lr=recipe.lr)
    return optim.AdamW(groups, lr=recipe.lr)


def lr_at(done: float, recipe: Recipe) -> float:
    """Learning rate when the part `done` (0 to 1) of the run is behind.

    constant: the same throughout. cosine: half a cosine from the peak to zero. one-cycle (Smith & Topin,
    arXiv 1708.07120): a cosine rise over the first quarter, then a cosine fall to zero.
    """
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "cosine":
        return recipe.lr * _fall(done)
    if done < _RISE:
        return recipe.lr * (1 - (1 - _START) * _fall(done / _RISE))
    return recipe.lr * _fall((done - _RISE) / (1 - _RISE))


def set_lr(optimiser: optim.Optimizer, lr: float) -> None:
    """The same learning rate for every group."""
    for group in optimiser.param_groups:
        group["lr"] = lr


def _fall(part: float) -> float:
    return (1 + math.cos(math.pi * min(1.0, part))) / 2
