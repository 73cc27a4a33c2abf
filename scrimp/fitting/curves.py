"""What more training would bring, read from what it has brought so far."""

from __future__ import annotations

import math
from collections.abc import Sequence

USUAL = 0.25
"""By which power of time an error falls, unless a curve says otherwise."""


def expected(points: Sequence[tuple[float, float]], seconds: float) -> float:
    """The merit to be expected when a candidate has trained for so many seconds altogether.

    points: (seconds of training so far, merit then), in order of time, at least one; merits are at most 1.
    What is missing to 1 falls as a power of time: the one that the last two points give, drawn half of the way to
    `USUAL`, as two points say little; never below none. Source: power laws of learning curves, as in Hestness et al.,
    arXiv 1712.00409.

    >>> round(expected([(10, 0.6)], 160), 3)
    0.8
    """
    time, merit = points[-1]
    shrunk: float = (max(seconds, time) / time) ** -power(points)
    return 1 - (1 - merit) * shrunk


def power(points: Sequence[tuple[float, float]]) -> float:
    """By which power of time what is missing to 1 falls."""
    if len(points) < 2:
        return USUAL
    (before, low), (after, high) = points[-2:]
    missing = [1 - min(merit, 1 - 1e-9) for merit in (low, high)]
    seen = math.log(missing[0] / missing[1]) / math.log(after / before) if after > before else USUAL
    return (min(1.0, max(0.0, seen)) + USUAL) / 2
