"""Max-sum diversity: against every choice there is, on both kinds of distances."""

import itertools
import time

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from scrimp.errors import SettingError
from scrimp.subset.dispersion import Cosine, Table, max_sum, representative
from scrimp.subset.pool import Pool, unit


def random_table(n, seed):
    table = np.triu(np.random.default_rng(seed).uniform(0, 10, (n, n)), 1)
    return table + table.T


def pairs(table, rows):
    """The sum over all pairs, pair by pair."""
    return sum(table[i, j] for i, j in itertools.combinations(sorted(rows), 2))


def best_by_trying_all(table, keep, bonus=None):
    bonus = np.zeros(len(table)) if bonus is None else bonus
    return max(pairs(table, rows) + bonus[list(rows)].sum() for rows in itertools.combinations(range(len(table)), keep))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "keep"), [(12, 2), (12, 5), (10, 9), (7, 1), (6, 6)])
def test_the_best_of_all_choices(n, keep, seed):
    table = random_table(n, seed)
    found = max_sum(Table(table), keep, moves=300, seed=seed)
    assert found.value == pytest.approx(best_by_trying_all(table, keep))
    assert found.value == pytest.approx(pairs(table, found.rows))
    assert found.rows.tolist() == sorted(set(found.rows.tolist()))


@pytest.mark.parametrize("seed", range(4))
def test_with_a_bonus_for_each(seed):
    table, bonus = random_table(11, seed), np.random.default_rng(seed).uniform(-30, 30, 11)
    found = max_sum(Table(table), 4, bonus=bonus, moves=300, seed=seed)
    assert found.value == pytest.approx(best_by_trying_all(table, 4, bonus))


def test_vectors_are_as_good_as_their_table():
    vectors = np.random.default_rng(0).normal(size=(60, 7))
    table = squareform(pdist(vectors, "cosine"))
    by_table = max_sum(Table(table), 12, moves=2_000)
    by_vectors = max_sum(Cosine(unit(vectors)), 12, moves=2_000)
    assert by_vectors.value == pytest.approx(by_table.value, rel=1e-5)
    assert by_vectors.value == pytest.approx(pairs(table, by_vectors.rows), rel=1e-5)


def test_no_single_swap_would_gain():
    table = random_table(120, 5)
    rows = max_sum(Table(table), 20, moves=300).rows
    outside = set(range(120)) - set(rows.tolist())
    least = pairs(table, rows) * (1 + 1e-6)
    assert not any(
        pairs(table, [*(r for r in rows if r != leaving), entering]) > least for leaving in rows for entering in outside
    )


def test_better_and_better_until_the_time_is_up():
    started = time.perf_counter()
    found = max_sum(Table(random_table(300, 1)), 30, seconds=0.3)
    assert 0.3 <= time.perf_counter() - started < 1.5
    times, values = zip(*found.trace, strict=True)
    assert list(times) == sorted(times)
    assert list(values) == sorted(set(values))
    assert values[-1] == pytest.approx(found.value)
    assert found.value > values[0]


def test_moves_alone_decide():
    one, other = (max_sum(Table(random_table(90, 2)), 15, moves=4_000, seed=7) for _ in range(2))
    assert one.rows.tolist() == other.rows.tolist()
    assert one.moves == 4_000


def test_what_cannot_be_is_refused():
    distances = Table(random_table(5, 0))
    with pytest.raises(SettingError, match="never end"):
        max_sum(distances, 2)
    for keep in (0, 6):
        with pytest.raises(SettingError, match=f"keep={keep} of 5"):
            max_sum(distances, keep, moves=10)


@pytest.mark.parametrize("seed", range(3))
def test_representative_by_trying_all(seed):
    vectors = np.random.default_rng(seed).normal(size=(10, 4))
    table = squareform(pdist(vectors, "cosine"))

    def worth(rows):
        inside, outside = list(rows), [row for row in range(10) if row not in rows]
        within = np.mean([table[i, j] for i, j in itertools.combinations(inside, 2)])
        return within - table[np.ix_(inside, outside)].mean()

    features = unit(vectors)
    pool = Pool(keys=tuple("abcdefghij"), features=features, scores=np.empty(0, dtype=np.float32))
    choice = representative(pool, 4, seed)
    assert choice.objective == pytest.approx(max(map(worth, itertools.combinations(range(10), 4))), abs=1e-5)
    assert choice.objective == pytest.approx(worth(choice.rows.tolist()), abs=1e-5)
