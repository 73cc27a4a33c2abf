"""Herding: images whose mean is the mean of all, at every size."""

from __future__ import annotations

import numpy as np

from scrimp.subset.pool import Choice, Pool


def herding(pool: Pool, keep: int, seed: int) -> Choice:
    """Each time the image that brings the mean of those kept nearest to the mean of all; it takes what is typical.

    Welling (ICML 2009); to keep examples of a class: iCaRL (CVPR 2017, arXiv 1611.07725). The objective is the distance
    between both means, and less is better. The seed changes nothing. Cost: `keep * n * d` operations.
    """
    features = pool.features
    mean = features.mean(axis=0)
    total = np.zeros_like(mean)
    left = np.zeros(len(pool), dtype=np.float32)
    rows = []
    for count in range(1, keep + 1):
        # All are of length 1, so the nearest to count * mean - total is the one that points there most.
        rows.append(int((features @ (count * mean - total) + left).argmax()))
        left[rows[-1]] = -np.inf
        total += features[rows[-1]]
    return Choice(np.array(rows), float(np.linalg.norm(total / keep - mean)))
