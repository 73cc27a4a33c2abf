"""Probability coverage: balls of one radius around the images kept, which hold as many images as they can."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scrimp.subset.pool import Choice, Pool, Vectors

_PURE = 0.95  # of all balls hold one class only
_SAMPLE = 1000  # images whose balls say how large all may be
_BLOCK = 1024  # images compared with all others at a time
_ROUNDING = 1e-6


def probcover(pool: Pool, keep: int, seed: int) -> Choice:
    """Each time the image around which most others lie that no ball holds yet; by chance once all are held.

    ProbCover: Yehuda et al. (NeurIPS 2022, arXiv 2205.11514). The radius is the largest at which 95 % of the balls hold
    images of one class alone, as in the paper, but by the true labels instead of clusters. The objective is the part of
    the images that is held. Cost: `2 * n**2 * d` operations, the most of all methods, and 4,096 n bytes.
    """
    assert pool.radius is not None
    features, reach = pool.features, 1 - pool.radius - _ROUNDING
    worth = np.random.default_rng(seed).random(len(pool))  # below 1: it decides between equals
    for start in range(0, len(pool), _BLOCK):
        worth += _balls_around(features, features[start : start + _BLOCK], reach)
    held = np.zeros(len(pool), dtype=bool)
    rows = []
    for _ in range(keep):
        rows.append(int(worth.argmax()))
        new = np.flatnonzero((features @ features[rows[-1]] >= reach) & ~held)
        held[new] = True
        for start in range(0, len(new), _BLOCK):
            worth -= _balls_around(features, features[new[start : start + _BLOCK]], reach)
        worth[rows[-1]] = -np.inf
    return Choice(np.array(rows), float(held.mean()))


def pure_radius(features: Vectors, labels: npt.NDArray[np.int64], seed: int) -> float:
    """The cosine distance within which 95 % of 1,000 random images have no image of another class.

    Cost: `1000 * n * d` operations.
    """
    n = len(features)
    sample = np.random.default_rng(seed).permutation(n)[:_SAMPLE]
    nearest = []
    for rows in np.array_split(sample, max(1, len(sample) // 100)):
        cosines = features[rows] @ features.T
        cosines[labels[rows, None] == labels] = -1
        nearest.append(1 - cosines.max(axis=1))
    return max(0.0, float(np.quantile(np.concatenate(nearest), 1 - _PURE)))


def _balls_around(features: Vectors, centres: Vectors, reach: float) -> npt.NDArray[np.int64]:
    """In how many of the balls around some centres each row lies."""
    found: npt.NDArray[np.int64] = np.count_nonzero(features @ centres.T >= reach, axis=1)
    return found
