"""Max-sum diversity: the images whose distances from one another have the highest sum, by tabu search.

The maximum diversity problem is NP-hard. A start made in four greedy steps is improved by swapping one image that is in
for one that is out: the best such swap that is not forbidden, whether it gains or loses, and what was swapped stays
where it is for a while (tabu search; Glover 1989, for this problem Duarte and Martí, EJOR 178, 2007). When that has
long found nothing better, it begins again from what two of the best solutions have in common (memetic search; after Wu
and Hao, EJOR 231, 2013), and at the end no single swap is left that would gain.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from scrimp.errors import SettingError
from scrimp.subset.pool import Choice, Pool, Rows, Vectors

Numbers = npt.NDArray[np.float64]

_STEPS = 4  # in which the first solution is put together
_WIDTH = 32  # images in, and images out, that are looked at for a swap: those that have least and most to give
_PATIENCE = (5, 5_000)  # moves without a better solution, by image and at most, after which it begins again
_EXCHANGED = 10  # of so many images of a new start, one
_ELITE = 8  # solutions from which new starts are made
_TENURE = ((3, 8), (10, 15))  # moves for which an image stays in, and stays out: at least, and at most
_TENURES = 1009  # of these are drawn in advance
_POLISHING = 20  # swaps at the end, at most
_ROUNDING = 1e-9  # of a value: what is better by less is as good
_MOVES = (2_000, 2)  # of a selection: at least, and for each image kept


class Distances(Protocol):
    """Distances between n things: symmetric, and 0 from a thing to itself."""

    def __len__(self) -> int: ...

    def totals(self, rows: Rows | slice) -> Numbers:
        """From each of n things, the sum of its distances to some of them."""
        ...

    def change(self, leaving: int, entering: int) -> Numbers:
        """By how much these sums rise when one of them makes room for another."""
        ...

    def between(self, rows: Rows, others: Rows) -> npt.NDArray[np.floating]:
        """A table of distances, (rows, others)."""
        ...


class Table:
    """Distances that are all written down, float64 (n, n)."""

    def __init__(self, table: Numbers) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    def totals(self, rows: Rows | slice) -> Numbers:
        """As in `Distances`."""
        total: Numbers = self._table[rows].sum(axis=0)
        return total

    def change(self, leaving: int, entering: int) -> Numbers:
        """As in `Distances`."""
        more: Numbers = self._table[entering] - self._table[leaving]
        return more

    def between(self, rows: Rows, others: Rows) -> Numbers:
        """As in `Distances`."""
        return self._table[rows[:, None], others]


class Cosine:
    """Cosine distances between vectors of length 1, float32 (n, d), worked out when needed: no table is made."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def totals(self, rows: Rows | slice) -> Numbers:
        """As in `Distances`."""
        some = self._vectors[rows]
        return len(some) - (self._vectors @ (np.ones(len(some), np.float32) @ some)).astype(np.float64)

    def change(self, leaving: int, entering: int) -> Numbers:
        """As in `Distances`."""
        more: Numbers = (self._vectors @ (self._vectors[leaving] - self._vectors[entering])).astype(np.float64)
        return more

    def between(self, rows: Rows, others: Rows) -> npt.NDArray[np.float32]:
        """As in `Distances`."""
        return np.float32(1) - self._vectors[rows] @ self._vectors[others].T


class Found(NamedTuple):
    """The best solution: ascending rows, its value, the moves made, and the seconds at which each better one came."""

    rows: Rows
    value: float
    moves: int
    trace: tuple[tuple[float, float], ...]


def diversity(pool: Pool, keep: int, seed: int) -> Choice:
    """The images that are furthest from one another: the highest sum of the cosine distances of all pairs.

    It takes what lies at the rim of a class, and mislabelled images with it. Cost: `n * d` operations a move, of which
    there are 2,000, or two for each image kept, and no table of distances.
    """
    found = max_sum(Cosine(pool.features), keep, seed=seed, moves=max(_MOVES[0], _MOVES[1] * keep))
    return Choice(found.rows, found.value)


