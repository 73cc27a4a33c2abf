"""Selection by chance: one draw, which every other method must beat, and the best of many draws."""

from __future__ import annotations

import numpy as np

from scrimp.images.fingerprint import hash_ranks
from scrimp.subset.pool import Choice, Pool, Vectors

DRAWS = 10_000


def at_random(pool: Pool, keep: int, seed: int) -> Choice:
    """Any of them: the first in the order of a hash of each key, so that it is the same on every machine."""
    return Choice(np.argsort(hash_ranks(pool.keys, f"select/{seed}"), kind="stable")[:keep], None)


def best_draw(pool: Pool, keep: int, seed: int) -> Choice:
    """The most diverse of 10,000 random draws: the highest sum of cosine distances between the images drawn.

    The baseline that `diversity` replaces; even the best draw lies close to the average one.
    Cost: 10,000 * keep * d operations. After N. Hantos' study of CIFAR-10 with 100 images a class (2020).
    """
    chance = np.random.default_rng(seed)
    best, rows = -np.inf, np.empty(0, dtype=np.int64)
    for _ in range(DRAWS):
        drawn = chance.choice(len(pool), keep, replace=False, shuffle=False)
        value = diversity_of(pool.features[drawn])
        if value > best:
            best, rows = value, drawn
    return Choice(rows, best)


def diversity_of(features: Vectors) -> float:
    """The sum of the cosine distances of all pairs of rows of length 1, (k, d), without looking at the pairs."""
    k, total = len(features), features.sum(axis=0)
    return float(k * k - total @ total) / 2
