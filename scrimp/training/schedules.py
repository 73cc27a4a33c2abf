"""How the learning rate and the momentum move through a run."""

from __future__ import annotations

import math

from scrimp.training.recipe import Recipe

_RISE = 0.25  # part of a one-cycle run in which the learning rate rises
_START = 0.04  # of its peak, where a one-cycle run begins
_DIP = 0.1  # by how much momentum is lower at that peak


def lr_at(done: float, recipe: Recipe, peak: float) -> float:
    """The learning rate, from 0 to `peak`, when the part `done` (0 to 1) of the run is behind.

    constant: the same throughout. linear: straight down to zero. cosine: half a cosine down to zero (Loshchilov &
    Hutter, arXiv 1608.03983). one-cycle: a cosine rise over the first quarter, then a cosine fall to zero (Smith &
    Topin, arXiv 1708.07120). With `warmup` the first three begin with a straight rise from zero, and run their course
    in what is left.
    """
    if recipe.schedule == "one-cycle":
        height = _height(done)
        return peak * (_START + (1 - _START) * height if done < _RISE else height)
    if done < recipe.warmup:
        return peak * done / recipe.warmup
    part = min(1.0, (done - recipe.warmup) / (1 - recipe.warmup))
    if recipe.schedule == "linear":
        return peak * (1 - part)
    return peak * (_fall(part) if recipe.schedule == "cosine" else 1)


def momentum_at(done: float, recipe: Recipe) -> float:
    """The momentum when the part `done` (0 to 1) of the run is behind: the recipe's, but for one-cycle.

    That lowers it by 0.1 (to 0 at the least) as the learning rate rises, and raises it again as that falls: momentum
    multiplies the step, which the learning rate makes long already (Smith & Topin, arXiv 1708.07120).
    """
    if recipe.schedule != "one-cycle":
        return recipe.momentum
    return recipe.momentum - min(_DIP, recipe.momentum) * _height(done)


def _height(done: float) -> float:
    """How high a one-cycle run stands, 0 to 1."""
    return 1 - _fall(done / _RISE) if done < _RISE else _fall((done - _RISE) / (1 - _RISE))


def _fall(part: float) -> float:
    return (1 + math.cos(math.pi * min(1.0, part))) / 2