def representative(pool: Pool, keep: int, seed: int) -> Choice:
    """Images far from one another and near to those left out: mean distance within less mean distance to the others.

    The two criteria of Kabkab, Alavi and Chellappa (arXiv 1606.04232), which count alike here; solved by the search for
    `diversity` instead of a convex relaxation, and without a classifier's feedback. Cost: as `diversity`.
    """
    n, distances = len(pool), Cosine(pool.features)
    within, across = 1 / (keep * (keep - 1)), 1 / (keep * (n - keep))
    # Mean distance within: 2 * within * pairs. To the others: across * (distances to all - 2 * pairs).
    scale = 2 * (within + across)
    found = max_sum(
        distances,
        keep,
        bonus=-across / scale * distances.totals(slice(None)),
        seed=seed,
        moves=max(_MOVES[0], _MOVES[1] * keep),
    )
    return Choice(found.rows, scale * found.value)


def max_sum(
    distances: Distances,
    keep: int,
    *,
    bonus: Numbers | None = None,
    moves: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
) -> Found:
    """Looks for the `keep` things with the highest sum of the distances of all pairs, plus the bonus of each.

    bonus: (n,), nothing by default. moves, seconds: when to stop, of which at least one is needed; the same seed and
    moves give the same solution. Raises `SettingError` without a limit, or for more things than there are.
    Cost: `n` operations a move from a table, `n * d` from vectors, and a tenth of that for every restart.
    """
    n = len(distances)
    if moves is None and seconds is None:
        raise SettingError("The search for diversity would never end: give it moves or seconds.")
    if not 1 <= keep <= n:
        raise SettingError(f"keep={keep:,} of {n:,} things is not possible: keep 1 to {n:,}.")
    search = _Search(
        distances=distances,
        keep=keep,
        bonus=np.zeros(n) if bonus is None else bonus,
        most_moves=math.inf if moves is None else moves,
        most_seconds=math.inf if seconds is None else seconds,
        chance=np.random.default_rng(seed),
    )
    elite = [_tabu(search, _greedy(search))]
    while search.goes_on():
        rows = _child(search, elite) if len(elite) == _ELITE else search.chance.permutation(n)[:keep]
        _admit(elite, _tabu(search, rows))
    best = np.sort(_polished(search, max(elite, key=lambda solution: solution[0])[1]))
    value = _value(search, best)
    search.tell(value)
    return Found(best, value, search.moves, tuple(search.trace))


Solution = tuple[float, Rows]


@dataclass(kw_only=True)
class _Search:
    """What is looked for, what it may take, and how far it has come."""

    distances: Distances
    keep: int
    bonus: Numbers
    most_moves: float
    most_seconds: float
    chance: np.random.Generator
    moves: int = 0
    began: float = field(default_factory=time.perf_counter)
    trace: list[tuple[float, float]] = field(default_factory=list)

    def goes_on(self) -> bool:
        """Whether there is something to swap, and time to do so."""
        some_swap = self.keep < len(self.distances)
        return some_swap and self.moves < self.most_moves and self.seconds < self.most_seconds

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def tell(self, value: float) -> None:
        """Writes down a solution that is better than all before it."""
        if not self.trace or value > self.trace[-1][1] + _ROUNDING * abs(value):
            self.trace.append((self.seconds, value))


def _greedy(search: _Search) -> Rows:
    """A first solution: in each step the things that are furthest from those taken, the rest being like all things."""
    distances, keep, n = search.distances, search.keep, len(search.distances)
    typical = distances.totals(slice(None)) / n
    taken = np.empty(0, dtype=np.int64)
    for step in range(1, _STEPS + 1):
        more = keep * step // _STEPS - len(taken)
        if not more:
            continue
        worth = search.bonus + (keep - len(taken)) * typical
        if len(taken):
            worth += distances.totals(taken)
        worth[taken] = -np.inf
        taken = np.concatenate([taken, np.argpartition(-worth, more - 1)[:more]])
    return taken


