"""Selection by chance, the line that every other method must beat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scrimp.images import Images
from scrimp.images.fingerprint import hash_ranks


def random_balanced(train: Images, *, keep: int, balance: bool, seed: int) -> npt.NDArray[np.int64]:
    """Rows of `keep` images: one of each class in turn, or, not balanced, any.

    The order is that of a hash of each key, so it is the same on every machine and a larger `keep`
    extends a smaller one. A class that runs out is passed over. Cost: a few seconds per million images.
    """
    ranks = hash_ranks(train.keys, f"select/{seed}")
    if not balance:
        return np.argsort(ranks, kind="stable")[:keep]
    by_class = np.lexsort((ranks, train.labels))
    starts = np.searchsorted(train.labels[by_class], np.arange(len(train.classes)))
    turn = np.empty(len(train), dtype=np.int64)  # how many of its class come before an image
    turn[by_class] = np.arange(len(train)) - starts[train.labels[by_class]]
    return np.lexsort((ranks, turn))[:keep]
