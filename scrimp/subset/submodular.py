"""Submodular measures of a choice, whose gains only shrink as more is chosen, so that the greedy choice can be lazy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from scrimp.subset.pool import Choice, Pool, Rows

Numbers = npt.NDArray[np.float64]

_FIRST, _WIDEST = 8, 256  # rows whose gains are worked out at once: at first, doubling, and at most
_TRADE_OFF = 2.0  # of graph cut: the least for which a larger choice is never worse


def facility_location(pool: Pool, keep: int, seed: int) -> Choice:
    """Images such that each image has one like it among those kept: the mean likeness to the nearest that is kept.

    Likeness is half of 1 plus the cosine. Greedy, so at least 63 % of the best there is (Nemhauser, Wolsey and Fisher,
    1978); for training sets: Wei, Iyer and Bilmes (ICML 2015). The seed changes nothing.
    Cost: some ten times `keep * n * d` operations.
    """
    features, n = pool.features, len(pool)
    best_of = np.zeros(n, dtype=np.float32)

    def likeness(rows: Rows) -> npt.NDArray[np.float32]:
        return np.float32(0.5) + features @ (np.float32(0.5) * features[rows].T)

    def gains(rows: Rows) -> Numbers:
        more = likeness(rows)
        more -= best_of[:, None]
        total: Numbers = np.maximum(more, 0, out=more).sum(axis=0, dtype=np.float64)
        return total

    def take(row: int) -> None:
        np.maximum(best_of, likeness(np.array([row]))[:, 0], out=best_of)

    bounds = (n + (features @ features.sum(axis=0)).astype(np.float64)) / 2
    rows = lazy_greedy(bounds * (1 + 1e-6), gains, take, keep)  # a little above: these were summed otherwise
    return Choice(rows, float(best_of.mean()))


def graph_cut(pool: Pool, keep: int, seed: int) -> Choice:
    """Images like all others and unlike each other: twice their likeness to all images, less that among themselves.

    Greedy on the graph cut function that Lin and Bilmes (NAACL 2010) choose sentences by, with the trade-off of 2 that
    keeps it from falling. The seed changes nothing. Cost: a few times `n * d` operations, and about a hundred times
    `keep * d`.
    """
    features, n = pool.features, len(pool)
    to_all = (n + (features @ features.sum(axis=0)).astype(np.float64)) / 2
    total = np.zeros(features.shape[1], dtype=np.float64)
    count = 0

    def gains(rows: Rows) -> Numbers:
        gained: Numbers = _TRADE_OFF * to_all[rows] - (count + features[rows] @ total + 1)
        return gained

    def take(row: int) -> None:
        nonlocal count, total
        count, total = count + 1, total + features[row]

    rows = lazy_greedy(_TRADE_OFF * to_all - 1, gains, take, keep)
    value = _TRADE_OFF * float(to_all[rows].sum()) - float(keep * keep + total @ total) / 2
    return Choice(rows, value)


def lazy_greedy(bounds: Numbers, gains: Callable[[Rows], Numbers], take: Callable[[int], None], keep: int) -> Rows:
    """The rows of a greedy choice, in order, of a measure whose gains never grow.

    bounds: what each row may gain at most, (n,), used up. gains: what each of some rows gains now. take: is told of
    each row that is taken. A gain from before is a bound on the gain now, so only rows whose bound is above all fresh
    gains are worked out again (Minoux 1978).
    """
    chosen = []
    for _ in range(keep):
        stale = np.ones(len(bounds), dtype=bool)
        width = _FIRST
        while stale[row := int(bounds.argmax())]:
            waiting = np.where(stale, bounds, -np.inf)
            rows = np.argpartition(-waiting, width)[:width] if len(bounds) > width else np.arange(len(bounds))
            rows = rows[waiting[rows] > -np.inf]
            bounds[rows], stale[rows] = gains(rows), False
            width = min(2 * width, _WIDEST)
        take(row)
        bounds[row] = -np.inf
        chosen.append(row)
    return np.array(chosen)
