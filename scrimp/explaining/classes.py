"""Classes and labels one by one: precision and recall, and which of them are taken for one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from scrimp.explaining.kinds import ClassQuality

MANY = 12
"""With more classes than this they are put in an order; fewer can be seen at once as they stand."""


def qualities_of_classes(names: Sequence[str], confusion: Sequence[Sequence[int]]) -> tuple[ClassQuality, ...]:
    """Precision and recall of classes, of a matrix with true classes as rows and predicted ones as columns."""
    counts = np.array(confusion, dtype=np.int64)
    return _qualities(names, counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0))


def qualities_of_labels(
    names: Sequence[str], truth: npt.NDArray[Any], outputs: npt.NDArray[Any]
) -> tuple[ClassQuality, ...]:
    """Precision and recall of labels: truth 0 or 1, outputs logits, both (n, labels)."""
    said, true = outputs >= 0, truth == 1  # a logit of 0 is a probability of 0.5
    return _qualities(names, (said & true).sum(axis=0), true.sum(axis=0), said.sum(axis=0))


def _qualities(
    names: Sequence[str], right: npt.NDArray[Any], images: npt.NDArray[Any], said: npt.NDArray[Any]
) -> tuple[ClassQuality, ...]:
    return tuple(
        ClassQuality(name=name, images=n, said=s, precision=r / s if s else None, recall=r / n if n else None)
        for name, r, n, s in zip(names, right.tolist(), images.tolist(), said.tolist(), strict=True)
    )


def side_by_side(confusion: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The classes in an order that has those taken for one another side by side; as they are where they are few.

    Average linkage on how seldom two classes are confused, the shares of both directions averaged, with the order of
    leaves that keeps neighbours closest (Bar-Joseph and others, Bioinformatics 17, 2001).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    counts = np.array(confusion, dtype=np.float64)
    if len(counts) <= MANY:
        return tuple(range(len(counts)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    distance = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    return tuple(leaves_list(tree).tolist())