def _tabu(search: _Search, rows: Rows) -> Solution:
    """The best solution on a walk of swaps that begins at `rows` and ends when it has long found nothing better."""
    distances, keep, n = search.distances, search.keep, len(search.distances)
    inside = np.zeros(n, dtype=bool)
    inside[rows] = True
    totals = distances.totals(rows) + search.bonus
    value = float(totals[rows].sum() + search.bonus[rows].sum()) / 2
    best = (value, rows)
    search.tell(value)
    may_leave, may_enter = np.where(inside, 0, np.inf), np.where(inside, np.inf, 0)  # infinite where it may not
    free_again: dict[int, list[int]] = {}
    half = np.array([keep // 2, (n - keep) // 2])  # of all: more must not be barred at a time
    tenures = search.chance.integers(
        np.minimum(_TENURE[0], half // 2), np.minimum(_TENURE[1], half), (_TENURES, 2), endpoint=True
    ).tolist()
    patience = min(_PATIENCE[0] * n, _PATIENCE[1])
    move = last = 0
    while move - last < patience and search.goes_on():
        move += 1
        search.moves += 1
        for row in free_again.pop(move, ()):
            (may_leave if inside[row] else may_enter)[row] = 0
        low, high = totals + may_leave, may_enter - totals
        leaving, entering = _least(low), _least(high)
        losses = low[leaving, None] + high[entering] + distances.between(leaving, entering)
        one, other = divmod(int(losses.argmin()), len(entering))
        goes, comes = int(leaving[one]), int(entering[other])
        inside[goes], inside[comes] = False, True
        may_leave[[goes, comes]] = may_enter[[goes, comes]] = np.inf
        stays_in, stays_out = tenures[move % _TENURES]
        free_again.setdefault(move + 1 + stays_in, []).append(comes)
        free_again.setdefault(move + 1 + stays_out, []).append(goes)
        value -= float(losses[one, other])
        totals += distances.change(goes, comes)
        if value > best[0] + _ROUNDING * abs(best[0]):
            best, last = (value, np.flatnonzero(inside)), move
            search.tell(value)
    return best


def _least(values: Numbers) -> Rows:
    """Where the least values are, `_WIDTH` of them at most."""
    return np.argpartition(values, _WIDTH)[:_WIDTH] if len(values) > _WIDTH else np.arange(len(values))


def _child(search: _Search, elite: list[Solution]) -> Rows:
    """What two solutions have in common, filled up with what only one has; a tenth is exchanged for anything."""
    one, other = (elite[n][1] for n in search.chance.choice(len(elite), 2, replace=False))
    shared, either = np.intersect1d(one, other), np.setxor1d(one, other)
    rows = np.concatenate([shared, search.chance.permutation(either)[: search.keep - len(shared)]])
    count = min(max(1, search.keep // _EXCHANGED), len(search.distances) - search.keep)
    others = np.setdiff1d(np.arange(len(search.distances)), rows)
    return np.concatenate([search.chance.permutation(rows)[count:], search.chance.permutation(others)[:count]])


def _admit(elite: list[Solution], found: Solution) -> None:
    """Takes a solution in that is new, and in a full house better than the worst, which goes."""
    if any(set(found[1].tolist()) == set(rows.tolist()) for _, rows in elite):
        return
    elite.append(found)
    elite.sort(key=lambda solution: -solution[0])
    del elite[_ELITE:]


def _polished(search: _Search, rows: Rows) -> Rows:
    """The solution with every single swap made that would gain, all of them looked at; mostly there is none."""
    distances, rows = search.distances, rows.copy()
    for _ in range(_POLISHING if search.keep < len(distances) else 0):
        totals = distances.totals(rows) + search.bonus
        outside = np.setdiff1d(np.arange(len(distances)), rows)
        best = (1e-7 * abs(_value(search, rows)) / search.keep, -1, -1)
        for start in range(0, search.keep, 64):
            some = rows[start : start + 64]
            gains = totals[outside] - totals[some, None] - distances.between(some, outside)
            one, other = divmod(int(gains.argmax()), len(outside))
            best = max(best, (float(gains[one, other]), start + one, other))
        if best[1] < 0:
            break
        rows[best[1]] = outside[best[2]]
    return rows


def _value(search: _Search, rows: Rows) -> float:
    return float(search.distances.totals(rows)[rows].sum() / 2 + search.bonus[rows].sum())
