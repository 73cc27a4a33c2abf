"""Max-min diversity: no two images kept are close to each other, and no image left out is far from one that is kept."""

from __future__ import annotations

import numpy as np

from scrimp.subset.pool import Choice, Pool, Rows, Vectors


def k_center(pool: Pool, keep: int, seed: int) -> Choice:
    """Each time the image that is furthest from those kept so far, from one that the seed draws.

    At most twice as far from the best for both of its aims, the least distance between two that are kept (the
    objective) and the greatest to one that is not (Gonzalez, TCS 38, 1985); for images as the core set of Sener and
    Savarese (ICLR 2018, arXiv 1708.00489). It looks for outliers. Cost: `keep * n * d` operations.
    """
    rows, closest = furthest_first(pool.features, int(np.random.default_rng(seed).integers(len(pool))), keep)
    return Choice(rows, closest)


def furthest_first(features: Vectors, first: int, keep: int) -> tuple[Rows, float]:
    """From the row `first` on, each time the one furthest from all before; and the least distance between two of them.

    features: rows of length 1, (n, d). keep: how many rows, 1 to n.
    """
    rows = [first]
    nearest = np.full(len(features), np.inf, dtype=np.float32)
    closest = np.inf
    for _ in range(keep - 1):
        np.minimum(nearest, 1 - features @ features[rows[-1]], out=nearest)
        nearest[rows[-1]] = -np.inf
        rows.append(int(nearest.argmax()))
        closest = min(closest, float(nearest[rows[-1]]))
    return np.array(rows), closest
