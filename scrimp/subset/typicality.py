"""The most typical image of each of many clusters."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from scrimp.subset.pool import Choice, Pool, Vectors

_CLUSTERS = 500  # at most
_NEIGHBOURS = 20  # whose mean distance says how typical an image is
_SMALL = 5  # images below which a cluster comes last
_MINIBATCH_FROM = 10_000  # images from which clusters are found from parts of them
_BLOCK = 1024  # images compared with all others of their cluster at a time


def typiclust(pool: Pool, keep: int, seed: int) -> Choice:
    """The most typical image of each cluster, one of each in turn, large clusters first.

    There are as many clusters (k-means) as images to keep, but at most 500; typical is what has near neighbours in its
    cluster: 1 over the mean distance to the nearest 20. The objective is the mean of that. TypiClust: Hacohen, Dekel
    and Weinshall (ICML 2022, arXiv 2202.02794). Cost: clustering, some ten times `n * clusters * d` operations.
    """
    clusters = clusters_of(pool.features, min(keep, _CLUSTERS), seed)
    typical, place = np.empty(len(pool)), np.empty(len(pool), dtype=np.int64)
    for cluster in np.unique(clusters):
        rows = np.flatnonzero(clusters == cluster)
        typical[rows] = typicality(pool.features[rows])
        place[rows[np.argsort(-typical[rows], kind="stable")]] = np.arange(len(rows))
    sizes = np.bincount(clusters)[clusters]
    order = np.lexsort((clusters, -sizes, place, sizes < _SMALL))[:keep]
    return Choice(order, float(typical[order].mean()))


def clusters_of(features: Vectors, count: int, seed: int) -> npt.NDArray[np.int64]:
    """The cluster of each row, (n,), by k-means; fewer clusters where there are fewer different rows."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    many = len(features) >= _MINIBATCH_FROM
    kmeans = (
        MiniBatchKMeans(count, random_state=seed, n_init=1, batch_size=4096)
        if many
        else KMeans(count, random_state=seed, n_init=1)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer different rows than clusters
        found: npt.NDArray[np.int64] = kmeans.fit_predict(features).astype(np.int64)
    return found


def typicality(features: Vectors) -> npt.NDArray[np.float64]:
    """1 over the mean distance of each row, of length 1, to its nearest 20 of these; 0 for one that is alone."""
    n = len(features)
    count = min(_NEIGHBOURS, n - 1)
    if not count:
        return np.zeros(n)
    found = np.empty(n)
    for start in range(0, n, _BLOCK):
        cosines = features[start : start + _BLOCK] @ features.T
        own = np.arange(len(cosines))
        cosines[own, start + own] = -np.inf
        nearest = -np.partition(-cosines, count - 1, axis=1)[:, :count]
        found[start : start + _BLOCK] = np.sqrt(np.maximum(0, 2 - 2 * nearest.astype(np.float64))).mean(axis=1)
    return 1 / np.maximum(found, 1e-6)
