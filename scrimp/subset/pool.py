"""What every method of selection is given and gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """n images to choose among: those of one class, or, where classes are not balanced, all there are to train on.

    keys: their names. features: float32 (n, d), rows of length 1, so that the cosine distance of two images, 0 to 2, is
    1 less their product; empty (n, 0) for a method that does not look. scores: float32 (n,), how hard each image was to
    learn; empty for a method that does not ask. radius: the cosine distance within which 95 % of all images have none
    of another class; None for a method that does not ask.
    """

    keys: tuple[str, ...]
    features: Vectors
    scores: npt.NDArray[np.float32]
    radius: float | None = None

    def __len__(self) -> int:
        return len(self.keys)


class Choice(NamedTuple):
    """Different rows of the pool in the order in which they were chosen, and the method's own measure of them."""

    rows: Rows
    objective: float | None


class Method(NamedTuple):
    """A way to choose.

    choose: called with the pool, how many to keep (from `least` to one fewer than there are) and a seed.
    needs: what it looks at: names alone, features, features and the radius, or one of the scores.
    nested: whether a larger choice from the same pool and seed begins with the smaller one.
    """

    choose: Callable[[Pool, int, int], Choice]
    needs: Literal["keys", "features", "radius", "el2n", "forgetting"] = "features"
    nested: bool = False
    least: int = 1


def unit(values: npt.NDArray[np.floating]) -> Vectors:
    """Rows at length 1, float32 (n, d); rows of zeros, which have no direction, get one of their own, (n, d + 1)."""
    largest = np.abs(values).max(axis=1, initial=0)
    nothing = largest == 0
    scaled = np.ldexp(values, -np.frexp(largest)[1][:, None])  # else squares may be too large or small for a float
    scaled /= np.where(nothing, 1, np.linalg.norm(scaled, axis=1))[:, None]
    if nothing.any():
        scaled = np.column_stack([scaled, nothing])
    return np.ascontiguousarray(scaled, dtype=np.float32)
